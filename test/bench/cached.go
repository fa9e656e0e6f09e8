package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// mounts are as many as one may have: Vault itself finds the way to one among many a little later.
const mounts = 20

// engine answers reads without asking ABEJA, in one mount or over many.
type engine struct {
	name, plugin string
	in           *vault
	mount, below string // the paths of the first mount, and of the secrets in each
	options      map[string]string
	wanted       float64 // how many times as many reads this plugin is to answer; 0 where nothing is wanted
	reason       string  // why it may fall short
}

// at is the path of a mount of the engine.
func (e engine) at(mount int) string {
	if mount == 0 {
		return e.mount
	}
	return fmt.Sprintf("%s-%d", e.mount, mount+1)
}

// cachedReads compares reads that ask nothing of ABEJA with what else Vault can read.
func cachedReads(ctx context.Context, t *tools, p plan, r *report) error {
	cached := map[string]any{"cache_ttl": "1h"}
	v, s, stop, err := mounted(ctx, t, p.few, 0, cached)
	if err != nil {
		return err
	}
	defer stop()
	// A Vault that holds many leases answers more and more slowly, whatever is read.
	leases, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer leases.Stop()
	const (
		lookUp   = "The plugin checks the name and looks up the secret, some microseconds of a read; less than that is the noise of the machine."
		inMemory = "Vault's storage is here in memory: what KV reads of it costs only the way between processes."
	)
	engines := []engine{
		{name: thisPlugin + ", cache_ttl set", in: v, mount: "abeja", below: "/secrets/"},
		{name: "a constant, from a plugin", plugin: constantPlugin, in: v, mount: "constant", below: "/secrets/", wanted: 0.97, reason: lookUp},
		{name: "KV v2, as a plugin", plugin: kv2Plugin, in: v, mount: "kv2", below: "/data/", wanted: 1.7, reason: inMemory},
		{name: "KV v1, as a plugin (makes leases)", plugin: kv1Plugin, in: leases, mount: "kv1", below: "/", wanted: 1.7, reason: inMemory},
		{name: "KV v2, built into Vault", plugin: "kv", in: v, mount: "kv", below: "/data/", options: map[string]string{"version": "2"}},
	}
	asked, err := s.counted(ctx, func() error {
		for i := 1; i < mounts; i++ {
			if err := v.Mount(ctx, engines[0].at(i), s.Config(cached)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.count(fmt.Sprintf("%d more mounts of one organization: requests to ABEJA, one to check each config", mounts-1), asked, mounts-1)
	for _, e := range engines[1:] {
		for i := range mounts {
			if err := e.in.enable(ctx, e.at(i), e.plugin, e.options); err != nil {
				return err
			}
			if e.plugin == constantPlugin {
				continue
			}
			if err := copySecrets(ctx, v, p.few, e.in, e.at(i)+e.below, e.plugin != kv1Plugin); err != nil {
				return err
			}
		}
	}
	if err := sameKeys(ctx, v, "abeja/secrets/"+demoName(0), "constant/secrets/any"); err != nil {
		return err
	}

	reads := func(e engine, name string, over int) contender {
		return contender{name, func(ctx context.Context) (float64, error) {
			l, err := drive(ctx, connections, 0, p.round/time.Duration(p.parts), func(ctx context.Context, c, i int) error {
				_, err := e.in.read(ctx, e.at(i%over)+e.below+demoName((c+i*connections)%p.few))
				return err
			})
			return l.perSecond(), err
		}}
	}
	var contenders []contender
	for _, e := range engines {
		contenders = append(contenders, reads(e, e.name, 1), reads(e, fmt.Sprintf("%s, over %d mounts", e.name, mounts), mounts))
	}
	if _, err := takeTurns(ctx, 1, 1, contenders); err != nil { // warms all up
		return err
	}
	var rows []row
	total, err := s.counted(ctx, func() (err error) {
		rows, err = takeTurns(ctx, p.rounds, p.parts, contenders)
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
	for i, what := range []string{"cached read", fmt.Sprintf("the same over %d mounts", mounts)} {
		for j, e := range engines {
			if e.wanted > 0 {
				r.expect(what+": reads/s, to "+e.name, ratio(rows[i], rows[2*j+i]), atLeast, e.wanted, e.reason)
			}
		}
	}
	return nil
}

// copySecrets writes to a KV engine what the plugin answers, so that all answers are alike.
func copySecrets(ctx context.Context, v *vault, n int, to *vault, path string, v2 bool) error {
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
			if err = to.Write(ctx, path+demoName(i), data); err == nil {
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
