package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

const listLatency = 50 * time.Millisecond

// listings compares a complete listing through Vault with the SDK's way.
func listings(ctx context.Context, t *tools, p plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, p.listed, listLatency, nil)
	if err != nil {
		return err
	}
	defer stop()
	through := func(ctx context.Context) (int, error) {
		body, err := v.read(ctx, "abeja/secrets?list=true")
		var answer struct{ Data struct{ Keys []string } }
		if err == nil {
			err = json.Unmarshal(body, &answer)
		}
		return len(answer.Data.Keys), err
	}
	pageAfterPage := func(limit int) func(ctx context.Context) (int, error) {
		return func(ctx context.Context) (int, error) {
			all, err := s.list(ctx, limit)
			return len(all), err
		}
	}
	if _, err := through(ctx); err != nil { // waits for the listing that a new mount begins with
		return err
	}
	timed := func(name string, list func(context.Context) (int, error)) contender {
		return contender{name, func(ctx context.Context) (float64, error) {
			begun := time.Now()
			n, err := list(ctx)
			if err == nil && n != p.listed {
				err = fmt.Errorf("%d secrets instead of %d", n, p.listed)
			}
			return time.Since(begun).Seconds(), err
		}}
	}
	rows, err := takeTurns(ctx, p.listRounds, 1, []contender{
		timed(thisPlugin+", through Vault", through),
		timed("page after page of 100, without Vault", pageAfterPage(100)),
	})
	if err != nil {
		return err
	}
	r.add(group{
		title: "Listings", unit: "s", rows: rows,
		note: fmt.Sprintf("The time of one complete listing of %s secrets, when ABEJA takes %s for a page of 100, the largest that it allows.",
			number(p.listed), listLatency),
	})
	r.expect("listing: time page after page of 100, to this plugin's", ratio(rows[1], rows[0]), atLeast, 8,
		"With few secrets there are few pages to ask for at the same time.")

	// The limit lets so many requests through at once, after a second of rest.
	if err := v.Mount(ctx, "limited", s.Config(map[string]any{"max_requests_per_second": p.limit})); err != nil {
		return err
	}
	time.Sleep(time.Second)
	limited := timed("", through)
	var took float64
	asked, err := s.counted(ctx, func() (err error) {
		took, err = limited.run(ctx)
		return err
	})
	if err != nil {
		return err
	}
	allowed := float64(asked-p.limit) / float64(p.limit)
	r.expect(fmt.Sprintf("listing with max_requests_per_second=%d: time, to what the limit takes for %s requests", p.limit, number(asked)),
		[]float64{took / allowed}, atMost, 1.1, "")
	return nil
}
