package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// at runs a test in a bubble with fake time: a store, and the ABEJA that it talks to.
func at(t *testing.T, test func(t *testing.T, sim *simulator.Simulator, s *Store)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{})
		test(t, sim, newStore(t, sim, "", Freshness{}))
	})
}

func newStore(t *testing.T, sim *simulator.Simulator, prefix string, f Freshness) *Store {
	return open(t, sim, new(Registry), Options{Prefix: prefix, Freshness: f})
}

// open makes one of several stores that share a registry, as the simulator's user unless a client
// is given.
func open(t testing.TB, sim *simulator.Simulator, r *Registry, o Options) *Store {
	org, user, token, _ := sim.Credentials()
	organization := r.Organization("", org)
	if o.Client == nil {
		c, err := client.New(client.Config{
			OrganizationID: org, Auth: client.Basic(user, token), Transport: sim.Transport(), MaxRetries: 2,
			Limiter: organization.Limiter(), Gate: organization.Gate(),
		})
		require.NoError(t, err)
		o.Client = c
	}
	if o.Bytes == 0 {
		o.Bytes = 64 << 20
	}
	o.Stats = new(Stats)
	return organization.Open(t.Context(), o)
}

// pages answers each request with what it returns.
type pages func() string

// RoundTrip implements http.RoundTripper.
func (p pages) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(p()))}, nil
}

func value(t *testing.T, s *Store, name string) string {
	t.Helper()
	r, err := s.Read(t.Context(), ByName(name), Current)
	require.NoError(t, err)
	return string(r.Version.Value)
}

func TestAKnownNameCostsOneRequestHoweverManySecretsThereAre(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(700)
		require.Equal(t, "made-up value 650", value(t, s, "demo_00650"))
		synctest.Wait() // for the end of the listing
		sim.ResetRequests()
		for _, name := range []string{"demo_00001", "demo_00350", "demo_00700"} {
			value(t, s, name)
		}
		require.Equal(t, 3, sim.Count())
		require.Equal(t, 3, sim.Count("get_secret"))
	})
}

func TestALoopOfAbsentNamesCostsOneListingInFiveSeconds(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		begin := time.Now()
		for i := range 600 {
			_, err := s.Read(t.Context(), ByName("absent_"+strconv.Itoa(i)), Current)
			require.ErrorIs(t, err, ErrNotFound)
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, 1+lookupBurst+11, sim.Count(), "the first, a burst, and one in 5 s")
		sim.ResetRequests()
		together(100, func(i int) {
			_, err := s.Read(t.Context(), ByName("absent_"+strconv.Itoa(i)), Current)
			require.ErrorIs(t, err, ErrNotFound)
		})
		require.LessOrEqual(t, sim.Count(), 1)
	})
}

func TestASecretThatAPersonHasJustMadeAtABEJAIsFoundAtOnce(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		for i := range lookupBurst {
			name := "made_" + strconv.Itoa(i)
			_, err := s.Read(t.Context(), ByName(name), Current)
			if i == 0 {
				require.ErrorIs(t, err, ErrNotFound)
			}
			sim.Create(name, []byte("v"))
			require.Equal(t, "v", value(t, s, name))
			time.Sleep(lookupInterval) // a person needs longer
		}
	})
}

func TestExistsLoadsTheDirectoryAtMostOnceAMinuteWhateverIsAsked(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("known", []byte("v"))
		for i := range 599 {
			exists := s.Exists(t.Context(), "absent_"+strconv.Itoa(i))
			require.False(t, exists)
			time.Sleep(100 * time.Millisecond)
		}
		exists := s.Exists(t.Context(), "known")
		require.True(t, exists)
		require.Equal(t, 1, sim.Count())

		sim.Create("late", []byte("v"))
		exists = s.Exists(t.Context(), "late")
		require.False(t, exists)
		time.Sleep(time.Minute)
		exists = s.Exists(t.Context(), "late")
		require.True(t, exists)
	})
}

func TestExistsCountsListingsThatFailToo(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 400})
		for range 100 {
			require.False(t, s.Exists(t.Context(), "db"))
		}
		require.Equal(t, 1, sim.Count())

		sim.ClearFaults()
		time.Sleep(time.Minute)
		require.True(t, s.Exists(t.Context(), "db"))

		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 400})
		time.Sleep(time.Minute)
		require.False(t, s.Exists(t.Context(), "absent"))
		require.True(t, s.Exists(t.Context(), "db"), "what was known stays known")
	})
}

func TestAnUnknownNameIsNotCalledAbsentWhenTheListingFailed(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		for range 100 {
			_, err := s.Read(t.Context(), ByName("any"), Current)
			require.ErrorIs(t, err, client.ErrUnavailable)
		}
		require.LessOrEqual(t, sim.Count(), 3*(1+lookupBurst+1), "each listing has two retries, which take some seconds in all")
	})
}

func TestASecretThatWasMadeAnewIsFoundAtOnce(t *testing.T) {
	for _, answer := range []bool{false, true} {
		t.Run(fmt.Sprintf("unknown id is 403: %v", answer), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				sim.SetBehavior(simulator.Behavior{UnknownIDIs403: answer})
				sim.Create("db", []byte("old"))
				require.Equal(t, "old", value(t, s, "db"))
				sim.Delete("db")
				sim.Create("db", []byte("new"))
				require.Equal(t, "new", value(t, s, "db"))
				sim.Delete("db")
				_, err := s.Read(t.Context(), ByName("db"), Current)
				require.ErrorIs(t, err, ErrNotFound)
			})
		})
	}
}

func TestIDsFindOnlyTheSecretsOfTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{})
		s := newStore(t, sim, "app_", Freshness{})
		mine, other := sim.Create("app_db", []byte("v")), sim.Create("db", []byte("w"))
		r, err := s.Read(t.Context(), ByID(mine), Current)
		require.NoError(t, err)
		require.Equal(t, "db", r.Name)
		require.Equal(t, "v", string(r.Version.Value))
		_, err = s.Read(t.Context(), ByID(other), Current)
		require.ErrorIs(t, err, ErrNotFound)
		listing, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, listing.Items, 1)
		require.Equal(t, 1, sim.Count("get_secret"))
	})
}

func TestTheCredentialIsBlamedWhenItIsRefusedForWhatIsListed(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultStatus, Status: 403})
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, client.ErrUnauthorized)
	})
}

func TestAnExpiredSecretThatABEJAWithholdsIsToldFromOneThatIsAbsent(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.SetBehavior(simulator.Behavior{ExpiredIs404: true})
		sim.Create("db", []byte("v"))
		at := time.Now().Add(-time.Hour)
		sim.SetExpiry("db", at)
		_, err := s.Read(t.Context(), ByName("db"), Current)
		var withheld *WithheldError
		require.ErrorAs(t, err, &withheld)
		require.True(t, at.Equal(withheld.ExpiredAt))
	})
}

func TestAThousandReadersOfOneSecretShareOneRequest(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		sim.ResetRequests()
		sim.SetLatency(time.Second)
		together(1000, func(int) { require.Equal(t, "v", value(t, s, "db")) })
		require.Equal(t, 1, sim.Count())
		require.EqualValues(t, 999, s.stats.Coalesced.Load())
	})
}

func TestAThousandListingsShareOneListing(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(100)
		sim.SetLatency(time.Second)
		together(1000, func(int) {
			l, err := s.List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, 100)
		})
		require.Equal(t, 1, sim.Count())
		require.EqualValues(t, 999, s.stats.Coalesced.Load())
	})
}

func together(n int, do func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

func TestAReaderThatGivesUpDoesNotDisturbTheOthers(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		sim.SetLatency(10 * time.Second)
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			start := time.Now()
			_, err := s.Read(impatient, ByName("db"), Current)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Second, time.Since(start))
		})
		synctest.Wait()
		all.Go(func() { require.Equal(t, "v", value(t, s, "db")) })
		all.Wait()
		require.Equal(t, 2, sim.Count("get_secret"))
	})
}

func TestAReadNeverJoinsACallThatBeganBeforeAnAcknowledgedWrite(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("old"))
		value(t, s, "db")
		// The answer of the first reader is on its way, for less than a try's time.
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() { require.Equal(t, "old", value(t, s, "db")) })
		synctest.Wait()
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("new")})
		require.NoError(t, err)
		require.Equal(t, "new", value(t, s, "db"))
		all.Wait()
	})
}

func TestAListingNeverJoinsOneThatBeganBeforeAnAcknowledgedWrite(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("first", []byte("v"))
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() {
			l, err := s.List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, 2, "what was created meanwhile is known, though the list lacks it")
		})
		synctest.Wait()
		_, err := s.Create(t.Context(), "second", Update{Value: []byte("v")})
		require.NoError(t, err)
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, l.Items, 2)
		all.Wait()
		require.Equal(t, "v", value(t, s, "second"), "the older listing must not take the name away")
		require.Equal(t, 2, sim.Count("list_secrets"))
	})
}

func TestAListingShowsWhatWasChangedBeforeItWasAskedFor(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		synctest.Wait()
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() { _, _ = s.List(t.Context()) })
		synctest.Wait()
		_, err := s.Update(t.Context(), ByName("db"), Update{SecretUpdate: client.SecretUpdate{Description: new("new")}})
		require.NoError(t, err)
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.Equal(t, "new", l.Items[0].Description)
		all.Wait()
	})
}

func TestWhatWasDeletedDoesNotComeBackWithAListingThatWasUnderWay(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		synctest.Wait()
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() { _, _ = s.List(t.Context()) })
		synctest.Wait()
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		all.Wait()
		exists := s.Exists(t.Context(), "db")
		require.False(t, exists)
	})
}

func TestASlowSecretDelaysNoOther(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("slow", []byte("s"))
		sim.Create("quick", []byte("q"))
		value(t, s, "quick")
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second})
		var all sync.WaitGroup
		all.Go(func() { value(t, s, "slow") })
		synctest.Wait()
		start := time.Now()
		value(t, s, "quick")
		require.Zero(t, time.Since(start))
		all.Wait()
	})
}

func TestAnAnswerAboutAnotherSecretIsNeverGivenOut(t *testing.T) {
	for what, body := range map[string]string{
		"another name":      `{"id":%q,"organization_id":%q,"name":"other","versions":[{"id":"1","version":1,"status":"active","value":"eA=="}]}`,
		"a version twice":   `{"id":%q,"organization_id":%q,"name":"db","versions":[{"id":"1","version":1,"status":"active","value":"eA=="},{"id":"2","version":1,"status":"active","value":"eQ=="}]}`,
		"no value":          `{"id":%q,"organization_id":%q,"name":"db","versions":[{"id":"1","version":1,"status":"active"}]}`,
		"negative versions": `{"id":%q,"organization_id":%q,"name":"db","versions":[{"id":"1","version":-1,"status":"active","value":"eA=="}]}`,
	} {
		t.Run(what, func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				id := sim.Create("db", []byte("v"))
				org, _, _, _ := sim.Credentials()
				sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultBody, Status: 200, Body: fmt.Sprintf(body, id, org)})
				_, err := s.Read(t.Context(), ByName("db"), Current)
				require.ErrorIs(t, err, client.ErrBadAnswer)
			})
		})
	}
}

func TestPicksOfVersions(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.AddVersion("db", []byte("2"))
		sim.AddVersion("db", []byte("3"))
		sim.SetStatus("db", 3, "inactive")
		for pick, want := range map[Pick]string{Current: "2", Newest: "3", 1: "1", 3: "3"} {
			r, err := s.Read(t.Context(), ByName("db"), pick)
			require.NoError(t, err)
			require.Equal(t, want, string(r.Version.Value))
		}
		_, err := s.Read(t.Context(), ByName("db"), 4)
		require.ErrorAs(t, err, new(*NoVersionError))
		sim.SetStatus("db", 1, "inactive")
		sim.SetStatus("db", 2, "inactive")
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNoActive)
	})
}

func TestOfTwoLivesOfANameTheYoungerCounts(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		org, _, _, _ := sim.Credentials()
		old := fmt.Sprintf(`{"id":"9","organization_id":%q,"name":"db","created_at":"2020-01-01T00:00:00Z"}`, org)
		young := fmt.Sprintf(`{"id":"1","organization_id":%q,"name":"db","created_at":"2021-01-01T09:00:00+09:00"}`, org)
		odd := fmt.Sprintf(`{"id":"2","organization_id":%q,"name":"../db"}`, org)
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultBody, Status: 200,
			Body: fmt.Sprintf(`{"organization_id":%q,"has_next":false,"secrets":[%s,%s,%s]}`, org, old, young, odd)})
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, l.Items, 1)
		require.Equal(t, "1", l.Items[0].ID)
		require.Equal(t, 1, l.Unusable)
	})
}

func TestAPanicInTheStoreIsAnErrorWithoutItsValue(t *testing.T) {
	t.Parallel()
	var stats Stats
	err := stats.recovering(func() error { panic("the value of a secret") })()
	require.ErrorContains(t, err, "bug of the plugin")
	require.NotContains(t, err.Error(), "the value of a secret")
	want := errors.New("an error")
	require.Equal(t, want, stats.recovering(func() error { return want })())
	require.EqualValues(t, 1, stats.Panics.Load())
}

func TestValidNamesHaveLettersDigitsUnderscoresAndHyphens(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "Z", "0", "_", "-", "db_Password-9", strings.Repeat("x", 512)} {
		require.True(t, ValidName(name), name)
	}
	for _, name := range []string{"", " ", "a b", "a/b", "a.b", "a\n", "é", "a\x00", "{", "[", "`", "@", ":", strings.Repeat("x", 513)} {
		require.False(t, ValidName(name), name)
	}
}
