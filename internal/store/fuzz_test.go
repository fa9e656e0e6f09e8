package store

import (
	"context"
	"strconv"
	"sync"
	"testing"
)

// FuzzPages: whatever an API answers, a listing ends after a bounded number of requests, and what
// it calls complete is. Where lies is 0 the list is a true one, in which each byte of script
// creates or deletes an item between two pages; else the pages are what the bytes make of them.
func FuzzPages(f *testing.F) {
	f.Add(byte(0), uint16(250), []byte{})
	f.Add(byte(0), uint16(700), []byte{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21})
	f.Add(byte(0), uint16(300), []byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 255})
	f.Add(byte(40), uint16(0), []byte{0x80})
	f.Add(byte(1), uint16(100), []byte{100, 0, 228, 0})
	f.Add(byte(2), uint16(3), []byte{128, 129, 130, 131, 132})
	f.Add(byte(255), uint16(200), []byte{255, 7})
	f.Fuzz(func(t *testing.T, lies byte, n uint16, script []byte) {
		const horizon = 300 // the last offset at which a lying API says that there is more
		n %= 1000
		var (
			mu      sync.Mutex
			fetches int
			ended   bool // some page said that it is the last
			given   = map[string]bool{}
			l       = lister[string]{stats: new(Stats), id: func(s string) string { return s }}
			before  []string
			c       *churning
		)
		if lies == 0 {
			c = newChurning(int(n), 1, func(c *churning) {
				for range min(len(script), 1+c.fetches%7) {
					at := int(script[0]>>1) * (len(c.items) + 1) / 128
					if script[0]&1 == 0 || at >= len(c.items) {
						c.insert(at)
					} else {
						c.delete(at)
					}
					script = script[1:]
				}
			})
			before = append(before, c.items...)
		}
		l.fetch = func(ctx context.Context, offset, limit int) (page[string], error) {
			if offset < 0 || limit < 1 || limit > pageSize {
				t.Errorf("asked for %d items from %d", limit, offset)
			}
			var p page[string]
			if c != nil {
				p, _ = c.fetch(ctx, offset, limit)
			} else {
				p = lying(offset, lies, n, script)
				p.more = p.more && offset < horizon
			}
			mu.Lock()
			defer mu.Unlock()
			fetches++
			ended = ended || !p.more
			for _, item := range p.items {
				given[item] = true
			}
			return p, nil
		}

		items, complete, err := l.all(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if most := 2*(horizon+maxWindow) + maxBridges; c == nil && fetches > most {
			t.Errorf("%d requests for a list that ends at %d", fetches, horizon)
		}
		if c != nil && fetches > 2*(len(before)+len(c.deleted)+c.made)/(pageSize-overlap)+2*maxWindow+maxBridges {
			t.Errorf("%d requests for %d items", fetches, len(before))
		}
		met := map[string]bool{}
		for _, item := range items {
			if met[item] || !given[item] {
				t.Errorf("%s is in the list twice, or was never given", item)
			}
			met[item] = true
		}
		if complete && !ended {
			t.Error("complete without an end")
		}
		if c != nil && complete {
			if lost := missing(items, c.throughout(before)); len(lost) > 0 {
				t.Errorf("a listing that is called complete lacks %v", lost)
			}
		}
	})
}

// lying is a page as it pleases: of any size, from anywhere, the same items again and again.
func lying(offset int, lies byte, n uint16, script []byte) page[string] {
	at := func(i int) int {
		if len(script) == 0 {
			return int(lies)
		}
		return int(script[(offset*int(lies)+i)%len(script)])
	}
	size := at(0)
	if n > 0 {
		size %= int(n)
	}
	p := page[string]{offset: offset, more: at(1)&1 == 0}
	for i := range size {
		p.size++
		p.items = append(p.items, strconv.Itoa((offset+i+at(2)-128)%(1+int(n))))
	}
	return p
}
