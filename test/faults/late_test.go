package faults

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// holdFirstPost makes ABEJA take up the first POST only once it is let go, whatever its caller does.
func holdFirstPost(e *engine) (letGo func()) {
	release, done := make(chan struct{}), make(chan struct{})
	var held atomic.Bool
	e.abeja.between = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || held.Swap(true) {
			e.sim.ServeHTTP(w, r)
			return
		}
		defer close(done)
		body, _ := io.ReadAll(r.Body)
		<-release
		r = r.WithContext(context.WithoutCancel(r.Context()))
		r.Body = io.NopCloser(bytes.NewReader(body))
		e.sim.ServeHTTP(w, r)
	}
	return func() {
		close(release)
		<-done
	}
}

func TestACreateThatIsOvertakenByItsRepetitionTakesEffectOnce(t *testing.T) {
	t.Parallel()
	e := newEngine(t, fault{waits: true}, operation{})
	letGo := holdFirstPost(e)
	a := e.write("secrets/new", fields{"value": "hidden-new"})
	require.Equal(t, http.StatusGatewayTimeout, a.status)
	require.Contains(t, a.text, "is not known")
	e.write("secrets/new", fields{"value": "hidden-new"}).ok(t)
	letGo()
	secret, _ := e.sim.Secret("new")
	require.Len(t, secret.Versions, 1)
}

// ABEJA has no conditional write and no key that marks a repetition: an update that it takes up
// after the caller was told that its outcome is not known, and has repeated it, cannot be told from
// another.
func TestAnUpdateThatIsOvertakenByItsRepetitionMakesTwoVersionsOfOneValue(t *testing.T) {
	t.Parallel()
	e := newEngine(t, fault{waits: true}, operation{})
	letGo := holdFirstPost(e)
	a := e.write("secrets/existing", fields{"value": "hidden-4"})
	require.Equal(t, http.StatusGatewayTimeout, a.status)
	require.Contains(t, a.text, "is not known")
	e.write("secrets/existing", fields{"value": "hidden-4"}).ok(t)
	letGo()
	secret, _ := e.sim.Secret("existing")
	require.Len(t, secret.Versions, 5)
	require.Equal(t, secret.Versions[3].Value, secret.Versions[4].Value)
	require.True(t, strings.Contains(e.read("secrets/existing").data, "hidden-4"))
}
