package main

import (
	"context"
	"fmt"
	"time"
)

const (
	readLatency = 20 * time.Millisecond
	// spaced spreads the beginning of the connections over the time that ABEJA takes. Connections
	// that begin together stay in step, since ABEJA takes the same time for each: all want the
	// processor at the same moment. Users are not in step, but both is measured.
	spaced = readLatency / connections
	inStep = 0
)

// uncachedReads compares reads that each ask ABEJA with asking ABEJA directly, for an organization
// with few secrets and one with many.
func uncachedReads(ctx context.Context, t *tools, p plan, r *report) error {
	v, err := startVault(ctx, t)
	if err != nil {
		return err
	}
	defer v.Stop()
	few, err := startSimulator(ctx, t, p.few, readLatency)
	if err != nil {
		return err
	}
	defer few.Stop()
	many, err := startSimulator(ctx, t, p.many, readLatency)
	if err != nil {
		return err
	}
	defer many.Stop()
	ids, err := idsByName(ctx, few)
	if err != nil {
		return err
	}

	upstream := map[string][2]int{} // by contender: reads, and requests that they cost
	through := func(name, mount string, s *simulator, secrets int, apart time.Duration) contender {
		return contender{name, func(ctx context.Context) (ms float64, err error) {
			var l load
			total, err := s.counted(ctx, func() (err error) {
				l, err = drive(ctx, connections, apart, p.round, func(ctx context.Context, c, i int) error {
					_, err := v.read(ctx, mount+"/secrets/"+ownName(c, i, secrets))
					return err
				})
				return err
			})
			sum := upstream[name]
			upstream[name] = [2]int{sum[0] + len(l.took), sum[1] + total}
			return l.medianMS(), err
		}}
	}
	direct := func(name string, apart time.Duration) contender {
		return contender{name, func(ctx context.Context) (float64, error) {
			l, err := drive(ctx, connections, apart, p.round, func(ctx context.Context, c, i int) error {
				_, err := few.Get(ctx, "/secrets/"+ids[ownName(c, i, p.few)]+"?return_secret_value=True")
				return err
			})
			return l.medianMS(), err
		}}
	}
	waiting := func(ctx context.Context) (float64, error) {
		l, err := drive(ctx, connections, spaced, p.round, func(ctx context.Context, c, i int) error {
			time.Sleep(readLatency)
			_, err := v.read(ctx, "constant/secrets/"+ownName(c, i, p.few))
			return err
		})
		return l.medianMS(), err
	}
	if err := v.enable(ctx, "constant", constantPlugin, nil); err != nil {
		return err
	}
	for mount, s := range map[string]*simulator{"few": few, "many": many} {
		if err := v.Mount(ctx, mount, s.Config(nil)); err != nil {
			return err
		}
		// From here on the plugin knows the names.
		if _, err := v.read(ctx, mount+"/secrets/"+demoName(0)); err != nil {
			return err
		}
	}
	const without = "one HTTP request, without Vault"
	ofFew, ofMany := thisPlugin+", "+number(p.few)+" secrets", thisPlugin+", "+number(p.many)+" secrets"
	rows, err := takeTurns(ctx, p.rounds, 1, []contender{
		direct(without, spaced),
		through(ofFew, "few", few, p.few, spaced),
		through(ofMany, "many", many, p.many, spaced),
		direct(without+", in step", inStep),
		through(ofFew+", in step", "few", few, p.few, inStep),
		{"a wait of " + readLatency.String() + ", then a constant from a plugin", waiting},
	})
	if err != nil {
		return err
	}
	r.add(group{
		title: "Reads that ask ABEJA", unit: "ms", rows: rows,
		note: fmt.Sprintf("The median time of a read of a known name, when ABEJA takes %s; %d connections. They begin %s apart, "+
			"or else at the same time: then they stay in step, and each waits for the others at the processor.", readLatency, connections, spaced),
	})
	for _, name := range []string{ofFew, ofMany} {
		sum := upstream[name]
		r.count(fmt.Sprintf("uncached read, %s: requests to ABEJA for %s reads", name, number(sum[0])), sum[1], sum[0])
	}
	reason := fmt.Sprintf("What Vault and the way to a plugin take comes on top of ABEJA's time: with a constant from a plugin it is %s already.",
		spread(ratio(rows[5], rows[0])))
	r.expect("uncached read: median time, to one HTTP request without Vault", ratio(rows[1], rows[0]), atMost, 1.12, reason)
	r.expect("uncached read: the same with all connections in step", ratio(rows[4], rows[3]), atMost, 1.12, reason)
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
