package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// mounts are how many show one organization.
const mounts = 20

// mountName is abeja, the mount that there is, or one more.
func mountName(i int) string {
	if i == 0 {
		return "abeja"
	}
	return fmt.Sprintf("abeja-%d", i+1)
}

// cachedReads compares reads that ask nothing of ABEJA with what else Vault can read.
func cachedReads(ctx context.Context, t *tools, p plan, r *report) error {
	cached := map[string]any{"cache_ttl": "1h"}
	v, s, stop, err := mounted(ctx, t, p.few, 0, cached)
	if err != nil {
		return err
	}
	defer stop()
	asked, err := s.counted(ctx, func() error {
		for i := 1; i < mounts; i++ {
			if err := v.Mount(ctx, mountName(i), s.Config(cached)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.count(fmt.Sprintf("%d more mounts of one organization: requests to ABEJA, one to check each config", mounts-1), asked, mounts-1)
	if err := v.enable(ctx, "constant", constantPlugin, nil); err != nil {
		return err
	}
	for _, kv := range []struct {
		path, engine, data string
		options            map[string]string
	}{
		{"kv-built-in", "kv", "kv-built-in/data/", map[string]string{"version": "2"}},
		{"kv2", kv2Plugin, "kv2/data/", nil},
		{"kv1", kv1Plugin, "kv1/", nil},
	} {
		if err := v.enable(ctx, kv.path, kv.engine, kv.options); err != nil {
			return err
		}
		if err := copySecrets(ctx, v, p.few, kv.data, kv.engine != kv1Plugin); err != nil {
			return err
		}
	}
	if err := sameKeys(ctx, v, "abeja/secrets/"+demoName(0), "constant/secrets/any"); err != nil {
		return err
	}

	reads := func(name string, paths ...string) contender {
		return contender{name, func(ctx context.Context) (float64, error) {
			l, err := drive(ctx, connections, 0, p.round, func(ctx context.Context, c, i int) error {
				_, err := v.read(ctx, paths[i%len(paths)]+demoName((c+i*connections)%p.few))
				return err
			})
			return l.perSecond(), err
		}}
	}
	all := make([]string, mounts)
	for i := range all {
		all[i] = mountName(i) + "/secrets/"
	}
	contenders := []contender{
		reads(thisPlugin+", cache_ttl set", "abeja/secrets/"),
		reads(fmt.Sprintf("%s, the same over %d mounts of the organization", thisPlugin, mounts), all...),
		reads("a constant, from a plugin", "constant/secrets/"),
		reads("KV v2, as a plugin", "kv2/data/"),
		reads("KV v1, as a plugin (makes leases)", "kv1/"),
		reads("KV v2, built into Vault", "kv-built-in/data/"),
	}
	if _, err := takeTurns(ctx, 1, contenders); err != nil { // warms all up
		return err
	}
	var rows []row
	total, err := s.counted(ctx, func() (err error) {
		rows, err = takeTurns(ctx, p.rounds, contenders)
		return err
	})
	if err != nil {
		return err
	}
	if total != 0 {
		return fmt.Errorf("cached reads sent %d requests", total)
	}
	r.add(group{
		title: "Reads that the cache answers", unit: "reads/s", rows: rows,
		note: fmt.Sprintf("%d secrets, read over %d connections. No plugin can be faster than the one that returns a constant; "+
			"what is built into Vault saves the way to another process. All answers have the same fields.", p.few, connections),
	})
	for i, what := range []string{"cached read", fmt.Sprintf("cached read over %d mounts", mounts)} {
		r.expect(what+": reads/s, to a plugin that returns a constant", ratio(rows[i], rows[2]), atLeast, 0.97,
			"The plugin checks the name and looks up the secret, some microseconds of a read; less than that is the noise of the machine.")
		r.expect(what+": reads/s, to KV v2 run as a plugin", ratio(rows[i], rows[3]), atLeast, 1.7,
			"KV v2 makes no lease, and Vault's storage is here in memory: its two reads of it cost only the way between processes.")
		r.expect(what+": reads/s, to KV v1 run as a plugin", ratio(rows[i], rows[4]), atLeast, 1.7, "")
	}
	return nil
}

// copySecrets writes to a KV engine what the plugin answers, so that all answers are alike.
func copySecrets(ctx context.Context, v *vault, n int, path string, v2 bool) error {
	for i := range n {
		s, err := v.readSecret(ctx, "abeja/secrets/"+demoName(i))
		if err != nil {
			return err
		}
		data := s.Data
		if v2 {
			data = map[string]any{"data": data}
		}
		// A new KV v2 refuses requests until it has set itself up.
		for tries := 0; ; tries++ {
			if err = v.Write(ctx, path+demoName(i), data); err == nil {
				break
			}
			if tries == 50 {
				return err
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
	return nil
}

func sameKeys(ctx context.Context, v *vault, a, b string) error {
	one, err := v.readSecret(ctx, a)
	if err != nil {
		return err
	}
	other, err := v.readSecret(ctx, b)
	if err != nil {
		return err
	}
	ours, theirs := slices.Sorted(maps.Keys(one.Data)), slices.Sorted(maps.Keys(other.Data))
	if !slices.Equal(ours, theirs) {
		return fmt.Errorf("%s answers %v, and %s %v: change one of them", a, ours, b, theirs)
	}
	return nil
}
