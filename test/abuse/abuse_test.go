// Package abuse has tests of what callers can make the engine do that they should not be able to: send
// many requests to ABEJA, or keep memory and goroutines. They run the backend in the test's process, and
// ask the existence check before each write, as Vault does: before it looks at any policy.
package abuse

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// mount is the engine with an ABEJA of its own.
type mount struct {
	logical.Backend
	storage logical.InmemStorage
	sim     *simulator.Simulator
	server  *httptest.Server
}

func newMount(t *testing.T, o simulator.Options) *mount {
	m := &mount{sim: simulator.New(o)}
	m.server = httptest.NewServer(m.sim)
	t.Cleanup(m.server.Close)
	m.Backend = enginetest.Start(t, backend.Factory(backend.Build{}), &m.storage, logical.TestSystemView(), nil)
	_, err := m.do(t.Context(), logical.UpdateOperation, "config", enginetest.Config(m.sim, m.server.URL))
	require.NoError(t, err)
	m.sim.ResetRequests()
	return m
}

func (m *mount) request(op logical.Operation, path string, data map[string]any) *logical.Request {
	return &logical.Request{Operation: op, Path: path, Storage: &m.storage, Data: data}
}

func (m *mount) do(ctx context.Context, op logical.Operation, path string, data map[string]any) (*logical.Response, error) {
	return m.HandleRequest(ctx, m.request(op, path, data))
}

// newStore is the engine's inside, which a bubble with fake time can hold.
func newStore(t *testing.T, sim *simulator.Simulator) *store.Store {
	org, user, token, _ := sim.Credentials()
	c, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, token), Transport: sim.Transport()})
	require.NoError(t, err)
	return new(store.Registry).Organization("", org).Open(t.Context(), store.Options{Client: c, Stats: new(store.Stats)})
}

func TestATokenWithoutRightsCausesOneListingAtTheMostWhateverItWrites(t *testing.T) {
	m := newMount(t, simulator.Options{})
	m.sim.Fill(50) // one page
	org, _, _, _ := m.sim.Credentials()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 500 {
				for _, path := range []string{
					"secrets/absent_" + strconv.Itoa(i), "secrets/demo_00001", "data/absent_" + strconv.Itoa(i), "metadata/absent", "generate/absent",
					"ids/" + strconv.Itoa(i), "destroy/demo_00001", "delete/absent", "undelete/absent", "secrets/absent/versions/1", "config", "secrets/../" + org,
				} {
					// Vault stops here: the policy refuses what it then knows to be a create or an update.
					_, _, err := m.HandleExistenceCheck(t.Context(), m.request(logical.UpdateOperation, path, map[string]any{"value": "x", "versions": []int{1}}))
					if err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, 1, m.sim.Count())
	require.Equal(t, 1, m.sim.Count(simulator.ListSecrets))
}

func TestATokenWithoutRightsCausesOneListingAMinute(t *testing.T) {
	for what, fault := range map[string]*simulator.Fault{
		"ABEJA answers":     nil,
		"ABEJA fails":       {Kind: simulator.FaultStatus, Status: http.StatusInternalServerError},
		"ABEJA is slow":     {Kind: simulator.FaultDelay, Delay: 20 * time.Second},
		"ABEJA is silent":   {Kind: simulator.FaultDelay, Delay: time.Hour},
		"ABEJA says no":     {Kind: simulator.FaultStatus, Status: http.StatusForbidden},
		"a proxy interpose": {Kind: simulator.FaultHTML},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim := simulator.New(simulator.Options{})
				sim.Fill(50)
				if fault != nil {
					sim.AddFault(*fault)
				}
				s := newStore(t, sim)
				ctx, stop := context.WithTimeout(t.Context(), time.Hour)
				defer stop()
				var group sync.WaitGroup
				for i := range 20 {
					group.Go(func() {
						for n := 0; ctx.Err() == nil; n++ {
							impatient, cancel := context.WithTimeout(ctx, 3*time.Second)
							s.Exists(impatient, fmt.Sprintf("absent_%d_%d", i, n))
							cancel()
							time.Sleep(5 * time.Second)
						}
					})
				}
				group.Wait()
				time.Sleep(time.Minute) // what nobody waits for any more ends by itself
				require.LessOrEqual(t, sim.Count(), 61)
				require.GreaterOrEqual(t, sim.Count(), 30, "the loop did ask")
			})
		})
	}
}

func TestAReaderOfNamesThatDoNotExistCausesThreeListingsAndThenOneInFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{})
		sim.Fill(50)
		s := newStore(t, sim)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		var group sync.WaitGroup
		for i := range 10 {
			group.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					name := fmt.Sprintf("absent_%d_%d", i, n)
					for _, err := range []error{
						errOf(s.Read(ctx, store.ByName(name), store.Current)), errOf(s.Read(ctx, store.ByID(strconv.Itoa(n)), 7)), errOf(s.Describe(ctx, store.ByName(name))),
						errOf(s.Versions(ctx, store.ByName(name))), errOf(s.Update(ctx, store.ByName(name), store.Update{Value: []byte("x")})), s.DeleteVersion(ctx, store.ByName(name), 1),
					} {
						if ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
							t.Error(err)
						}
					}
					if err := s.Delete(ctx, store.ByName(name)); ctx.Err() == nil && err != nil {
						t.Error(err)
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		group.Wait()
		time.Sleep(time.Minute) // what nobody waits for any more ends by itself
		require.Equal(t, sim.Count(simulator.ListSecrets), sim.Count(), "nothing else was asked for")
		require.LessOrEqual(t, sim.Count(), 1+3+121+20+121, "reads, and deletes")
		require.GreaterOrEqual(t, sim.Count(), 100)
	})
}

func errOf[T any](_ T, err error) error { return err }

func TestReadersOfOneSecretShareTheRequestsToABEJA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{Latency: time.Second})
		sim.Fill(50)
		s := newStore(t, sim)
		s.Exists(t.Context(), "demo_00001")
		sim.ResetRequests()
		var group sync.WaitGroup
		for range 1000 {
			group.Go(func() {
				for range 10 {
					if _, err := s.Read(t.Context(), store.ByName("demo_00001"), store.Current); err != nil {
						t.Error(err)
					}
				}
			})
		}
		group.Wait()
		require.LessOrEqual(t, sim.Count(), 20, "10,000 reads in 10 seconds")
	})
}

// TestTenThousandRequestsAtOnceLeaveNothingBehind has all kinds of callers at once, many of whom give
// up before a slow ABEJA answers.
func TestTenThousandRequestsAtOnceLeaveNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	m := newMount(t, simulator.Options{})
	m.sim.Fill(300)
	calls := func(ctx context.Context, first, n int) {
		var group sync.WaitGroup
		var wrong atomic.Int64
		for i := first; i < first+n; i++ {
			group.Go(func() {
				name := fmt.Sprintf("demo_%05d", i%40+1)
				switch i % 10 {
				case 0, 1, 2:
					resp, err := m.do(ctx, logical.ReadOperation, "secrets/"+name, nil)
					if err == nil && resp.Data["name"] != name {
						wrong.Add(1)
					}
				case 3:
					m.do(ctx, logical.ReadOperation, "data/"+name, nil)
				case 4:
					m.do(ctx, logical.ListOperation, "secrets/", nil)
				case 5:
					m.do(ctx, logical.ReadOperation, "secrets/absent_"+strconv.Itoa(i), nil)
				case 6:
					m.do(ctx, logical.ListOperation, "secrets/"+name+"/versions/", nil)
				case 7: // gives up
					impatient, cancel := context.WithTimeout(ctx, time.Duration(i%50)*time.Millisecond)
					defer cancel()
					m.do(impatient, logical.ReadOperation, "metadata/"+name, nil)
				case 8: // has given up already
					gone, cancel := context.WithCancel(ctx)
					cancel()
					m.do(gone, logical.ReadOperation, "ids/"+strconv.Itoa(i), nil)
				case 9:
					m.HandleExistenceCheck(ctx, m.request(logical.UpdateOperation, "secrets/new_"+strconv.Itoa(i), map[string]any{"value": "x"}))
				}
			})
		}
		group.Wait()
		require.Zero(t, wrong.Load(), "a read gave another secret")
	}
	m.sim.SetLatency(200 * time.Millisecond)
	calls(t.Context(), 0, 10_000) // what so many at once need once, such as connections and their buffers
	m.forgetRequests(t)
	heap := heapInUse()

	m.sim.SetLatency(200 * time.Millisecond)
	calls(t.Context(), 10_000, 10_000) // of other names
	m.sim.SetLatency(0)
	m.forgetRequests(t)
	require.EventuallyWithT(t, func(c *assert.CollectT) { // as soon as the connections have noticed that they are closed
		require.Less(c, heapInUse(), heap+2<<20, "memory is not back where it was")
	}, 10*time.Second, 100*time.Millisecond)

	_, err := m.do(t.Context(), logical.DeleteOperation, "config", nil)
	require.NoError(t, err)
	m.server.Close()
	require.EventuallyWithT(t, func(c *assert.CollectT) { require.NoError(c, goleak.Find(before)) }, time.Minute, 100*time.Millisecond)
}

// forgetRequests waits for what still goes on for callers that gave up, and drops what the simulator
// remembers.
func (m *mount) forgetRequests(t *testing.T) {
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		for _, r := range m.sim.Requests() {
			require.True(c, r.Ended, "%s is under way", r.Op)
		}
	}, 10*time.Second, 50*time.Millisecond)
	m.sim.ResetRequests()
	m.server.CloseClientConnections()
}

func heapInUse() uint64 {
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}
