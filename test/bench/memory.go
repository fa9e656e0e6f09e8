package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// memory measures what cached values take of the plugin's memory.
func memory(ctx context.Context, t *tools, p plan, r *report) error {
	s, err := startSimulator(ctx, t, 0, 0)
	if err != nil {
		return err
	}
	defer s.Stop()
	for i := range p.cached {
		if err := s.put(ctx, demoName(i), strings.Repeat("v", 1024)); err != nil {
			return err
		}
	}
	v, size, err := used(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()
	if err := v.Mount(ctx, "abeja", s.Config(map[string]any{"cache_ttl": "1h", "cache_size": p.cached})); err != nil {
		return err
	}
	read := func(ctx context.Context, i int) error {
		_, err := v.read(ctx, "abeja/secrets/"+demoName(i%p.cached))
		return err
	}
	if err := each(ctx, connections, p.cached, read); err != nil {
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
	what := fmt.Sprintf("cache of %s secrets of 1 KB", number(p.cached))
	g, err := size.growth(what)
	r.memory = append(r.memory, g)
	r.expect(fmt.Sprintf("memory: %s, MB over the size at start", what), []float64{g.settled}, atMost, 60, "")
	return err
}

// used starts a Vault whose plugin has served a read of another organization: the size of its process is
// then that of one that is in use.
func used(ctx context.Context, t *tools) (v *vault, s size, err error) {
	small, err := startSimulator(ctx, t, 1, 0)
	if err != nil {
		return nil, size{}, err
	}
	defer small.Stop()
	if v, err = startVault(ctx, t); err != nil {
		return nil, size{}, err
	}
	if err = v.Mount(ctx, "small", small.Config(nil)); err == nil {
		_, err = v.read(ctx, "small/secrets/"+demoName(0))
	}
	if err == nil {
		s, err = newSize(v)
	}
	if err != nil {
		v.Stop()
	}
	return v, s, err
}
