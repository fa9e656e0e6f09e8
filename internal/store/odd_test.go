package store

import (
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// oddKinds is each way in which a record can be odd, with the version whose record it is.
var oddKinds = map[simulator.Odd]int{
	simulator.OddTimeWithoutZone: 0, simulator.OddNullName: 0,
	simulator.OddVersionWithoutNumber: 1, simulator.OddVersionWithoutValue: 1, simulator.OddBadBase64: 1,
}

// twoVersions makes a secret with an older and a newer version, both active.
func twoVersions(sim *simulator.Simulator, name string) {
	sim.Create(name, []byte("1"))
	time.Sleep(time.Second)
	sim.AddVersion(name, []byte("2"))
}

func TestAnOddRecordDisturbsNoOtherSecret(t *testing.T) {
	for _, name := range []string{"team_odd", "foreign"} {
		for kind, version := range oddKinds {
			t.Run(name+" "+string(kind), func(t *testing.T) {
				at(t, func(t *testing.T, sim *simulator.Simulator, _ *Store) {
					s := newStore(t, sim, "team_", Freshness{})
					sim.Create("team_db", []byte("v"))
					twoVersions(sim, name)
					sim.MakeOdd(name, kind, version)
					require.Equal(t, "v", value(t, s, "db"))
					l, err := s.List(t.Context())
					require.NoError(t, err)
					require.False(t, l.Incomplete)
					require.Equal(t, "db", l.Items[0].Name)
					if name == "foreign" {
						require.Len(t, l.Items, 1)
						require.Zero(t, l.Odd, "no matter of this mount")
					}
					_, err = s.Create(t.Context(), "new", Update{Value: []byte("v")})
					require.NoError(t, err)
					require.NoError(t, s.Delete(t.Context(), ByName("absent")))
					require.NoError(t, s.Delete(t.Context(), ByName("db")))
				})
			})
		}
	}
}

func TestAnOddRecordCostsItselfAlone(t *testing.T) {
	for kind, version := range oddKinds {
		t.Run(string(kind), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				twoVersions(sim, "odd")
				sim.Create("other", []byte("v"))
				sim.MakeOdd("odd", kind, version)
				reading, err := s.Read(t.Context(), ByName("odd"), Current)
				require.NoError(t, err)
				require.Equal(t, "2", string(reading.Version.Value))
				require.Equal(t, kind != simulator.OddNullName, reading.Odd == 1)
				require.Equal(t, 1, s.State().Odd)
				l, err := s.List(t.Context())
				require.NoError(t, err)
				if kind == simulator.OddNullName {
					require.Len(t, l.Items, 1)
				} else {
					require.Len(t, l.Items, 2)
				}
				inList := 1
				if kind == simulator.OddVersionWithoutValue || kind == simulator.OddBadBase64 {
					inList = 0 // which has no values
				}
				require.Equal(t, inList, l.Odd)

				sim.Delete("odd")
				sim.Create("odd", []byte("3"))
				require.Equal(t, "3", value(t, s, "odd"))
				_, err = s.List(t.Context())
				require.NoError(t, err)
				require.Zero(t, s.State().Odd)
			})
		})
	}
}

func TestAListWithManyOddRecordsIsReadToItsEnd(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.Fill(450)
		for i := 91; i <= 150; i++ { // a seam and more
			sim.MakeOdd(fmt.Sprintf("demo_%05d", i), simulator.OddNullName, 0)
		}
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.False(t, l.Incomplete)
		require.Len(t, l.Items, 390)
		require.Equal(t, 60, l.Odd)
		require.Equal(t, maxAsked, sim.Count(simulator.GetSecret))
		require.ErrorIs(t, s.Delete(t.Context(), ByName("absent")), ErrUnnamed)
		for range 5 { // each finds more names
			_, err = s.List(t.Context())
			require.NoError(t, err)
		}
		require.NoError(t, s.Delete(t.Context(), ByName("absent")))
		require.Equal(t, 60, sim.Count(simulator.GetSecret))
		require.Equal(t, "made-up value 120", value(t, s, "demo_00120"))
	})
}

func TestARecordWithoutIDIsCounted(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		org, _, _, _ := sim.Credentials()
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultBody, Status: 200,
			Body: fmt.Sprintf(`{"organization_id":%q,"has_next":false,"secrets":[null,{"id":"1","organization_id":%[1]q,"name":"db"}]}`, org)})
		l, err := s.List(t.Context())
		require.NoError(t, err)
		require.Len(t, l.Items, 1)
		require.Equal(t, 1, l.Odd)
		require.Equal(t, 1, s.State().Odd)
		require.ErrorIs(t, s.Delete(t.Context(), ByName("absent")), ErrUnnamed)
	})
}

func TestASecretWhoseExpiryIsOddIsNotTakenForAbsent(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		id := sim.Create("db", []byte("v"))
		org, _, _, _ := sim.Credentials()
		record := fmt.Sprintf(`{"id":%q,"organization_id":%q,"name":"db","expired_at":"soon"}`, id, org)
		sim.AddFault(simulator.Fault{Op: "list_secrets", Kind: simulator.FaultBody, Status: 200,
			Body: fmt.Sprintf(`{"organization_id":%q,"has_next":false,"secrets":[%s]}`, org, record)})
		sim.AddFault(simulator.Fault{Op: "get_secret", Kind: simulator.FaultBody, Status: 200, Body: record})
		_, err := s.Read(t.Context(), ByName("db"), Current)
		require.ErrorIs(t, err, client.ErrBadAnswer)
		exists := s.Exists(t.Context(), "db")
		require.True(t, exists)
		require.NoError(t, s.Delete(t.Context(), ByName("db")))
		require.Zero(t, sim.Len())
	})
}

// oddVersion is a case in which one of the versions 1 and 2 is odd.
type oddVersion struct {
	kind     simulator.Odd
	version  int
	at       time.Duration    // how much later the second was made
	inactive int              // the version that is, if any
	want     map[Pick]*string // nil: not known
}

func TestAnOddVersionIsNeverTakenForAnotherNorAnotherForIt(t *testing.T) {
	one, two, none := new("1"), new("2"), new("")
	for _, c := range []oddVersion{
		{simulator.OddBadBase64, 1, 1, 0, map[Pick]*string{Current: two, Newest: two, 1: nil, 2: two}},
		{simulator.OddBadBase64, 2, 1, 0, map[Pick]*string{Current: nil, Newest: nil, 1: one, 2: nil}},
		{simulator.OddVersionWithoutValue, 2, 1, 0, map[Pick]*string{Current: nil, Newest: nil, 1: one, 2: nil}},
		{simulator.OddVersionWithoutValue, 2, 1, 2, map[Pick]*string{Current: one, Newest: none, 1: one, 2: none}},
		{simulator.OddVersionWithoutNumber, 1, 1, 0, map[Pick]*string{Current: two, Newest: two, 1: nil, 2: two, 3: nil}},
		{simulator.OddVersionWithoutNumber, 1, 0, 0, map[Pick]*string{Current: nil, Newest: nil, 1: nil, 2: two}},
		{simulator.OddVersionWithoutNumber, 2, 1, 0, map[Pick]*string{Current: nil, Newest: nil, 1: one, 2: nil}},
		{simulator.OddVersionWithoutNumber, 2, 1, 2, map[Pick]*string{Current: one, Newest: nil, 1: one, 2: nil}},
	} {
		t.Run(fmt.Sprint(c.kind, c.version, c.at, c.inactive), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				c.make(sim)
				for pick, want := range c.want {
					r, err := s.Read(t.Context(), ByName("db"), pick)
					if want == nil {
						require.ErrorIs(t, err, ErrOdd, pick)
						require.ErrorIs(t, err, client.ErrBadAnswer, pick)
						continue
					}
					require.NoError(t, err, pick)
					require.Equal(t, *want, string(r.Version.Value), pick)
				}
			})
		})
	}
}

func (c oddVersion) make(sim *simulator.Simulator) {
	sim.Create("db", []byte("1"))
	time.Sleep(c.at * time.Second)
	sim.AddVersion("db", []byte("2"))
	if c.inactive != 0 {
		sim.SetStatus("db", c.inactive, "inactive")
	}
	sim.MakeOdd("db", c.kind, c.version)
	time.Sleep(time.Second)
}

func TestAWriteComparesWithNoVersionThatIsNotKnownForSure(t *testing.T) {
	for _, c := range []struct {
		oddVersion
		against Pick
		cas     bool // whether the current version is known to be 2
	}{
		{oddVersion{kind: simulator.OddBadBase64, version: 2, at: 1}, Current, true},
		{oddVersion{kind: simulator.OddVersionWithoutValue, version: 2, at: 1}, Newest, true},
		{oddVersion{kind: simulator.OddVersionWithoutNumber, version: 1, at: 1}, Newest, true},
		{oddVersion{kind: simulator.OddVersionWithoutNumber, version: 2, at: 1}, Current, false},
		{oddVersion{kind: simulator.OddVersionWithoutNumber, version: 2, at: 1}, Newest, false},
	} {
		t.Run(fmt.Sprint(c.kind, c.version, c.against), func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
				c.make(sim)
				for _, cas := range []int{0, 1, 2, 3} {
					_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("3"), CAS: new(cas), Against: c.against})
					if c.cas && cas == 2 {
						require.NoError(t, err)
						sim.Delete("db")
						c.make(sim)
						_, err = s.List(t.Context())
						require.NoError(t, err)
						continue
					}
					require.Equal(t, c.cas, errors.As(err, new(*CASError)), cas)
					require.Equal(t, !c.cas, errors.Is(err, ErrOdd), cas)
					require.Len(t, versionsAt(t, sim, "db"), 2, "nothing is written")
				}
				_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2"), Against: c.against})
				if c.version == 1 {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, ErrOdd, "nothing would tell that it was done already")
				}
				require.Len(t, versionsAt(t, sim, "db"), 2)
				_, err = s.Update(t.Context(), ByName("db"), Update{SecretUpdate: client.SecretUpdate{Description: new("d")}})
				require.NoError(t, err, "which compares nothing")
			})
		})
	}
}

func TestAStatusIsSetAndAVersionDeletedOnlyWhereTheNumberIsKnown(t *testing.T) {
	at(t, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		oddVersion{kind: simulator.OddVersionWithoutNumber, version: 2, at: 1}.make(sim)
		require.ErrorIs(t, s.SetStatus(t.Context(), ByName("db"), 2, client.Inactive), ErrOdd)
		require.ErrorIs(t, s.DeleteVersion(t.Context(), ByName("db"), 3), ErrOdd, "it may be the odd one")
		require.NoError(t, s.SetStatus(t.Context(), ByName("db"), 1, client.Inactive))
		require.NoError(t, s.DeleteVersion(t.Context(), ByName("db"), 1))
		versions, err := s.Versions(t.Context(), ByName("db"))
		require.NoError(t, err)
		require.Empty(t, versions.Usable)
		require.Len(t, versions.Odd, 1)
	})
}

func TestAWriteWhoseOutcomeIsNotKnownIsNotGuessedFromAnOddRecord(t *testing.T) {
	for _, cut := range []string{"create_secret", "create_version"} {
		t.Run(cut, func(t *testing.T) {
			at(t, func(t *testing.T, sim *simulator.Simulator, _ *Store) {
				number := 1
				org, user, token, _ := sim.Credentials()
				c, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, token), Transport: afterPost{
					sim.Transport(), func() { sim.MakeOdd("db", simulator.OddBadBase64, number) },
				}})
				require.NoError(t, err)
				s := open(t, sim, new(Registry), Options{Client: c})
				write := func() error {
					_, err := s.Create(t.Context(), "db", Update{Value: []byte("2")})
					return err
				}
				if cut == "create_version" {
					sim.Create("db", []byte("1"))
					value(t, s, "db")
					number = 2
					write = func() error {
						_, err := s.Update(t.Context(), ByName("db"), Update{Value: []byte("2")})
						return err
					}
				}
				sim.AddFault(simulator.Fault{Op: simulator.Op(cut), Kind: simulator.FaultCut, Count: 1, AfterActing: true})
				err = write()
				require.ErrorAs(t, err, new(*UnknownOutcomeError))
				require.Equal(t, 1, sim.Count(simulator.Op(cut)))
			})
		})
	}
}

// afterPost does something when a POST has been answered, or its answer was lost.
type afterPost struct {
	http.RoundTripper
	do func()
}

// RoundTrip implements http.RoundTripper.
func (a afterPost) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := a.RoundTripper.RoundTrip(r)
	if r.Method == http.MethodPost {
		a.do()
	}
	return resp, err
}

func TestAnOddVersionDoesNotReplaceWhatIsKeptForAnOutage(t *testing.T) {
	cachingAt(t, Freshness{StaleIfError: time.Hour, Size: 10}, func(t *testing.T, sim *simulator.Simulator, s *Store) {
		sim.AddVersion("db", []byte("2"))
		require.Equal(t, "2", value(t, s, "db"))
		time.Sleep(time.Second)
		sim.MakeOdd("db", simulator.OddBadBase64, 2)
		for range 2 {
			reading, err := s.Read(t.Context(), ByName("db"), Current)
			require.NoError(t, err)
			require.Equal(t, "2", string(reading.Version.Value))
			require.Positive(t, reading.Stale)
			time.Sleep(time.Second)
		}
	})
}
