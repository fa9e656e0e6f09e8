package store

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// cachingAt is at with a cache.
func cachingAt(t *testing.T, f Freshness, test func(t *testing.T, sim *simulator.Simulator, s *Store)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{})
		sim.Create("db", []byte("1"))
		test(t, sim, newStore(t, sim, "", f))
	})
}

func TestAValueIsServedFromTheCacheUntilItsTTLAndNotLonger(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Minute, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.SetLatency(10 * time.Second) // the age counts from when ABEJA was asked
		require.Equal(t, "1", value(t, s, "db"))
		sim.AddVersion("db", []byte("2"))
		sim.ResetRequests()
		time.Sleep(50 * time.Second)
		require.Equal(t, "1", value(t, s, "db"))
		require.Zero(t, sim.Count())
		time.Sleep(time.Nanosecond)
		require.Equal(t, "2", value(t, s, "db"))
	})
}

func TestAReaderThatJoinsACallKeepsItsAnswerNoLongerThanTheCallIsOld(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Minute, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		time.Sleep(time.Hour)
		sim.SetLatency(10 * time.Second)
		var all sync.WaitGroup
		all.Go(func() { value(t, s, "db") })
		time.Sleep(9 * time.Second)
		all.Go(func() { value(t, s, "db") })
		all.Wait()
		sim.ResetRequests()
		time.Sleep(50*time.Second + time.Nanosecond)
		value(t, s, "db")
		require.Equal(t, 1, sim.Count())
	})
}

func TestEveryWriteThroughTheStoreIsSeenByTheNextReadThroughAnyPath(t *testing.T) {
	writes := map[string]struct {
		do   func(*Store, *testing.T) error
		want string
	}{
		"update": {func(s *Store, t *testing.T) error {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("3")})
			return err
		}, "3"},
		"update by id": {func(s *Store, t *testing.T) error {
			_, id, _ := s.identity.names.peek(ByName("db"))
			_, err := s.Update(t.Context(), ByID(id), Update{Value: []byte("3")})
			return err
		}, "3"},
		"version inactive": {func(s *Store, t *testing.T) error { return s.SetStatus(t.Context(), ByName("db"), 2, client.Inactive) }, "1"},
		"version deleted":  {func(s *Store, t *testing.T) error { return s.DeleteVersion(t.Context(), ByName("db"), 2) }, "1"},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			cachingAt(t, Freshness{TTL: time.Hour, StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				sim.AddVersion("db", []byte("2"))
				id, _ := sim.Secret("db")
				refs := []Ref{ByName("db"), ByID(id.ID)}
				for _, r := range refs {
					_, err := s.Read(t.Context(), r, Current)
					require.NoError(t, err)
				}
				require.NoError(t, write.do(s, t))
				for _, r := range refs {
					got, err := s.Read(t.Context(), r, Current)
					require.NoError(t, err)
					require.Equal(t, write.want, string(got.Version.Value))
				}
			})
		})
	}
}

func TestADeletedSecretIsNotServedFromTheCache(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestAReadThatAWriteOvertookIsNotKept(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		time.Sleep(2 * time.Hour)
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() { require.Equal(t, "1", value(t, s, "db")) })
		synctest.Wait()
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		all.Wait()
		require.Equal(t, "2", value(t, s, "db"))
	})
}

func TestAnOutageIsBridgedWithTheLastValueAndItsAge(t *testing.T) {
	outages := map[string]simulator.Fault{
		"5xx":     {Kind: simulator.FaultStatus, Status: 503},
		"cut":     {Kind: simulator.FaultCut},
		"HTML":    {Kind: simulator.FaultHTML},
		"limit":   {Kind: simulator.FaultStatus, Status: 429},
		"hanging": {Kind: simulator.FaultDelay, Delay: 10 * time.Minute},
	}
	for name, outage := range outages {
		t.Run(name, func(t *testing.T) {
			cachingAt(t, Freshness{StaleIfError: 15 * time.Minute, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				value(t, s, "db")
				sim.AddFault(outage)
				time.Sleep(10 * time.Minute)
				sim.ResetRequests()
				r, err := s.Read(t.Context(), ByName("db"), Current)
				require.NoError(t, err)
				require.Equal(t, "1", string(r.Version.Value))
				require.GreaterOrEqual(t, r.Stale, 10*time.Minute)
				require.Equal(t, 1, sim.Count(), "who has an answer does not wait for tries")
				time.Sleep(5*time.Minute + 1)
				_, err = s.Read(t.Context(), ByName("db"), Current)
				require.True(t, abejaFails(err), "too old to be given out: %v", err)
			})
		})
	}
}

func TestTheFirstReadAfterAnOutageIsFreshAndNothingPilesUp(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Second, StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		time.Sleep(time.Minute)
		together(100, func(int) { require.Equal(t, "1", value(t, s, "db")) })
		sim.ClearFaults()
		sim.AddVersion("db", []byte("2"))
		time.Sleep(breakerDelay)
		sim.ResetRequests()
		sim.SetLatency(patience / 2)
		together(100, func(int) {
			r, err := s.Read(t.Context(), ByName("db"), Current)
			require.NoError(t, err)
			require.Equal(t, "2", string(r.Version.Value))
			require.Zero(t, r.Stale)
		})
		require.Equal(t, 1, sim.Count())
	})
}

func TestARefusalIsNoOutage(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				value(t, s, "db")
				sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultStatus, Status: status})
				sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
				for range 2 {
					_, err := s.Read(t.Context(), ByName("db"), Current)
					require.Error(t, err, "what ABEJA refused is not given out when it fails later")
				}
			})
		})
	}
}

func TestAVersionThatIsGoneIsNotServedInAnOutage(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		sim.SetStatus("db", 1, "inactive")
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNoActive)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, client.ErrUnavailable)
	})
}

func TestAnIDIsNeverAnsweredWithAnotherLifeOfItsName(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		sim.Delete("db")
		id := sim.Create("db", []byte("2"))
		_, err := s.List(t.Context())
		require.NoError(t, err)
		r, err := s.Read(t.Context(), ByID(id), Current)
		require.NoError(t, err)
		require.Equal(t, "2", string(r.Version.Value))
	})
}

func TestTheCacheIsBoundedAndForgetsWhatIsUnusedLongest(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(20)
		for i := range 20 {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		require.Equal(t, 10, s.State().CacheEntries)
		sim.ResetRequests()
		value(t, s, "demo_00020")
		require.Zero(t, sim.Count())
		value(t, s, "demo_00001")
		require.Equal(t, 1, sim.Count())
	})
}

func TestWarmingListsOnceInTheBackground(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.SetLatency(time.Minute / 6)
		start := time.Now()
		s.Warm()
		s.Warm()
		require.Zero(t, time.Since(start))
		exists := s.Exists(t.Context(), "db")
		require.True(t, exists)
		require.Equal(t, 1, sim.Count())
	})
}

func TestAWriteOfOneNameLeavesWhatIsKeptOfOthers(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 2000}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		const n = 200
		sim.Fill(2 * n)
		for i := range n {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		for i := n; i < 2*n; i++ {
			_, err := s.Update(t.Context(), ByName(fmt.Sprintf("demo_%05d", i+1)), Update{Value: []byte("new")})
			require.NoError(t, err)
		}
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		for i := range n {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		require.EqualValues(t, n, s.stats.StaleAnswers.Load())
	})
}

func TestAWithheldSecretLeavesWhatIsKeptOfOthers(t *testing.T) {
	cachingAt(t, Freshness{TTL: time.Hour, Size: 2000}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.SetBehavior(simulator.Behavior{ExpiredIs404: true})
		sim.Fill(200)
		sim.SetExpiry("db", time.Now().Add(-time.Hour))
		for i := range 200 {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		for range 50 {
			_, err := s.Read(t.Context(), ByName("db"), Current)
			require.ErrorAs(t, err, new(*WithheldError))
		}
		sim.ResetRequests()
		for i := range 200 {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		require.Zero(t, sim.Count())
	})
}

func TestAWriteThatChangedNothingLeavesWhatIsKept(t *testing.T) {
	writes := map[string]func(t *testing.T, sim *simulator.Simulator, s *Store){
		"no-op": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("1")})
			require.NoError(t, err)
			require.NoError(t, s.SetStatus(t.Context(), ByName("db"), 1, client.Active))
		},
		"check-and-set": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), CAS: new(7)})
			require.ErrorAs(t, err, new(*CASError))
		},
		"refused": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: make([]byte, 70_000)})
			require.ErrorIs(t, err, client.ErrInvalid)
		},
		"failed before anything was sent": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.AddFault(simulator.Fault{Op: "get_secret", Count: 3, Kind: simulator.FaultCut})
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.ErrorIs(t, err, client.ErrUnavailable)
		},
		"no such version": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			require.ErrorAs(t, s.DeleteVersion(t.Context(), ByName("db"), 7), new(*NoVersionError))
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				value(t, s, "db")
				write(t, sim, s)
				sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
				require.Equal(t, "1", value(t, s, "db"))
			})
		})
	}
}

func TestAWriteOfUnknownOutcomeEndsTheUseOfWhatIsKept(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		sim.AddFault(simulator.Fault{Op: "create_version", Kind: simulator.FaultStatus, Status: 503})
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.Error(t, err)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, client.ErrUnavailable)
	})
}

func TestWhatABEJARefusedIsNotGivenOutUnderAnyVersion(t *testing.T) {
	for name, happens := range map[string]func(*simulator.Simulator){
		"deleted":          func(sim *simulator.Simulator) { sim.Delete("db") },
		"version inactive": func(sim *simulator.Simulator) { sim.SetStatus("db", 1, "inactive") },
		"no longer shown": func(sim *simulator.Simulator) {
			sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultStatus, Status: 403})
		},
	} {
		t.Run(name, func(t *testing.T) {
			cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				for _, pick := range []Pick{Current, Newest, 1} {
					_, err := s.Read(t.Context(), ByName("db"), pick)
					require.NoError(t, err)
				}
				happens(sim)
				_, err := s.Read(t.Context(), ByName("db"), Current)
				require.Error(t, err)
				sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
				for _, pick := range []Pick{Current, Newest, 1} {
					r, err := s.Read(t.Context(), ByName("db"), pick)
					if err == nil {
						require.Equal(t, client.Inactive, r.Version.Status, "version %d", pick)
					}
				}
			})
		})
	}
}

func TestValuesAreKeptWithinABoundOfBytes(t *testing.T) {
	t.Parallel()
	const most = 64 << 20
	var c cache
	c.resize(1_000_000, most)
	big := &client.Secret{Versions: []client.Version{{Value: make([]byte, 1<<20)}}}
	for i := range 2 * most >> 20 {
		c.keep(fmt.Sprint(i), record{secret: big}, func(string) uint64 { return 0 })
		_, bytes := c.size()
		require.LessOrEqual(t, bytes, most)
	}
	secrets, _ := c.size()
	require.Equal(t, 63, secrets, "each counts with its metadata")
	_, _, first := c.get("0", time.Hour)
	require.False(t, first)

	c.resize(1_000_000, most/2)
	secrets, bytes := c.size()
	require.Equal(t, 31, secrets)
	require.LessOrEqual(t, bytes, most/2)
	c.resize(1_000_000, 1)
	names, _ := c.all()
	require.Equal(t, []string{"127"}, names, "what was read last")
	c.drop("127")
	_, bytes = c.size()
	require.Zero(t, bytes)
}

func TestMountsOfOneUserKeepAsMuchAsTheOneThatWantsTheMost(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, _ *Store) {
		r := new(Registry)
		one := open(t, sim, r, Options{Freshness: Freshness{TTL: time.Hour, Size: 1, Bytes: 2 << 20}})
		two := open(t, sim, r, Options{Freshness: Freshness{StaleIfError: time.Hour, Size: 3, Bytes: 1 << 20}})
		open(t, sim, r, Options{Freshness: Freshness{Size: 9, Bytes: 9 << 20}}) // uses none
		require.Same(t, one.identity, two.identity)
		secrets, bytes := one.identity.bounds()
		require.Equal(t, []int{3, 2 << 20}, []int{secrets, bytes})
		require.Equal(t, 2<<20, one.identity.values.most)

		two.Close()
		one.Close()
		require.Nil(t, one.identity.values.records, "nobody uses any")
	})
}
