package simulator

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Edits are what somebody does at ABEJA itself, behind the back of those who call. They keep ABEJA's
// rules, are not counted as calls, and panic where ABEJA would refuse: a test that asks for that is wrong.

// Create adds a secret with one version and returns its id.
func (s *Simulator) Create(name string, value []byte) (id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, err := s.create(name, bytes.Clone(value))
	must(err)
	return sec.id
}

// AddVersion adds a version to a secret and returns its number.
func (s *Simulator) AddVersion(name string, value []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.addVersion(s.named(name), bytes.Clone(value))
	must(err)
	return v.number
}

// Delete removes a secret.
func (s *Simulator) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(s.named(name))
}

// Rename gives a secret another name, under its id.
func (s *Simulator) Rename(name, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec := s.named(name)
	if s.byName[to] != nil {
		panic(fmt.Sprintf("there is a secret %q", to))
	}
	delete(s.byName, name)
	sec.name, s.byName[to] = to, sec
	s.sortList()
}

// SetStatus makes a version, given by its number, "active" or "inactive".
func (s *Simulator) SetStatus(name string, number int, status string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status != active && status != inactive {
		panic(fmt.Sprintf("status %q must be active or inactive", status))
	}
	for _, v := range s.named(name).versions {
		if v.number == number {
			v.setStatus(status)
			return
		}
	}
	panic(fmt.Sprintf("secret %q has no version %d", name, number))
}

// SetExpiry sets when a secret expires; the zero time is never.
func (s *Simulator) SetExpiry(name string, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.named(name).expires = t
}

// Fill adds n secrets with made-up values, named demo_00001, demo_00002 and so on. A second Fill goes on
// where the first ended.
func (s *Simulator) Fill(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.filled++
		sec, err := s.newSecret(fmt.Sprintf("demo_%05d", s.filled), fmt.Appendf(nil, "made-up value %d", s.filled))
		must(err)
		s.list = append(s.list, sec)
	}
	s.sortList()
}

// Len tells how many secrets there are.
func (s *Simulator) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.list)
}

// Snapshot is what ABEJA holds of a secret at one moment.
type Snapshot struct {
	ID                     string
	Name                   string
	Description            string    // "" when there is none
	ExpiredAt              time.Time // zero when there is none
	IntegrationServiceType string
	IntegrationServiceIDs  []string
	Versions               []VersionSnapshot // oldest first
}

// VersionSnapshot is what ABEJA holds of a version at one moment.
type VersionSnapshot struct {
	ID     string
	Number int
	Status string
	Value  []byte
}

// Secret tells what ABEJA holds under a name.
func (s *Simulator) Secret(name string) (Snapshot, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sec, ok := s.byName[name]
	if !ok {
		return Snapshot{}, false
	}
	out := Snapshot{
		ID:                     sec.id,
		Name:                   sec.name,
		Description:            sec.description,
		ExpiredAt:              sec.expires,
		IntegrationServiceType: sec.serviceType,
		IntegrationServiceIDs:  sec.serviceIDs,
	}
	for _, v := range sec.versions {
		out.Versions = append(out.Versions, VersionSnapshot{v.id, v.number, v.status, bytes.Clone(v.value)})
	}
	return out, true
}

func (s *Simulator) named(name string) *secret {
	sec, ok := s.byName[name]
	if !ok {
		panic(fmt.Sprintf("there is no secret %q", name))
	}
	return sec
}

func must(err *apiError) {
	if err != nil {
		panic(errors.New(err.description))
	}
}
