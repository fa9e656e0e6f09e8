package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// outageConnections are more than there are secrets, so that requests could pile up.
	outageConnections = 100
	outageTTL         = 2 * time.Second
)

// outage cuts ABEJA off while secrets are read that the plugin may serve stale.
func outage(ctx context.Context, t *tools, p plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, p.few, 0, map[string]any{"cache_ttl": outageTTL.String(), "stale_if_error": "1h"})
	if err != nil {
		return err
	}
	defer stop()
	values := make([]string, p.few)
	for i := range values {
		values[i] = fmt.Sprintf("before the outage %d", i)
		if err := s.put(ctx, demoName(i), values[i]); err != nil {
			return err
		}
	}
	err = each(ctx, connections, p.few, func(ctx context.Context, i int) error {
		_, err := v.read(ctx, "abeja/secrets/"+demoName(i))
		return err
	})
	if err != nil {
		return err
	}

	// From here on each connection is closed without an answer, and what was read becomes too old.
	if _, err := s.Control(ctx, http.MethodPost, "faults", map[string]string{"kind": "cut"}); err != nil {
		return err
	}
	time.Sleep(outageTTL)
	loop := func(d time.Duration, seen *tally) error {
		_, err := drive(ctx, outageConnections, 0, d, func(ctx context.Context, c, i int) error {
			secret := (c + i) % p.few
			return seen.read(ctx, v, secret, values[secret])
		})
		return err
	}
	var seen tally
	asked, err := s.counted(ctx, func() error { return loop(p.outage, &seen) })
	if err != nil {
		return err
	}
	r.count(fmt.Sprintf("outage: right answers with the warning, of %s reads with stale_if_error", number(seen.reads)), seen.stale, seen.reads)
	r.expect("outage: requests to ABEJA a second, for these reads", []float64{float64(asked) / p.outage.Seconds()}, atMost, 10, "")
	r.notes = append(r.notes, fmt.Sprintf("During the outage of %s, %d connections read %d secrets %s times (median %.1f ms). cache_ttl was %s.",
		p.outage, outageConnections, p.few, number(seen.reads), median(seen.ms), outageTTL))

	for i := range values {
		values[i] = fmt.Sprintf("after the outage %d", i)
		if err := s.put(ctx, demoName(i), values[i]); err != nil {
			return err
		}
	}
	var back time.Duration
	var after tally
	asked, err = s.counted(ctx, func() error {
		if _, err := s.Control(ctx, http.MethodDelete, "faults", nil); err != nil {
			return err
		}
		for begun := time.Now(); after.fresh == 0; back = time.Since(begun) {
			if err := after.read(ctx, v, 0, values[0]); err != nil {
				return err
			}
		}
		after = tally{}
		return loop(outageTTL*3/4, &after) // shorter than cache_ttl, so that each secret need be asked for once
	})
	if err != nil {
		return err
	}
	r.expect("outage over: s until the first fresh answer", []float64{back.Seconds()}, atMost, 5, "")
	r.count(fmt.Sprintf("outage over: fresh answers without warning, of the next %s reads", number(after.reads)), after.fresh, after.reads)
	r.expect(fmt.Sprintf("outage over: requests to ABEJA for these reads of %d secrets", p.few), []float64{float64(asked)}, atMost, float64(p.few+3), "")
	return nil
}

// tally counts what reads answer.
type tally struct {
	mu                  sync.Mutex
	reads, fresh, stale int // stale ones come with a warning; neither counts a wrong value
	ms                  []float64
}

// read reads a secret. An answer that is wrong, or an error, ends nothing: it is missing in the count.
func (t *tally) read(ctx context.Context, v *vault, secret int, want string) error {
	begun := time.Now()
	s, err := v.readSecret(ctx, "abeja/secrets/"+demoName(secret))
	if ctx.Err() != nil {
		return ctx.Err()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reads++
	t.ms = append(t.ms, time.Since(begun).Seconds()*1000)
	switch {
	case err != nil || s.Data["value"] != want:
	case len(s.Warnings) > 0:
		t.stale++
	default:
		t.fresh++
	}
	return nil
}
