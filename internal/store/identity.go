package store

import (
	"sync"
	"sync/atomic"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// identity is what ABEJA has shown to one user of an organization: names, values, and the calls
// that ask for them. Mounts share it only if they send the same credential to the same place.
type identity struct {
	organization *Organization
	names        directory
	values       cache
	large        *lru.Cache[string, int] // by id, secrets that are too large to be read whole, and how many versions they have
	calls        singleflight.Group
	renewing     sync.Map      // names of secrets that are asked for in the background
	refusals     marks         // of names that ABEJA has refused to this user
	revoked      atomic.Uint64 // seq since when ABEJA refused the credential itself

	users map[*Store]bool // guarded by organization.mu
}

func newIdentity(o *Organization) *identity {
	id := &identity{organization: o, users: make(map[*Store]bool)}
	id.large, _ = lru.New[string, int](maxLarge)
	id.names.identity = id
	id.names.init()
	return id
}

// bounds are how many secrets may be kept, and how many bytes of them: the most that one of the stores asks
// for. organization.mu is held.
func (id *identity) bounds() (secrets, bytes int) {
	for s := range id.users {
		n, b := s.fresh.bounds()
		secrets, bytes = max(secrets, n), max(bytes, b)
	}
	return secrets, bytes
}

// since numbers the last event after which older answers about the name must not be used.
func (id *identity) since(name string) uint64 {
	return max(id.organization.marks.of(name), id.refusals.of(name), id.revoked.Load())
}

// refused ends the use of every answer about a name, here and on the mounts' shelves: ABEJA has refused
// to give it, or has given something else.
func (id *identity) refused(name string) {
	refuse := func() {
		id.refusals.set(name, id.organization.seq.Add(1))
		id.values.drop(name)
	}
	refuse()
	keepers := id.organization.keepers(id)
	for _, s := range keepers {
		s.lastGood.remove(name)
	}
	if len(keepers) > 0 {
		refuse() // what was taken from a shelf meanwhile
	}
}

// revoke ends the use of every answer, as refused does: ABEJA no longer accepts the credential.
func (id *identity) revoke() {
	revoke := func() {
		id.revoked.Store(id.organization.seq.Add(1))
		id.values.clear()
	}
	revoke()
	keepers := id.organization.keepers(id)
	for _, s := range keepers {
		s.lastGood.clear()
	}
	if len(keepers) > 0 {
		revoke()
	}
}

// keep keeps an answer, unless it must no longer be used: here, and on the mounts' shelves.
func (id *identity) keep(name string, r record) {
	id.values.keep(name, r, id.since)
	for _, s := range id.organization.keepers(id) {
		s.take(name, r)
	}
}

// inherit takes over the names and values of an identity of the same ABEJA user.
func (id *identity) inherit(from *identity) {
	names, records := from.values.all()
	for i, name := range names {
		id.values.keep(name, records[i], func(name string) uint64 { return max(id.since(name), from.since(name)) })
	}
	id.names.copyFrom(&from.names)
}
