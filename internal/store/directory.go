package store

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// lookupInterval and lookupBurst are the token bucket of listings for names that are unknown. A
	// person who has made some secrets at ABEJA finds each of them at once; a loop of absent names
	// costs one listing in 5 s, which of 100,000 secrets are 1,000 requests.
	lookupInterval = 5 * time.Second
	lookupBurst    = 3
	// existsInterval is how often at most Exists lists, and existsPage how long it waits for each page that
	// this may take, if that is longer: 100 requests a minute on average. Vault asks it before it looks at policies:
	// whoever has a token, or none that is of use, can cause it.
	existsInterval = time.Minute
	existsPage     = 600 * time.Millisecond
	// confirmBurst is how many listings beyond one each lookupInterval may be caused by deletes of
	// what is not known, and by answers of ABEJA that contradict the directory: a secret that is
	// withheld, a name that is refused.
	confirmBurst = 20
	// unconfirmed is how long Exists believes a name that nothing has confirmed. Until it learns
	// better, Vault asks for the wrong capability for a secret that was deleted at ABEJA.
	unconfirmed = 15 * time.Minute
	// recheckInterval and recheckBurst bound the calls that confirm a name for Exists.
	recheckInterval = time.Second
	recheckBurst    = 10
	// maxListing bounds a listing from its first page to its last, whoever waits for it: 10,000 pages at
	// three in a second take as long. One that gets no page for a time ends with the tries of that page.
	maxListing = time.Hour
	// keepPages is how long the pages of a listing that failed are kept for another to go on with, if
	// there are at least enoughPages of them: fewer are soon read anew, and then tell more. A listing that
	// began more than oldPages ago is not kept.
	keepPages, oldPages = 5 * time.Minute, 10 * time.Minute
	enoughPages         = maxWindow
)

// directory knows the names and ids of the secrets that an ABEJA user is shown, never their values.
// Each page of a listing adds and corrects; only a complete listing removes. What is done through
// the engine is known at once.
type directory struct {
	identity *identity

	mu        sync.Mutex
	ids       map[string]string    // by name
	names     map[string]string    // by id
	expiry    map[string]time.Time // by id, of those that have one
	confirmed map[string]time.Time // by name, since the last complete listing
	odd       map[string]bool      // by id, what could not be understood in full when it was last listed
	oddRead   map[string]bool      // the same, when it was last read
	lost      int                  // records of the last listing that have no id
	begun     time.Time            // when the last listing began
	listed    time.Time            // when the last complete one began
	err       error                // why a name may be missing of what the last listing gave
	edition   uint64               // counts changes of ids

	lookups, doubts, rechecks *rate.Limiter

	begins  uint64 // how many listings have begun
	running *listing
	failed  *listing      // of which the pages are kept
	drop    *time.Timer   // ends that
	next    *listing      // begins when running has ended, for those who need a newer one
	listing bool          // whether run is at work
	hurry   chan struct{} // tells run that next may begin earlier
}

// listing is one listing of all secrets and whoever waits for it.
type listing struct {
	by        *Store
	notBefore time.Time
	atLeast   uint64 // what number it must have
	number    uint64 // among the listings of the directory: the later one began, the higher
	begun     time.Time
	seq       uint64 // of the organization when it began
	read      *reading[Item]
	awaited   atomic.Bool
	page      chan struct{} // closed at each page; guarded by directory.mu
	done      chan struct{}
	result    *Listing
	err       error
}

func (d *directory) init() {
	d.ids, d.names = make(map[string]string), make(map[string]string)
	d.expiry, d.confirmed = make(map[string]time.Time), make(map[string]time.Time)
	d.oddRead = make(map[string]bool)
	d.hurry = make(chan struct{}, 1)
	d.lookups = rate.NewLimiter(rate.Every(lookupInterval), lookupBurst)
	d.doubts = rate.NewLimiter(rate.Every(lookupInterval), confirmBurst)
	d.rechecks = rate.NewLimiter(rate.Every(recheckInterval), recheckBurst)
}

// find returns name and id of a secret. For one that is unknown it lists, as often as the token
// bucket allows; a running listing that meets the name is enough.
func (d *directory) find(ctx context.Context, s *Store, r Ref) (name, id string, err error) {
	if name, id, ok := d.hint(r); ok {
		return name, id, nil
	}
	d.mu.Lock()
	begins, l := d.begins, d.running
	if l == nil {
		l, err = d.lookup(s, 0)
	}
	d.mu.Unlock()
	for l != nil {
		var met bool
		met, err = d.meet(ctx, s, l, r)
		if name, id, ok := d.peek(r); ok || ctx.Err() != nil {
			return name, id, ctx.Err()
		}
		switch {
		case met: // and deleted since
			l = nil
		case d.abandoned(s, l, err):
			l = d.again(s, l)
		case l.number <= begins: // what it has met is enough, but what it has not may have been made since
			d.mu.Lock()
			l, err = d.lookup(s, begins+1)
			d.mu.Unlock()
		default:
			if err == nil && l.result.Incomplete {
				err = ErrIncomplete
			}
			l = nil
		}
	}
	if name, id, ok := d.peek(r); ok { // by a listing that another caller began
		return name, id, nil
	}
	if err == nil {
		err = ErrNotFound
	}
	return "", "", err
}

// lookup returns a listing with a number of at least atLeast for a name that is unknown, or, where there is
// none and the token bucket is empty, why the name may be missing; d.mu is held.
func (d *directory) lookup(s *Store, atLeast uint64) (*listing, error) {
	if l := d.running; l != nil && l.number >= atLeast {
		return l, nil
	}
	l := d.upcoming(atLeast)
	if l == nil && (d.begun.IsZero() || d.lookups.Allow()) {
		l = d.follow(s, time.Now(), atLeast)
	}
	return l, d.err
}

// upcoming returns the listing that begins next, if there is one; d.mu is held.
func (d *directory) upcoming(atLeast uint64) *listing {
	if d.next != nil {
		d.next.atLeast = max(d.next.atLeast, atLeast)
	}
	return d.next
}

// certain is find for those who take an absence for granted: it is told only on the word of a
// complete listing that began after the call. Where the token bucket is empty it waits for its turn,
// together with all others.
func (d *directory) certain(ctx context.Context, s *Store, r Ref) (name, id string, err error) {
	if name, id, ok := d.hint(r); ok {
		return name, id, nil
	}
	d.mu.Lock()
	l := d.upcoming(d.begins + 1)
	if l == nil {
		l = d.follow(s, time.Now().Add(d.doubts.Reserve().Delay()), d.begins+1)
	}
	d.mu.Unlock()
	result, err := d.wait(ctx, s, l)
	if err != nil {
		return "", "", err
	}
	if name, id, ok := d.peek(r); ok {
		return name, id, nil
	}
	switch {
	case result.Incomplete:
		return "", "", ErrIncomplete
	case result.unnamed():
		return "", "", ErrUnnamed
	}
	return "", "", ErrNotFound
}

// exists reports whether a name is known, and does its best to know.
func (d *directory) exists(ctx context.Context, s *Store, name string) bool {
	if _, id, known := d.peek(ByName(name)); known {
		d.recheck(s, name, id)
		return true
	}
	d.mu.Lock()
	l := d.running
	if l == nil {
		_, made := d.organization().recent.made(name, d.begun)
		pages := time.Duration(len(d.ids) / (pageSize - overlap))
		if d.begun.IsZero() || made || time.Since(d.begun) >= max(existsInterval, pages*existsPage) {
			l = d.follow(s, time.Now(), 0)
		}
	}
	d.mu.Unlock()
	if l != nil {
		d.meet(ctx, s, l, ByName(name))
	}
	_, _, known := d.peek(ByName(name))
	return known
}

// recheck asks ABEJA in the background about a name that nothing has confirmed for long.
func (d *directory) recheck(s *Store, name, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := d.confirmed[name]
	if d.listed.After(last) {
		last = d.listed
	}
	if time.Since(last) < unconfirmed || !d.rechecks.Allow() {
		return
	}
	d.confirmed[name] = time.Now()
	go s.stats.recovering(func() error {
		ctx, cancel := s.background(context.Background(), callTimeout)
		defer cancel()
		return s.confirm(ctx, name, id)
	})()
}

// hint answers from what is known now, and from what another user's mount has made, which a list may not
// show yet: ABEJA decides whether it is shown here.
func (d *directory) hint(r Ref) (name, id string, ok bool) {
	if name, id, ok := d.peek(r); ok || r.id != "" {
		return name, id, ok
	}
	c, ok := d.organization().recent.made(r.name, time.Now().Add(-listLag))
	return r.name, c.item.ID, ok
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

// warm starts the first listing, for which nobody waits.
func (d *directory) warm(s *Store) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun.IsZero() && d.next == nil && len(d.ids) == 0 {
		d.follow(s, time.Now(), 0)
	}
}

// restore takes in names that a process knew before this one. They are only hints, which ABEJA confirms
// or not; a complete listing knows better.
func (d *directory) restore(ids map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.listed.IsZero() {
		return
	}
	for name, id := range ids {
		if d.ids[name] == "" && d.names[id] == "" {
			d.set(name, id)
		}
	}
}

// count is how many names are known.
func (d *directory) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ids)
}

// known returns the names that begin with the prefix, with their ids, if any name has changed since
// the edition that is given, and the edition that they are.
func (d *directory) known(prefix string, since uint64) (ids map[string]string, edition uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.edition == since {
		return nil, since
	}
	ids = make(map[string]string)
	for name, id := range d.ids {
		if strings.HasPrefix(name, prefix) {
			ids[name] = id
		}
	}
	return ids, d.edition
}

// listedIDs returns the ids of the last complete listing and of what was made since, and when it began.
// The time is zero where a secret may be missing.
func (d *directory) listedIDs() (ids []string, began time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost > 0 {
		return nil, time.Time{}
	}
	for id := range d.names {
		ids = append(ids, id)
	}
	for id := range d.odd {
		ids = append(ids, id)
	}
	return ids, d.listed
}

// current lists, or joins a listing that began after the last write through the engine.
func (d *directory) current(ctx context.Context, s *Store) (*Listing, error) {
	d.mu.Lock()
	l, last := d.running, d.organization().lastWrite.Load()
	switch {
	case l != nil && l.seq >= last:
	case l == nil && d.failed != nil && d.failed.seq >= last:
		l = d.follow(s, time.Now(), 0)
	default:
		l = d.follow(s, time.Now(), d.begins+1)
	}
	d.mu.Unlock()
	return d.wait(ctx, s, l)
}

// refresh lists, beginning now or later.
func (d *directory) refresh(ctx context.Context, s *Store) (*Listing, error) {
	d.mu.Lock()
	l := d.follow(s, time.Now(), d.begins+1)
	d.mu.Unlock()
	return d.wait(ctx, s, l)
}

// doubt lists anew because ABEJA has contradicted what is known, if that has not been so too
// often: callers can cause such answers at will. What is known then is at most lookupInterval old.
func (d *directory) doubt(ctx context.Context, s *Store) error {
	d.mu.Lock()
	l := d.upcoming(d.begins + 1)
	if l == nil && d.doubts.Allow() {
		l = d.follow(s, time.Now(), d.begins+1)
	} else if l == nil {
		l = d.running
	}
	d.mu.Unlock()
	if l == nil {
		return nil
	}
	_, err := d.wait(ctx, s, l)
	return err
}

// hasExpired reports whether, and when, a secret expired, as the last listing told.
func (d *directory) hasExpired(id string) (at time.Time, expired bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ok := d.expiry[id]
	return at, ok && at.Before(time.Now())
}

// learn takes in that a name has this id.
func (d *directory) learn(name, id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.confirmed[name] = time.Now()
	d.set(name, id)
}

// read takes in whether all of a secret could be understood.
func (d *directory) read(id string, odd bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if odd {
		d.oddRead[id] = true
	} else {
		delete(d.oddRead, id)
	}
}

// forget takes in that a secret is no longer there.
func (d *directory) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unset(id)
	delete(d.odd, id)
	delete(d.oddRead, id)
}

// set gives a name an id; d.mu is held.
func (d *directory) set(name, id string) {
	if old, ok := d.ids[name]; ok && old != id {
		delete(d.names, old)
	}
	if old, ok := d.names[id]; ok && old != name {
		delete(d.ids, old)
	}
	if d.ids[name] != id {
		d.edition++
	}
	d.ids[name], d.names[id] = id, name
}

// unset takes an id away; d.mu is held.
func (d *directory) unset(id string) {
	if name, ok := d.names[id]; ok {
		d.edition++
		delete(d.names, id)
		delete(d.ids, name)
	}
}

func (d *directory) organization() *Organization { return d.identity.organization }

// follow returns the listing that begins next, at the latest then, with a number of at least atLeast; d.mu is
// held. What nothing hinders begins at once.
func (d *directory) follow(s *Store, notBefore time.Time, atLeast uint64) *listing {
	l := d.upcoming(atLeast)
	switch {
	case l == nil:
		l = &listing{by: s, notBefore: notBefore, atLeast: atLeast, page: make(chan struct{}), done: make(chan struct{})}
		d.next = l
		if d.running == nil && !notBefore.After(time.Now()) {
			d.begin()
		}
		if !d.listing {
			d.listing = true
			go d.run()
		}
	case notBefore.Before(l.notBefore):
		l.notBefore = notBefore
		select {
		case d.hurry <- struct{}{}:
		default:
		}
	}
	return l
}

// begin makes the next listing the one that is running; d.mu is held. If it need not be newer it goes on where
// another has failed, as if it had begun with that one.
func (d *directory) begin() {
	l, f := d.next, d.failed
	d.running, d.next = l, nil
	d.begun = time.Now()
	if f != nil && f.number >= l.atLeast {
		l.number, l.begun, l.seq, l.read = f.number, f.begun, f.seq, f.read
		d.letGo()
		return
	}
	d.begins++
	l.number, l.begun, l.seq, l.read = d.begins, d.begun, d.organization().seq.Load(), new(reading[Item])
}

// keep keeps the pages of a listing that has failed, if they are worth it, in place of another's; d.mu is held.
func (d *directory) keep(l *listing) {
	if len(l.read.pages) < enoughPages || time.Since(l.begun) > oldPages {
		return
	}
	d.letGo()
	d.failed = l
	d.drop = time.AfterFunc(keepPages, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.failed == l {
			d.letGo()
		}
	})
}

// letGo no longer keeps the pages of a listing; d.mu is held.
func (d *directory) letGo() {
	if d.failed != nil {
		d.drop.Stop()
		d.failed, d.drop = nil, nil
	}
}

// run lists until nobody waits for a listing.
func (d *directory) run() {
	for {
		d.mu.Lock()
		for d.running == nil && d.next != nil {
			wait := time.Until(d.next.notBefore)
			if wait <= 0 {
				d.begin()
				break
			}
			d.mu.Unlock()
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-d.hurry:
			}
			timer.Stop()
			d.mu.Lock()
		}
		l := d.running
		d.listing = l != nil
		d.mu.Unlock()
		if l == nil {
			return
		}
		ctx, cancel := l.by.background(context.Background(), maxListing-time.Since(l.begun))
		l.err = l.by.stats.recovering(func() (err error) {
			l.result, err = l.by.list(ctx, l.read, func(items []Item) { d.met(l, items) })
			return err
		})()
		if l.err != nil && ctx.Err() == context.Canceled {
			l.err = context.Canceled // the mount that began it is gone: whatever broke, broke of that
		}
		cancel()
		d.install(l)
	}
}

// met takes in a page of the running listing.
func (d *directory) met(l *listing, items []Item) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range items {
		item := &items[i]
		if ValidName(item.Name) && !d.organization().recent.overrules(d.identity, l.begun, item) {
			d.set(item.Name, item.ID)
			d.expire(item)
		}
	}
	close(l.page)
	l.page = make(chan struct{})
}

func (d *directory) expire(item *Item) {
	if item.ExpiredAt.IsZero() {
		delete(d.expiry, item.ID)
	} else {
		d.expiry[item.ID] = item.ExpiredAt
	}
}

// install takes over what l has found. What takes long is done before the lock is taken: the hot
// path needs it.
func (d *directory) install(l *listing) {
	stats := l.by.stats
	complete := l.err == nil && !l.result.Incomplete
	var ids, names map[string]string
	var expiry map[string]time.Time
	var odd map[string]bool
	unsure := l.err
	switch {
	case l.err != nil:
		stats.FailedListings.Add(1)
	case l.result.Incomplete:
		stats.IncompleteListings.Add(1)
		unsure = ErrIncomplete
	default:
		stats.CompleteListings.Add(1)
		ids, names = make(map[string]string, len(l.result.Items)), make(map[string]string, len(l.result.Items))
		expiry = make(map[string]time.Time)
		odd = make(map[string]bool)
		for _, item := range l.result.Items {
			if item.odd {
				odd[item.ID] = true
			}
			if !ValidName(item.Name) {
				continue
			}
			ids[item.Name], names[item.ID] = item.ID, item.Name
			if !item.ExpiredAt.IsZero() {
				expiry[item.ID] = item.ExpiredAt
			}
		}
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	created, deleted := d.organization().recent.changes(d.identity, l.begun)
	if l.err == nil {
		for _, item := range l.result.correct(created, deleted) {
			d.organization().recent.shown(item.Name, item.ID)
		}
	}
	if complete {
		d.ids, d.names, d.expiry, d.listed = ids, names, expiry, l.begun
		d.edition++
		d.confirmed = make(map[string]time.Time)
		d.odd, d.lost = odd, l.result.lost
		maps.DeleteFunc(d.oddRead, func(id string, _ bool) bool { return names[id] == "" })
		for id := range deleted {
			d.unset(id)
		}
		for name, item := range created {
			d.set(name, item.ID)
		}
	}
	if !errors.Is(l.err, context.Canceled) {
		d.err = unsure
	}
	if l.err == nil {
		d.letGo()
	} else {
		d.keep(l)
	}
	d.running = nil
	close(l.done)
}

// meet waits until the listing has met the secret, or has ended.
func (d *directory) meet(ctx context.Context, s *Store, l *listing, r Ref) (met bool, err error) {
	d.join(s, l)
	for {
		d.mu.Lock()
		page := l.page
		d.mu.Unlock()
		if _, _, ok := d.peek(r); ok {
			return true, nil
		}
		select {
		case <-page:
		case <-l.done:
			return false, l.err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// wait returns the listing's outcome, unless the caller gives up first.
func (d *directory) wait(ctx context.Context, s *Store, l *listing) (*Listing, error) {
	for {
		d.join(s, l)
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !d.abandoned(s, l, l.err) {
			return l.result, l.err
		}
		l = d.again(s, l)
	}
}

// again returns a listing in place of one that was abandoned.
func (d *directory) again(s *Store, l *listing) *listing {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.follow(s, time.Now(), l.number)
}

func (d *directory) join(s *Store, l *listing) {
	if l.awaited.Swap(true) {
		s.stats.Coalesced.Add(1)
	}
}

// abandoned reports whether a listing ended only because the mount that began it is gone, while s is
// still there.
func (d *directory) abandoned(s *Store, l *listing, err error) bool {
	return errors.Is(err, context.Canceled) && l.by != s && l.by.ctx.Err() != nil && s.ctx.Err() == nil
}

// copyFrom begins with what another directory knows, if this one knows nothing yet.
func (d *directory) copyFrom(other *directory) {
	other.mu.Lock()
	ids, names, expiry := maps.Clone(other.ids), maps.Clone(other.names), maps.Clone(other.expiry)
	begun, listed := other.begun, other.listed
	other.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.begun.IsZero() && d.next == nil {
		d.ids, d.names, d.expiry, d.begun, d.listed = ids, names, expiry, begun, listed
		d.edition++
	}
}
