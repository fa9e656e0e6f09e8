package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// memory measures what names and cached values take of the plugin's memory.
func memory(ctx context.Context, t *tools, p plan, r *report) error {
	if runtime.GOOS != "linux" {
		r.notes = append(r.notes, "Memory was not measured: that needs Linux's /proc.")
		return nil
	}
	s, err := startSimulator(ctx, t, p.directory, 0)
	if err != nil {
		return err
	}
	defer s.Stop()
	names := fmt.Sprintf("names of %s secrets", number(p.directory))
	if err := grown(ctx, t, p, r, names, s, nil, 1); err != nil {
		return err
	}

	s, err = startSimulator(ctx, t, 0, 0)
	if err != nil {
		return err
	}
	defer s.Stop()
	for i := range p.cached {
		if err := s.put(ctx, demoName(i), strings.Repeat("v", 1024)); err != nil {
			return err
		}
	}
	values := fmt.Sprintf("cache of %s secrets of 1 KB", number(p.cached))
	return grown(ctx, t, p, r, values, s, map[string]any{"cache_ttl": "1h", "cache_size": p.cached}, p.cached)
}

// grown measures how much a new process of the plugin grows when it mounts an organization and
// reads n of its secrets.
func grown(ctx context.Context, t *tools, p plan, r *report, what string, s *simulator, config map[string]any, n int) error {
	v, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()

	// The size at start is that of a plugin which has served: its first read is behind it.
	small, err := startSimulator(ctx, t, 1, 0)
	if err != nil {
		return err
	}
	defer small.Stop()
	if err := v.Mount(ctx, "small", small.Config(config)); err != nil {
		return err
	}
	if _, err := v.read(ctx, "small/secrets/"+demoName(0)); err != nil {
		return err
	}
	size, err := newSize(v)
	if err != nil {
		return err
	}

	if err := v.Mount(ctx, "abeja", s.Config(config)); err != nil {
		return err
	}
	read := func(ctx context.Context, i int) error {
		_, err := v.read(ctx, "abeja/secrets/"+demoName(i%n))
		return err
	}
	if err := each(ctx, connections, n, read); err != nil {
		return err
	}
	// Go collects garbage when there is work, and gives memory back when there is none.
	_, err = drive(ctx, connections, 0, p.settle/5, func(ctx context.Context, c, i int) error {
		return read(ctx, c+i*connections)
	})
	if err != nil {
		return err
	}
	time.Sleep(p.settle)
	g, err := size.growth(what)
	if err != nil {
		return err
	}
	r.memory = append(r.memory, g)
	r.expect(fmt.Sprintf("memory: %s, MB over the size at start", what), []float64{g.settled}, atMost, 60, "")
	return nil
}
