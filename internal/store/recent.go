package store

import (
	"sync"
	"time"
)

const (
	// listLag is how long a list may lack what was created, or show what was deleted. ABEJA keeps
	// values in AWS Secrets Manager, whose lists are eventually consistent; AWS states no bound, and
	// speaks of seconds to minutes.
	listLag = time.Minute
	// recentLife is how long a change is remembered: while a listing that began within listLag
	// after it may still be running.
	recentLife = listLag + maxListing
)

// recent is what was created and deleted through the engine within recentLife: it outlives lists
// that lag. The zero value is ready.
type recent struct {
	mu      sync.Mutex
	created map[string]creation  // by name, the last one
	deleted map[string]time.Time // by id
	swept   time.Time
}

// creation is a secret that was made for a user of ABEJA. Others may not be shown it: for their
// mounts it is a hint, which ABEJA confirms or not.
type creation struct {
	item   Item
	by     *identity
	at     time.Time
	listed bool // to its user: if it is missing in a later list it was deleted
}

// missing reports whether lists for the identity that began since then may lack it wrongly.
func (c creation) missing(of *identity, since time.Time) bool {
	return c.by == of && !c.listed && c.at.After(since)
}

func (r *recent) create(by *identity, item Item) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep()
	r.created[item.Name] = creation{item: item, by: by, at: time.Now()}
}

func (r *recent) delete(name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep()
	r.deleted[id] = time.Now()
	if r.created[name].item.ID == id {
		delete(r.created, name)
	}
}

// disown forgets that a secret was made: ABEJA no longer shows it to the user that it was made for. What
// it returns to another says nothing.
func (r *recent) disown(by *identity, name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.created[name]; c.by == by && c.item.ID == id {
		delete(r.created, name)
	}
}

// shown takes in that a list for its user has what was made. Others, whose lists may be older, still
// find it here.
func (r *recent) shown(name, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.created[name]; ok && c.item.ID == id {
		c.listed = true
		r.created[name] = c
	}
}

// made returns the secret that was created under the name since then.
func (r *recent) made(name string, since time.Time) (creation, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.created[name]
	return c, ok && c.at.After(since)
}

// overrules reports whether a listing for the identity that began then is wrong about an item:
// the secret was deleted, or its name has another one.
func (r *recent) overrules(of *identity, begun time.Time, item *Item) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := begun.Add(-listLag)
	if at, gone := r.deleted[item.ID]; gone && at.After(since) {
		return true
	}
	c, ok := r.created[item.Name]
	return ok && c.item.ID != item.ID && c.missing(of, since)
}

// changes are what a listing for the identity must show and must not, if it began then.
func (r *recent) changes(of *identity, begun time.Time) (created map[string]Item, deleted map[string]bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	since := begun.Add(-listLag)
	created, deleted = make(map[string]Item), make(map[string]bool)
	for name, c := range r.created {
		if c.missing(of, since) {
			created[name] = c.item
		}
	}
	for id, at := range r.deleted {
		if at.After(since) {
			deleted[id] = true
		}
	}
	return created, deleted
}

// sweep forgets what is too old to matter; r.mu is held.
func (r *recent) sweep() {
	now := time.Now()
	if r.created == nil {
		r.created, r.deleted, r.swept = make(map[string]creation), make(map[string]time.Time), now
	}
	if now.Sub(r.swept) < listLag {
		return
	}
	r.swept = now
	for name, c := range r.created {
		if now.Sub(c.at) > recentLife {
			delete(r.created, name)
		}
	}
	for id, at := range r.deleted {
		if now.Sub(at) > recentLife {
			delete(r.deleted, id)
		}
	}
}
