package simulator

import (
	"context"
	"io"
	"net"
	"net/http"
)

// Transport returns a way to the simulator that needs no network: whatever host a request names, over
// http or https, it reaches the simulator through a pipe in memory. It is net/http on both sides, and
// each call has its own connection and leaves no goroutine behind, so it works inside testing/synctest.
func (s *Simulator) Transport() http.RoundTripper { return TransportTo(s) }

// TransportTo returns such a way to a handler.
func TransportTo(handler http.Handler) http.RoundTripper {
	dial := func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go (&http.Server{Handler: handler}).Serve(&pipeListener{server})
		return client, nil
	}
	return &http.Transport{DialContext: dial, DialTLSContext: dial, DisableKeepAlives: true}
}

// pipeListener accepts one connection, then ends.
type pipeListener struct{ conn net.Conn }

func (l *pipeListener) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, io.EOF
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}

func (l *pipeListener) Close() error   { return nil }
func (l *pipeListener) Addr() net.Addr { return &net.UnixAddr{Name: "simulator", Net: "pipe"} }
