package faults

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// overtaken has a value written whose first POST ABEJA takes up only once the write has timed out and been
// repeated, and returns the secret as ABEJA then has it.
func overtaken(t *testing.T, name string) (*engine, simulator.Snapshot) {
	e := newEngine(t, fault{waits: true}, operation{})
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
	a := e.write("secrets/"+name, fields{"value": "hidden-late"})
	require.Equal(t, http.StatusGatewayTimeout, a.status)
	require.Contains(t, a.text, "is not known")
	e.write("secrets/"+name, fields{"value": "hidden-late"}).ok(t)
	close(release)
	<-done
	secret, _ := e.sim.Secret(name)
	return e, secret
}

func TestACreateThatIsOvertakenByItsRepetitionTakesEffectOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, secret := overtaken(t, "new")
		require.Len(t, secret.Versions, 1)
	})
}

// ABEJA has no conditional write and no key that marks a repetition: an update that it takes up
// after the caller was told that its outcome is not known, and has repeated it, cannot be told from
// another.
func TestAnUpdateThatIsOvertakenByItsRepetitionMakesTwoVersionsOfOneValue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, secret := overtaken(t, "existing")
		require.Len(t, secret.Versions, 5)
		require.Equal(t, secret.Versions[3].Value, secret.Versions[4].Value)
		require.True(t, strings.Contains(e.read("secrets/existing").data, "hidden-late"))
	})
}
