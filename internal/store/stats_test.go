package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestStateTellsWhatIsHeldInMemory(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		require.Equal(t, State{}, s.State())
		begun := time.Now()
		sim.SetLatency(time.Second)
		value(t, s, "db")
		require.Equal(t, State{Secrets: 1, Listed: begun, CacheEntries: 1, CacheBytes: 2*512 + 1}, s.State())

		time.Sleep(time.Minute)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 400, Count: 1})
		_, err := s.List(t.Context())
		require.Error(t, err)
		require.Equal(t, begun, s.State().Listed, "a listing that failed has changed nothing")
		require.EqualValues(t, 1, s.stats.FailedListings.Load())
		require.EqualValues(t, 1, s.stats.CompleteListings.Load())
	})
}

func TestPagesThatAreReadAgainAreCounted(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(250)
		sim.SetLatency(10 * time.Millisecond)
		go func() {
			time.Sleep(15 * time.Millisecond) // the first page is read, the others are not
			for i := range 20 {
				sim.Delete(fmt.Sprintf("demo_%05d", i+1))
			}
		}()
		_, err := s.List(t.Context())
		require.NoError(t, err)
		require.NotZero(t, s.stats.SeamRereads.Load())
		require.EqualValues(t, 1, s.stats.CompleteListings.Load())
	})
}

func TestAListingThatIsIncompleteIsCountedAsSuch(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		endless(sim)
		_, err := s.List(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, s.stats.IncompleteListings.Load())
		require.Zero(t, s.stats.CompleteListings.Load())
	})
}

// endless makes each page of ABEJA's list the same, with the promise of more.
func endless(sim *simulator.Simulator) {
	org, _, _, _ := sim.Credentials()
	sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultBody, Status: 200,
		Body: fmt.Sprintf(`{"organization_id":%q,"has_next":true,"secrets":[{"id":"1","organization_id":%q,"name":"first"}]}`, org, org)})
}
