package simulator

import (
	"fmt"
	"slices"
)

// Odd says what is not as ABEJA documents it in the record of a secret or of a version. All else of the
// record stays as it is, and so do all other records.
type Odd string

// What can be odd: the first two in a secret's record, the others in a version's.
const (
	OddTimeWithoutZone      Odd = "time_without_zone"      // created_at is "2024-01-02T03:04:05.678901"
	OddNullName             Odd = "null_name"              // the name is null in the list of secrets
	OddVersionWithoutNumber Odd = "version_without_number" // there is no version
	OddVersionWithoutValue  Odd = "version_without_value"  // there is no value, although it is asked for
	OddBadBase64            Odd = "bad_base64"             // the value is not base64
)

var oddSecrets, oddVersions = []Odd{OddTimeWithoutZone, OddNullName}, []Odd{OddVersionWithoutNumber, OddVersionWithoutValue, OddBadBase64}

type oddity struct {
	kind    Odd
	version int // 0 for the secret itself
}

// MakeOdd makes the record of a secret odd, or of its version with that number, until the secret is
// deleted. A kind for versions takes a version, a kind for secrets takes 0. It panics if there is none.
func (s *Simulator) MakeOdd(name string, kind Odd, version int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.makeOdd(name, kind, version); err != nil {
		panic(err)
	}
}

func (s *Simulator) makeOdd(name string, kind Odd, number int) error {
	sec, ok := s.byName[name]
	switch {
	case !ok:
		return fmt.Errorf("there is no secret %q", name)
	case slices.Contains(oddVersions, kind):
		if !slices.ContainsFunc(sec.versions, func(v *version) bool { return v.number == number }) {
			return fmt.Errorf("secret %q has no version %d", name, number)
		}
	case !slices.Contains(oddSecrets, kind):
		return fmt.Errorf("kind %q must be one of %v, %v", kind, oddSecrets, oddVersions)
	case number != 0:
		return fmt.Errorf("kind %q takes no version", kind)
	}
	sec.odd = append(sec.odd, oddity{kind, number})
	return nil
}

// is reports whether the record of a secret is odd in that way, or that of its version with that number.
func (sec *secret) is(kind Odd, version int) bool {
	return slices.Contains(sec.odd, oddity{kind, version})
}
