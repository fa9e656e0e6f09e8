package store

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Registry holds what outlives a config and is shared by mounts. A process has one; its zero value
// is ready.
type Registry struct {
	mu            sync.Mutex
	organizations map[[2]string]*Organization
	room          *client.Room
}

// room is how many bytes of ABEJA's answers the process holds at the same time, and roomOfOne how many those of
// one organization may have: while the answers of one trickle, the others still have the rest. Each byte takes
// two or three until it is decoded.
const (
	room      = 32 << 20
	roomOfOne = 16 << 20
)

// Organization returns the organization with this id at the API with this URL. It lives as long as
// the registry: a writer must meet the lock of another whatever was configured between them.
func (r *Registry) Organization(apiURL, id string) *Organization {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{apiURL, id}
	o := r.organizations[key]
	if o == nil {
		if r.organizations == nil {
			r.organizations, r.room = make(map[[2]string]*Organization), client.NewRoom(room, nil)
		}
		o = &Organization{limiter: rate.NewLimiter(rate.Inf, 1), room: client.NewRoom(roomOfOne, r.room), breaker: newBreaker()}
		r.organizations[key] = o
	}
	return o
}

// Organization is what all mounts of an organization share, whoever their ABEJA users are: who
// writes, what was written, and how fast ABEJA is asked. Nothing in it tells one mount what ABEJA
// has shown to another's user.
type Organization struct {
	limiter *rate.Limiter
	room    *client.Room
	breaker *breaker
	locks   locks  // of writers, by the secret's name
	marks   marks  // of writes, by the secret's name
	recent  recent // what was created and deleted through the engine

	// seq orders calls and marks: a call that begins after a mark has a number as high or higher.
	seq       atomic.Uint64
	lastWrite atomic.Uint64 // seq of the last mark of a write

	mu         sync.Mutex
	identities map[[sha256.Size]byte]*identity
	limits     map[*Store]float64 // requests per second that each store allows, 0 for any number
}

// Limiter is for the clients of the organization: requests count together, whichever mount sends
// them. The lowest limit of the stores that are open holds for all.
func (o *Organization) Limiter() *rate.Limiter { return o.limiter }

// Room is for the clients of the organization: it bounds the bytes of answers that all mounts of the process
// hold at the same time.
func (o *Organization) Room() *client.Room { return o.room }

// Gate is for the clients of the organization: while ABEJA fails it lets through one request now and
// then, whichever mount sends it.
func (o *Organization) Gate() client.Gate { return o.breaker }

// join gives a store its share of the organization: the identity of its client.
func (o *Organization) join(s *Store, requestsPerSecond float64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.identities == nil {
		o.identities, o.limits = make(map[[sha256.Size]byte]*identity), make(map[*Store]float64)
	}
	key := s.client.Fingerprint()
	id := o.identities[key]
	if id == nil {
		id = newIdentity(o)
		o.identities[key] = id
	}
	id.users[s] = true
	id.values.resize(id.bounds())
	s.identity = id
	o.limits[s] = requestsPerSecond
	o.limit()
}

// leave takes the store's share back. An identity that no store uses any longer is forgotten.
func (o *Organization) leave(s *Store) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := s.identity
	delete(id.users, s)
	if len(id.users) == 0 {
		delete(o.identities, s.client.Fingerprint())
	} else {
		id.values.resize(id.bounds())
	}
	delete(o.limits, s)
	o.limit()
}

// limit sets the limiter to the lowest limit; o.mu is held.
func (o *Organization) limit() {
	lowest := 0.0
	for _, l := range o.limits {
		if l > 0 && (lowest == 0 || l < lowest) {
			lowest = l
		}
	}
	if lowest == 0 {
		o.limiter.SetLimit(rate.Inf)
		return
	}
	o.limiter.SetLimit(rate.Limit(lowest))
	o.limiter.SetBurst(max(1, int(lowest)))
}

func (o *Organization) each(do func(*identity)) {
	o.mu.Lock()
	all := make([]*identity, 0, len(o.identities))
	for _, id := range o.identities {
		all = append(all, id)
	}
	o.mu.Unlock()
	for _, id := range all {
		do(id)
	}
}

// keepers are the stores that keep last good values: all, or those of one identity.
func (o *Organization) keepers(of *identity) []*Store {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []*Store
	for _, id := range o.identities {
		for s := range id.users {
			if s.lastGood != nil && (of == nil || of == id) {
				all = append(all, s)
			}
		}
	}
	return all
}

// outdate ends the use of every answer about the name that was asked for before now, here and on the
// mounts' shelves.
func (o *Organization) outdate(name string) {
	o.mark(name)
	keepers := o.keepers(nil)
	for _, s := range keepers {
		s.lastGood.remove(name)
	}
	if len(keepers) > 0 {
		o.mark(name) // of what was taken from a shelf meanwhile
	}
}

// mark ends the use of what is kept in memory about the name, and of every answer that was asked for
// before now: whoever compares its seq with the mark's finds it too old.
func (o *Organization) mark(name string) {
	seq := o.seq.Add(1)
	o.marks.set(name, seq)
	for { // lastWrite becomes the larger of both
		last := o.lastWrite.Load()
		if last >= seq || o.lastWrite.CompareAndSwap(last, seq) {
			break
		}
	}
	o.each(func(id *identity) { id.values.drop(name) })
}

// created tells every mount that a store has made a secret.
func (o *Organization) created(by *identity, item Item) {
	o.recent.create(by, item)
	by.names.learn(item.Name, item.ID)
}

// deleted tells every mount that a secret was deleted.
func (o *Organization) deleted(name, id string) {
	o.recent.delete(name, id)
	o.each(func(i *identity) { i.names.forget(id) })
}
