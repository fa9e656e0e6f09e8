package store

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestAnIncompleteListingAddsNamesAndRemovesNone(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		synctest.Wait()
		endless(sim)
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.True(t, l.Incomplete)
		require.Equal(t, "v", value(t, s, "db"))
		require.True(t, s.Exists(t.Context(), "first"))

		for range 10 {
			_, err = s.Read(t.Context(), ByName("never_listed"), Current)
			require.ErrorIs(t, err, ErrIncomplete, "which may be there")
		}
		require.ErrorIs(t, s.Delete(t.Context(), ByName("never_listed")), ErrIncomplete)
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		require.Zero(t, sim.Len())
	})
}

func TestListedIsOfTheLastCompleteListing(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		_, began := s.Listed()
		require.True(t, began.IsZero())
		one, two := sim.Create("one", []byte("v")), sim.Create("two", []byte("v"))
		_, err := s.List(t.Context())
		require.NoError(t, err)
		first := time.Now()
		ids, began := s.Listed()
		require.ElementsMatch(t, []string{one, two}, ids)
		require.Equal(t, first, began)

		time.Sleep(time.Hour)
		w, err := s.Create(t.Context(), "made", Update{Value: []byte("v")})
		require.NoError(t, err)
		sim.Delete("two")
		endless(sim)
		_, err = s.List(t.Context())
		require.NoError(t, err)
		ids, began = s.Listed()
		require.Subset(t, ids, []string{one, two, w.ID}, "an incomplete one takes nothing away")
		require.Equal(t, first, began)

		sim.ClearFaults()
		org, _, _, _ := sim.Credentials()
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultBody, Status: 200,
			Body: fmt.Sprintf(`{"organization_id":%q,"has_next":false,"secrets":[null]}`, org)})
		_, err = s.List(t.Context())
		require.NoError(t, err)
		_, began = s.Listed()
		require.True(t, began.IsZero(), "a record without an id may be any")
	})
}

func TestADeleteOfWhatWasJustMadeAtABEJADeletesIt(t *testing.T) {
	deletes := map[string]func(*Store, *testing.T) error{
		"secret":  func(s *Store, t *testing.T) error { return s.Delete(t.Context(), ByName("late")) },
		"version": func(s *Store, t *testing.T) error { return s.DeleteVersion(t.Context(), ByName("late").Surely(), 1) },
		"inactive": func(s *Store, t *testing.T) error {
			return s.SetStatus(t.Context(), ByName("late").Surely(), 1, client.Inactive)
		},
	}
	for name, do := range deletes {
		t.Run(name, func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				for range 10 { // no token is left
					_, err := s.Read(t.Context(), ByName("late"), Current)
					require.ErrorIs(t, err, ErrNotFound)
				}
				sim.Create("late", []byte("v"))
				require.NoError(t, do(s, t))
				if sec, ok := sim.Secret("late"); ok && len(sec.Versions) > 0 {
					require.Equal(t, "inactive", sec.Versions[0].Status)
				}
			})
		})
	}
}

func TestDeletesOfAbsentNamesCostOneListingInFiveSeconds(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		begin := time.Now()
		for range 50 {
			together(50, func(i int) { require.NoError(t, s.Delete(t.Context(), ByName(fmt.Sprint("absent_", i)))) })
		}
		require.LessOrEqual(t, sim.Count(), confirmBurst+1+int(time.Since(begin)/lookupInterval))
	})
}

func TestADeleteIsNotAcknowledgedOnAnOldListing(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		s.Warm()
		synctest.Wait()
		sim.Create("late", []byte("v"))
		require.NoError(t, s.Delete(t.Context(), ByName("late")))
		require.Zero(t, sim.Len())
	})
}

func TestWhatIsDoneThroughTheEngineOutlivesAListThatLags(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.SetBehavior(simulator.Behavior{ListLag: 50 * time.Second})
		sim.Create("old", []byte("v"))
		time.Sleep(time.Minute)
		value(t, s, "old")
		_, err := s.Create(t.Context(), "made", Update{Value: []byte("v")})
		require.NoError(t, err)
		require.NoError(t, s.Delete(t.Context(), ByName("old")))
		for range 12 {
			l, err := s.List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, 1)
			require.Equal(t, "made", l.Items[0].Name)
			require.Equal(t, "v", value(t, s, "made"))
			require.True(t, s.Exists(t.Context(), "made"))
			_, err = s.Read(t.Context(), ByName("old"), Current)
			require.ErrorIs(t, err, ErrNotFound)
			require.False(t, s.Exists(t.Context(), "old"))
			time.Sleep(10 * time.Second)
		}
		require.NoError(t, s.Delete(t.Context(), ByName("made")))
		require.Zero(t, sim.Len())
		_, err = s.Create(t.Context(), "made", Update{Value: []byte("again")})
		require.NoError(t, err)
		require.Equal(t, "again", value(t, s, "made"))
	})
}

func TestWhatWasMadeThroughTheEngineAndDeletedAtABEJAIsGone(t *testing.T) {
	for _, unknown := range []bool{false, true} {
		t.Run(fmt.Sprintf("unknown id is 403: %v", unknown), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				sim.SetBehavior(simulator.Behavior{UnknownIDIs403: unknown})
				_, err := s.Create(t.Context(), "db", Update{Value: []byte("v")})
				require.NoError(t, err)
				sim.Delete("db")
				_, err = s.Read(t.Context(), ByName("db"), Current)
				require.ErrorIs(t, err, ErrNotFound)
				require.False(t, s.Exists(t.Context(), "db"))
			})
		})
	}
}

func TestWhatWasListedAndIsMissingInALaterListIsGone(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		_, err := s.Create(t.Context(), "db", Update{Value: []byte("v")})
		require.NoError(t, err)
		for _, want := range []int{1, 0} {
			l, err := s.List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, want)
			if want == 1 {
				sim.Delete("db")
			}
		}
		require.False(t, s.Exists(t.Context(), "db"))
	})
}

func TestANameThatNothingHasConfirmedIsConfirmed(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		sim.Create("kept", []byte("v"))
		require.True(t, s.Exists(t.Context(), "db"))
		synctest.Wait()
		sim.ResetRequests()
		time.Sleep(unconfirmed - 1)
		require.True(t, s.Exists(t.Context(), "db"))
		synctest.Wait()
		require.Zero(t, sim.Count())

		time.Sleep(72 * time.Hour)
		sim.Delete("db")
		require.True(t, s.Exists(t.Context(), "db"), "who asks does not wait")
		synctest.Wait()
		require.False(t, s.Exists(t.Context(), "db"))

		value(t, s, "kept")
		time.Sleep(unconfirmed - 1)
		sim.ResetRequests()
		require.True(t, s.Exists(t.Context(), "kept"))
		synctest.Wait()
		require.Zero(t, sim.Count(), "the read has confirmed it")
	})
}

func TestAnIDThatBearsAnotherNameIsLookedUpAnew(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value(t, s, "db")
		synctest.Wait()
		sim.Rename("db", "moved")
		sim.Create("db", []byte("another's"))
		r, err := s.Read(t.Context(), ByName("db"), Current)
		require.NoError(t, err)
		require.Equal(t, "another's", string(r.Version.Value))
		require.Zero(t, r.Stale)
		require.Equal(t, "1", value(t, s, "moved"))

		sim.Rename("db", "gone")
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNotFound)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		_, err = s.Read(t.Context(), ByName("db"), Current)
		require.Error(t, err, "what bears another name is not given out in an outage")
	})
}

func TestAReadNeedNotWaitForTheEndOfAListingThatHasMetTheName(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(5000)
		sim.SetLatency(time.Second)
		begin := time.Now()
		require.Equal(t, "made-up value 1", value(t, s, "demo_00001"))
		require.Equal(t, 2*time.Second, time.Since(begin), "one page, and the secret")
		var all sync.WaitGroup
		all.Go(func() { value(t, s, "demo_00200") })
		all.Wait()
		require.Less(t, time.Since(begin), 5*time.Second)
		require.Zero(t, s.stats.CompleteListings.Load())
	})
}

func TestAHostileListOfVersionsEnds(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		id := sim.Create("db", []byte("v"))
		var n atomic.Int64
		c, err := client.New(client.Config{
			OrganizationID: "1410000000000", Auth: client.Bearer("x"),
			Transport: pages(func() string {
				time.Sleep(time.Second)
				return fmt.Sprintf(`{"pagination":{"has_next":true},"versions":[{"id":"%d","version":%[1]d}]}`, n.Add(1))
			}),
		})
		require.NoError(t, err)
		s.client = c
		s.identity.names.learn("db", id)
		begin := time.Now()
		_, err = s.Versions(t.Context(), ByName("db"))
		require.Error(t, err)
		require.LessOrEqual(t, time.Since(begin), callTimeout+time.Second, "the page under way takes a second")
		asked := n.Load()
		time.Sleep(time.Hour)
		require.Equal(t, asked, n.Load())
	})
}

func TestNamesOfOtherPagesAreFoundThoughAPageFails(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(300)
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay})
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultStatus, Status: 503})
		_, err := s.List(t.Context())
		require.ErrorIs(t, err, client.ErrUnavailable)
		time.Sleep(breakerDelay)
		require.Equal(t, "made-up value 1", value(t, s, "demo_00001"), "of the first page")
		_, err = s.Read(t.Context(), ByName("demo_00300"), Current)
		require.ErrorIs(t, err, client.ErrUnavailable, "which is not to say that there is none")
	})
}

func TestAListOfManyPagesIsReadWithinALowLimitOfRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Fill(1000)
		org, user, token, _ := sim.Credentials()
		c, err := client.New(client.Config{
			OrganizationID: org, Auth: client.Basic(user, token), Transport: sim.Transport(), Timeout: time.Second,
			Limiter: r.Organization("", org).Limiter(),
		})
		require.NoError(t, err)
		l, err := open(t, sim, r, Options{Client: c, RequestsPerSecond: 2}).List(t.Context())
		require.NoError(t, err)
		require.Len(t, l.Items, 1000)
	})
}

// listed is an ABEJA that has so many secrets, and refuses a page as long as it is told to.
type listed struct {
	secrets int
	latency time.Duration
	more    string // what each record has beside id and name
	asked   atomic.Int64
	fails   atomic.Int64 // the offset of the page; 0 for none
	bodies  sync.Map     // by offset
}

// RoundTrip implements http.RoundTripper.
func (l *listed) RoundTrip(req *http.Request) (*http.Response, error) {
	l.asked.Add(1)
	time.Sleep(l.latency)
	offset, err := strconv.Atoi(req.URL.Query().Get("offset"))
	if err != nil {
		return nil, err
	}
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}}
	if int64(offset) >= l.fails.Load() && l.fails.Load() > 0 {
		answer.StatusCode = http.StatusServiceUnavailable
		answer.Body = io.NopCloser(strings.NewReader("{}"))
		return answer, nil
	}
	body, made := l.bodies.Load(offset)
	if !made {
		body = l.body(offset)
		l.bodies.Store(offset, body)
	}
	answer.Body = io.NopCloser(strings.NewReader(body.(string)))
	return answer, nil
}

func (l *listed) body(offset int) string {
	var records []string
	end := min(offset+pageSize, l.secrets)
	for i := offset; i < end; i++ {
		records = append(records, fmt.Sprintf(`{"id":"%d","organization_id":"1410000000000","name":"demo_%06[1]d"%s}`, i, l.more))
	}
	return fmt.Sprintf(`{"organization_id":"1410000000000","has_next":%v,"secrets":[%s]}`, end < l.secrets, strings.Join(records, ","))
}

// store is a store of it, within a limit of requests per second.
func (l *listed) store(t testing.TB, limit float64) *Store {
	o := new(Registry).Organization("", "1410000000000")
	c, err := client.New(client.Config{
		OrganizationID: "1410000000000", Auth: client.Bearer("x"), Transport: l, Timeout: time.Second, Limiter: o.Limiter(),
	})
	require.NoError(t, err)
	return o.Open(t.Context(), Options{Client: c, RequestsPerSecond: limit, Stats: new(Stats)})
}

func TestAListingThatTakesLongerThanItsCallersWaitGoesOnAndIsJoined(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		abeja := &listed{secrets: 100_000}
		s := abeja.store(t, 3)
		begin := time.Now()
		for {
			ctx, cancel := context.WithTimeout(t.Context(), callTimeout)
			l, err := s.List(ctx)
			cancel()
			if err == nil {
				require.False(t, l.Incomplete)
				require.Len(t, l.Items, abeja.secrets)
				break
			}
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		took := time.Since(begin)
		require.Greater(t, took, 5*time.Minute)
		require.Less(t, took, 351*time.Second*11/10, "1,053 pages")
		require.Less(t, abeja.asked.Load(), int64(1053*11/10))
	})
}

func TestOfTwoWhoMissANameBothFindItInTheNextListing(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		for range lookupBurst { // the first listing takes no token, and one is left
			_, err := s.Read(t.Context(), ByName("late"), Current)
			require.ErrorIs(t, err, ErrNotFound)
		}
		sim.AddFault(simulator.Fault{Op: "list_secrets", Count: 1, Kind: simulator.FaultDelay, Delay: time.Second, AfterActing: true})
		go s.List(t.Context())
		synctest.Wait()
		sim.Create("late", []byte("v"))
		sim.SetLatency(time.Second)
		sim.ResetRequests()
		together(2, func(int) { require.Equal(t, "v", value(t, s, "late")) })
		require.Equal(t, 1, sim.Count("list_secrets"))
	})
}

// failed is a store whose listing has failed at a page, and whose ABEJA fails no longer.
func failed(t *testing.T, secrets, page int64) (*listed, *Store) {
	abeja := &listed{secrets: int(secrets)}
	s := abeja.store(t, 0)
	abeja.fails.Store(page * (pageSize - overlap))
	_, err := s.List(t.Context())
	require.ErrorIs(t, err, client.ErrUnavailable)
	abeja.fails.Store(0)
	abeja.asked.Store(0)
	return abeja, s
}

func TestAListingGoesOnWhereAnotherHasFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		abeja, s := failed(t, 10_000, 80)
		abeja.fails.Store(80 * 95)
		_, err := s.List(t.Context())
		require.ErrorIs(t, err, client.ErrUnavailable)

		abeja.fails.Store(0)
		abeja.asked.Store(0)
		time.Sleep(keepPages - 1)
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.False(t, l.Incomplete)
		require.Len(t, l.Items, abeja.secrets)
		require.LessOrEqual(t, abeja.asked.Load(), int64((106-80)*3/2))

		abeja.asked.Store(0)
		_, err = s.List(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 106, abeja.asked.Load(), "a listing that follows one that is complete is a new one")
	})
}

func TestNoListingGoesOnWithPagesThatAreTooOldForItsCaller(t *testing.T) {
	callers := map[string]func(t *testing.T, s *Store){
		"who takes an absence for granted": func(t *testing.T, s *Store) {
			require.NoError(t, s.Delete(t.Context(), ByName("absent")))
		},
		"whose name nobody knows": func(t *testing.T, s *Store) {
			_, err := s.Read(t.Context(), ByName("absent"), Current)
			require.ErrorIs(t, err, ErrNotFound)
		},
		"who follows a write": func(t *testing.T, s *Store) {
			s.organization.outdate("demo_000001")
			_, err := s.List(t.Context())
			require.NoError(t, err)
		},
		"who comes late": func(t *testing.T, s *Store) {
			time.Sleep(keepPages + 1)
			_, err := s.List(t.Context())
			require.NoError(t, err)
		},
	}
	for name, call := range callers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				abeja, s := failed(t, 5_000, 40)
				call(t, s)
				require.GreaterOrEqual(t, abeja.asked.Load(), int64(53), "all pages")
			})
		})
	}
}

func TestExistsCausesAHundredRequestsAMinuteAtMostHoweverManySecretsThereAre(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		abeja := &listed{secrets: 12_000}
		s := abeja.store(t, 0)
		begin := time.Now()
		for i := range 300 {
			require.False(t, s.Exists(t.Context(), fmt.Sprint("absent_", i)))
			time.Sleep(time.Second)
		}
		first := 127 * 3 / 2
		require.LessOrEqual(t, abeja.asked.Load(), int64(first)+int64(time.Since(begin)/existsPage))
		require.Greater(t, abeja.asked.Load(), int64(3*127), "it did ask again")

		abeja.secrets++
		abeja.bodies.Clear()
		time.Sleep(127 * existsPage)
		require.True(t, s.Exists(t.Context(), "demo_012000"))
	})
}

func TestCallersOfOneListingShareItsAnswer(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(10)
		sim.SetLatency(time.Second)
		other := *s
		other.prefix = "demo_"
		var answers [2][3]*Listing
		together(6, func(i int) {
			l, err := []*Store{s, &other}[i%2].List(t.Context())
			require.NoError(t, err)
			answers[i%2][i/2] = l
		})
		for _, a := range answers {
			require.Same(t, a[0], a[1])
			require.Same(t, a[0], a[2])
		}
		require.Equal(t, "demo_00001", answers[0][0].Items[0].Name)
		require.Equal(t, "00001", answers[1][0].Items[0].Name)
	})
}

func TestTheFirstReadAfterAStartWaitsForThePagesBeforeItsNameAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		abeja := &listed{secrets: 20_000, latency: pageTime}
		s := abeja.store(t, 0)
		begin := time.Now()
		var took [10]time.Duration
		together(len(took), func(i int) {
			_, _, err := s.find(t.Context(), ByName(fmt.Sprintf("demo_%06d", i*abeja.secrets/len(took))))
			require.NoError(t, err)
			took[i] = time.Since(begin)
		})
		_, err := s.List(t.Context())
		require.NoError(t, err)
		all := time.Since(begin)
		require.Equal(t, pageTime, took[0])
		require.LessOrEqual(t, took[5], all*4/5, "the window grows first")
		require.LessOrEqual(t, abeja.asked.Load(), int64(211+maxWindow), "one listing")
	})
}
