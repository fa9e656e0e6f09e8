package store

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

const (
	// keepInterval is how long a value that was read waits until it is put on the shelf.
	keepInterval = time.Second
	// keepWrites bounds what the shelf is sent at each interval: Vault's storage has other work to do.
	keepWrites = 20
	// namesInterval is how often the index takes in names that have changed.
	namesInterval = 10
	// lagShare is which part of the age that a value may have the shelf may be behind: a value that is
	// read again and again, and is always the same, is written to the index that often.
	lagShare = 10
)

// Keep has the store put last good values on a shelf, give them out when ABEJA fails, and begin with
// the names that are there. It is to be called before the store is used, when no other store has the
// shelf.
func (s *Store) Keep(g *LastGood) {
	s.organization.mu.Lock()
	s.lastGood = g
	s.organization.mu.Unlock()
	s.identity.names.restore(g.ids())
	names, records := s.identity.values.all()
	for i, name := range names {
		s.take(name, records[i])
	}

	ctx, cancel := context.WithCancel(s.ctx)
	done := make(chan struct{})
	go s.stats.recovering(func() error {
		defer close(done)
		s.keepLoop(ctx)
		return nil
	})()
	s.keeping = func() { cancel(); <-done }
}

// take has what was read put on the shelf soon, if the store shows it.
func (s *Store) take(name string, r record) {
	if s.shows(name) {
		s.lastGood.take(name, r)
	}
}

// keepLoop brings the shelf in line with what the store knows, little by little, until ctx ends.
func (s *Store) keepLoop(ctx context.Context) {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	var edition uint64
	for n := 0; ; n++ {
		if n%namesInterval == 0 {
			edition = s.keepNames(edition)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.lastGood.save(ctx, s)
		}
	}
}

func (s *Store) keepNames(since uint64) (edition uint64) {
	ids, edition := s.identity.names.known(s.prefix, since)
	if ids != nil {
		s.lastGood.name(ids)
	}
	return edition
}

// ids are the names that the index has, with their ids.
func (g *LastGood) ids() map[string]string {
	g.mu.Lock()
	defer g.mu.Unlock()
	ids := make(map[string]string)
	for i := range g.index {
		for name, e := range g.index[i] {
			ids[name] = e.ID
		}
	}
	return ids
}

// name takes in which secrets there are.
func (g *LastGood) name(ids map[string]string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.revoked {
		return
	}
	for name, id := range ids {
		e := g.index[bucketOf(name)][name]
		if e.ID == id {
			continue
		}
		if e.Sum != "" {
			g.doomed[name] = true
		}
		g.set(name, lastGood{ID: id})
	}
	for i := range g.index {
		for name, e := range g.index[i] {
			if ids[name] != "" {
				continue
			}
			if e.Sum != "" {
				g.doomed[name] = true
			}
			delete(g.index[i], name)
			g.dirty[i] = true
		}
	}
}

// save does what is due, as much as keepWrites allows, until the shelf fails.
func (g *LastGood) save(ctx context.Context, s *Store) {
	try := func(work func(context.Context) error) bool {
		g.changing.Lock()
		defer g.changing.Unlock()
		ctx, cancel := context.WithTimeout(ctx, shelfTimeout)
		defer cancel()
		err := work(ctx)
		return ctx.Err() != context.Canceled && g.worked(err)
	}
	g.mu.Lock()
	uncleared, doomed := g.uncleared, slices.Collect(maps.Keys(g.doomed))
	g.mu.Unlock()
	if uncleared && !try(g.empty) {
		return
	}
	for _, name := range doomed[:min(len(doomed), keepWrites)] {
		if !try(func(ctx context.Context) error { return g.discard(ctx, name) }) {
			return
		}
	}
	for writes := 0; writes < keepWrites; {
		name, r, ok := g.next()
		if !ok {
			break
		}
		if _, _, known := s.identity.names.peek(ByName(name)); !known {
			continue // it has been deleted at ABEJA meanwhile
		}
		ok = try(func(ctx context.Context) error {
			wrote, err := g.put(ctx, name, r, s.identity.since, s.fresh.StaleIfError/lagShare)
			if wrote {
				writes++
			}
			return err
		})
		if !ok {
			g.mu.Lock()
			g.enqueue(name, r)
			g.mu.Unlock()
			return
		}
	}
	for _, i := range g.dirtyBuckets() {
		if !try(func(ctx context.Context) error { return g.writeBucket(ctx, i) }) {
			return
		}
	}
}

// dirtyBuckets are the parts of the index that have changed since they were put on the shelf, at most
// keepWrites.
func (g *LastGood) dirtyBuckets() (all []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, dirty := range g.dirty {
		if dirty && len(all) < keepWrites {
			all = append(all, i)
		}
	}
	return all
}

// next returns a value that waits to be put on the shelf.
func (g *LastGood) next() (name string, r record, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for name, r = range g.pending {
		g.dequeue(name)
		return name, r, true
	}
	return "", record{}, false
}

// writeBucket puts a part of the index on the shelf; g.changing is held.
func (g *LastGood) writeBucket(ctx context.Context, i int) error {
	g.mu.Lock()
	raw, err := json.Marshal(g.index[i])
	for name, e := range g.index[i] {
		e.saved = e.Asked
		g.index[i][name] = e
	}
	g.dirty[i] = false
	g.mu.Unlock()
	if err == nil {
		err = g.shelf.Put(ctx, bucketKey(i), raw)
	}
	if err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.dirty[i] = true
	}
	return err
}
