package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestWhoHasAnOlderAnswerWaitsASecondAtMostForAnABEJAThatHangs(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("other", []byte("o"))
		value(t, s, "db")
		value(t, s, "other")
		synctest.Wait()
		sim.ResetRequests()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultHang})
		begin := time.Now()
		require.Equal(t, "1", value(t, s, "db"))
		require.Equal(t, patience, time.Since(begin), "the first")
		for range 100 {
			require.Equal(t, "1", value(t, s, "db"))
			require.Equal(t, "o", value(t, s, "other"))
		}
		require.Equal(t, patience, time.Since(begin), "the others")
		require.Equal(t, 1, sim.Count())

		time.Sleep(time.Minute) // the call has timed out
		sim.ResetRequests()
		begin = time.Now()
		for range 6000 {
			value(t, s, "db")
			time.Sleep(100 * time.Millisecond)
		}
		require.Equal(t, 10*time.Minute, time.Since(begin), "nor does anybody later, whatever times out")
		require.Less(t, sim.Count(), 300+1, "one request in 2 s")
		require.Greater(t, sim.Count(), 150, "and one in 4 at the least, or its return goes unnoticed")

		sim.AddVersion("db", []byte("2"))
		sim.ClearFaults()
		time.Sleep(5 * time.Second)
		require.Equal(t, "2", value(t, s, "db"))
	})
}

func TestWithoutAnOlderAnswerOneCallerWaitsForAnABEJAThatHangsAndTheOthersAreToldAtOnce(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		_, err := s.List(t.Context())
		require.NoError(t, err)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultHang})
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.True(t, abejaFails(err))
		since := time.Now()
		sim.ResetRequests()
		for range 100 {
			_, err = s.Read(t.Context(), ByName("db"), Current)
			var refused *client.NotAskedError
			require.ErrorAs(t, err, &refused)
			require.WithinDuration(t, since, refused.Since, time.Minute)
			require.True(t, refused.Next.After(time.Now()))
			_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.ErrorIs(t, err, client.ErrNotAsked)
			require.False(t, errors.As(err, new(*UnknownOutcomeError)), "nothing was sent")
		}
		require.Zero(t, time.Since(since))
		require.Zero(t, sim.Count())
	})
}

// crowded has a crowd read at the same time, each a secret of their own, from an ABEJA of which so many
// requests hang, all if 0.
func crowded(t *testing.T, hang int, check func(sim *simulator.Simulator, failed int, took time.Duration)) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		const crowd = 40
		sim.Fill(crowd)
		_, err := s.List(t.Context())
		require.NoError(t, err)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultHang, Count: hang})
		sim.ResetRequests()
		begin := time.Now()
		var failed atomic.Int32
		together(crowd, func(i int) {
			if _, err := s.Read(t.Context(), ByName(fmt.Sprintf("demo_%05d", i+1)), Current); err != nil {
				failed.Add(1)
			}
		})
		check(sim, int(failed.Load()), time.Since(begin))
	})
}

func TestACrowdWhoseCallsHangSendsLittleMore(t *testing.T) {
	crowded(t, 0, func(sim *simulator.Simulator, failed int, took time.Duration) {
		require.Equal(t, 40, failed)
		require.Equal(t, client.DefaultTimeout, took)
		sent := sim.Requests()
		require.Greater(t, len(sent), 40+10, "though each is tried again")
		for i := 40; i+10 < len(sent); i++ {
			require.GreaterOrEqual(t, sent[i+10].Time.Sub(sent[i].Time), time.Second, "at most ten in a second")
		}
	})
}

func TestACrowdWhoseConnectionIsDeadIsAnsweredByTheNextTry(t *testing.T) {
	crowded(t, 40, func(sim *simulator.Simulator, failed int, took time.Duration) {
		require.Zero(t, failed)
		require.Less(t, took, client.DefaultTimeout/2+time.Second)
		require.Equal(t, 40+40, sim.Count())
	})
}

// As when the HTTP/2 connection is reset that all of them use.
func TestManyCallsThatAreCutAtOnceAreTriedAgainIfABEJAHasAnsweredOthersMeanwhile(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		const many = 3 * breakerFailures
		sim.Fill(many)
		_, err := s.List(t.Context())
		require.NoError(t, err)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultHang, Count: many})
		time.AfterFunc(time.Second, func() {
			value(t, s, "demo_00001")
			time.Sleep(time.Millisecond)
			sim.ClearFaults() // those that hang are cut
		})
		together(many, func(i int) {
			_, err := s.Describe(t.Context(), ByName(fmt.Sprintf("demo_%05d", i+1)))
			require.NoError(t, err)
		})
	})
}

func TestAnABEJAThatCutsConnectionsIsSentLittle(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Second, StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		synctest.Wait()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		sim.ResetRequests()
		time.Sleep(time.Minute)
		begin := time.Now()
		together(100, func(int) {
			for time.Since(begin) < 10*time.Second {
				require.Equal(t, "1", value(t, s, "db"))
				time.Sleep(10 * time.Millisecond)
			}
		})
		require.LessOrEqual(t, sim.Count(), breakerFailures+10, "100 connections for 10 s")
	})
}

func TestABEJAIsLeftAloneUntilTheTimeThatItNames(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		synctest.Wait()
		sim.AddFault(simulator.Fault{Count: 1, Kind: simulator.FaultStatus, Status: 429, RetryAfter: "600"})
		require.Equal(t, "1", value(t, s, "db"))
		sim.AddVersion("db", []byte("2"))
		sim.ResetRequests()
		for range 599 {
			require.Equal(t, "1", value(t, s, "db"))
			time.Sleep(time.Second)
		}
		require.Zero(t, sim.Count())
		time.Sleep(time.Second)
		require.Equal(t, "2", value(t, s, "db"))
	})
}

// limping fails one request in three, whichever the dice say.
type limping struct {
	http.RoundTripper
	sim  *simulator.Simulator
	dice *rand.Rand
}

// RoundTrip implements http.RoundTripper.
func (l limping) RoundTrip(r *http.Request) (*http.Response, error) {
	if l.dice.IntN(3) == 0 {
		l.sim.AddFault(simulator.Fault{Count: 1, Kind: simulator.FaultStatus, Status: 503})
	}
	return l.RoundTripper.RoundTrip(r)
}

// Five failures in a row are no rarity then: of 10,000 requests 27 are the fifth.
func TestAnABEJAOfWhichOneCallInThreeFailsIsGoneOnWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Create("db", []byte("1"))
		org, user, token, _ := sim.Credentials()
		c, err := client.New(client.Config{
			OrganizationID: org, Auth: client.Basic(user, token), MaxRetries: 2, Gate: r.Organization("", org).Gate(),
			Transport: limping{sim.Transport(), sim, rand.New(rand.NewPCG(1, 1))},
		})
		require.NoError(t, err)
		s := open(t, sim, r, Options{Client: c})
		for sim.Count() < 10_000 {
			_, err := s.Read(t.Context(), ByName("db"), Current)
			require.NotErrorIs(t, err, client.ErrNotAsked)
		}
	})
}

func TestRefusalsAreAnswers(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		for _, status := range []int{400, 401, 403, 404, 409, 422} {
			sim.AddFault(simulator.Fault{Op: "get_secret", Count: 50, Kind: simulator.FaultStatus, Status: status})
			for range 50 {
				_, err := s.Read(t.Context(), ByName("db"), Current)
				require.False(t, errors.Is(err, client.ErrNotAsked))
			}
		}
	})
}

func TestEveryMountIsToldWhenABEJAIsLeftAloneAndWhenItAnswers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Create("db", []byte("1"))
		var mu sync.Mutex
		told := map[string][]bool{}
		watch := func(mount string) func(Weather) {
			return func(w Weather) {
				mu.Lock()
				defer mu.Unlock()
				told[mount] = append(told[mount], w.Open)
			}
		}
		one := open(t, sim, r, Options{Watch: watch("one")})
		gone := open(t, sim, r, Options{Watch: watch("gone")})
		open(t, sim, r, Options{Watch: watch("two")})
		value(t, one, "db")
		gone.Close()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		for range 10 {
			_, err := one.Read(t.Context(), ByName("db"), Current)
			require.Error(t, err)
		}
		require.True(t, one.State().Weather.Open)
		require.ErrorIs(t, one.State().Weather.Why, client.ErrUnavailable)
		sim.ClearFaults()
		time.Sleep(breakerDelay)
		value(t, one, "db")
		require.False(t, one.State().Weather.Open)
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string][]bool{"one": {true, false}, "two": {true, false}}, told)
	})
}

func TestAnOlderAnswerIsGivenAtOnceWhileAYoungerOneIsAskedFor(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Second, StaleWhileRevalidate: time.Minute, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		sim.AddVersion("db", []byte("2"))
		sim.SetLatency(500 * time.Millisecond)
		time.Sleep(2 * time.Second)
		sim.ResetRequests()
		begin := time.Now()
		for range 100 {
			r, err := s.Read(t.Context(), ByName("db"), Current)
			require.NoError(t, err)
			require.Equal(t, "1", string(r.Version.Value))
			require.True(t, r.Renewing)
			require.Equal(t, 2*time.Second, r.Stale)
		}
		require.Zero(t, time.Since(begin))
		time.Sleep(time.Second)
		r, err := s.Read(t.Context(), ByName("db"), Current)
		require.NoError(t, err)
		require.Equal(t, "2", string(r.Version.Value))
		require.False(t, r.Renewing)
		require.Equal(t, 1, sim.Count())

		sim.AddVersion("db", []byte("3"))
		time.Sleep(2 * time.Minute)
		require.Equal(t, "3", value(t, s, "db"), "too old to be given out")
	})
}
