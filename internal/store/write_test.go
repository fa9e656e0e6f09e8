package store

import (
	"context"
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

func versionsAt(t *testing.T, sim *simulator.Simulator, name string) (values []string) {
	t.Helper()
	secret, ok := sim.Secret(name)
	require.True(t, ok)
	for _, v := range secret.Versions {
		values = append(values, string(v.Value))
	}
	return values
}

func TestCreateNeverChangesASecretThatExists(t *testing.T) {
	for _, is400 := range []bool{false, true} {
		t.Run(fmt.Sprintf("duplicate is 400: %v", is400), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				sim.SetBehavior(simulator.Behavior{DuplicateNameIs400: is400})
				_, err := s.List(t.Context())
				require.NoError(t, err)
				sim.Create("db", []byte("theirs")) // behind the store's back
				_, err = s.Create(t.Context(), "db", Update{Value: []byte("theirs")})
				require.ErrorIs(t, err, ErrExists, "even with the same value: that would tell it to one who may not read")
				require.Equal(t, []string{"theirs"}, versionsAt(t, sim, "db"))
				exists := s.Exists(t.Context(), "db")
				require.True(t, exists, "the next write is an update")
			})
		})
	}
}

func TestCreateTellsARefusedValueFromANameThatExists(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		_, err := s.Create(t.Context(), "db", Update{Value: make([]byte, 70_000)})
		require.ErrorIs(t, err, client.ErrInvalid)
	})
}

func TestUpdateNeverMakesASecret(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("v"))
		value(t, s, "db")
		sim.Delete("db") // behind the store's back
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("w")})
		require.ErrorIs(t, err, ErrNotFound)
		require.Zero(t, sim.Len())
		exists := s.Exists(t.Context(), "db")
		require.False(t, exists, "the next write is a create")
	})
}

func TestAValueThatIsCurrentMakesNoVersion(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.AddVersion("db", []byte("2"))
		w, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Equal(t, 2, w.Version)
		w, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("1")})
		require.NoError(t, err)
		require.Equal(t, 3, w.Version, "an older value is a new version")
		sim.SetStatus("db", 3, "inactive")
		_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("1")})
		require.NoError(t, err)
		require.Equal(t, []string{"1", "2", "1", "1"}, versionsAt(t, sim, "db"), "an inactive value is not current")
	})
}

func TestAValueIsStoredInTheNewestFormThatAVersionHasOfIt(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("A"))
		sim.AddVersion("db", []byte("b"))
		sim.SetStatus("db", 2, "inactive")
		write := func(value string, version int) {
			t.Helper()
			same := func(stored []byte) bool { return strings.EqualFold(string(stored), value) }
			w, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte(value), Same: same, Against: Newest})
			require.NoError(t, err)
			require.Equal(t, version, w.Version)
		}
		write("B", 3)
		write("B", 3)
		write("a", 4)
		write("a", 4)
		write("c", 5)
		require.Equal(t, []string{"A", "b", "b", "A", "c"}, versionsAt(t, sim, "db"))
	})
}

func TestCheckAndSet(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		var cas *CASError
		_, err := s.Create(t.Context(), "db", Update{Value: []byte("1"), CAS: new(1)})
		require.ErrorAs(t, err, &cas)
		require.Equal(t, 0, cas.Current)
		_, err = s.Create(t.Context(), "db", Update{Value: []byte("1"), CAS: new(0)})
		require.NoError(t, err)
		for _, wrong := range []int{0, 2} {
			_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), CAS: &wrong})
			require.ErrorAs(t, err, &cas)
			require.Equal(t, 1, cas.Current)
		}
		w, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), CAS: new(1)})
		require.NoError(t, err)
		require.Equal(t, WriteResult{ID: w.ID, Version: 2, VersionCreatedAt: w.VersionCreatedAt}, w)
		sim.SetStatus("db", 2, "inactive")
		_, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("3"), CAS: new(1)})
		require.NoError(t, err, "the version that a read gives is what counts")
		require.Equal(t, []string{"1", "2", "3"}, versionsAt(t, sim, "db"))
	})
}

func TestACheckAndSetIsNotRefusedForAnAbsenceThatOnlyAnOlderListShows(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		for range 1 + lookupBurst { // no token is left
			_, err := s.Read(t.Context(), ByName("late"), Current)
			require.ErrorIs(t, err, ErrNotFound)
		}
		sim.Create("late", []byte("1"))
		_, err := s.Create(t.Context(), "late", Update{Value: []byte("2"), CAS: new(1)})
		require.ErrorIs(t, err, ErrExists)
	})
}

func TestOfManyWritersWithTheSameCheckAndSetOneWins(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("0"))
		sim.SetLatency(10 * time.Millisecond)
		var mu sync.Mutex
		won := 0
		together(32, func(i int) {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("w" + strconv.Itoa(i)), CAS: new(1)})
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
		require.Empty(t, s.organization.locks.held)
	})
}

// Each fault strikes one call, before ABEJA acts or after it has.
func TestAWriteWhoseOutcomeIsUnknownTakesEffectOnce(t *testing.T) {
	faults := map[string]simulator.Fault{
		"cut":       {Kind: simulator.FaultCut},
		"status":    {Kind: simulator.FaultStatus, Status: 502},
		"no JSON":   {Kind: simulator.FaultHTML},
		"empty":     {Kind: simulator.FaultEmpty},
		"truncated": {Kind: simulator.FaultTruncate},
		"limited":   {Kind: simulator.FaultStatus, Status: 429, RetryAfter: "1"},
	}
	for name, fault := range faults {
		for _, acting := range []bool{false, true} {
			if acting && name == "limited" {
				continue // a request over the limit is never acted on
			}
			t.Run(fmt.Sprintf("%s, after acting: %v", name, acting), func(t *testing.T) {
				at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
					fault := fault
					fault.AfterActing = acting
					for _, op := range []simulator.Op{"create_secret", "create_version", "update_secret", "delete_secret"} {
						once := fault
						once.Op, once.Count = op, 1
						sim.AddFault(once)
					}
					w, err := s.Create(t.Context(), "db", Update{Value: []byte("1")})
					require.NoError(t, err)
					require.Equal(t, WriteResult{ID: w.ID, Version: 1, VersionCreatedAt: w.VersionCreatedAt, Created: true}, w)
					w, err = s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
					require.NoError(t, err)
					require.Equal(t, 2, w.Version)
					require.Equal(t, []string{"1", "2"}, versionsAt(t, sim, "db"))

					describe := Update{SecretUpdate: client.SecretUpdate{Description: new("d")}}
					if _, err = s.Update(t.Context(), ByName("db"), describe); err != nil {
						// A bad answer is not asked for again; repeating the write is safe.
						_, err = s.Update(t.Context(), ByName("db"), describe)
					}
					require.NoError(t, err)
					if err = s.Delete(t.Context(), ByName("db")); err != nil {
						err = s.Delete(t.Context(), ByName("db"))
					}
					require.NoError(t, err)
					require.Zero(t, sim.Len())
				})
			})
		}
	}
}

func TestAWriteThatStaysUnknownSaysSoAndCanBeRepeated(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		sim.AddFault(simulator.Fault{Op: "create_version", Count: 1, Kind: simulator.FaultCut, AfterActing: true})
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultDelay})               // the read before
		sim.AddFault(simulator.Fault{Op: "get_secret", Count: 1, Kind: simulator.FaultStatus, Status: 400}) // the look after
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		var unknown *UnknownOutcomeError
		require.ErrorAs(t, err, &unknown)
		require.ErrorIs(t, err, client.ErrUnavailable)
		w, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.NoError(t, err)
		require.Equal(t, 2, w.Version)
		require.Equal(t, []string{"1", "2"}, versionsAt(t, sim, "db"))
	})
}

// ABEJA has deleted it and the answer is lost; to the repetition it says that there is no such id, and the list
// that would tell why cannot be read.
func TestAWriteThatMayHaveBeenDoneSaysSoWhateverFailsAfterIt(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		synctest.Wait()
		sim.AddFault(simulator.Fault{Op: "delete_secret", Count: 1, Kind: simulator.FaultCut, AfterActing: true})
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultCut})
		err := s.Delete(t.Context(), ByName("db"))
		require.ErrorAs(t, err, new(*UnknownOutcomeError))
		require.ErrorIs(t, err, client.ErrUnavailable)
		require.Zero(t, sim.Len())
		sim.ClearFaults()
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
	})
}

func TestAfterATimeOutAWriteIsNotSentAgain(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		sim.AddFault(simulator.Fault{Op: "create_version", Count: 1, Kind: simulator.FaultDelay, Delay: time.Minute})
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
		require.ErrorAs(t, err, new(*UnknownOutcomeError))
		require.ErrorIs(t, err, client.ErrTimeout)
		require.Equal(t, 1, sim.Count("create_version"))
	})
}

// slowly takes its time before each request is sent, by its method. The answers to those that are cut are lost.
type slowly struct {
	http.RoundTripper
	takes map[string]time.Duration
	cuts  map[string]bool
}

// RoundTrip implements http.RoundTripper.
func (s slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.takes[r.Method]):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if s.cuts[r.Method] {
		return nil, io.ErrUnexpectedEOF
	}
	return s.RoundTripper.RoundTrip(r)
}

// A write that is never answered is followed by a look, sent again, and followed by another look.
func TestAWriteEndsAfterTheTimeOfTwoCallsHoweverManyItMakes(t *testing.T) {
	writes := map[string]func(ctx context.Context, s *Store) error{
		"create": func(ctx context.Context, s *Store) error {
			_, err := s.Create(ctx, "new", Update{Value: []byte("1")})
			return err
		},
		"update": func(ctx context.Context, s *Store) error {
			_, err := s.Update(ctx, ByName("db"), Update{Value: []byte("2")})
			return err
		},
	}
	for name, write := range writes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sim := simulator.New(simulator.Options{})
				sim.Create("db", []byte("1"))
				org, user, token, _ := sim.Credentials()
				way := slowly{sim.Transport(), map[string]time.Duration{}, map[string]bool{http.MethodPost: true}}
				c, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, token), Transport: way})
				require.NoError(t, err)
				s := open(t, sim, new(Registry), Options{Client: c})
				value(t, s, "db")
				way.takes[http.MethodGet], way.takes[http.MethodPost] = 14*time.Second, 29*time.Second
				begin := time.Now()
				require.ErrorAs(t, write(t.Context(), s), new(*UnknownOutcomeError))
				require.LessOrEqual(t, time.Since(begin), 2*client.DefaultTimeout)
			})
		})
	}
}

func TestACreateWithoutOutcomeIsNotTakenForAnothersSecret(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		value := []byte("mine")
		sim.AddFault(simulator.Fault{Op: "create_secret", Count: 1, Kind: simulator.FaultDelay, Delay: time.Minute})
		var all sync.WaitGroup
		all.Go(func() {
			_, err := s.Create(t.Context(), "db", Update{Value: value})
			require.ErrorIs(t, err, ErrExists)
		})
		synctest.Wait()
		sim.Create("db", []byte("theirs"))
		sim.AddVersion("db", value) // by chance
		all.Wait()
		require.Equal(t, []string{"theirs", "mine"}, versionsAt(t, sim, "db"))
	})
}

func TestAValueThatIsStoredIsSaidSoWhenTheRestIsRefused(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.AddFault(simulator.Fault{Op: "update_secret", Count: 1, Kind: simulator.FaultStatus, Status: 400})
		_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), SecretUpdate: client.SecretUpdate{Description: new("d")}})
		var partial *PartialError
		require.ErrorAs(t, err, &partial)
		require.Equal(t, 2, partial.Version)
		require.ErrorIs(t, err, client.ErrInvalid)
	})
}

func TestDeleteIsIdempotentAndTakesTheNameNotTheID(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		time.Sleep(lookupInterval)
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		sim.Delete("db")
		id := sim.Create("db", []byte("2"))
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		require.Zero(t, sim.Len())
		sim.ResetRequests()
		_, err := s.Read(t.Context(), ByID(id), Current)
		require.ErrorIs(t, err, ErrNotFound)
		require.Zero(t, sim.Count("get_secret"), "the id is forgotten with the name")
	})
}

func TestStatusAndDeletionOfVersions(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		sim.AddVersion("db", []byte("2"))
		db := ByName("db")
		require.NoError(t, s.SetStatus(t.Context(), db, 2, client.Inactive))
		require.Equal(t, "1", value(t, s, "db"))
		require.NoError(t, s.SetStatus(t.Context(), db, 2, client.Inactive), "again")
		require.Equal(t, 1, sim.Count("update_version"))
		require.NoError(t, s.SetStatus(t.Context(), db, 2, client.Active))
		require.Equal(t, "2", value(t, s, "db"))
		require.ErrorAs(t, s.SetStatus(t.Context(), db, 3, client.Active), new(*NoVersionError))

		sim.SetBehavior(simulator.Behavior{UnknownIDIs403: true})
		sim.AddFault(simulator.Fault{Op: "delete_version", Count: 1, Kind: simulator.FaultCut, AfterActing: true})
		require.NoError(t, s.DeleteVersion(t.Context(), db, 1))
		require.ErrorAs(t, s.DeleteVersion(t.Context(), db, 1), new(*NoVersionError))
		versions, err := s.Versions(t.Context(), db)
		require.NoError(t, err)
		require.Len(t, versions.Usable, 1)
		require.Equal(t, 2, versions.Usable[0].Number)
		require.Nil(t, versions.Usable[0].Value)
	})
}

func TestASecretThatABEJAWithholdsCanBeRenewed(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.SetBehavior(simulator.Behavior{ExpiredIs404: true})
		sim.Create("db", []byte("1"))
		sim.SetExpiry("db", time.Now().Add(-time.Hour))
		_, err := s.Update(t.Context(), ByName("db"), Update{SecretUpdate: client.SecretUpdate{ExpiredAt: new(time.Now().Add(time.Hour))}})
		require.NoError(t, err)
		require.Equal(t, "1", value(t, s, "db"))
	})
}

func TestAWriterThatGivesUpWaitingLeavesTheLockToOthers(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Create("db", []byte("1"))
		value(t, s, "db")
		sim.SetLatency(10 * time.Second)
		var all sync.WaitGroup
		all.Go(func() {
			_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
			require.NoError(t, err)
		})
		synctest.Wait()
		impatient, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Update(impatient, ByName("db"), Update{Value: []byte("3")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		all.Wait()
		require.Empty(t, s.organization.locks.held)
		require.Equal(t, []string{"1", "2"}, versionsAt(t, sim, "db"))
	})
}
