package store

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// 200 listings of 2,000 secrets, while at ABEJA one secret is made and one deleted every 10 ms: about
// as many as a page takes. With -short 20 listings.
func TestNoListingMissesASecretThatExistedThroughoutWhileOthersComeAndGo(t *testing.T) {
	listings := 50 // with each order
	if testing.Short() {
		listings = 5
	}
	for _, order := range []string{"created", "newest", "name", "hash"} {
		t.Run(order, func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				sim.SetBehavior(simulator.Behavior{Order: order})
				sim.Fill(2000)
				sim.SetLatency(10 * time.Millisecond)
				random := rand.New(rand.NewPCG(1, 2))
				made := 0
				var names, deleted []string
				for i := range 2000 {
					names = append(names, fmt.Sprintf("demo_%05d", i+1))
				}
				churn := func() {
					made++
					name := fmt.Sprintf("%c_%d", 'a'+random.IntN(26), made)
					sim.Create(name, []byte("v"))
					gone := random.IntN(len(names))
					sim.Delete(names[gone])
					deleted = append(deleted, names[gone])
					names[gone] = name
				}
				for range listings {
					before := slices.Clone(names)
					deleted = nil
					var listing *Listing
					done := make(chan error)
					go func() {
						var err error
						listing, err = s.List(t.Context())
						done <- err
					}()
					ticks := time.NewTicker(10 * time.Millisecond)
					for err, ended := error(nil), false; !ended; {
						select {
						case <-ticks.C:
							churn()
						case err = <-done:
							require.NoError(t, err)
							ended = true
						}
					}
					ticks.Stop()
					listed := make([]string, len(listing.Items))
					for i, item := range listing.Items {
						listed[i] = item.Name
					}
					require.NotEmpty(t, deleted)
					require.False(t, listing.Incomplete)
					require.Empty(t, missing(append(listed, deleted...), before))
				}
			})
		})
	}
}
