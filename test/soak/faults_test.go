package soak

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// trouble makes calls to ABEJA fail, each time another one in another way.
type trouble struct {
	abeja *abeja
	one   int // in so many chances

	mu     sync.Mutex
	random *rand.Rand
	struck int

	// spared says that the last call was not sent, since ABEJA is left alone: failures would pile up
	// that no call meets.
	spared atomic.Bool
}

// around makes a call, and maybe lets ABEJA fail before it. Who is told to wait a little does.
func (tr *trouble) around(t *testing.T, call func() answer) answer {
	if !tr.spared.Load() {
		tr.maybe(t)
	}
	a := call()
	unsent := strings.Contains(string(a.Body), "was not asked")
	if was := tr.spared.Swap(unsent); unsent {
		if !was {
			tr.abeja.heal(t) // or each call that tries ABEJA again meets a failure that was left
		}
		time.Sleep(20 * pause)
	}
	return a
}

func newTrouble(a *abeja, one int) *trouble {
	return &trouble{abeja: a, one: one, random: chance(1000)}
}

// failingCalls are the calls that reads and writes are made of, the more often the likelier.
var failingCalls = []string{
	"get_secret", "get_secret", "get_secret", "create_version", "create_version", "create_version", "create_secret", "list_secrets",
}

var failures = []fault{
	{Kind: "cut"},
	{Kind: "cut", AfterActing: true},
	{Kind: "status", Status: 500},
	{Kind: "status", Status: 502, AfterActing: true},
	{Kind: "status", Status: 503},
	{Kind: "status", Status: 504, AfterActing: true},
	{Kind: "status", Status: 429},
	{Kind: "status", Status: 429, RetryAfter: "1"},
	{Kind: "truncate"},
	{Kind: "delay", Delay: "100ms"},
	{Kind: "delay", Delay: "50ms", AfterActing: true},
	{Kind: "delay", Delay: "200ms", AfterActing: true}, // an answer that is old when it comes
	{Kind: "delay", Delay: "600ms", AfterActing: true},
	{Kind: "delay", Delay: "1500ms"}, // these two: over the deadline
	{Kind: "delay", Delay: "1500ms", AfterActing: true},
}

// deadline is the mount's request_timeout.
const deadline = "1s"

// maybe adds a failure, or not.
func (tr *trouble) maybe(t *testing.T) {
	tr.mu.Lock()
	f := failures[tr.random.IntN(len(failures))]
	f.Op, f.Count = failingCalls[tr.random.IntN(len(failingCalls))], 1
	strike := tr.random.IntN(tr.one) == 0
	if strike {
		tr.struck++
	}
	tr.mu.Unlock()
	if strike {
		tr.abeja.strike(t, f)
	}
}
