package faults

import (
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// silentlyDead is the row of docs/reliability.md.
const silentlyDead = "does not get what is sent on the HTTP/2 connection, since a device in between has forgotten it " +
	"| the kept value: after a second, and then at once; fresh within 15 s | a good answer after 15 s, by the next try; with `max_retries=0` 504 after 30 s, " +
	"and the next call is good | a create 504 after 30 s, its outcome not known; the next call is good | the next try or call"

// nat is a way to a server that can forget its connections, as a NAT does: neither side is told, and what
// they send is lost.
type nat struct {
	net.Listener
	mu    sync.Mutex
	conns []*mapping
}

type mapping struct {
	net.Conn
	forgotten atomic.Bool
}

// Accept implements net.Listener.
func (n *nat) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	m := &mapping{Conn: conn}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, m)
	return m, nil
}

// Read implements net.Conn.
func (m *mapping) Read(p []byte) (int, error) {
	for {
		if n, err := m.Conn.Read(p); err != nil || !m.forgotten.Load() {
			return n, err
		}
	}
}

// Write implements net.Conn.
func (m *mapping) Write(p []byte) (int, error) {
	if m.forgotten.Load() {
		return len(p), nil
	}
	return m.Conn.Write(p)
}

// forget makes every connection that there is a dead one, and returns how many that are. New ones work.
func (n *nat) forget() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.conns {
		m.forgotten.Store(true)
	}
	return len(n.conns)
}

// forgotten is a mount whose HTTP/2 connection a NAT has just forgotten.
func forgotten(t *testing.T, config fields) *engine {
	t.Parallel()
	t.Cleanup(waiting.take())
	e := newEngine(t, fault{link: multiplexed, waits: true}, operation{
		config: config,
		first:  func(e *engine) answer { return e.read("secrets/existing") },
	})
	e.abeja.between = func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Errorf("%s in place of HTTP/2", r.Proto)
		}
		e.sim.ServeHTTP(w, r)
	}
	require.Equal(t, 1, e.abeja.nat.forget(), "connections")
	return e
}

func (e *engine) requests() (all []simulator.Op) {
	for _, r := range e.sim.Requests() {
		all = append(all, r.Op)
	}
	return all
}

func TestThroughAConnectionThatHasDiedSilentlyTheNextCallButOneIsGood(t *testing.T) {
	calls := map[string]struct {
		do   func(e *engine) answer
		sent []simulator.Op // in the end
	}{
		"a read": {func(e *engine) answer { return e.read("secrets/existing") }, []simulator.Op{simulator.GetSecret}},
		"a list": {func(e *engine) answer { return e.list("secrets/") }, []simulator.Op{simulator.ListSecrets}},
		"a create": {func(e *engine) answer { return e.write("secrets/new", fields{"value": "hidden-new"}) },
			[]simulator.Op{simulator.ListSecrets, simulator.CreateSecret}}, // it has looked
		"an update": {func(e *engine) answer { return e.write("secrets/existing", fields{"value": "hidden-4"}) },
			[]simulator.Op{simulator.GetSecret, simulator.CreateVersion}},
		"a delete": {func(e *engine) answer { return e.delete("secrets/existing") }, []simulator.Op{simulator.DeleteSecret}},
	}
	for name, call := range calls {
		t.Run(testName(name), func(t *testing.T) {
			e := forgotten(t, fields{"max_retries": 0})
			begin := time.Now()
			a := call.do(e)
			require.Equal(t, http.StatusGatewayTimeout, a.status, a.text)
			require.Less(t, time.Since(begin), 2*requestTimeout+slack)
			require.Equal(t, name == "a create" || name == "a delete", strings.Contains(a.text, "is not known"), a.text)
			call.do(e).ok(t)
			require.Equal(t, call.sent, e.requests(), "nothing is sent twice")
		})
	}
}

func TestThroughAConnectionThatHasDiedSilentlyTheNextTryIsGood(t *testing.T) {
	e := forgotten(t, fields{"max_retries": 1, "request_timeout": 2 * int(requestTimeout/time.Second)})
	e.read("secrets/existing").ok(t)
	require.Equal(t, []simulator.Op{simulator.GetSecret}, e.requests())
}

// pingTime is when the client finds at the latest that an HTTP/2 connection is dead. It does so as soon as no
// call waits on it.
const pingTime = 15 * time.Second

func TestWhoCanBeGivenAKeptValueWaitsASecondForAConnectionThatHasDiedSilently(t *testing.T) {
	e := forgotten(t, fields{"max_retries": 0, "stale_if_error": "1h"})
	e.sim.AddVersion("existing", []byte("hidden-4"))
	for begin := time.Now(); ; {
		asked := time.Now()
		a := e.read("secrets/existing")
		a.ok(t)
		require.Less(t, time.Since(asked), requestTimeout, "of which it is to wait one second")
		if len(a.warnings) == 0 {
			require.Contains(t, a.data, "hidden-4")
			return
		}
		require.Contains(t, a.data, "hidden-3")
		require.Less(t, time.Since(begin), pingTime+freshness+slack, "another connection is good")
		time.Sleep(50 * time.Millisecond)
	}
}
