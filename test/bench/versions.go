package main

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// manyVersions compares uncached reads of secrets that have one version with such that have many, then
// reads many of the latter at once.
func manyVersions(ctx context.Context, t *tools, p plan, r *report) error {
	costs := table{
		title: "Secrets of many versions", columns: []string{"", "ms", "KB from ABEJA", "MB at the most"},
		note: fmt.Sprintf("Uncached reads of the newest of versions of 16 KiB, over %d connections: the median time of one, "+
			"what ABEJA sends for it, and what comes on top of the memory of the plugin's process at the most.", connections),
	}
	for _, versions := range []int{1, p.versions} {
		cells, err := cost(ctx, t, p, versions)
		if err != nil {
			return err
		}
		costs.rows = append(costs.rows, append([]string{"versions: " + number(versions)}, cells...))
	}
	r.tables = append(r.tables, costs)
	return coldReads(ctx, t, p, r)
}

// cost reads secrets with so many versions of 16 KiB, each connection its own.
func cost(ctx context.Context, t *tools, p plan, versions int) (cells []string, err error) {
	s, err := startSimulator(ctx, t, 0, 0)
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	for i := range connections {
		if err := s.putVersions(ctx, demoName(i), strings.Repeat("v", 16<<10), versions); err != nil {
			return nil, err
		}
	}
	counter, err := listenNAT(strings.TrimPrefix(s.URL(), "http://"))
	if err != nil {
		return nil, err
	}
	defer counter.Close()
	v, size, err := used(ctx, t)
	if err != nil {
		return nil, err
	}
	defer v.Stop()
	if err := v.Mount(ctx, "abeja", s.Config(map[string]any{"api_url": "http://" + counter.Addr().String()})); err != nil {
		return nil, err
	}
	if _, err := v.read(ctx, "abeja/secrets/"+demoName(0)); err != nil { // waits for the names
		return nil, err
	}
	before := counter.back.Load()
	l, err := drive(ctx, connections, 0, p.round, func(ctx context.Context, c, _ int) error {
		_, err := v.read(ctx, "abeja/secrets/"+demoName(c))
		return err
	})
	if err != nil {
		return nil, err
	}
	kb := float64(counter.back.Load()-before) / float64(len(l.took)) / 1000
	g, err := size.growth("")
	return []string{short(l.medianMS()), short(kb), short(g.peak)}, err
}

// coldReads reads secrets of many large versions at once, none of which was read before.
func coldReads(ctx context.Context, t *tools, p plan, r *report) error {
	s, err := startSimulator(ctx, t, 0, 0)
	if err != nil {
		return err
	}
	defer s.Stop()
	const full = 64 << 10 // ABEJA's largest value
	newest := func(i int) string { return demoName(i) + strings.Repeat("v", full-len(demoName(i))) }
	for i := range p.cold {
		if err := s.putVersions(ctx, demoName(i), strings.Repeat("v", full), p.versions-1); err != nil {
			return err
		}
		if err := s.put(ctx, demoName(i), newest(i)); err != nil {
			return err
		}
	}
	v, size, err := used(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()
	if err := v.Mount(ctx, "abeja", s.Config(nil)); err != nil {
		return err
	}
	var right atomic.Int64
	begun := time.Now()
	err = each(ctx, p.cold, p.cold, func(ctx context.Context, i int) error {
		got, err := v.readSecret(ctx, "abeja/secrets/"+demoName(i))
		if err == nil && got.Data["value"] == newest(i) {
			right.Add(1)
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	took := time.Since(begun).Seconds()
	what := fmt.Sprintf("%s cold reads at once of secrets with %d versions of 64 KiB", number(p.cold), p.versions)
	r.count(what+": right answers", int(right.Load()), p.cold)
	g, err := size.growth(fmt.Sprintf("%s, in %s s", what, short(took)))
	r.memory = append(r.memory, g)
	r.expect("memory: "+what+", MB over the size at start, at the most", []float64{g.peak}, atMost, 256, "")
	return err
}
