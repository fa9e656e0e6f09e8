package store

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
)

const (
	// pageSize is the largest page that ABEJA gives.
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
	// maxPages ends a listing that has no end: about a million items.
	maxPages = 10_000
)

// page is what one request gave of a list.
type page[T any] struct {
	offset int
	items  []T
	more   bool
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

// pages reads overlapping pages up to the end, in windows that grow: no total is given, so a
// short list must not cost many requests, nor a long one many round trips.
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
		return fresh
	}
	stride := max(1, len(first.items)-overlap) // an API that caps its pages lower is followed
	window := 2
	// A window without a new item is given by no list that is paged: something ignores the offset.
	for last, advances := first, fresh(first); last.more && len(last.items) > 0 && advances && len(pages) < maxPages; last = pages[len(pages)-1] {
		next := make([]page[T], window)
		errs := make([]error, window)
		var group errgroup.Group
		for i := range next {
			offset := (len(pages) + i) * stride
			group.Go(l.stats.recovering(func() error {
				next[i], errs[i] = l.fetch(ctx, offset, pageSize)
				return nil
			}))
		}
		if err := group.Wait(); err != nil {
			return nil, err
		}
		advances = false
		for i := range next {
			if errs[i] != nil {
				return nil, errs[i]
			}
			pages = append(pages, next[i])
			advances = fresh(next[i]) || advances
			if !next[i].more || len(next[i].items) == 0 {
				break // what lies behind the end was asked for in vain
			}
		}
		window = min(2*window, maxWindow)
	}
	return pages, nil
}

// join adds pages where neighbours share no item, until the list's end is joined to its beginning.
func (l lister[T]) join(ctx context.Context, pages []page[T]) ([]page[T], bool, error) {
	if last := pages[len(pages)-1]; last.more && len(last.items) > 0 {
		return pages, false, nil // the list was given up before its end
	}
	chain := chain[T]{id: l.id, seen: make(map[string]bool)}
	for bridges := maxBridges + len(pages); ; bridges-- {
		gap := chain.extend(pages)
		if gap < 0 || bridges == 0 {
			return pages, gap < 0, nil
		}
		// Deletions have moved what is missing to lower offsets.
		l.stats.SeamRereads.Add(1)
		bridge, err := l.fetch(ctx, max(0, pages[gap].offset-bridgeStep), pageSize)
		if err != nil {
			return nil, false, err
		}
		pages = slices.Insert(pages, gap, bridge)
	}
}

// chain is what is joined to the beginning of the list by pages that share items.
type chain[T any] struct {
	id   func(T) string
	seen map[string]bool // the items of the pages in the chain
}

// extend takes in every page that it can. It gives the first page that it cannot reach, or -1
// once it has reached the end.
func (c chain[T]) extend(pages []page[T]) int {
	for {
		before, gap := len(c.seen), -1
		for i, p := range pages {
			if !c.reaches(p) {
				if gap < 0 {
					gap = i
				}
				continue
			}
			for _, item := range p.items {
				c.seen[c.id(item)] = true
			}
			if !p.more {
				return -1
			}
		}
		if gap < 0 { // the last page is empty and promises more
			return len(pages) - 1
		}
		if len(c.seen) == before {
			return gap
		}
	}
}

// reaches says whether a page is the list's beginning or shares an item with the chain.
func (c chain[T]) reaches(p page[T]) bool {
	return p.offset == 0 || slices.ContainsFunc(p.items, func(item T) bool { return c.seen[c.id(item)] })
}
