package soak

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is writers and readers on a few names, through all mounts that show them, until it is ended.
type load struct {
	*history
	writers, readers int
	mounts           []string
	names            string // what the names of the secrets begin with
	call             func(client int, method, path string, in any) answer
	losing           bool // Vault may lose the outcome of a write

	slots [8]slot
	stops []func()
}

// slot is one of the names that are written. It gets a new name before ABEJA's limit of 100 versions,
// so that creations are part of the load too.
type slot struct{ attempts atomic.Int64 }

const attemptsPerName = 50

func (l *load) name(i int) string {
	return fmt.Sprintf("%s%d_%d", l.names, i, l.slots[i].attempts.Load()/attemptsPerName)
}

// pause is that of each client between two steps: the load is to be wide, not to take all the machine.
const pause = 5 * time.Millisecond

// until lets the load run for a part of -length, and longer where a slow machine has not yet come so far as to
// show something.
func (l *load) until(t *testing.T, part float64, enough func(figures) bool) {
	t.Helper()
	time.Sleep(time.Duration(float64(*length) * part))
	for limit := time.Now().Add(time.Minute); !enough(l.soFar()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Errorf("this run has shown too little: %v", l.soFar())
			return
		}
	}
}

// soFar counts the answers.
func (l *load) soFar() (f figures) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.ops {
		f.count(o)
	}
	return f
}

// begin starts the load, which goes on with a history if there is one.
func (l *load) begin(t *testing.T) {
	if l.history == nil {
		l.history = newHistory()
	}
	for client := range l.writers + l.readers {
		step := l.write
		if client >= l.writers {
			step = l.read
		}
		random := chance(client)
		l.stops = append(l.stops, again(t, pause, func(n int) { step(client, n, random) }))
	}
}

// end stops the load and returns its history, once every request is answered.
func (l *load) end() []operation {
	var all sync.WaitGroup
	for _, stop := range l.stops {
		all.Go(stop)
	}
	all.Wait()
	return l.ops
}

func (l *load) read(client, _ int, random *rand.Rand) {
	l.readSecret(client, l.name(random.IntN(len(l.slots))), random)
}

func (l *load) readSecret(client int, name string, random *rand.Rand) operation {
	o := operation{client: client, mount: l.mountOf(random), path: pathOf(random), name: name, cas: noCAS}
	return l.record(o, func() answer { return l.call(client, http.MethodGet, o.mount+"/"+o.path+name, nil) }, read)
}

// write writes in one of the ways that there are. With cas it reads first, as one does; what is
// acknowledged it reads again.
func (l *load) write(client, n int, random *rand.Rand) {
	i := random.IntN(len(l.slots))
	l.slots[i].attempts.Add(1)
	o := operation{
		client: client, write: true, mount: l.mountOf(random), path: pathOf(random), name: l.name(i), cas: noCAS,
		value: fmt.Sprintf("by%d_%d", client, n),
	}
	if random.IntN(2) == 0 {
		known := l.readSecret(client, o.name, random)
		switch known.outcome {
		case done, absent:
			o.cas = known.version
		}
	}
	method := http.MethodPost
	in := map[string]any{"value": o.value}
	if o.cas != noCAS {
		in["cas"] = o.cas
	}
	if o.path == "data/" {
		if random.IntN(4) == 0 {
			method = http.MethodPatch
		}
		options := map[string]any{}
		if o.cas != noCAS {
			options["cas"] = o.cas
		}
		in = map[string]any{"data": map[string]any{"value": o.value}, "options": options}
	}
	o = l.record(o, func() answer { return l.call(client, method, o.mount+"/"+o.path+o.name, in) }, written(l.losing))
	if o.outcome == done {
		l.readSecret(client, o.name, random)
	}
}

func (l *load) mountOf(random *rand.Rand) string { return l.mounts[random.IntN(len(l.mounts))] }

func pathOf(random *rand.Rand) string {
	if random.IntN(2) == 0 {
		return "secrets/"
	}
	return "data/"
}
