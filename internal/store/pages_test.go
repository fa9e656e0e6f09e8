package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// churning is a list that pages by offset while items come and go between any two pages.
type churning struct {
	mu      sync.Mutex
	random  *rand.Rand
	items   []string
	deleted map[string]bool
	made    int
	fetches int
	churn   func(*churning) // before each page
	cap     int             // the largest page that it returns; 0: what was asked for
}

func newChurning(n int, seed uint64, churn func(*churning)) *churning {
	c := &churning{random: rand.New(rand.NewPCG(seed, 0)), deleted: map[string]bool{}, churn: churn}
	for range n {
		c.insert(len(c.items))
	}
	return c
}

func (c *churning) insert(at int) {
	c.made++
	c.items = slices.Insert(c.items, at, strconv.Itoa(c.made))
}

func (c *churning) delete(at int) {
	c.deleted[c.items[at]] = true
	c.items = slices.Delete(c.items, at, at+1)
}

func (c *churning) fetch(_ context.Context, offset, limit int) (page[string], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fetches++
	if c.churn != nil {
		c.churn(c)
	}
	if c.cap > 0 {
		limit = min(limit, c.cap)
	}
	from, to := min(offset, len(c.items)), min(offset+limit, len(c.items))
	return page[string]{offset, to - from, slices.Clone(c.items[from:to]), to < len(c.items)}, nil
}

func (c *churning) lister() lister[string] {
	return lister[string]{stats: new(Stats), fetch: c.fetch, id: func(s string) string { return s }}
}

// throughout returns the items that existed from the listing's begin to its end.
func (c *churning) throughout(before []string) []string {
	return slices.DeleteFunc(slices.Clone(before), func(s string) bool { return c.deleted[s] })
}

func missing(got, want []string) []string {
	has := make(map[string]bool, len(got))
	for _, id := range got {
		has[id] = true
	}
	return slices.DeleteFunc(want, func(id string) bool { return has[id] })
}

func TestAListingThatIsCompleteMissesNothingThatExistedThroughout(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(0, 1200).Draw(t, "size")
		inserts := rapid.IntRange(0, 40).Draw(t, "inserts between two pages")
		deletes := rapid.IntRange(0, 40).Draw(t, "deletes between two pages")
		where := rapid.SampledFrom([]string{"front", "end", "anywhere"}).Draw(t, "place of inserts")
		c := newChurning(size, rapid.Uint64().Draw(t, "seed"), func(c *churning) {
			for range c.random.IntN(inserts + 1) {
				at := map[string]int{"front": 0, "end": len(c.items), "anywhere": c.random.IntN(len(c.items) + 1)}[where]
				c.insert(at)
			}
			for range min(len(c.items), c.random.IntN(deletes+1)) {
				c.delete(c.random.IntN(len(c.items)))
			}
		})
		before := slices.Clone(c.items)
		got, complete, err := c.lister().all(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if complete {
			if lost := missing(got, c.throughout(before)); len(lost) > 0 {
				t.Fatalf("%v of %d are missing", lost, size)
			}
		}
		if n := len(got); len(slices.Compact(slices.Sorted(slices.Values(got)))) != n {
			t.Fatal("an item is listed twice")
		}
	})
}

func TestAListingUnderModerateChurnIsComplete(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"front", "end"} {
		t.Run(where, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(100) {
				c := newChurning(2000, seed, func(c *churning) {
					if at := 0; c.random.IntN(2) == 0 {
						if where == "end" {
							at = len(c.items)
						}
						c.insert(at)
					}
					for range c.random.IntN(3) {
						c.delete(c.random.IntN(len(c.items)))
					}
				})
				before := slices.Clone(c.items)
				got, complete, err := c.lister().all(t.Context())
				require.NoError(t, err)
				require.True(t, complete)
				require.Empty(t, missing(got, c.throughout(before)))
			}
		})
	}
}

func TestAGapBetweenTwoPagesIsBridged(t *testing.T) {
	t.Parallel()
	for _, deleted := range []int{5, 6, 50, 99, 150} {
		t.Run(fmt.Sprint(deleted), func(t *testing.T) {
			t.Parallel()
			c := newChurning(600, 1, func(c *churning) {
				if c.fetches == 2 { // all at once, between the first page and the second
					c.items = slices.Delete(c.items, 0, deleted)
				}
			})
			kept := slices.Clone(c.items[deleted:])
			got, complete, err := c.lister().all(t.Context())
			require.NoError(t, err)
			require.True(t, complete)
			require.Empty(t, missing(got, kept))
		})
	}
}

func TestAListingThatCannotBeJoinedSaysSoAndEnds(t *testing.T) {
	t.Parallel()
	c := newChurning(500, 1, func(c *churning) { // other items each time
		for i := range c.items {
			c.made++
			c.items[i] = strconv.Itoa(c.made)
		}
	})
	_, complete, err := c.lister().all(t.Context())
	require.NoError(t, err)
	require.False(t, complete)
	require.LessOrEqual(t, c.fetches, 30)
}

func TestAListOfUnknownSizeThatHoldsStillCostsTwiceItsPagesAtMost(t *testing.T) {
	t.Parallel()
	for size, pages := range map[int]int{0: 1, 1: 1, 100: 1, 101: 2, 195: 2, 196: 3, 300: 4, 1000: 11, 1_600: 17, 10_000: 106} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := timely{churning: newChurning(size, 1, nil), answer: func(int) (time.Duration, bool) { return pageTime, false }}
				c.timed(t)
				require.LessOrEqual(t, c.fetches, 2*pages)
			})
		})
	}
}

func TestAPageThatIsCappedLowerIsFollowed(t *testing.T) {
	t.Parallel()
	c := newChurning(333, 1, nil)
	c.cap = 50
	got, complete, err := c.lister().all(t.Context())
	require.NoError(t, err)
	require.True(t, complete)
	require.Equal(t, c.items, got)
}

func TestAListWithoutEndIsGivenUp(t *testing.T) {
	t.Parallel()
	endless := lister[string]{
		stats: new(Stats),
		id:    func(s string) string { return s },
		fetch: func(_ context.Context, offset, _ int) (page[string], error) {
			return page[string]{offset: offset, more: true}, nil
		},
	}
	_, complete, err := endless.all(t.Context())
	require.NoError(t, err)
	require.False(t, complete)
}

func TestAPageThatFailsFailsTheListingUnlessItLiesBehindTheEnd(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	failing := func(size, from int) ([]string, error) {
		c := newChurning(size, 1, nil)
		got, _, err := lister[string]{
			stats: new(Stats),
			id:    func(s string) string { return s },
			fetch: func(ctx context.Context, offset, limit int) (page[string], error) {
				if offset >= from {
					return page[string]{}, broken
				}
				return c.fetch(ctx, offset, limit)
			},
		}.all(t.Context())
		return got, err
	}
	for _, from := range []int{0, 95, 190} {
		_, err := failing(500, from)
		require.ErrorIs(t, err, broken)
	}
	got, err := failing(150, 190) // the window asks for 95 and 190, and 95 is the last page
	require.NoError(t, err)
	require.Len(t, got, 150)
}

func TestAPageThatFailsIsReadAgainAndFewerAtOnce(t *testing.T) {
	t.Parallel()
	c := newChurning(3000, 1, nil)
	var mu sync.Mutex
	failed := map[int]int{}
	got, complete, err := lister[string]{
		stats: new(Stats),
		id:    func(s string) string { return s },
		fetch: func(ctx context.Context, offset, limit int) (page[string], error) {
			mu.Lock()
			defer mu.Unlock()
			if failed[offset]++; offset > 0 && failed[offset] < pageTries {
				return page[string]{}, &client.Error{Op: client.OpListSecrets, Status: 503}
			}
			return c.fetch(ctx, offset, limit)
		},
	}.all(t.Context())
	require.NoError(t, err)
	require.True(t, complete)
	require.Len(t, got, 3000)
}

func TestAListOfManyGapsIsJoinedWithoutLookingAtEachPageForEachGap(t *testing.T) {
	t.Parallel()
	// Every page but the first has lost what joins it to the one before.
	const n = 400
	looks := 0
	c := chain[string]{joined: make([]bool, n), seen: map[string]bool{}, id: func(s string) string { looks++; return s }}
	for i := range n {
		p := page[string]{offset: i * 95, size: 3, more: i < n-1}
		for k := range 3 {
			p.items = append(p.items, fmt.Sprint(i, "-", k))
		}
		c.pages = append(c.pages, p)
	}
	for i := range n {
		require.Equal(t, i == n-1, c.extend())
		if i < n-1 {
			bridge := page[string]{offset: c.before() - 48, size: 2, more: true, items: []string{fmt.Sprint(i, "-2"), fmt.Sprint(i+1, "-0")}}
			c.bridges = append(c.bridges, bridge)
		}
	}
	require.Less(t, looks, n*3*4*lookahead, "in proportion to the pages, not to their square")
}

func TestAListOfAboutTheExpectedSizeCostsHardlyAPageInVain(t *testing.T) {
	t.Parallel()
	for expected, most := range map[int]int{9_000: 106 + 6, 9_950: 106 + 1, 10_000: 106, 20_000: 106 + maxWindow} {
		t.Run(fmt.Sprint(expected), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := timely{churning: newChurning(10_000, 1, nil), answer: func(int) (time.Duration, bool) { return pageTime, false }}
				l := c.lister()
				l.expected = expected
				begin := time.Now()
				got, complete, err := l.all(t.Context())
				require.NoError(t, err)
				require.True(t, complete)
				require.Equal(t, c.items, got)
				require.LessOrEqual(t, c.fetches, most)
				require.LessOrEqual(t, time.Since(begin), 11*pageTime)
			})
		})
	}
}

func TestAListOfWhichAPageFailedIsGoneOnWith(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		c := timely{churning: newChurning(10_000, 1, func(c *churning) {
			if c.fetches%4 == 0 {
				c.delete(c.random.IntN(len(c.items)))
				c.insert(c.random.IntN(len(c.items)))
			}
		})}
		before := slices.Clone(c.items)
		c.answer = func(int) (time.Duration, bool) { return pageTime, false }
		l := c.lister()
		fetch := l.fetch
		failing := 60 * 95
		l.fetch = func(ctx context.Context, offset, limit int) (page[string], error) {
			if offset == failing {
				return page[string]{}, broken
			}
			return fetch(ctx, offset, limit)
		}
		var r reading[string]
		for range 5 {
			_, _, err := l.goOn(t.Context(), &r)
			require.ErrorIs(t, err, broken)
			require.Len(t, r.pages, failing/95)
		}
		failing = -1
		got, complete, err := l.goOn(t.Context(), &r)
		require.NoError(t, err)
		require.True(t, complete)
		require.Empty(t, missing(got, c.throughout(before)))
		require.Less(t, c.fetches, 106+25, "each page once, and what joins them")
	})
}
