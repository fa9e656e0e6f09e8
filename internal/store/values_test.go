package store

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// versionsOfLarge is how many versions a large secret has.
const versionsOfLarge = 12

// ofVersion is the value of a version of a large secret.
func ofVersion(n int) []byte { return fmt.Append(nil, n, strings.Repeat(" padding", 6000)) }

// large makes a secret that is too large to be read with all values at once.
func large(sim *simulator.Simulator, name string) (id string) {
	id = sim.Create(name, ofVersion(1))
	for n := 2; n <= versionsOfLarge; n++ {
		sim.AddVersion(name, ofVersion(n))
	}
	return id
}

// requireVersion wants a read to give a version and its value, and no value besides.
func requireVersion(t *testing.T, s *Store, p Pick, want int) {
	t.Helper()
	r, err := s.Read(t.Context(), ByName("db"), p)
	require.NoError(t, err)
	require.Equal(t, want, r.Version.Number)
	require.True(t, string(ofVersion(want)) == string(r.Version.Value), "the value of version %d", want)
	require.Zero(t, r.Odd)
	for _, v := range r.Secret.Versions {
		require.True(t, v.Number == want || v.Value == nil, "version %d too", v.Number)
	}
}

func TestOfALargeSecretOneValueIsAskedFor(t *testing.T) {
	getting(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		id := large(sim, "db")
		sim.SetStatus("db", versionsOfLarge, "inactive")
		s.List(t.Context())
		sim.ResetRequests()
		requireVersion(t, s, Current, versionsOfLarge-1)
		require.Equal(t, 2, sim.Count(simulator.GetSecret), "one is given up")
		require.Equal(t, 1, sim.Count(simulator.GetVersion))
		for p, want := range map[Pick]int{Current: versionsOfLarge - 1, Newest: versionsOfLarge, 3: 3} {
			sim.ResetRequests()
			requireVersion(t, s, p, want)
			require.Equal(t, 1, sim.Count(simulator.GetSecret))
			require.Equal(t, 1, sim.Count(simulator.GetVersion))
			require.Equal(t, 1, asked(sim), "only the version")
		}
		sim.ResetRequests()
		secret, err := s.Describe(t.Context(), ByID(id))
		require.NoError(t, err)
		require.Len(t, secret.Versions, versionsOfLarge)
		_, err = s.Read(t.Context(), ByName("db"), 99)
		var missing *NoVersionError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, versionsOfLarge, missing.Newest)
		require.Zero(t, asked(sim))
	})
}

func TestAReaderHoldsNoValueBesidesItsOwn(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", ofVersion(1))
		sim.AddVersion("db", ofVersion(2))
		sim.AddVersion("db", ofVersion(3))
		s.List(t.Context())
		sim.ResetRequests()
		sim.SetLatency(time.Second)
		together(30, func(i int) { requireVersion(t, s, Pick(1+i%3), 1+i%3) })
		require.Equal(t, 1, sim.Count(), "though they share a request")
	})
}

func TestACallerWhoseTimeIsUpCausesNoRequest(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", ofVersion(1))
		s.List(t.Context())
		sim.ResetRequests()
		gone, hangUp := context.WithCancel(t.Context())
		hangUp()
		_, err := s.Read(gone, ByName("db"), Current)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		require.Zero(t, sim.Count())
	})
}

func TestReadersOfALargeSecretShareTheirRequests(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		large(sim, "db")
		s.List(t.Context())
		sim.ResetRequests()
		sim.SetLatency(time.Second)
		together(90, func(i int) {
			requireVersion(t, s, []Pick{Current, Newest, 3}[i%3], []int{versionsOfLarge, versionsOfLarge, 3}[i%3])
		})
		require.Equal(t, 2, sim.Count(simulator.GetSecret))
		require.Equal(t, 3, sim.Count(simulator.GetVersion), "one for each pick")
	})
}

func TestASecretThatMayNoLongerBeLargeIsReadInOneRequest(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		large(sim, "db")
		requireVersion(t, s, Current, versionsOfLarge)
		for n := 1; n < versionsOfLarge; n++ {
			require.NoError(t, s.DeleteVersion(t.Context(), ByName("db"), Pick(n)))
		}
		requireVersion(t, s, Current, versionsOfLarge)
		sim.ResetRequests()
		requireVersion(t, s, Current, versionsOfLarge)
		require.Equal(t, 1, sim.Count())
	})
}

// beforeVersion does something before each request for a version.
type beforeVersion struct {
	http.RoundTripper
	do func()
}

// RoundTrip implements http.RoundTripper.
func (b beforeVersion) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.Contains(r.URL.Path, "/versions/") {
		b.do()
	}
	return b.RoundTripper.RoundTrip(r)
}

func TestAVersionThatChangesWhileALargeSecretIsReadIsLookedAtAgain(t *testing.T) {
	for name, c := range map[string]struct {
		change func(sim *simulator.Simulator, n int)
		want   int
		looks  int
	}{
		"made inactive": {func(sim *simulator.Simulator, n int) {
			sim.SetStatus("db", versionsOfLarge, "inactive")
		}, versionsOfLarge - 1, 2},
		"deleted": {func(sim *simulator.Simulator, n int) {
			if n == 1 {
				held, _ := sim.Secret("db")
				newest := held.Versions[versionsOfLarge-1]
				if err := another(t, sim).DeleteVersion(context.Background(), held.ID, newest.ID); err != nil {
					t.Error(err)
				}
			}
		}, versionsOfLarge - 1, 2},
		"each time": {func(sim *simulator.Simulator, n int) {
			sim.SetStatus("db", versionsOfLarge+1-n, "inactive")
		}, versionsOfLarge - maxLooks, maxLooks},
		"not, though a newer one is made": {func(sim *simulator.Simulator, n int) {
			if n == 1 {
				sim.AddVersion("db", ofVersion(versionsOfLarge+1))
			}
		}, versionsOfLarge, 1},
	} {
		t.Run(name, func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, _ *Store) {
				large(sim, "db")
				n := 0
				org, user, token, _ := sim.Credentials()
				cl, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, token), Transport: beforeVersion{sim.Transport(), func() {
					n++
					c.change(sim, n)
				}}})
				require.NoError(t, err)
				s := open(t, sim, new(Registry), Options{Client: cl})
				r, err := s.Read(t.Context(), ByName("db"), Current)
				require.NoError(t, err)
				require.Equal(t, c.want, r.Version.Number)
				require.True(t, string(ofVersion(c.want)) == string(r.Version.Value))
				require.Equal(t, c.looks, sim.Count(simulator.GetVersion))
			})
		})
	}
}

func TestWhatIsKeptOfALargeSecretAnswersOnlyForWhatWasAskedFor(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Delete("db")
		large(sim, "db")
		sim.SetStatus("db", 3, "inactive")
		requireVersion(t, s, Current, versionsOfLarge)
		require.Less(t, s.State().CacheBytes, 100_000)
		sim.ResetRequests()
		requireVersion(t, s, Current, versionsOfLarge)
		requireVersion(t, s, Newest, versionsOfLarge)
		require.Zero(t, sim.Count())
		requireVersion(t, s, 3, 3)
		requireVersion(t, s, 4, 4)
		require.Equal(t, 2, sim.Count(simulator.GetVersion))
		sim.ResetRequests()
		requireVersion(t, s, Current, versionsOfLarge)
		require.Zero(t, sim.Count(), "an older version has not taken the place of the current one")

		for n := range versionsOfLarge {
			sim.SetStatus("db", n+1, "inactive")
		}
		s.identity.refused("db")
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNoActive)
		require.Zero(t, s.State().CacheEntries, "without a value it is of no use")
	})
}

func TestAnOddVersionOfALargeSecretIsToldAsSuch(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		large(sim, "db")
		sim.MakeOdd("db", simulator.OddBadBase64, versionsOfLarge)
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrOdd)
		require.Equal(t, 1, s.State().Odd)
		_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("new")})
		require.ErrorIs(t, err, ErrOdd)
		requireVersion(t, s, 3, 3)
	})
}

func TestWritesOfALargeSecretCompareAsThoseOfAnyOther(t *testing.T) {
	getting(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		large(sim, "db")
		newest := versionsOfLarge
		write := func(u Update) WriteResult {
			t.Helper()
			u.Against = Newest
			w, err := s.Update(t.Context(), ByName("db"), u)
			require.NoError(t, err)
			require.Equal(t, newest, w.Version)
			return w
		}
		write(Update{Value: ofVersion(newest)})
		write(Update{Value: ofVersion(newest), CAS: new(newest)})
		write(Update{Derive: func(secret *client.Secret) ([]byte, error) { return ValueOf(Newest.Of(secret.Versions)) }})
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("v"), CAS: new(newest - 1)})
		require.ErrorAs(t, err, new(*CASError))

		// The form in which an older version has the value is found, and that of the newest without a search.
		same := func(n int) func([]byte) bool {
			return func(stored []byte) bool {
				return len(stored) > 10 && strings.EqualFold(string(stored), string(ofVersion(n)))
			}
		}
		upper := func(n int) []byte { return []byte(strings.ToUpper(string(ofVersion(n)))) }
		sim.ResetRequests()
		write(Update{Value: upper(newest), Same: same(newest)})
		require.Equal(t, 1, asked(sim))
		newest++
		write(Update{Value: upper(3), Same: same(3)})
		requireValueOf := func(want []byte) {
			t.Helper()
			held, _ := sim.Secret("db")
			require.True(t, string(want) == string(held.Versions[newest-1].Value))
		}
		requireValueOf(ofVersion(3))
		newest++
		write(Update{Value: []byte("other"), Same: func([]byte) bool { return false }})
		requireValueOf([]byte("other"))

		// What has taken effect though its answer was lost is found, and not sent again.
		sim.AddFault(simulator.Fault{Op: simulator.CreateVersion, Kind: simulator.FaultCut, Count: 1, AfterActing: true})
		sim.ResetRequests()
		newest++
		write(Update{Value: ofVersion(99)})
		requireValueOf(ofVersion(99))
		require.Equal(t, 1, sim.Count(simulator.CreateVersion))
	})
}

func TestOfALargeSecretTheShelfAnswersOnlyForWhatWasAskedFor(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Delete("db")
		large(sim, "db")
		sim.SetStatus("db", versionsOfLarge, "inactive")
		requireVersion(t, s, Current, versionsOfLarge-1)
		settle()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		s = restart(t, sim, shelf, s)
		require.Equal(t, string(ofVersion(versionsOfLarge-1)), value(t, s, "db"))
		_, err := s.Read(t.Context(), ByName("db"), Newest)
		require.True(t, abejaFails(err), "that it has no value is not known: %v", err)
	})
}

func TestAReaderWhoFindsNoVersionHoldsNoValue(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		var missing *NoVersionError
		_, err := s.Read(t.Context(), ByName("db"), 99)
		require.ErrorAs(t, err, &missing)
		require.Len(t, missing.Secret.Versions, 1)
		require.Nil(t, missing.Secret.Versions[0].Value)
	})
}
