package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// bursts sends many equal requests at the same time, and counts what they cost ABEJA.
func bursts(ctx context.Context, t *tools, p plan, r *report) error {
	v, s, stop, err := mounted(ctx, t, p.listed, 0, nil)
	if err != nil {
		return err
	}
	defer stop()

	// With limit Vault's answer is short, so that what is measured is not Vault's JSON: the plugin
	// lists everything all the same.
	const list = "abeja/secrets?list=true&limit=10"
	read := "abeja/secrets/" + demoName(0)
	one := func() error {
		_, err := v.read(ctx, list)
		return err
	}
	if err := one(); err != nil { // waits for the listing that a new mount begins with
		return err
	}
	want, err := s.counted(ctx, one)
	if err != nil {
		return err
	}
	if err := burst(ctx, r, v, s, p, "reads of one uncached secret", read, p.burstLatency, 1); err != nil {
		return err
	}
	// A listing of so many secrets waits for ABEJA more than ten times.
	what := "listings of " + number(p.listed) + " secrets"
	if runtime.GOOS != "linux" {
		return burst(ctx, r, v, s, p, what, list, p.burstLatency/5, want)
	}
	size, err := newSize(v)
	if err != nil {
		return err
	}
	if err := burst(ctx, r, v, s, p, what, list, p.burstLatency/5, want); err != nil {
		return err
	}
	g, err := size.growth(number(p.burst) + " " + what + " at the same time")
	r.memory = append(r.memory, g)
	return err
}

// burst sends p.burst requests of a path while ABEJA takes its time for the first.
func burst(ctx context.Context, r *report, v *vault, s *simulator, p plan, what, path string, latency time.Duration, want int) error {
	if err := s.setLatency(ctx, latency); err != nil {
		return err
	}
	total, err := s.counted(ctx, func() error {
		return each(ctx, p.burst, p.burst, func(ctx context.Context, _ int) error {
			_, err := v.read(ctx, path)
			return err
		})
	})
	r.count(fmt.Sprintf("%s %s at the same time: requests to ABEJA", number(p.burst), what), total, want)
	return err
}
