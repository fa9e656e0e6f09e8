package client

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nat forwards TCP connections until it forgets them: then it drops what comes, and says nothing.
type nat struct {
	listener net.Listener
	target   string
	closed   chan struct{} // has one for each connection that the client has closed

	mu       sync.Mutex
	made     int
	mappings map[net.Conn]*atomic.Bool // to whether it is forgotten
	group    sync.WaitGroup
}

func newNAT(t *testing.T, target string) *nat {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &nat{listener: l, target: target, closed: make(chan struct{}, 1000), mappings: make(map[net.Conn]*atomic.Bool)}
	n.group.Go(n.serve)
	t.Cleanup(func() {
		l.Close()
		n.mu.Lock()
		for c := range n.mappings {
			c.Close()
		}
		n.mu.Unlock()
		n.group.Wait()
	})
	return n
}

func (n *nat) serve() {
	for {
		in, err := n.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", n.target)
		if err != nil {
			in.Close()
			continue
		}
		forgotten := new(atomic.Bool)
		n.mu.Lock()
		n.made++
		n.mappings[in], n.mappings[out] = forgotten, forgotten
		n.mu.Unlock()
		n.group.Go(func() {
			n.forward(out, in, forgotten)
			n.closed <- struct{}{}
			out.Close()
		})
		n.group.Go(func() {
			n.forward(in, out, forgotten)
			if !forgotten.Load() {
				in.Close()
			}
		})
	}
}

func (n *nat) forward(to, from net.Conn, forgotten *atomic.Bool) {
	buffer := make([]byte, 32<<10)
	for {
		count, err := from.Read(buffer)
		if err != nil {
			return
		}
		if !forgotten.Load() {
			to.Write(buffer[:count])
		}
	}
}

// forget makes every connection that there is a dead one. New ones work.
func (n *nat) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, forgotten := range n.mappings {
		forgotten.Store(true)
	}
}

func (n *nat) connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.made
}

// behindNAT makes a client of a TLS server that is reached through a NAT.
func behindNAT(t *testing.T, http2 bool, h http.HandlerFunc, change ...func(*Config)) (*Client, *nat) {
	s, caCert, _ := listen(t, h, func(s *httptest.Server) { s.EnableHTTP2 = http2 })
	n := newNAT(t, s.Listener.Addr().String())
	c := newClient(t, nil, append(change, dialing("https://"+n.listener.Addr().String(), caCert))...)
	t.Cleanup(c.CloseIdleConnections)
	return c, n
}

func answering(t *testing.T, protocol int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != protocol {
			t.Errorf("%s in place of HTTP/%d", r.Proto, protocol)
		}
		io.WriteString(w, secretJSON)
	}
}

func TestAConnectionThatADeviceHasForgottenIsLeft(t *testing.T) {
	t.Parallel()
	get := callOf(OpGetSecret)
	within := func(timeout time.Duration) func(*Config) { return func(cfg *Config) { cfg.Timeout = timeout } }
	for protocol, http2 := range map[int]bool{1: false, 2: true} {
		t.Run(fmt.Sprintf("HTTP/%d, the next call but one is good", protocol), func(t *testing.T) {
			t.Parallel()
			c, n := behindNAT(t, http2, answering(t, protocol), within(3*time.Second)) // a busy machine needs one for a handshake
			require.NoError(t, get(t.Context(), c))
			n.forget()
			require.ErrorIs(t, get(t.Context(), c), ErrTimeout)
			require.NoError(t, get(t.Context(), c))
			require.Equal(t, 2, n.connections())
		})
		t.Run(fmt.Sprintf("HTTP/%d, the next try is good", protocol), func(t *testing.T) {
			t.Parallel()
			c, n := behindNAT(t, http2, answering(t, protocol), within(4*time.Second), retries(1))
			require.NoError(t, get(t.Context(), c))
			n.forget()
			require.NoError(t, get(t.Context(), c))
		})
	}
}

func TestAllIdleConnectionsThatADeviceHasForgottenAreLeftAtOnce(t *testing.T) {
	t.Parallel()
	const width = 8
	var together atomic.Pointer[sync.WaitGroup]
	c, n := behindNAT(t, false, func(w http.ResponseWriter, _ *http.Request) {
		if all := together.Load(); all != nil {
			all.Done()
			all.Wait()
		}
		io.WriteString(w, secretJSON)
	}, func(cfg *Config) { cfg.Timeout = 5 * time.Second })
	all := new(sync.WaitGroup)
	all.Add(width)
	together.Store(all)
	var callers sync.WaitGroup
	for range width {
		callers.Go(func() {
			if err := callOf(OpGetSecret)(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	together.Store(nil)
	require.Equal(t, width, n.connections())
	n.forget()
	hurried, cancel := context.WithTimeout(t.Context(), minTry+100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, callOf(OpGetSecret)(hurried, c), ErrTimeout)
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	require.Equal(t, width+1, n.connections())
}

func TestAnHTTP2ConnectionIsAskedWhetherItLives(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	held := make(chan struct{}, 1)
	c, n := behindNAT(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPatch {
			held <- struct{}{}
			<-hold
		}
		answering(t, 2)(w, r)
	})
	defer close(hold)
	h2 := c.transport.(*http.Transport).HTTP2
	require.Equal(t, []time.Duration{pingAfter, pingTimeout, pingAfter}, []time.Duration{h2.SendPingTimeout, h2.PingTimeout, h2.WriteByteTimeout})
	require.LessOrEqual(t, pingAfter+pingTimeout, DefaultTimeout/2, "within the first try")
	h2.SendPingTimeout, h2.PingTimeout = 100*time.Millisecond, 3*time.Second

	// A connection that lives is kept, though nothing comes on it for long.
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	time.AfterFunc(2*time.Second, func() { hold <- struct{}{} })
	require.NoError(t, callOf(OpUpdateSecret)(t.Context(), c))
	<-held
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	require.Equal(t, 1, n.connections())

	// One that is idle and dead is left before a call meets it.
	n.forget()
	left := func() {
		select {
		case <-n.closed:
		case <-time.After(20 * time.Second):
			t.Fatal("the dead connection is still in use")
		}
	}
	left()
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	require.Equal(t, 2, n.connections())

	// So is one that a call waits on, long before the call's time is over.
	start := time.Now()
	failed := make(chan error)
	go func() { failed <- callOf(OpUpdateSecret)(t.Context(), c) }()
	<-held
	n.forget()
	require.ErrorIs(t, <-failed, ErrUnavailable)
	require.Less(t, time.Since(start), DefaultTimeout/2)
	left()
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	require.Equal(t, 3, n.connections())
}

// It is not parallel: hundreds of handshakes at once would slow down tests with short deadlines.
func TestTheNumberOfConnectionsIsBoundedAndCallersThatGiveUpCostNone(t *testing.T) {
	for protocol, http2 := range map[int]bool{1: false, 2: true} {
		gate := make(chan struct{})
		var under atomic.Int32
		c, n := behindNAT(t, http2, func(w http.ResponseWriter, r *http.Request) {
			under.Add(1)
			defer under.Add(-1)
			select {
			case <-gate:
			case <-r.Context().Done():
			}
			answering(t, protocol)(w, r)
		})
		ctx, cancel := context.WithCancel(t.Context())
		var givenUp, good sync.WaitGroup
		for range 2 * maxConns {
			givenUp.Go(func() {
				if err := callOf(OpGetSecret)(ctx, c); err != context.Canceled {
					t.Error(err)
				}
			})
		}
		full := func() bool { return int(under.Load()) >= map[bool]int{false: maxConns, true: 100}[http2] }
		require.Eventually(t, full, 30*time.Second, 10*time.Millisecond)
		if !http2 { // of which one connection carries many requests
			require.Never(t, func() bool { return int(under.Load()) > maxConns }, 500*time.Millisecond, 10*time.Millisecond)
		}
		cancel()
		givenUp.Wait()
		for range 2 * maxConns {
			good.Go(func() {
				if err := callOf(OpGetSecret)(t.Context(), c); err != nil {
					t.Error(err)
				}
			})
		}
		close(gate)
		good.Wait()
		require.LessOrEqual(t, n.connections(), 2*maxConns, "those of the callers who gave up included")
		require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	}
}

func TestNoAnswerIsCompressedSinceItsLengthIsThenNotTold(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Empty(t, r.Header["Accept-Encoding"])
		io.WriteString(w, secretJSON)
	}))
	defer s.Close()
	c := newClient(t, nil, func(cfg *Config) { cfg.BaseURL = s.URL })
	defer c.CloseIdleConnections()
	require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
}
