package store

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// lookupInterval is how often at most an unknown name makes the directory load again.
	lookupInterval = 5 * time.Second
	// existsInterval is the same for Exists, which Vault asks before it looks at policies:
	// whoever has a token, or none that is of use, can cause it.
	existsInterval = time.Minute
	// confirmBurst is how many listings beyond one each lookupInterval may be caused by answers of
	// ABEJA that contradict the directory: a secret that is withheld, a name that is refused.
	confirmBurst = 20
	// listTimeout bounds a listing that no caller waits for any more.
	listTimeout = 5 * time.Minute
)

// directory knows the names and ids of the organization's secrets, never their values. It is
// filled by complete listings, one at a time, and kept true by what is done through the store.
type directory struct {
	list  func(ctx context.Context) (*Listing, error)
	stats *Stats

	mu     sync.Mutex
	ids    map[string]string    // by name; nil until the first listing has succeeded
	names  map[string]string    // by id
	expiry map[string]time.Time // by id, of those that have one
	begun  time.Time            // when the last listing began
	listed time.Time            // when the one began from which the names are
	doubts *rate.Limiter        // of confirm
	err    error                // of the last listing
	writes uint64               // counts what was done through the store

	running *listing
	next    *listing // begins when running has ended, for those who need a younger one
	changes []change // done through the store since running began, which may not have seen them
}

// listing is one complete listing and whoever waits for it.
type listing struct {
	done    chan struct{}
	awaited atomic.Bool
	writes  uint64 // directory.writes when it began
	result  *Listing
	err     error
}

// change is a name that now has an id, or none when id is empty.
type change struct{ name, id string }

// find gives the id of a name; one that is unknown makes the directory load, at most every
// lookupInterval.
func (d *directory) find(ctx context.Context, r Ref) (name, id string, err error) {
	if name, id, ok := d.peek(r); ok {
		return name, id, nil
	}
	if err := d.load(ctx, lookupInterval); err != nil {
		return "", "", err
	}
	if name, id, ok := d.peek(r); ok {
		return name, id, nil
	}
	return "", "", ErrNotFound
}

// exists says whether a name is known, and does its best to know.
func (d *directory) exists(ctx context.Context, name string) bool {
	_, _, known := d.peek(ByName(name))
	if !known && d.load(ctx, existsInterval) == nil {
		_, _, known = d.peek(ByName(name))
	}
	return known
}

// peek answers from what is known now.
func (d *directory) peek(r Ref) (name, id string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.id != "" {
		name, ok = d.names[r.id]
		return name, r.id, ok
	}
	id, ok = d.ids[r.name]
	return r.name, id, ok
}

// load waits for the listing that is under way, or starts one if the last began interval or
// longer ago. Otherwise it gives the error of the last one.
func (d *directory) load(ctx context.Context, interval time.Duration) error {
	d.mu.Lock()
	l := d.running
	if l == nil && (d.begun.IsZero() || time.Since(d.begun) >= interval) {
		l = d.start()
	}
	err := d.err
	d.mu.Unlock()
	if l == nil {
		return err
	}
	_, err = d.wait(ctx, l)
	return err
}

// warm starts the first listing, for which nobody waits.
func (d *directory) warm() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun.IsZero() {
		d.start()
	}
}

// current lists, or joins a listing that began after the last write through the store.
func (d *directory) current(ctx context.Context) (*Listing, error) {
	d.mu.Lock()
	l := d.running
	switch {
	case l == nil:
		l = d.start()
	case l.writes != d.writes:
		l = d.follow()
	}
	d.mu.Unlock()
	return d.wait(ctx, l)
}

// refresh lists, beginning now or later.
func (d *directory) refresh(ctx context.Context) (*Listing, error) {
	d.mu.Lock()
	var l *listing
	if d.running == nil {
		l = d.start()
	} else {
		l = d.follow()
	}
	d.mu.Unlock()
	return d.wait(ctx, l)
}

// confirm lists anew because ABEJA has contradicted what is known, if that has not been so too
// often: callers can cause such answers at will. What is known then is at most lookupInterval old.
func (d *directory) confirm(ctx context.Context) error {
	d.mu.Lock()
	l := d.next
	if l == nil && d.doubts.Allow() {
		if d.running == nil {
			l = d.start()
		} else {
			l = d.follow()
		}
	} else if l == nil {
		l = d.running
	}
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	_, err := d.wait(ctx, l)
	return err
}

// hasExpired says whether, and when, a secret expired, as the last listing told.
func (d *directory) hasExpired(id string) (at time.Time, expired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.expiry[id]
	return at, ok && at.Before(time.Now())
}

// start begins a listing; d.mu is held and none is running.
func (d *directory) start() *listing {
	l := &listing{done: make(chan struct{})}
	d.begin(l)
	go d.run(l)
	return l
}

// follow gives the listing after the one that is running; d.mu is held.
func (d *directory) follow() *listing {
	if d.next == nil {
		d.next = &listing{done: make(chan struct{})}
	}
	return d.next
}

// begin makes l the listing that is running; d.mu is held.
func (d *directory) begin(l *listing) {
	d.running, d.next, d.changes = l, nil, nil
	d.begun = time.Now()
	l.writes = d.writes
}

// run lists for l, then for whoever came too late for it.
func (d *directory) run(l *listing) {
	for l != nil {
		ctx, cancel := context.WithTimeout(context.Background(), listTimeout)
		l.err = d.stats.recovering(func() (err error) {
			l.result, err = d.list(ctx)
			return err
		})()
		cancel()
		d.mu.Lock()
		d.install(l)
		close(l.done)
		if l = d.next; l != nil {
			d.begin(l)
		}
		d.mu.Unlock()
	}
}

// install takes over what l has found; d.mu is held.
func (d *directory) install(l *listing) {
	d.running = nil
	if d.err = l.err; l.err != nil {
		d.stats.FailedListings.Add(1)
		return
	}
	if l.result.Incomplete {
		d.stats.IncompleteListings.Add(1)
	} else {
		d.stats.CompleteListings.Add(1)
	}
	d.listed = d.begun
	d.ids = make(map[string]string, len(l.result.Items))
	d.names = make(map[string]string, len(l.result.Items))
	d.expiry = make(map[string]time.Time)
	for _, item := range l.result.Items {
		d.ids[item.Name] = item.ID
		d.names[item.ID] = item.Name
		if !item.ExpiredAt.IsZero() {
			d.expiry[item.ID] = item.ExpiredAt
		}
	}
	for _, c := range d.changes {
		d.set(c)
	}
}

// record keeps the directory true after a name was given an id through the store, or none when
// the id is empty.
func (d *directory) record(name, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
	c := change{name, id}
	d.set(c)
	if d.running != nil {
		d.changes = append(d.changes, c)
	}
}

// wrote tells listings that are under way that they may be older than a write.
func (d *directory) wrote() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes++
}

func (d *directory) set(c change) {
	if d.ids == nil {
		return
	}
	delete(d.names, d.ids[c.name])
	delete(d.ids, c.name)
	if c.id != "" {
		d.ids[c.name] = c.id
		d.names[c.id] = c.name
	}
}

// wait gives the listing's outcome, unless the caller gives up first.
func (d *directory) wait(ctx context.Context, l *listing) (*Listing, error) {
	if l.awaited.Swap(true) {
		d.stats.Coalesced.Add(1)
	}
	select {
	case <-l.done:
		return l.result, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
