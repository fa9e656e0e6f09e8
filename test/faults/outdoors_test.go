package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

const (
	goodBefore = 5 * time.Second
	badFor     = 60 * time.Second
	goodAfter  = 20 * time.Second

	// What is promised whatever the weather, with the default request_timeout.
	keptWait  = time.Second
	readWait  = client.DefaultTimeout
	writeWait = 2 * client.DefaultTimeout
	openRate  = 10 // requests a second while ABEJA is left alone
	freshness = 5 * time.Second

	// How long what is kept may be given out.
	briefTTL, brief = time.Second, 10 * time.Second
)

// outdoors is three mounts of one organization, and who uses them.
type outdoors struct {
	t    *testing.T
	sim  *simulator.Simulator
	wire *wire
	// bridging gives out what it keeps for an hour, brief for 10 seconds, and plain keeps nothing.
	bridging, brief, plain *engine

	began   time.Time
	callers sync.WaitGroup
	people  int
	mu      sync.Mutex
	visits  []visit
	writes  []write
	// replaced is when each value of the secrets that change at ABEJA was followed by the next.
	replaced []time.Time
	// acknowledged is the number of the last value of which a writer was told that it is stored.
	acknowledged atomic.Int64
}

// caller is what somebody asks for.
type caller int

const (
	keptReader caller = iota
	briefReader
	reader
	writer
)

// visit is one request to Vault.
type visit struct {
	caller caller
	what   string
	began  time.Time
	took   time.Duration
	answer answer
}

// write is what a writer asked for, and whether ABEJA has it in the end.
type write struct {
	what   string
	answer answer
	// stored counts how often it took effect.
	stored func() int
}

// wire is the way to ABEJA.
type wire struct {
	next    http.RoundTripper
	sim     *simulator.Simulator
	refuses atomic.Bool
	limp    atomic.Pointer[simulator.Fault] // strikes one request in three

	mu     sync.Mutex
	sent   []time.Time
	spells []spell
}

// spell is a time in which ABEJA is left alone, and which requests are sent in it.
type spell struct {
	from, to    time.Time
	first, last int
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	w.mu.Lock()
	w.sent = append(w.sent, time.Now())
	n := len(w.sent)
	w.mu.Unlock()
	if w.refuses.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if f := w.limp.Load(); f != nil && n%3 == 0 {
		w.sim.AddFault(*f)
	}
	return w.next.RoundTrip(r)
}

// Write implements io.Writer for a mount's log, which tells when ABEJA is left alone.
func (w *wire) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case bytes.Contains(line, []byte("ABEJA fails, and is asked only now and then")):
		w.spells = append(w.spells, spell{from: time.Now(), first: len(w.sent)})
	case bytes.Contains(line, []byte("ABEJA answers again")):
		s := &w.spells[len(w.spells)-1]
		s.to, s.last = time.Now(), len(w.sent)
	}
	return len(line), nil
}

const changing, crowd, doomed = 4, 40, 100

func newOutdoors(t *testing.T) *outdoors {
	o := &outdoors{t: t, sim: simulator.New(simulator.Options{Token: token, Behavior: simulator.Behavior{MaxVersions: 1000}})}
	o.wire = &wire{next: o.sim.Transport(), sim: o.sim}
	for i := range changing {
		o.sim.Create(fmt.Sprintf("changing_%d", i), []byte("hidden-0"))
	}
	for i := range crowd {
		o.sim.Create(fmt.Sprintf("crowd_%d", i), []byte("hidden-0"))
	}
	for i := range doomed {
		o.sim.Create(fmt.Sprintf("doomed_%d", i), []byte("hidden-0"))
	}
	for _, name := range []string{"written", "contended", "described"} {
		o.sim.Create(name, []byte("hidden-0"))
	}
	factory := backend.Factory(backend.Build{Transport: o.wire})
	mount := func(over fields) *engine {
		e := &engine{t: t, sim: o.sim, storage: &logical.InmemStorage{}}
		var log io.Writer
		if o.bridging == nil {
			log = o.wire
		}
		e.backend = enginetest.Start(t, factory, e.storage, logical.TestSystemView(), log)
		t.Cleanup(func() { e.backend.Cleanup(t.Context()) })
		config := enginetest.Config(o.sim, "http://127.0.0.1", over)
		delete(config, "max_retries")
		e.write("config", config).ok(t)
		return e
	}
	o.bridging = mount(fields{"stale_if_error": "1h"})
	o.brief = mount(fields{"cache_ttl": int(briefTTL / time.Second), "stale_if_error": int(brief / time.Second)})
	o.plain = mount(nil)
	o.plain.list("secrets/").ok(t)
	o.began = time.Now()
	return o
}

func (o *outdoors) good() time.Time { return o.began.Add(goodBefore + badFor) }

// repeat has somebody ask again and again. No two begin at the same time.
func (o *outdoors) repeat(c caller, what string, every time.Duration, do func(n int) answer) {
	o.people++
	begin := time.Duration(o.people) * 7 * time.Millisecond
	o.callers.Go(func() {
		time.Sleep(begin)
		for n := 0; time.Now().Before(o.good().Add(goodAfter)); n++ {
			v := visit{caller: c, what: what, began: time.Now()}
			v.answer = do(n)
			v.took = time.Since(v.began)
			o.mu.Lock()
			o.visits = append(o.visits, v)
			o.mu.Unlock()
			time.Sleep(every)
		}
	})
}

// wrote takes down what a writer was told.
func (o *outdoors) wrote(what string, a answer, stored func() int) answer {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes = append(o.writes, write{what, a, stored})
	return a
}

// has counts the versions with a value.
func (o *outdoors) has(name, value string) func() int {
	return func() (n int) {
		held, _ := o.sim.Secret(name)
		for _, v := range held.Versions {
			if string(v.Value) == value {
				n++
			}
		}
		return n
	}
}

// change gives the secrets that change another value at ABEJA, each time for two seconds.
func (o *outdoors) change() {
	for n := 1; time.Now().Before(o.good().Add(goodAfter)); n++ {
		o.mu.Lock()
		for i := range changing {
			o.sim.AddVersion(fmt.Sprintf("changing_%d", i), fmt.Appendf(nil, "hidden-%d", n))
		}
		o.replaced = append(o.replaced, time.Now())
		o.mu.Unlock()
		time.Sleep(2 * time.Second)
	}
}

// numberIn returns the number of the value that a reader was given.
func (o *outdoors) numberIn(a answer) (n int) {
	var data struct{ Value string }
	assert.NoError(o.t, json.Unmarshal([]byte(a.data), &data))
	fmt.Sscanf(data.Value, "hidden-%d", &n)
	return n
}

// young reads a secret that changes at ABEJA. What is given out may have been replaced there no longer ago
// than the mount may keep it: after the call began, if ABEJA was asked and no warning says otherwise.
func (o *outdoors) young(e *engine, i int, ttl, stale time.Duration) answer {
	began := time.Now()
	a := e.read(fmt.Sprintf("secrets/changing_%d", i))
	if !a.acknowledged() {
		return a
	}
	most := ttl
	if len(a.warnings) > 0 {
		most = stale
		began = time.Now()
	}
	n := o.numberIn(a)
	o.mu.Lock()
	defer o.mu.Unlock()
	if n < len(o.replaced) {
		assert.LessOrEqual(o.t, began.Sub(o.replaced[n]), most, "a kept value is older than promised, %v after ABEJA was back: %v", time.Since(o.good()), a)
	}
	return a
}

func (o *outdoors) everybody() {
	const pace = time.Second
	go o.change()
	for i := range changing {
		o.repeat(keptReader, "read", pace, func(int) answer { return o.young(o.bridging, i, 0, time.Hour) })
		o.repeat(briefReader, "read", pace, func(int) answer { return o.young(o.brief, i, briefTTL, brief) })
		o.repeat(reader, "read", pace, func(int) answer { return o.young(o.plain, i, 0, 0) })
	}
	for i := range crowd { // each has a call of their own
		o.repeat(reader, "one of a crowd", 10*time.Second, func(int) answer { return o.plain.read(fmt.Sprintf("secrets/crowd_%d", i)) })
	}
	o.repeat(reader, "list", pace, func(int) answer { return o.plain.list("secrets/") })
	o.repeat(reader, "read of what is written", pace, func(int) answer {
		least := o.acknowledged.Load()
		a := o.bridging.read("secrets/written")
		if a.acknowledged() {
			assert.GreaterOrEqual(o.t, int64(o.numberIn(a)), least, "what was acknowledged is not shown")
		}
		return a
	})

	o.repeat(writer, "create", pace, func(n int) answer {
		name := fmt.Sprintf("new_%d", n)
		return o.wrote(name, o.plain.write("secrets/"+name, fields{"value": "hidden-1"}), o.has(name, "hidden-1"))
	})
	o.repeat(writer, "update", pace, func(n int) answer {
		value := fmt.Sprintf("hidden-%d", n+1)
		a := o.wrote(value, o.plain.write("secrets/written", fields{"value": value}), o.has("written", value))
		if a.acknowledged() {
			o.acknowledged.Store(int64(n + 1))
		}
		return a
	})
	for i := range 2 {
		o.repeat(writer, "check-and-set", pace, func(n int) answer {
			value := fmt.Sprintf("hidden-%d-%d", i, n)
			held, _ := o.sim.Secret("contended")
			return o.wrote(value, o.plain.write("secrets/contended", fields{"value": value, "cas": len(held.Versions)}), o.has("contended", value))
		})
	}
	o.repeat(writer, "describe", pace, func(n int) answer {
		description := fmt.Sprint("number ", n)
		a := o.plain.write("secrets/described", fields{"description": description})
		held, _ := o.sim.Secret("described") // nobody else describes it
		return o.wrote(description, a, func() int {
			if held.Description != description {
				return 0
			}
			return 1
		})
	})
	o.repeat(writer, "delete", pace, func(n int) answer {
		name := fmt.Sprintf("doomed_%d", n)
		return o.wrote("delete "+name, o.plain.delete("secrets/"+name), func() int {
			if _, exists := o.sim.Secret(name); exists {
				return 0
			}
			return 1
		})
	})
}
