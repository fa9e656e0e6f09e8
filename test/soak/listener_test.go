package soak

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// listener stands between the plugin and ABEJA and keeps what passes outside of bodies, where the
// values are, and of the header that bears the credential.
type listener struct {
	url  string
	mu   sync.Mutex
	seen strings.Builder
}

func listenBefore(t *testing.T, a *abeja) *listener {
	t.Helper()
	target, err := url.Parse(a.URL())
	require.NoError(t, err)
	l := &listener{}
	pass := httputil.NewSingleHostReverseProxy(target)
	pass.ErrorLog = log.New(io.Discard, "", 0)
	pass.ErrorHandler = func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) } // as ABEJA has cut it
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers := r.Header.Clone()
		headers.Del("Authorization")
		l.mu.Lock()
		fmt.Fprintf(&l.seen, "%s %s %v\n", r.Method, r.RequestURI, headers)
		l.mu.Unlock()
		pass.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	l.url = server.URL
	return l
}

func (l *listener) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen.String()
}
