package store

import (
	"context"
	"crypto/tls"
	"errors"
	"sync"
	"time"

	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

const (
	// breakerFailures is how many requests in a row must fail before ABEJA is left alone. One call
	// with its retries is four by default. Where one request in three fails, one in 90,000 is the tenth;
	// one in 360 is the fifth, which a busy mount would meet every few seconds.
	breakerFailures = 10
	// breakerDelay is how long ABEJA is left alone before one request tries it again. With it a
	// reader is given a fresh value within 5 s of ABEJA's return, and ABEJA is sent next to nothing.
	breakerDelay = 2 * time.Second
	// hangTime is how long a request must have had no answer for this to be no failure among others
	// but the end: nobody else shall wait as long.
	hangTime = 5 * time.Second
	// probeTime is how long the request that tries ABEJA again keeps all others away.
	probeTime = 3 * time.Second
	// hungRate and hungBurst bound the tries that are let through while ABEJA is left alone since they
	// follow one that hung: one in hungRate, after some at once, of which the first to be answered lets
	// all others through.
	hungRate  = 250 * time.Millisecond
	hungBurst = 5
	// patience is how long a reader waits for an answer who can be given an older one.
	patience = time.Second
	// maxHold bounds what ABEJA may ask for with Retry-After.
	maxHold = time.Hour
)

// breaker keeps requests from an ABEJA that does not answer: nobody waits for what will not come, and
// ABEJA is not flooded on its return. All clients of an organization share one.
type breaker struct {
	circuit circuitbreaker.CircuitBreaker[any]
	hung    *rate.Limiter

	mu       sync.Mutex
	answered time.Time     // when ABEJA last answered
	since    time.Time     // when the first request failed after that
	why      *client.Error // how the last one failed
	held     time.Time     // until when ABEJA has asked to be left alone
	ended    time.Time     // when the last request ended, but for those that ran out of time
	slow     time.Time     // when a request last had no answer in time, if a reader gave up waiting and none has ended since
	tried    time.Time     // when somebody was last told to try whom nobody waits for
	probe    time.Time     // when the request began that tries ABEJA again
	watchers map[*Store]func(Weather)
}

// Weather is how ABEJA answers.
type Weather struct {
	// Open says that ABEJA is not asked, since it has been failing from Since on, as Why says.
	Open  bool
	Since time.Time
	Why   *client.Error
	// Next is when ABEJA is asked again at the earliest, since it fails or wants it so; zero if it is asked now.
	Next time.Time
}

func newBreaker() *breaker {
	b := &breaker{hung: rate.NewLimiter(rate.Every(hungRate), hungBurst), watchers: make(map[*Store]func(Weather))}
	b.circuit = circuitbreaker.NewBuilder[any]().
		WithFailureThreshold(breakerFailures).WithSuccessThreshold(1).WithDelay(breakerDelay).
		Build()
	return b
}

// Enter implements client.Gate.
func (b *breaker) Enter(hung bool) *client.NotAskedError {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.held.After(now) {
		return &client.NotAskedError{Since: b.since, Next: b.next(now), Why: b.why}
	}
	if b.circuit.IsHalfOpen() && now.Sub(b.probe) >= probeTime {
		b.circuit.Open() // the probe hangs: this is the next one; an answer to the other is welcome all the same
		b.circuit.HalfOpen()
	}
	if b.circuit.TryAcquirePermit() {
		b.probe = now
		return nil
	}
	if hung && b.hung.Allow() {
		return nil
	}
	return &client.NotAskedError{Since: b.since, Next: b.next(now), Why: b.why}
}

// next is when the breaker lets a request through again; b.mu is held.
func (b *breaker) next(now time.Time) time.Time {
	switch {
	case b.held.After(now):
		return b.held
	case b.circuit.IsHalfOpen():
		return b.probe.Add(probeTime)
	}
	return now.Add(b.circuit.RemainingDelay())
}

// Leave implements client.Gate.
func (b *breaker) Leave(o client.Outcome) {
	b.mu.Lock()
	was := b.weather()
	b.take(o)
	is := b.weather()
	var tell []func(Weather)
	if was.Open != is.Open {
		for _, watch := range b.watchers {
			tell = append(tell, watch)
		}
	}
	b.mu.Unlock()
	for _, watch := range tell {
		watch(is)
	}
}

// take learns from an outcome; b.mu is held.
func (b *breaker) take(o client.Outcome) {
	now := time.Now()
	switch {
	case errors.Is(o.Err, client.ErrTimeout):
		if !b.slow.IsZero() {
			b.slow = now
		}
	case !errors.Is(o.Err, context.Canceled) && !errors.Is(o.Err, context.DeadlineExceeded): // else the caller gave up
		b.ended, b.slow = now, time.Time{}
	}
	var failed *client.Error
	switch {
	case o.Err == nil:
		b.answered, b.since, b.why, b.held = now, time.Time{}, nil, time.Time{}
		b.circuit.RecordSuccess()
		b.circuit.Close()
		return
	case !errors.As(o.Err, &failed), isCertificate(o.Err): // the caller gave up, or the mount's config is wrong
		if b.circuit.IsHalfOpen() {
			b.circuit.Open()
		}
		return
	}
	if b.since.IsZero() {
		b.since = now
	}
	b.why = &client.Error{Op: failed.Op, Status: failed.Status, Err: failed.Err} // without ABEJA's words
	if errors.Is(failed, client.ErrRateLimited) {
		if failed.RetryAfter > 0 {
			b.held = now.Add(min(failed.RetryAfter, maxHold))
		}
		if b.circuit.IsHalfOpen() {
			b.circuit.Open()
		}
		return
	}
	if b.answered.After(o.Began) {
		return // ABEJA has answered others since: with a connection many requests fail at once
	}
	if b.circuit.IsOpen() { // it fails as much as before: the delay begins anew
		b.circuit.HalfOpen()
	}
	b.circuit.RecordFailure()
	if errors.Is(failed, client.ErrTimeout) && now.Sub(o.Began) >= hangTime {
		b.circuit.Open()
	}
}

// weather is how ABEJA answers now; b.mu is held.
func (b *breaker) weather() Weather {
	w := Weather{Open: !b.circuit.IsClosed(), Since: b.since, Why: b.why}
	if now := time.Now(); w.Open || b.held.After(now) {
		w.Next = b.next(now)
	}
	return w
}

// watch has tell called for a store when the breaker opens or closes; a nil tell ends this.
func (b *breaker) watch(s *Store, tell func(Weather)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if tell == nil {
		delete(b.watchers, s)
	} else {
		b.watchers[s] = tell
	}
}

// gaveUp takes in that a reader has waited since then for an answer, and longer than it wants.
func (b *breaker) gaveUp(since time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ended.After(since) { // else ABEJA is slow only with this one
		b.slow = time.Now()
		b.tried = b.slow
	}
}

// hangs reports whether a reader has waited for an answer in vain and no request has ended since, and
// whether it is time that somebody tries again whom nobody waits for.
func (b *breaker) hangs() (hangs, due bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if b.slow.IsZero() || now.Sub(b.slow) >= callTimeout {
		return false, false
	}
	if due = now.Sub(b.tried) >= breakerDelay && !b.next(now).After(now); due {
		b.tried = now
	}
	return true, due
}

func isCertificate(err error) bool { return errors.As(err, new(*tls.CertificateVerificationError)) }
