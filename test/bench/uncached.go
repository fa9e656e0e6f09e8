package main

import (
	"context"
	"fmt"
	"time"
)

const readLatency = 20 * time.Millisecond

// uncachedReads compares reads that each ask ABEJA with asking ABEJA directly, for an organization
// with few secrets and one with many.
func uncachedReads(ctx context.Context, t *tools, p plan, r *report) error {
	v, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer v.stop()
	few, err := startSimulator(ctx, t, p.few, readLatency)
	if err != nil {
		return err
	}
	defer few.stop()
	many, err := startSimulator(ctx, t, p.many, readLatency)
	if err != nil {
		return err
	}
	defer many.stop()
	ids, err := idsByName(ctx, few)
	if err != nil {
		return err
	}

	upstream := map[string][2]int{} // by contender: reads, and requests that they cost
	through := func(name, mount string, s *simulator, secrets int) (contender, error) {
		if err := v.mountABEJA(ctx, mount, s, nil); err != nil {
			return contender{}, err
		}
		// From here on the plugin knows the names.
		if _, err := v.read(ctx, mount+"/secrets/"+demoName(0)); err != nil {
			return contender{}, err
		}
		return contender{name, func(ctx context.Context) (ms float64, err error) {
			var l load
			total, err := s.counted(ctx, func() (err error) {
				l, err = drive(ctx, connections, p.round, func(ctx context.Context, c, i int) error {
					_, err := v.read(ctx, mount+"/secrets/"+ownName(c, i, secrets))
					return err
				})
				return err
			})
			sum := upstream[name]
			upstream[name] = [2]int{sum[0] + len(l.took), sum[1] + total}
			return l.medianMS(), err
		}}, nil
	}
	direct := contender{"one HTTP request, without Vault", func(ctx context.Context) (float64, error) {
		l, err := drive(ctx, connections, p.round, func(ctx context.Context, c, i int) error {
			_, err := few.get(ctx, "/secrets/"+ids[ownName(c, i, p.few)]+"?return_secret_value=True")
			return err
		})
		return l.medianMS(), err
	}}
	ofFew, err := through(thisPlugin+", "+number(p.few)+" secrets", "few", few, p.few)
	if err != nil {
		return err
	}
	ofMany, err := through(thisPlugin+", "+number(p.many)+" secrets", "many", many, p.many)
	if err != nil {
		return err
	}
	rows, err := takeTurns(ctx, p.rounds, []contender{direct, ofFew, ofMany})
	if err != nil {
		return err
	}
	r.add(group{
		title: "Reads that ask ABEJA", unit: "ms", rows: rows,
		note: fmt.Sprintf("The median time of a read of a known name, when ABEJA takes %s; %d connections.", readLatency, connections),
	})
	for _, c := range []contender{ofFew, ofMany} {
		sum := upstream[c.name]
		r.count(fmt.Sprintf("uncached read, %s: requests to ABEJA for %s reads", c.name, number(sum[0])), sum[1], sum[0])
	}
	r.expect("uncached read: median time, to one HTTP request without Vault", ratio(rows[1], rows[0]), atMost, 1.15,
		"What Vault and the way to the plugin take is added to ABEJA's time; it weighs more when the machine is busy.")
	r.expect(fmt.Sprintf("uncached read: median time with %s secrets, to that with %s", number(p.many), number(p.few)),
		ratio(rows[2], rows[1]), atMost, 1.1, "")
	return nil
}

// ownName is a name that no other connection reads: reads of one name at the same time share a call.
func ownName(c, i, secrets int) string {
	return demoName(c + connections*(i%(secrets/connections)))
}

func idsByName(ctx context.Context, s *simulator) (map[string]string, error) {
	all, err := s.list(ctx, 100)
	ids := make(map[string]string, len(all))
	for _, secret := range all {
		ids[secret.Name] = secret.ID
	}
	return ids, err
}
