package e2e

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// reading is what the readers of a script do.
type reading struct {
	end    chan struct{}
	ended  sync.WaitGroup
	rounds [8]atomic.Int64 // how many reads each reader has made

	mu      sync.Mutex
	failure string // the first answer that was no success
}

// readers start PATH starts eight readers, who read a path of Vault without a pause.
//
// readers turn waits until each of them has made a read that it began after now.
//
// readers stop ends them, and fails if any read has failed.
func readers(ts *testscript.TestScript, _ bool, args []string) {
	script := ts.Value(stateKey).(*state)
	switch {
	case len(args) == 2 && args[0] == "start":
		script.readers = startReaders(ts.Getenv("VAULT_ADDR")+"/v1/"+args[1], ts.Getenv("VAULT_TOKEN"))
		ts.Defer(script.readers.stop)
		script.readers.turn(ts)
	case len(args) == 1 && args[0] == "turn":
		script.readers.turn(ts)
	case len(args) == 1 && args[0] == "stop":
		script.readers.stop()
		if script.readers.failure != "" {
			ts.Fatalf("a read failed: %s", script.readers.failure)
		}
	default:
		ts.Fatalf("usage: readers start PATH | turn | stop")
	}
}

func startReaders(url, token string) *reading {
	r := &reading{end: make(chan struct{})}
	for i := range r.rounds {
		r.ended.Go(func() {
			for {
				select {
				case <-r.end:
					return
				default:
					r.read(url, token)
					r.rounds[i].Add(1)
				}
			}
		})
	}
	return r
}

func (r *reading) read(url, token string) {
	status, body, err := vaulttest.Send(context.Background(), http.MethodGet, url, token, nil)
	if err == nil && status == http.StatusOK {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failure == "" {
		r.failure = fmt.Sprint(status, string(body), err)
	}
}

// turn waits for two rounds of each reader: the first of them may have begun before.
func (r *reading) turn(ts *testscript.TestScript) {
	deadline := time.Now().Add(time.Minute)
	for i := range r.rounds {
		for want := r.rounds[i].Load() + 2; r.rounds[i].Load() < want; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				ts.Fatalf("a reader waits for its answer for a minute")
			}
		}
	}
}

func (r *reading) stop() {
	select {
	case <-r.end:
	default:
		close(r.end)
	}
	r.ended.Wait()
}
