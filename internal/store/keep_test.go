package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// memory is a shelf that outlives stores.
type memory struct {
	mu      sync.Mutex
	entries map[string][]byte
	reads   []string
	writes  []string // of values
	err     error
	// hold, when set, is called with each value that was got, or is to be put.
	hold func(key string)
}

func (m *memory) do(f func()) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		f()
	}
	return m.err
}

func (m *memory) Get(_ context.Context, key string) (value []byte, err error) {
	err = m.do(func() { value = m.entries[key] })
	m.holdOn(key, &m.reads)
	return value, err
}

func (m *memory) holdOn(key string, log *[]string) {
	if !strings.HasPrefix(key, "value/") {
		return
	}
	m.mu.Lock()
	hold := m.hold
	*log = append(*log, key)
	m.mu.Unlock()
	if hold != nil {
		hold(key)
	}
}

func (m *memory) Put(_ context.Context, key string, value []byte) error {
	m.holdOn(key, &m.writes)
	return m.do(func() {
		if m.entries == nil {
			m.entries = make(map[string][]byte)
		}
		m.entries[key] = value
	})
}

func (m *memory) Delete(_ context.Context, key string) error {
	return m.do(func() { delete(m.entries, key) })
}

func (m *memory) Clear(context.Context) error { return m.do(func() { clear(m.entries) }) }

func (m *memory) Retain(_ context.Context, keys []string) error {
	return m.do(func() {
		maps.DeleteFunc(m.entries, func(key string, _ []byte) bool { return !slices.Contains(keys, key) })
	})
}

// holdEach has each value that is got or put wait until the returned function is called.
func (m *memory) holdEach() (release func()) {
	released := make(chan struct{})
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold = func(string) { <-released }
	return func() { close(released) }
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// values are the names of which there is a value.
func (m *memory) values() (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key := range m.entries {
		if name, ok := strings.CutPrefix(key, "value/"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// keptFor is how long the stores of these tests may give out what is kept.
const keptFor = time.Hour

// start opens the store of a mount that keeps last good values, as a process does that begins.
func start(t *testing.T, sim *simulator.Simulator, r *Registry, shelf Shelf, prefix string) *Store {
	t.Helper()
	org, user, token, _ := sim.Credentials()
	organization := r.Organization("", org)
	var s *Store
	c, err := client.New(client.Config{
		OrganizationID: org, Auth: client.Basic(user, token), Transport: sim.Transport(), MaxRetries: 1,
		Limiter: organization.Limiter(), Gate: organization.Gate(),
		ObserveError: func(e *client.Error) {
			if e.Status == http.StatusUnauthorized {
				s.Revoke()
			}
		},
	})
	require.NoError(t, err)
	s = open(t, sim, r, Options{Client: c, Prefix: prefix, Freshness: Freshness{StaleIfError: keptFor, Size: 1000}})
	g, err := OpenLastGood(t.Context(), shelf, func(error) {})
	require.NoError(t, err)
	s.Keep(g)
	return s
}

// keeping runs a test in a bubble, with a store that has read the secret "db", and all that follows from it.
func keeping(t *testing.T, test func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, shelf := simulator.New(simulator.Options{}), new(memory)
		sim.Create("db", []byte("1"))
		s := start(t, sim, new(Registry), shelf, "")
		require.Equal(t, "1", value(t, s, "db"))
		settle()
		test(t, sim, shelf, s)
	})
}

// settle waits until the shelf has all that is to be there.
func settle() {
	time.Sleep(namesInterval*keepInterval + 10*time.Second)
	synctest.Wait()
}

// restart is the end of a process and the begin of the next one.
func restart(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) *Store {
	t.Helper()
	s.Close()
	return start(t, sim, new(Registry), shelf, s.prefix)
}

func requireNoneKept(t *testing.T, s *Store, name string) {
	t.Helper()
	r, err := s.Read(t.Context(), ByName(name), Current)
	if err == nil {
		t.Fatalf("%s was given, %s old", name, r.Stale)
	}
}

func TestALastGoodValueOutlivesTheProcess(t *testing.T) {
	for _, kind := range []simulator.FaultKind{simulator.FaultCut, simulator.FaultHang, simulator.FaultStatus, simulator.FaultHTML} {
		t.Run(string(kind), func(t *testing.T) {
			keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
				since := time.Now()
				sim.AddFault(simulator.Fault{Kind: kind})
				s = restart(t, sim, shelf, s)
				begin := time.Now()
				for range 10 {
					r, err := s.Read(t.Context(), ByName("db"), Current)
					require.NoError(t, err)
					require.Equal(t, "1", string(r.Version.Value))
					require.GreaterOrEqual(t, r.Stale, begin.Sub(since))
					require.Equal(t, "db", r.Name)
				}
				require.LessOrEqual(t, time.Since(begin), patience)
				require.Len(t, shelf.reads, 1)
				require.EqualValues(t, 10, s.stats.StaleAnswers.Load())

				sim.ClearFaults()
				sim.AddVersion("db", []byte("2"))
				time.Sleep(5 * time.Second)
				require.Equal(t, "2", value(t, s, "db"))
			})
		})
	}
}

func TestTheFirstReadOfAProcessNeedsNoListing(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Fill(700)
		_, err := s.List(t.Context())
		require.NoError(t, err)
		settle()
		settle() // all buckets of the index
		s = restart(t, sim, shelf, s)
		s.Warm()
		sim.ResetRequests()
		require.Equal(t, "made-up value 350", value(t, s, "demo_00350"), "it was never read before")
		settle()
		require.Equal(t, 1, sim.Count())
		require.True(t, s.Exists(t.Context(), "demo_00351"))
	})
}

func TestANameThatHasBeenMadeSinceTheProcessBeganIsFound(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		s = restart(t, sim, shelf, s)
		sim.Create("new", []byte("n"))
		sim.Delete("db")
		sim.Create("db", []byte("another"))
		require.Equal(t, "n", value(t, s, "new"))
		require.Equal(t, "another", value(t, s, "db"))
	})
}

func TestTheShelfIsWrittenOnlyWhenAValueChanges(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		require.Len(t, shelf.writes, 1)
		for range 100 {
			value(t, s, "db")
			time.Sleep(10 * time.Second)
		}
		require.Len(t, shelf.writes, 1)
		s = restart(t, sim, shelf, s)
		value(t, s, "db")
		settle()
		require.Len(t, shelf.writes, 1, "a new process knows what is there")
		sim.AddVersion("db", []byte("2"))
		value(t, s, "db")
		settle()
		require.Len(t, shelf.writes, 2)
		require.Empty(t, shelf.reads, "while ABEJA answers")
	})
}

func TestTheAgeOfAKeptValueIsThatOfABEJAsLastAnswer(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		for range 20 { // for longer than it may be kept
			time.Sleep(keptFor / 10)
			require.Equal(t, "1", value(t, s, "db"))
		}
		settle()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		s = restart(t, sim, shelf, s)
		r, err := s.Read(t.Context(), ByName("db"), Current)
		require.NoError(t, err)
		require.Less(t, r.Stale, keptFor/lagShare+time.Minute)
		time.Sleep(keptFor - r.Stale)
		require.Equal(t, "1", value(t, s, "db"))
		time.Sleep(time.Second)
		requireNoneKept(t, s, "db")
		requireNoneKept(t, restart(t, sim, shelf, s), "db")
	})
}

func TestAValueOfAnotherTimeIsNotGivenTheAgeOfThisOne(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		before := shelf.entries[valueKey("db")]
		time.Sleep(keptFor - time.Minute)
		sim.AddVersion("db", []byte("2"))
		value(t, s, "db")
		settle()
		shelf.entries[valueKey("db")] = before // as if the process had ended in between
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		s = restart(t, sim, shelf, s)
		r, err := s.Read(t.Context(), ByName("db"), Current)
		require.NoError(t, err)
		require.Greater(t, r.Stale, keptFor-2*time.Minute)
		time.Sleep(2 * time.Minute)
		requireNoneKept(t, s, "db")
	})
}

func TestWhatWasWrittenOrRefusedIsGoneFromTheShelfWhenTheCallerIsTold(t *testing.T) {
	for what, act := range map[string]func(*testing.T, *simulator.Simulator, *Store){
		"a write": func(t *testing.T, _ *simulator.Simulator, s *Store) {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.NoError(t, err)
		},
		"a write of unknown outcome": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.AddFault(simulator.Fault{Op: "create_version", Kind: simulator.FaultHang})
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.ErrorAs(t, err, new(*UnknownOutcomeError))
		},
		"a delete": func(t *testing.T, _ *simulator.Simulator, s *Store) {
			require.NoError(t, s.Delete(t.Context(), ByName("db")))
		},
		"a status": func(t *testing.T, _ *simulator.Simulator, s *Store) {
			require.NoError(t, s.SetStatus(t.Context(), ByName("db"), 1, client.Inactive))
		},
		"404": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.Delete("db")
			requireNoneKept(t, s, "db")
		},
		"404 to one who looks at the versions": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.Delete("db")
			_, err := s.Versions(t.Context(), ByName("db"))
			require.Error(t, err)
		},
		"403": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultStatus, Status: http.StatusForbidden, Count: 1})
			requireNoneKept(t, s, "db")
		},
		"401": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultStatus, Status: http.StatusUnauthorized, Count: 1})
			requireNoneKept(t, s, "db")
		},
		"401 to a list": func(t *testing.T, sim *simulator.Simulator, s *Store) {
			sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultStatus, Status: http.StatusUnauthorized, Count: 1})
			_, err := s.List(t.Context())
			require.Error(t, err)
		},
	} {
		t.Run(what, func(t *testing.T) {
			keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
				act(t, sim, s)
				require.Empty(t, shelf.values())
				sim.ClearFaults()
				sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
				requireNoneKept(t, s, "db")
				requireNoneKept(t, restart(t, sim, shelf, s), "db")
			})
		})
	}
}

func TestARefusedCredentialTakesEveryNameOffTheShelfAndOutOfMemory(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Create("other", []byte("o"))
		value(t, s, "other")
		settle()
		require.Len(t, shelf.values(), 2)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusUnauthorized})
		requireNoneKept(t, s, "db")
		require.Empty(t, shelf.entries)
		settle()
		require.Empty(t, shelf.entries, "nor are names put there again")
		sim.ClearFaults()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		requireNoneKept(t, s, "other")

		sim.ClearFaults()
		time.Sleep(5 * time.Second)
		value(t, s, "db")
		settle()
		require.Equal(t, []string{"db"}, shelf.values(), "once ABEJA accepts it again")
	})
}

func TestAWriteThroughAnotherMountTakesTheValueOffTheShelf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, shelf, registry := simulator.New(simulator.Options{}), new(memory), new(Registry)
		sim.Create("db", []byte("1"))
		s := start(t, sim, registry, shelf, "")
		value(t, s, "db")
		settle()
		_, err := open(t, sim, registry, Options{Client: another(t, sim)}).Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Empty(t, shelf.values())
	})
}

func TestAMountKeepsOnlyWhatItShows(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim, shelf, registry := simulator.New(simulator.Options{}), new(memory), new(Registry)
		sim.Create("team_db", []byte("1"))
		sim.Create("foreign", []byte("f"))
		s, all := start(t, sim, registry, shelf, "team_"), newStoreOf(t, sim, registry)
		value(t, all, "foreign")
		value(t, all, "team_db")
		settle()
		require.Equal(t, []string{"team_db"}, shelf.values(), "whichever mount has read it")
		for _, entry := range shelf.entries {
			require.NotContains(t, string(entry), "foreign")
		}
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		require.Equal(t, "1", value(t, restart(t, sim, shelf, s), "db"))
	})
}

func newStoreOf(t *testing.T, sim *simulator.Simulator, r *Registry) *Store {
	return open(t, sim, r, Options{Freshness: Freshness{StaleIfError: keptFor, Size: 10}})
}

func TestOnlyTheNewestVersionsAreKeptAndNoOtherIsToldAboutFromThem(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		for i := 2; i <= 50; i++ {
			sim.AddVersion("db", fmt.Append(nil, i))
		}
		sim.SetStatus("db", 50, "inactive")
		value(t, s, "db")
		settle()
		require.Less(t, len(shelf.entries[valueKey("db")]), 2000)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		s = restart(t, sim, shelf, s)
		require.Equal(t, "49", value(t, s, "db"))
		r, err := s.Read(t.Context(), ByName("db"), Newest)
		require.NoError(t, err)
		require.Equal(t, 50, r.Version.Number)
		_, err = s.Read(t.Context(), ByName("db"), 7)
		require.True(t, abejaFails(err), "%v", err)
	})
}

func TestAShelfThatFailsCostsNothingButWhatItWouldHaveKept(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		shelf.fail(errors.New("read-only"))
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Equal(t, "2", value(t, s, "db"))
		time.Sleep(time.Minute)
		require.True(t, s.State().LastGoodFails)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		require.Equal(t, "2", value(t, s, "db"), "from memory")
		sim.ClearFaults()
		_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("3")})
		require.NoError(t, err)
		shelf.fail(nil)
		settle()
		require.Empty(t, shelf.values(), "what could not be removed at once is")
		require.False(t, s.State().LastGoodFails)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		requireNoneKept(t, s, "db")
	})
}

func TestTheShelfIsSentABoundedNumberOfWritesASecond(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Fill(200)
		for i := range 200 {
			value(t, s, fmt.Sprintf("demo_%05d", i+1))
		}
		before := len(shelf.values())
		time.Sleep(5 * keepInterval)
		synctest.Wait()
		require.InDelta(t, before+5*keepWrites, len(shelf.values()), keepWrites)
		settle()
		require.Len(t, shelf.values(), 201)
	})
}

func TestPruningTakesOffTheShelfWhatIsTooOldAndWhatNobodyKnows(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		shelf.entries["value/left by a process that ended"] = []byte("x")
		require.NoError(t, s.lastGood.Prune(t.Context(), keptFor))
		require.Equal(t, []string{"db"}, shelf.values())
		time.Sleep(keptFor)
		require.NoError(t, s.lastGood.Prune(t.Context(), keptFor))
		require.Empty(t, shelf.values())
		require.Zero(t, s.State().LastGood)
	})
}

func TestWhatIsOnTheShelfIsNotGivenOutUnderAnotherName(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Create("other", []byte("o"))
		value(t, s, "other")
		settle()
		shelf.entries["value/db"] = shelf.entries["value/other"]
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		requireNoneKept(t, restart(t, sim, shelf, s), "db")
	})
}

func TestBrokenEntriesOfTheShelfAreAsNone(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		for key := range shelf.entries {
			shelf.entries[key] = []byte("{")
		}
		s = restart(t, sim, shelf, s)
		require.Equal(t, "1", value(t, s, "db"))
		settle()
		sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
		require.Equal(t, "1", value(t, restart(t, sim, shelf, s), "db"))
	})
}

func TestAValueThatIsBeingTakenFromTheShelfWhenItIsWrittenIsNotGivenOut(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		s = restart(t, sim, shelf, s)
		sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultStatus})
		release := shelf.holdEach()
		read := make(chan error, 1)
		go func() {
			_, err := s.Read(t.Context(), ByName("db"), Current)
			read <- err
		}()
		time.Sleep(10 * time.Second) // the shelf's own time limit is the storage's to keep
		description := "new"
		_, err := s.Update(t.Context(), ByName("db"), Update{SecretUpdate: client.SecretUpdate{Description: &description}})
		require.NoError(t, err)
		release()
		require.Error(t, <-read)
		requireNoneKept(t, s, "db")
	})
}

// In real time, since one that waits for a mutex is not at rest for fake time.
func TestAValueThatIsBeingPutOnTheShelfWhenItIsWrittenIsRemoved(t *testing.T) {
	t.Parallel()
	sim, shelf := simulator.New(simulator.Options{}), new(memory)
	sim.Create("db", []byte("1"))
	s := start(t, sim, new(Registry), shelf, "")
	defer s.Close()
	held, release := make(chan bool), make(chan bool)
	shelf.hold = func(string) { held <- true; <-release }
	value(t, s, "db")
	<-held
	written := make(chan error, 1)
	go func() {
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		written <- err
	}()
	require.Eventually(t, func() bool {
		secret, _ := sim.Secret("db")
		return len(secret.Versions) == 2
	}, time.Minute, time.Millisecond)
	require.Empty(t, written, "it waits for what is being put")
	close(release)
	require.NoError(t, <-written)
	require.Empty(t, shelf.values())
}

func TestAReadThatAWriteOvertookIsNotPutOnTheShelf(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Create("other", []byte("o"))
		_, err := s.List(t.Context())
		require.NoError(t, err)
		sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultDelay, Delay: 5 * time.Second, Count: 1, AfterActing: true})
		read := make(chan string)
		go func() { read <- value(t, s, "other") }()
		synctest.Wait()
		description := "new"
		_, err = s.Update(t.Context(), ByName("other"), Update{SecretUpdate: client.SecretUpdate{Description: &description}})
		require.NoError(t, err)
		<-read
		settle()
		require.Equal(t, []string{"db"}, shelf.values())
	})
}

func TestWhatACompleteListingNoLongerHasIsNotPutOnTheShelf(t *testing.T) {
	keeping(t, func(t *testing.T, sim *simulator.Simulator, shelf *memory, s *Store) {
		sim.Create("other", []byte("o"))
		value(t, s, "other")
		settle() // so that List does not join the listing of the read
		sim.Delete("other")
		_, err := s.List(t.Context())
		require.NoError(t, err)
		settle()
		require.Equal(t, []string{"db"}, shelf.values())
	})
}

func TestWhatWaitsForTheShelfIsBoundedInBytes(t *testing.T) {
	t.Parallel()
	g := &LastGood{pending: make(map[string]record)}
	now := time.Now()
	take := func(i, size int) {
		secret := &client.Secret{ID: fmt.Sprint(i), Versions: []client.Version{
			{ID: "1", Number: 1, Status: client.Active, Value: make([]byte, 10*size)}, {ID: "2", Number: 2, Status: client.Active, Value: make([]byte, size)},
		}}
		g.take(fmt.Sprint("secret_", i), record{secret: secret, asked: now.Add(time.Duration(i))})
		require.LessOrEqual(t, g.waiting, maxPendingBytes)
	}
	for i := range 1000 {
		take(i, 64<<10)
	}
	require.Equal(t, maxPendingBytes/(64<<10+2*512), len(g.pending), "the current value of each, and its metadata")
	take(0, 32<<10) // in place of the one that waits
	take(1, 1<<20)  // finds no place
	require.Len(t, g.pending["secret_1"].secret.Versions[0].Value, 64<<10)
	for range len(g.pending) {
		_, _, ok := g.next()
		require.True(t, ok)
	}
	require.Zero(t, g.waiting)
}
