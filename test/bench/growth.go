package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// organization is one that is mounted twice in a Vault of its own: at abeja, and with a cache at kept.
type organization struct {
	secrets int
	v       *vault
	s       *simulator
	size    size
	growth  growth
}

// growing does the same with organizations that are each ten times as large as the one before.
func growing(ctx context.Context, t *tools, p plan, r *report) error {
	var all []*organization
	for _, n := range p.sizes {
		o := &organization{secrets: n}
		var err error
		if o.s, err = startSimulator(ctx, t, n, 0); err != nil {
			return err
		}
		defer o.s.Stop()
		if o.v, o.size, err = used(ctx, t); err != nil {
			return err
		}
		defer o.v.Stop()
		if err := o.use(ctx, p); err != nil {
			return err
		}
		all = append(all, o)
	}
	time.Sleep(p.settle)
	for _, o := range all {
		var err error
		if o.growth, err = o.size.growth("names of " + number(o.secrets) + " secrets"); err != nil {
			return err
		}
		r.memory = append(r.memory, o.growth)
	}

	cached, err := turns(ctx, all, 0, p.growthRounds, func(ctx context.Context, o *organization, _ int) (float64, error) {
		l, err := o.read(ctx, "kept", p.few, p.round)
		return l.perSecond(), err
	})
	if err != nil {
		return err
	}
	uncached, err := turns(ctx, all, readLatency, p.growthRounds, func(ctx context.Context, o *organization, _ int) (float64, error) {
		l, err := o.read(ctx, "abeja", o.secrets, p.round)
		return l.medianMS(), err
	})
	if err != nil {
		return err
	}
	const list = "?list=true&limit=1"
	listing, err := turns(ctx, all, listLatency, p.growthRounds, func(ctx context.Context, o *organization, _ int) (float64, error) {
		return o.timed(ctx, list)
	})
	if err != nil {
		return err
	}
	start, err := turns(ctx, all, listLatency, p.startRounds, func(ctx context.Context, o *organization, round int) (float64, error) {
		// The names that are read are spread over the whole list.
		return o.start(ctx, "/"+demoName((2*round+1)*o.secrets/(2*p.startRounds)))
	})
	if err != nil {
		return err
	}
	first, err := turns(ctx, all, listLatency, p.growthRounds, func(ctx context.Context, o *organization, _ int) (float64, error) {
		return o.start(ctx, list)
	})
	if err != nil {
		return err
	}

	growth := table{
		title: "Growth", columns: []string{"secrets", "cached reads/s", "uncached read, ms", "listing, s", "after a start: the first read, s", "or listing, s", "memory, MB"},
		note: fmt.Sprintf("What more secrets cost, with ABEJA's times as above. A start is that of the plugin's process: the first read of a name "+
			"anywhere in the list. Memory is what comes on top of the size at start. Rounds: %d, %d for the first reads.", p.growthRounds, p.startRounds),
	}
	for i, o := range all {
		growth.rows = append(growth.rows, []string{number(o.secrets), spread(cached[i].rounds), spread(uncached[i].rounds),
			spread(listing[i].rounds), spread(start[i].rounds), spread(first[i].rounds), short(o.growth.settled)})
	}
	r.tables = append(r.tables, growth)
	largest := len(all) - 1
	n := number(all[largest].secrets)
	r.expect(fmt.Sprintf("growth: cached reads/s with %s secrets, to those with %s", n, number(all[0].secrets)), ratio(cached[largest], cached[0]), atLeast, 0.9, "")
	r.expect("growth: median time of an uncached read, the same", ratio(uncached[largest], uncached[0]), atMost, 1.1, "")
	for _, column := range []struct {
		what string
		cost func(i int) float64
	}{
		{"time of a listing", func(i int) float64 { return median(listing[i].rounds) }},
		{"time of the first read after a start", func(i int) float64 { return median(start[i].rounds) }},
		{"memory of the names, 1 MB or more", func(i int) float64 { return max(1, all[i].growth.settled) }},
	} {
		var steps []float64
		for i := range largest {
			steps = append(steps, column.cost(i+1)/column.cost(i))
		}
		r.expect("growth: "+column.what+", for each ten times as many secrets at the most", []float64{slices.Max(steps)}, atMost, 10, "")
	}
	r.expect(fmt.Sprintf("memory: names of %s secrets, MB over the size at start", n), []float64{all[largest].growth.settled}, atMost, 60, "")
	for i, of := range []row{listing[largest], first[largest]} {
		r.expect(fmt.Sprintf("first read after a start with %s secrets: median time, to that of a listing%s", n, []string{"", " after a start"}[i]),
			[]float64{median(start[largest].rounds) / median(of.rounds)}, atMost, 0.5,
			"A name is on average in the middle of the list, and the first pages are read when the plugin has started, few at once.")
	}
	return withLastGood(ctx, t, all[largest].s, r)
}

// turns takes figures of all organizations in turns, while ABEJA takes so long for each request.
func turns(ctx context.Context, all []*organization, latency time.Duration, rounds int, measure func(ctx context.Context, o *organization, round int) (float64, error)) ([]row, error) {
	contenders := make([]contender, len(all))
	for i, o := range all {
		if err := o.s.setLatency(ctx, latency); err != nil {
			return nil, err
		}
		round := 0
		contenders[i] = contender{number(o.secrets) + " secrets", func(ctx context.Context) (float64, error) {
			round++
			return measure(ctx, o, round-1)
		}}
	}
	return takeTurns(ctx, rounds, 1, contenders)
}

// use mounts the organization, lists it, and reads some of its secrets.
func (o *organization) use(ctx context.Context, p plan) error {
	for path, config := range map[string]map[string]any{"abeja": nil, "kept": {"cache_ttl": "1h"}} {
		if err := o.v.Mount(ctx, path, o.s.Config(config)); err != nil {
			return err
		}
	}
	if _, err := o.v.read(ctx, "abeja/secrets?list=true&limit=1"); err != nil {
		return err
	}
	// Go collects garbage when there is work, and gives memory back when there is none.
	_, err := o.read(ctx, "kept", p.few, p.settle/5)
	return err
}

// read reads n secrets through a mount, spread over the whole list.
func (o *organization) read(ctx context.Context, mount string, n int, d time.Duration) (load, error) {
	return drive(ctx, connections, spaced, d, func(ctx context.Context, c, i int) error {
		at := (c + connections*i) % n * (o.secrets / n)
		_, err := o.v.read(ctx, mount+"/secrets/"+demoName(at))
		return err
	})
}

// start starts the plugin's process anew, and times the first read.
func (o *organization) start(ctx context.Context, below string) (seconds float64, err error) {
	if err := o.v.reload(ctx); err != nil {
		return 0, err
	}
	return o.timed(ctx, below)
}

// timed reads what is below secrets.
func (o *organization) timed(ctx context.Context, below string) (seconds float64, err error) {
	begun := time.Now()
	_, err = o.v.read(ctx, "abeja/secrets"+below)
	return time.Since(begun).Seconds(), err
}

func (v *vault) reload(ctx context.Context) error {
	return v.Write(ctx, "sys/plugins/reload/backend", map[string]any{"plugin": abejaPlugin})
}

// withLastGood counts what the first read after a start asks of ABEJA if the mount keeps the names.
func withLastGood(ctx context.Context, t *tools, s *simulator, r *report) error {
	v, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()
	if err := v.Mount(ctx, "abeja", s.Config(weatherConfig)); err != nil {
		return err
	}
	if _, err := v.read(ctx, "abeja/secrets/"+demoName(0)); err != nil {
		return err
	}
	if err := v.stored(ctx); err != nil {
		return err
	}
	if err := v.reload(ctx); err != nil {
		return err
	}
	asked, err := s.counted(ctx, func() error {
		_, err := v.read(ctx, "abeja/secrets/"+demoName(0))
		return err
	})
	r.count("first read after a start with keep_last_good: requests to ABEJA", asked, 1)
	return err
}
