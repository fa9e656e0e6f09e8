package store

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
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
	// maxWindow is how many pages are asked for at once.
	maxWindow = 8
	// pageTries is how often a page is read that fails, each time with the client's own retries: a
	// list of 100,000 secrets has 1,000 pages, and one in a thousand calls may well fail.
	pageTries = 3
	// lookahead is how many pages behind one that is apart may be joined before it.
	lookahead = maxWindow
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
}

// all reads the whole list. The items are in the order in which they were met, an item as it was
// read last. complete is false when creations and deletions were too fast to join the pages.
func (l lister[T]) all(ctx context.Context) (items []T, complete bool, err error) {
	pages, err := l.pages(ctx)
	if err != nil {
		return nil, false, err
	}
	pages, complete, err = l.join(ctx, pages)
	if err != nil {
		return nil, false, err
	}
	at := make(map[string]int)
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

// pages reads overlapping pages up to the end, in windows that grow while the API keeps up: no total
// is given, so a short list must not cost many requests, nor a long one many round trips.
func (l lister[T]) pages(ctx context.Context) ([]page[T], error) {
	first, err := l.fetch(ctx, 0, pageSize)
	if err != nil {
		return nil, err
	}
	pages := []page[T]{first}
	seen := make(map[string]bool)
	fresh := func(p page[T]) (fresh bool) {
		for _, item := range p.items {
			fresh = fresh || !seen[l.id(item)]
			seen[l.id(item)] = true
		}
		return fresh || p.size > len(p.items)
	}
	stride := max(1, first.size-overlap) // an API that caps its pages lower is followed
	window := 2
	// A window without a new item is given by no list that is paged: something ignores the offset.
	for last, advances := first, fresh(first); last.more && last.size > 0 && advances && len(pages) < maxPages; last = pages[len(pages)-1] {
		offsets := make([]int, window)
		for i := range offsets {
			offsets[i] = (len(pages) + i) * stride
		}
		next, failed, err := l.window(ctx, offsets)
		if err != nil {
			return nil, err
		}
		advances = false
		for _, p := range next {
			pages = append(pages, p)
			advances = fresh(p) || advances
			if !p.more || p.size == 0 {
				break // what lies behind the end was asked for in vain
			}
		}
		if failed {
			window = max(1, window/2)
		} else {
			window = min(2*window, maxWindow)
		}
	}
	return pages, nil
}

// window reads pages at the same time, and those that fail once more, one after the other. A page
// behind the end of the list is not needed, and so may fail.
func (l lister[T]) window(ctx context.Context, offsets []int) (pages []page[T], failed bool, err error) {
	pages = make([]page[T], len(offsets))
	errs := make([]error, len(offsets))
	var group errgroup.Group
	for i, offset := range offsets {
		group.Go(l.stats.recovering(func() error {
			pages[i], errs[i] = l.fetch(ctx, offset, pageSize)
			return nil
		}))
	}
	if err := group.Wait(); err != nil {
		return nil, false, err
	}
	for i, offset := range offsets {
		for try := 1; errs[i] != nil && try < pageTries && abejaFails(errs[i]) && ctx.Err() == nil; try++ {
			failed = true
			pages[i], errs[i] = l.fetch(ctx, offset, pageSize)
		}
		if errs[i] != nil {
			return nil, true, errs[i]
		}
		if !pages[i].more || pages[i].size == 0 {
			return pages[:i+1], failed, nil
		}
	}
	return pages, failed, nil
}

// join reads pages where neighbours share no item, until the list's end is joined to its beginning.
// It returns them behind the others.
func (l lister[T]) join(ctx context.Context, pages []page[T]) ([]page[T], bool, error) {
	if last := pages[len(pages)-1]; last.more && last.size > 0 {
		return pages, false, nil // the list was given up before its end
	}
	c := chain[T]{id: l.id, pages: pages, joined: make([]bool, len(pages)), seen: make(map[string]bool)}
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
