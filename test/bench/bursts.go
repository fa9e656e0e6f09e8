package main

import (
	"context"
	"fmt"
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
	if _, err := v.read(ctx, list); err != nil { // waits for the listing that a new mount begins with
		return err
	}
	size, err := newSize(v)
	if err != nil {
		return err
	}
	asked, err := burst(ctx, v, s, p, read, p.burstLatency)
	if err != nil {
		return err
	}
	r.count(number(p.burst)+" reads of one uncached secret at the same time: requests to ABEJA", asked, 1)
	// A listing of so many secrets waits for ABEJA more than ten times.
	if asked, err = burst(ctx, v, s, p, list, p.burstLatency/5); err != nil {
		return err
	}
	what := fmt.Sprintf("%s listings of %s secrets at the same time", number(p.burst), number(p.listed))
	// Pages of 100 overlap by 5. Behind the last one up to 31 more may be asked for in vain.
	r.expect(what+": requests to ABEJA", []float64{float64(asked)}, atMost, float64(p.listed/95+1+31), "")
	time.Sleep(p.minute)
	g, err := size.growth(what)
	r.memory = append(r.memory, g)
	r.expect("memory: "+what+", MB over the size at start a minute later", []float64{g.settled}, atMost, 100, "")
	if err != nil {
		return err
	}
	return wholeAnswers(ctx, v, p, r)
}

// wholeAnswers lists with all names in each answer. Vault needs much more memory than the plugin for that, so
// they are fewer.
func wholeAnswers(ctx context.Context, v *vault, p plan, r *report) error {
	size, err := newSize(v)
	if err != nil {
		return err
	}
	n := p.burst / 20
	err = each(ctx, n, n, func(ctx context.Context, _ int) error {
		_, err := v.read(ctx, "abeja/secrets?list=true")
		return err
	})
	if err != nil {
		return err
	}
	what := fmt.Sprintf("%s whole answers with %s secrets at the same time", number(n), number(p.listed))
	g, err := size.growth(what)
	r.memory = append(r.memory, g)
	r.expect("memory: "+what+", MB over the size at start, at the most", []float64{g.peak}, atMost, 256, "")
	return err
}

// burst sends p.burst requests of a path while ABEJA takes its time for the first, and counts those to ABEJA.
func burst(ctx context.Context, v *vault, s *simulator, p plan, path string, latency time.Duration) (asked int, err error) {
	if err := s.setLatency(ctx, latency); err != nil {
		return 0, err
	}
	return s.counted(ctx, func() error {
		return each(ctx, p.burst, p.burst, func(ctx context.Context, _ int) error {
			_, err := v.read(ctx, path)
			return err
		})
	})
}
