package store

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// another is a client of the simulator's other credential, of which ABEJA may show something else.
func another(t testing.TB, sim *simulator.Simulator) *client.Client {
	org, _, _, token := sim.Credentials()
	c, err := client.New(client.Config{OrganizationID: org, Auth: client.Bearer(token), Transport: sim.Transport(), MaxRetries: 2})
	require.NoError(t, err)
	return c
}

// mounts runs a test with two stores of one organization: of one ABEJA user, as after a write of the
// config or as two mounts, and of two.
func mounts(t *testing.T, f Freshness, test func(t *testing.T, sim *simulator.Simulator, one, two *Store)) {
	t.Parallel()
	for _, users := range []int{1, 2} {
		t.Run(fmt.Sprintf("%d users", users), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim, r := simulator.New(simulator.Options{}), new(Registry)
				sim.Create("db", []byte("1"))
				o := Options{Freshness: f}
				one := open(t, sim, r, o)
				if users == 2 {
					o.Client = another(t, sim)
				}
				test(t, sim, one, open(t, sim, r, o))
			})
		})
	}
}

func TestACheckAndSetHasOneWinnerOverAllMountsOfAnOrganization(t *testing.T) {
	mounts(t, Freshness{}, func(t *testing.T, sim *simulator.Simulator, one, two *Store) {
		sim.SetLatency(time.Second)
		var mu sync.Mutex
		won := 0
		together(2, func(i int) {
			_, err := []*Store{one, two}[i].Update(t.Context(), ByName("db"), Update{Value: fmt.Append(nil, i, "new"), CAS: new(1)})
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				won++
				return
			}
			require.ErrorAs(t, err, new(*CASError))
		})
		require.Equal(t, 1, won)
		require.Len(t, versionsAt(t, sim, "db"), 2)
	})
}

func TestACheckAndSetHasOneWinnerThoughTheConfigIsDeletedAndWrittenBetween(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Create("db", []byte("1"))
		sim.AddFault(simulator.Fault{Op: "create_version", Count: 1, Kind: simulator.FaultDelay, Delay: time.Second})
		before := open(t, sim, r, Options{})
		var all sync.WaitGroup
		all.Go(func() {
			_, err := before.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), CAS: new(1)})
			require.NoError(t, err)
		})
		synctest.Wait()
		before.Close()
		_, err := open(t, sim, r, Options{}).Update(t.Context(), ByName("db"), Update{Value: []byte("3"), CAS: new(1)})
		require.ErrorAs(t, err, new(*CASError))
		all.Wait()
		require.Equal(t, []string{"1", "2"}, versionsAt(t, sim, "db"))
	})
}

func TestAWriteThroughOneMountIsSeenByTheNextReadThroughAnother(t *testing.T) {
	mounts(t, Freshness{TTL: time.Hour, StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, one, two *Store) {
		require.Equal(t, "1", value(t, two, "db"))
		_, err := one.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Equal(t, "2", value(t, two, "db"))

		_, err = one.Create(t.Context(), "made", Update{Value: []byte("v")})
		require.NoError(t, err)
		require.Equal(t, "v", value(t, two, "made"))
		require.True(t, two.Exists(t.Context(), "made"))

		require.NoError(t, one.Delete(t.Context(), ByName("db")))
		_, err = two.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, ErrNotFound)
		require.False(t, two.Exists(t.Context(), "db"))
	})
}

func TestAReadThatAWriteThroughAnotherMountOvertookIsNotKept(t *testing.T) {
	mounts(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, one, two *Store) {
		require.True(t, one.Exists(t.Context(), "db"))
		require.True(t, two.Exists(t.Context(), "db"))
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultDelay, Delay: 10 * time.Second, AfterActing: true})
		var all sync.WaitGroup
		all.Go(func() { require.Equal(t, "1", value(t, two, "db")) })
		synctest.Wait()
		_, err := one.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		all.Wait()
		require.Equal(t, "2", value(t, two, "db"))
	})
}

func TestAReadAfterAConfigWriteIsNotKeptOverAWriteUnderWay(t *testing.T) {
	mounts(t, Freshness{TTL: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, before, after *Store) {
		sim.AddFault(simulator.Fault{Op: "create_version", Count: 1, Kind: simulator.FaultDelay, Delay: time.Second})
		var all sync.WaitGroup
		all.Go(func() {
			_, err := before.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.NoError(t, err)
		})
		synctest.Wait()
		before.Close()
		require.Equal(t, "1", value(t, after, "db"))
		all.Wait()
		require.Equal(t, "2", value(t, after, "db"))
	})
}

func TestACreateThatIsAcknowledgedAcrossAConfigWriteIsFound(t *testing.T) {
	mounts(t, Freshness{}, func(t *testing.T, sim *simulator.Simulator, before, after *Store) {
		require.True(t, before.Exists(t.Context(), "db"))
		_, err := after.List(t.Context())
		require.NoError(t, err)
		sim.SetBehavior(simulator.Behavior{ListLag: 50 * time.Second})
		sim.AddFault(simulator.Fault{Op: "create_secret", Count: 1, Kind: simulator.FaultDelay, Delay: time.Second})
		var all sync.WaitGroup
		all.Go(func() {
			_, err := before.Create(t.Context(), "made", Update{Value: []byte("v")})
			require.NoError(t, err)
		})
		synctest.Wait()
		before.Close()
		all.Wait()
		for range 12 {
			require.Equal(t, "v", value(t, after, "made"))
			time.Sleep(10 * time.Second)
		}
	})
}

func TestAConfigWriteKeepsNamesAndValues(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Fill(300)
		before := open(t, sim, r, Options{Freshness: Freshness{StaleIfError: time.Hour, Size: 10}})
		value(t, before, "demo_00001")
		synctest.Wait()
		sim.ResetRequests()
		after := open(t, sim, r, Options{Freshness: Freshness{TTL: time.Hour, Size: 1000}})
		before.Close()
		value(t, after, "demo_00001")
		require.Zero(t, sim.Count())
		value(t, after, "demo_00299")
		require.Equal(t, 1, sim.Count())
	})
}

func TestTheSuccessorOfACredentialBeginsWithWhatItsUserWasShownAndNobodyElseDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Create("db", []byte("1"))
		kept := Freshness{TTL: time.Hour, Size: 10}
		before := open(t, sim, r, Options{Freshness: kept})
		value(t, before, "db")
		synctest.Wait()
		sim.ResetRequests()
		stranger := open(t, sim, r, Options{Freshness: kept, Client: another(t, sim)})
		_, known := stranger.kept("db", ByName("db"), Current, time.Hour)
		require.False(t, known)
		require.Zero(t, stranger.State().Secrets)

		stranger.Inherit(before)
		require.Equal(t, "1", value(t, stranger, "db"))
		require.Equal(t, 1, stranger.State().Secrets)
		require.Zero(t, sim.Count())

		_, err := before.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Equal(t, "2", value(t, stranger, "db"))
	})
}

func TestTheLimitOfRequestsCountsForAllMountsOfAnOrganizationTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Create("db", []byte("1"))
		one := open(t, sim, r, Options{RequestsPerSecond: 2})
		two := open(t, sim, r, Options{RequestsPerSecond: 50})
		value(t, one, "db")
		time.Sleep(time.Minute)
		begin := time.Now()
		together(2, func(i int) {
			for range 20 {
				value(t, []*Store{one, two}[i], "db")
			}
		})
		sim.ResetRequests()
		require.GreaterOrEqual(t, time.Since(begin), 9*time.Second, "two in a second, when the two share no call")
		one.Close()
		begin = time.Now()
		for range 50 {
			value(t, two, "db")
		}
		require.Less(t, time.Since(begin), 2*time.Second, "the lower limit goes with its mount")
	})
}

func TestWhatAMountHasUnderWayEndsWithIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, r := simulator.New(simulator.Options{}), new(Registry)
		sim.Fill(5000)
		sim.SetLatency(10 * time.Second)
		one := open(t, sim, r, Options{})
		ctx, disable := context.WithCancel(t.Context())
		one.ctx = ctx
		other := open(t, sim, r, Options{})
		one.Warm()
		var all sync.WaitGroup
		all.Go(func() {
			l, err := other.List(t.Context())
			require.NoError(t, err, "another mount that waits for the same listing")
			require.Len(t, l.Items, 5000)
		})
		time.Sleep(15 * time.Second)
		one.Close()
		other.Close()
		disable()
		all.Wait()

		alone := open(t, sim, r, Options{})
		ctx, disable = context.WithCancel(t.Context())
		alone.ctx = ctx
		sim.ResetRequests()
		alone.Warm()
		time.Sleep(25 * time.Second)
		disable()
		alone.Close()
		synctest.Wait()
		begun := sim.Count()
		time.Sleep(time.Hour)
		require.Equal(t, begun, sim.Count())
	})
}

func TestASecretOfAnotherUsersMountIsFoundThoughThatUsersListHasShownItAlready(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, registry := simulator.New(simulator.Options{}), new(Registry)
		s, other := open(t, sim, registry, Options{}), open(t, sim, registry, Options{Client: another(t, sim)})
		for i := range 10 { // until the other has no listings left
			_, err := other.Read(t.Context(), ByName(fmt.Sprint("absent", i)), Current)
			require.ErrorIs(t, err, ErrNotFound)
		}
		_, err := s.Create(t.Context(), "db", Update{Value: []byte("1")})
		require.NoError(t, err)
		_, err = s.List(t.Context())
		require.NoError(t, err)
		require.Equal(t, "1", value(t, other, "db"))
	})
}

func TestASecretOfAnotherUsersMountIsDeletedThoughTheListLacksIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, registry := simulator.New(simulator.Options{Behavior: simulator.Behavior{ListLag: 30 * time.Second}}), new(Registry)
		s, other := open(t, sim, registry, Options{}), open(t, sim, registry, Options{Client: another(t, sim)})
		_, err := s.Create(t.Context(), "db", Update{Value: []byte("1")})
		require.NoError(t, err)
		require.NoError(t, other.Delete(t.Context(), ByName("db")))
		require.Zero(t, sim.Len())
	})
}

func TestTwentyMountsOfOneCredentialListAndRememberOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, registry := simulator.New(simulator.Options{}), new(Registry)
		sim.Fill(300)
		sim.SetLatency(time.Second)
		stores := make([]*Store, 20)
		for i := range stores {
			stores[i] = open(t, sim, registry, Options{Freshness: Freshness{TTL: time.Hour, Size: 10}})
			stores[i].Warm()
		}
		together(len(stores), func(i int) {
			l, err := stores[i].List(t.Context())
			require.NoError(t, err)
			require.Len(t, l.Items, 300)
		})
		require.LessOrEqual(t, sim.Count(), 4+4, "four pages, and as many in vain")
		sim.ResetRequests()
		for _, s := range stores {
			require.Equal(t, "made-up value 300", value(t, s, "demo_00300"))
			require.Same(t, stores[0].identity, s.identity, "names and values are there once")
		}
		require.Equal(t, 1, sim.Count())
	})
}
