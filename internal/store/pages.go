package store

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// pageSize is the largest page that ABEJA returns.
	pageSize = 100
	// overlap is how many items two neighbouring pages share while nothing is created or
	// deleted. In a simulation of heavy churn one item left 58 % of the neighbours unjoined,
	// five left 5 %.
	overlap = 5
	// bridgeStep is how far before an unjoined page the next look is taken.
	bridgeStep = 48
	// maxBridges bounds the looks of one listing, beside one for each of its pages.
	maxBridges = 4
	// pageTries is how often a page is read that fails, each time with the client's own retries: a
	// list of 100,000 secrets has 1,000 pages, and one in a thousand calls may well fail.
	pageTries = 3
	// lookahead is how many pages behind one that is apart may be joined before it.
	lookahead = 8
	// maxStale is how many pages in a row without a new item end a listing: none that is paged has them,
	// so something ignores the offset.
	maxStale = 8
	// maxPages ends a listing that has no end: about a million items.
	maxPages = 10_000
)

// page is what one request gave of a list. size counts its records, those too that cannot be
// understood and are not items.
type page[T any] struct {
	offset, size int
	items        []T
	more         bool
}

func (p page[T]) last() bool { return !p.more || p.size == 0 }

func (p page[T]) lost() int { return p.size - len(p.items) }

// lister reads complete lists from an API that pages by offset while others create and delete.
//
// Offsets lose an item whenever one before it is deleted between two pages. So the pages overlap.
// The API's order is stable, hence a page is a window without gaps on all items that exist
// throughout, and two pages that share an item are together such a window too, in whatever order
// and however far apart in time they were read. Once the first page and the last are joined by
// pages that share items, nothing that existed throughout is missing.
type lister[T any] struct {
	fetch func(ctx context.Context, offset, limit int) (page[T], error)
	id    func(T) string
	stats *Stats
	// expected is how many items there probably are; 0 if nothing is known.
	expected int
}

// all reads the whole list. The items are in the order in which they were met, an item as it was
// read last. complete is false when creations and deletions were too fast to join the pages.
func (l lister[T]) all(ctx context.Context) (items []T, complete bool, err error) {
	return l.goOn(ctx, new(reading[T]))
}

// goOn is all, but for what r has of the list. After an error, r has what was read.
func (l lister[T]) goOn(ctx context.Context, r *reading[T]) (items []T, complete bool, err error) {
	if err := l.read(ctx, r); err != nil {
		return nil, false, err
	}
	pages, complete, err := l.join(ctx, r)
	if err != nil {
		return nil, false, err
	}
	at := make(map[string]int, len(r.seen))
	items = make([]T, 0, len(r.seen))
	for _, p := range pages {
		for _, item := range p.items {
			i, met := at[l.id(item)]
			if !met {
				i = len(items)
				at[l.id(item)] = i
				items = append(items, item)
			}
			items[i] = item
		}
	}
	return items, complete, nil
}

// reading is how far a list has been read. The zero value is nothing of it.
type reading[T any] struct {
	pages  []page[T]       // by offset, the first at 0, without a gap
	early  map[int]page[T] // those that came before one in front of them, by number
	stride int             // how many items lie between the beginnings of two pages
	sure   int             // the number of a page that is there, since the one before it promises more
	seen   map[string]bool // the items of all of them
	stale  int             // how many of those that came last have no new item
	ended  bool            // whether pages have the end, or there is none
	lost   int             // records that are not items; one that two pages share is counted twice
}

// read reads overlapping pages up to the end, as many at once as the API keeps up with.
func (l lister[T]) read(ctx context.Context, r *reading[T]) error {
	if len(r.pages) == 0 {
		first, err := l.fetch(ctx, 0, pageSize)
		if err != nil {
			return err
		}
		r.early, r.seen = make(map[int]page[T]), make(map[string]bool, l.expected)
		r.stride = max(1, first.size-overlap) // an API that caps its pages lower is followed
		l.take(r, 0, first)
	}
	return l.rest(ctx, r)
}

// rest reads the pages behind the first.
func (l lister[T]) rest(ctx context.Context, r *reading[T]) error {
	type answer struct {
		number int
		sent   time.Time
		page   page[T]
		err    error
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel() // of what lies behind the end
	answers := make(chan answer, maxWindow)
	ask := func(number int) {
		a := answer{number: number, sent: time.Now()}
		group.Go(func() {
			a.err = l.stats.recovering(func() (err error) {
				a.page, err = l.fetch(ctx, number*r.stride, pageSize)
				return err
			})()
			answers <- a
		})
	}
	var failed error
	end := maxPages // the number of the first page that is not wanted
	for number, p := range r.early {
		if p.last() {
			end = min(end, number+1)
		}
	}
	next, underWay := len(r.pages), 0
	w := newWindow()
	tries, again := make(map[int]int), []int(nil) // of those that failed
	for !r.ended && len(r.pages) < end {
		for ; underWay < int(w.size) && len(again) > 0; underWay++ {
			ask(again[0])
			again = again[1:]
		}
		for ; underWay < int(w.size) && next < min(end, l.reach(r)); next++ {
			if _, early := r.early[next]; !early {
				ask(next)
				underWay++
			}
		}
		a := <-answers
		underWay--
		w.answered(a.sent, a.err != nil)
		switch {
		case a.err == nil:
			if a.page.last() {
				end = min(end, a.number+1)
			}
			l.take(r, a.number, a.page)
		case a.number >= end: // it is not needed
		case tries[a.number] < pageTries-1 && abejaFails(a.err) && ctx.Err() == nil:
			tries[a.number]++
			again = append(again, a.number)
		default:
			end, failed = a.number, a.err
		}
	}
	if r.ended {
		return nil // what failed lies behind the end
	}
	return failed
}

// reach is the number of the first page that must not be asked for yet. No total is given: as many are asked
// for as are expected, and of those beyond at most half as many in vain as there turn out to be. Where nothing
// is expected, as after a start, at most as many in vain as there are.
func (l lister[T]) reach(r *reading[T]) int {
	if l.expected == 0 {
		return 2*r.sure + 1
	}
	expected := 1
	if more := l.expected - r.stride - overlap; more > 0 {
		expected += (more + r.stride - 1) / r.stride
	}
	if r.sure < expected {
		return expected
	}
	return r.sure + 1 + (r.sure-expected+2)/2
}

// take takes in a page. Whether the list advances is told by the pages as they come: those that wait for one in
// front of them are as good.
func (l lister[T]) take(r *reading[T], number int, p page[T]) {
	if !p.last() {
		r.sure = max(r.sure, number+1)
		r.stale++
	}
	if p.lost() > 0 {
		r.stale = 0
	}
	for _, item := range p.items {
		if id := l.id(item); !r.seen[id] {
			r.seen[id], r.stale = true, 0
		}
	}
	r.early[number] = p
	for p, ok := r.early[len(r.pages)]; ok && !r.ended; p, ok = r.early[len(r.pages)] {
		delete(r.early, len(r.pages))
		r.pages = append(r.pages, p)
		r.lost += p.lost()
		r.ended = p.last()
	}
	r.ended = r.ended || r.stale >= maxStale
}

// join reads pages where neighbours share no item, until the list's end is joined to its beginning.
// It returns them behind the others.
func (l lister[T]) join(ctx context.Context, r *reading[T]) ([]page[T], bool, error) {
	pages := r.pages
	if !pages[len(pages)-1].last() {
		return pages, false, nil // the list was given up before its end
	}
	c := chain[T]{id: l.id, pages: pages, joined: make([]bool, len(pages)), seen: make(map[string]bool, len(r.seen))}
	for bridges := maxBridges + len(pages); ; bridges-- {
		if c.extend() || bridges == 0 {
			return append(pages, c.read...), c.ended, nil
		}
		// Deletions have moved what is missing to lower offsets.
		l.stats.SeamRereads.Add(1)
		bridge, err := l.fetch(ctx, max(0, c.before()-bridgeStep), pageSize)
		if err != nil {
			return nil, false, err
		}
		r.lost += bridge.lost()
		c.read = append(c.read, bridge)
		c.bridges = append(c.bridges, bridge)
	}
}

// chain is what is joined to the beginning of the list by pages that share items.
type chain[T any] struct {
	id     func(T) string
	pages  []page[T]       // by offset
	joined []bool          // which of them are in the chain
	gap    int             // the first that is not
	seen   map[string]bool // the items of the pages in the chain
	ended  bool            // whether one of them is the list's last

	read    []page[T] // all bridges
	bridges []page[T] // those for this gap that are not joined, each before the last
}

// extend takes in every page that it can, and reports whether it has reached the end. Pages far
// behind the first that is apart are left for later: a list of many gaps would else be looked
// through once for each.
func (c *chain[T]) extend() bool {
	for grown := true; grown && !c.ended; {
		grown = false
		for i := len(c.bridges) - 1; i >= 0; i-- {
			if c.take(c.bridges[i]) {
				c.bridges = slices.Delete(c.bridges, i, i+1)
				grown = true
			}
		}
		for i, apart := c.gap, 0; i < len(c.pages) && apart < lookahead; i++ {
			switch {
			case c.joined[i]:
			case c.take(c.pages[i]):
				c.joined[i] = true
				grown = true
			default:
				apart++
			}
		}
		for c.gap < len(c.pages) && c.joined[c.gap] {
			c.gap++
			c.bridges = nil
		}
	}
	return c.ended
}

// take joins a page that is the list's beginning or shares an item with the chain.
func (c *chain[T]) take(p page[T]) bool {
	if p.offset != 0 && !slices.ContainsFunc(p.items, func(item T) bool { return c.seen[c.id(item)] }) {
		return false
	}
	for _, item := range p.items {
		c.seen[c.id(item)] = true
	}
	c.ended = c.ended || !p.more
	return true
}

// before is the offset that a bridge must lie before.
func (c *chain[T]) before() int {
	if len(c.bridges) > 0 {
		return c.bridges[len(c.bridges)-1].offset
	}
	return c.pages[min(c.gap, len(c.pages)-1)].offset // the last page may be empty and promise more
}
