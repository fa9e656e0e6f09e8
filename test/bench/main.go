// Command bench measures the plugin in a real Vault beside what one would use in its place, and
// writes docs/performance.md. With -short it only shows that everything still runs: about a
// minute, and figures that mean nothing.
//
// Load generator, Vault, the plugins and the simulator of ABEJA share this machine, and perhaps with
// other programs. So contenders take turns in short rounds, and what counts is their ratio within a
// round.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// plan says how much is measured.
type plan struct {
	rounds    int           // of reads
	parts     int           // of a round of cached reads
	round     time.Duration // of one contender in one round
	few, many int           // secrets of the organizations that are read

	listRounds   int
	listed       int           // secrets of the organization that is listed
	burst        int           // requests that are sent at the same time
	burstLatency time.Duration // long enough for all of them to arrive while the first is answered
	minute       time.Duration // after these requests
	limit        int           // requests a second that are allowed

	versions int // of the secrets that have many
	cold     int // how many of them are read at the same time

	sizes                     []int // secrets of the organizations that grow
	growthRounds, startRounds int

	cached    int           // secrets in the cache whose memory is measured
	settle    time.Duration // of rest before memory is measured
	outage    time.Duration
	timeout   time.Duration // request_timeout while ABEJA hangs
	forgotten bool          // whether a NAT forgets a connection, which takes half a minute
}

var (
	full = plan{
		rounds: 10, parts: 4, round: 1200 * time.Millisecond, few: 50, many: 5_000,
		listRounds: 3, listed: 10_000, burst: 1_000, burstLatency: 3 * time.Second, minute: time.Minute, limit: 20,
		versions: 100, cold: 200, sizes: []int{100, 1_000, 10_000, 100_000}, growthRounds: 3, startRounds: 7,
		cached: 10_000, settle: 15 * time.Second, outage: 10 * time.Second,
		timeout: 30 * time.Second, forgotten: true,
	}
	smoke = plan{
		rounds: 2, parts: 1, round: 250 * time.Millisecond, few: 50, many: 500,
		listRounds: 1, listed: 1_000, burst: 100, burstLatency: time.Second, minute: time.Second, limit: 5,
		versions: 20, cold: 20, sizes: []int{100, 1_000}, growthRounds: 1, startRounds: 1,
		cached: 500, settle: time.Second, outage: 2 * time.Second,
		timeout: 12 * time.Second,
	}
)

func main() {
	short := flag.Bool("short", false, "only show that it runs")
	out := flag.String("out", "", "`directory` for performance.md and performance.svg (default the repository's docs)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *short, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, short bool, out string) error {
	// Nothing takes that long, unless it hangs.
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	if runtime.GOOS != "linux" {
		return errors.New("the memory of processes is measured, as only Linux tells it")
	}
	p := full
	if short {
		p = smoke
	}
	t, err := build(ctx)
	if err != nil {
		return err
	}
	defer t.Remove()
	if out == "" {
		out = filepath.Join(t.Tree, "docs")
	}

	r := &report{short: short}
	if r.machine, err = describe(ctx, t); err != nil {
		return err
	}
	for _, measurement := range []struct {
		name    string
		measure func(context.Context, *tools, plan, *report) error
	}{
		{"cached reads", cachedReads},
		{"uncached reads", uncachedReads},
		{"listings", listings},
		{"requests at the same time", bursts},
		{"many versions", manyVersions},
		{"growth", growing},
		{"memory", memory},
		{"an outage", outage},
		{"bad weather", badWeather},
	} {
		begun := time.Now()
		if err := measurement.measure(ctx, t, p, r); err != nil {
			return fmt.Errorf("%s: %w", measurement.name, err)
		}
		fmt.Printf("%s: measured in %s\n", measurement.name, time.Since(begun).Round(100*time.Millisecond))
	}
	return r.write(out)
}
