package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	connections = 8
	// maxRequests bounds one round of one contender.
	maxRequests = 100_000
)

// request is the i-th request of a connection.
type request func(ctx context.Context, connection, i int) error

// load is what a round gave.
type load struct {
	took    []time.Duration
	elapsed time.Duration
}

func (l load) perSecond() float64 { return float64(len(l.took)) / l.elapsed.Seconds() }

func (l load) medianMS() float64 {
	ms := make([]float64, len(l.took))
	for i, d := range l.took {
		ms[i] = d.Seconds() * 1000
	}
	return median(ms)
}

// drive sends one request after the other on each of n connections, until d has passed. Each
// connection begins so long after the one before. The last requests are waited for, so that all can
// be counted.
func drive(ctx context.Context, n int, apart, d time.Duration, send request) (load, error) {
	took := make([][]time.Duration, n)
	group, ctx := errgroup.WithContext(ctx)
	begun := time.Now()
	for c := range n {
		group.Go(func() error {
			time.Sleep(time.Duration(c) * apart)
			for i := 0; i < maxRequests/n && time.Since(begun) < d; i++ {
				sent := time.Now()
				if err := send(ctx, c, i); err != nil {
					return err
				}
				took[c] = append(took[c], time.Since(sent))
			}
			return ctx.Err()
		})
	}
	err := group.Wait()
	return load{slices.Concat(took...), time.Since(begun)}, err
}

// each sends n requests, at most so many at the same time.
func each(ctx context.Context, atOnce, n int, send func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error { return send(ctx, i) })
	}
	return group.Wait()
}

// thisPlugin begins the names of contenders that are drawn as ours.
const thisPlugin = "this plugin"

// contender is one way to do what is measured.
type contender struct {
	name string
	run  func(ctx context.Context) (float64, error) // one part of a round
}

// takeTurns runs each contender so many times in each round, in turns, back and forth: what else the machine does,
// and what ran just before, affects all of them alike. It returns each one's figures, by round: the mean of its parts.
func takeTurns(ctx context.Context, rounds, parts int, contenders []contender) ([]row, error) {
	rows := make([]row, len(contenders))
	for i, c := range contenders {
		rows[i] = row{name: c.name, rounds: make([]float64, rounds)}
	}
	for round := range rounds {
		for part := range parts {
			for i := range contenders {
				if (round+part)%2 > 0 {
					i = len(contenders) - 1 - i
				}
				figure, err := contenders[i].run(ctx)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", contenders[i].name, err)
				}
				rows[i].rounds[round] += figure / float64(parts)
			}
		}
	}
	return rows, nil
}
