package store

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// timely is a list that takes its time, which depends on how many ask at once.
type timely struct {
	*churning
	// answer says how long one of so many pages at once takes, and whether it is refused.
	answer func(atOnce int) (time.Duration, bool)

	mu                    sync.Mutex
	atOnce, most, refused int
}

func (c *timely) lister() lister[string] {
	l := c.churning.lister()
	fetch := l.fetch
	l.fetch = func(ctx context.Context, offset, limit int) (page[string], error) {
		c.mu.Lock()
		c.atOnce++
		c.most = max(c.most, c.atOnce)
		takes, refuses := c.answer(c.atOnce)
		if refuses {
			c.refused++
		}
		c.mu.Unlock()
		defer func() {
			c.mu.Lock()
			c.atOnce--
			c.mu.Unlock()
		}()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			return page[string]{}, ctx.Err()
		}
		if refuses {
			return page[string]{}, &client.Error{Op: client.OpListSecrets, Status: 429}
		}
		return fetch(ctx, offset, limit)
	}
	return l
}

// timed lists all, and returns how long that took.
func (c *timely) timed(t *testing.T) time.Duration {
	begin := time.Now()
	got, complete, err := c.lister().all(t.Context())
	require.NoError(t, err)
	require.True(t, complete)
	require.Equal(t, c.items, append([]string(nil), got...))
	return time.Since(begin)
}

const pageTime = 50 * time.Millisecond

func TestManyPagesAreAskedForAtOnceWhileABEJAIsAsFastAsWithOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timely{churning: newChurning(100_000, 1, nil), answer: func(int) (time.Duration, bool) { return pageTime, false }}
		took := c.timed(t)
		require.Equal(t, maxWindow, c.most)
		require.Less(t, took, 45*pageTime, "1,053 pages, by 32")
	})
}

func TestFewerPagesAreAskedForAtOnceWhenThatMakesABEJASlow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const keepsUp = 6
		c := timely{churning: newChurning(100_000, 1, nil)}
		var long int
		c.answer = func(atOnce int) (time.Duration, bool) {
			if atOnce > 3*keepsUp {
				long++
			}
			return pageTime * time.Duration(max(keepsUp, atOnce)) / keepsUp, false
		}
		took := c.timed(t)
		require.Less(t, took, 1053*pageTime/keepsUp*5/4)
		require.Less(t, long, 100, "of 1,053")
	})
}

func TestFewerPagesAreAskedForAtOnceWhenABEJARefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const allows = 8
		c := timely{churning: newChurning(100_000, 1, nil)}
		c.answer = func(atOnce int) (time.Duration, bool) { return pageTime, atOnce > allows }
		took := c.timed(t)
		require.Less(t, took, 1053*pageTime/allows*2)
		require.Less(t, c.refused, 1053/5)
	})
}

func TestAListingWithinALimitOfRequestsTakesTheTimeOfTheLimitAndLeavesOthersTheirTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		limiter := rate.NewLimiter(20, 20)
		c := timely{churning: newChurning(10_000, 1, nil), answer: func(int) (time.Duration, bool) { return pageTime, false }}
		l := c.lister()
		fetch := l.fetch
		l.fetch = func(ctx context.Context, offset, limit int) (page[string], error) {
			if err := limiter.Wait(ctx); err != nil {
				return page[string]{}, err
			}
			return fetch(ctx, offset, limit)
		}
		var waits []time.Duration
		done := make(chan struct{})
		go func() {
			for begin := time.Now(); ; begin = time.Now() {
				select {
				case <-time.After(time.Second):
					require.NoError(t, limiter.Wait(t.Context()))
					waits = append(waits, time.Since(begin)-time.Second)
				case <-done:
					return
				}
			}
		}()
		begin := time.Now()
		_, complete, err := l.all(t.Context())
		require.NoError(t, err)
		require.True(t, complete)
		took := time.Since(begin)
		close(done)
		synctest.Wait()
		limit := time.Duration(106-20+len(waits)) * time.Second / 20
		require.Less(t, took, limit*11/10)
		require.Less(t, waits[len(waits)-1], 4*pageTime)
	})
}

func TestOneSlowPageAmongManyLeavesTheWindowAsItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := timely{churning: newChurning(100_000, 1, nil)}
		pages := 0
		c.answer = func(int) (time.Duration, bool) {
			if pages++; pages%50 == 0 {
				return 5 * pageTime, false
			}
			return pageTime, false
		}
		require.Less(t, c.timed(t), 60*pageTime)
	})
}

func TestRequestsThatFailTogetherHalveTheWindowOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWindow()
		sent := time.Now()
		time.Sleep(pageTime)
		for range 12 {
			w.answered(sent, false)
		}
		require.InDelta(t, 16, w.size, 0)
		sent = time.Now()
		time.Sleep(pageTime)
		for range 16 {
			w.answered(sent, true)
		}
		require.InDelta(t, 8, w.size, 0)
		sent = time.Now()
		time.Sleep(pageTime)
		for range 8 {
			w.answered(sent, false)
		}
		require.InDelta(t, 9, w.size, 0.1, "and it grows by one a round from then on")
	})
}
