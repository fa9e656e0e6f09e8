package store

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// getting runs a test with an ABEJA that returns the versions of a secret without values, and with one that
// leaves them out.
func getting(t *testing.T, test func(t *testing.T, sim *simulator.Simulator, s *Store)) {
	for name, behavior := range map[string]simulator.Behavior{"versions": {}, "no versions": {GetOmitsVersions: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := simulator.New(simulator.Options{Behavior: behavior})
				test(t, sim, newStore(t, sim, "", Freshness{}))
			})
		})
	}
}

// asked counts the requests that asked for values.
func asked(sim *simulator.Simulator) (n int) {
	for _, r := range sim.Requests() {
		if strings.Contains(r.Query, "return_secret_value") {
			n++
		}
	}
	return n
}

func TestWhatShowsNoValueAsksForNone(t *testing.T) {
	getting(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.AddVersion("db", []byte("2"))
		sim.AddVersion("db", []byte("3"))

		secret, err := s.Describe(t.Context(), ByName("db"))
		require.NoError(t, err)
		require.Len(t, secret.Versions, 3)
		require.Equal(t, 3, newestNumber(secret.Versions))
		for _, v := range secret.Versions {
			require.Nil(t, v.Value)
		}
		require.NoError(t, s.SetStatus(t.Context(), ByName("db"), 2, client.Inactive))
		require.NoError(t, s.DeleteVersion(t.Context(), ByName("db"), 1))
		w, err := s.Update(t.Context(), ByName("db"), Update{CAS: new(3), SecretUpdate: client.SecretUpdate{Description: new("d")}})
		require.NoError(t, err)
		require.Equal(t, 3, w.Version)
		w, err = s.Update(t.Context(), ByName("db"), Update{})
		require.NoError(t, err)
		require.Equal(t, 3, w.Version)
		require.Zero(t, asked(sim))
	})
}
