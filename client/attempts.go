package client

import (
	"context"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

type triesKey struct{}

// tries is what the attempts of one call share.
type tries struct {
	op       Op
	attempts int
	left     int  // how many may follow
	admitted bool // by the limiter, before the call's time began
	// entered is when the gate let a request through; zero once it is told how that ended.
	entered time.Time
	// hung says that the last try had no answer in its time.
	hung bool
	// turnedAway says that an answer came and found no room.
	turnedAway bool
	// mayHaveActed says that ABEJA may have done what an attempt asked.
	mayHaveActed bool
}

// attempts stands between the retries and the network: each single request waits for the rate
// limit and is reported, whether it is a first try or a repetition. It has no CloseIdleConnections,
// which go-retryablehttp calls whenever a call fails: the other calls need those connections.
type attempts struct {
	next    http.RoundTripper
	limiter *rate.Limiter
	gate    Gate // nil: every request is let through
	observe func(Attempt)
	// timedOut is when a try last had no whole answer within its time: its connection, and all that were
	// idle meanwhile, may be dead. It is nil once those are closed.
	timedOut atomic.Pointer[time.Time]
}

// RoundTrip implements http.RoundTripper. It sends one try, with its share of the call's time, as soon as
// the gate and the limiter let it through. The gate is told here of a try that failed; how an answer ended
// it is told when the whole of it is read.
func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	t := req.Context().Value(triesKey{}).(*tries)
	if err := a.admit(req.Context(), t); err != nil {
		return nil, err
	}
	a.closeDead(req.Context())
	ctx, cancel := t.share(req.Context())
	start := time.Now()
	sent := req.WithContext(ctx)
	resp, err := a.next.RoundTrip(sent)
	a.record(ctx, t, resp, err, time.Since(start))
	ended := func() {
		// That a caller had little time left, or an answer no room, is no sign of a dead connection.
		if ctx.Err() == context.DeadlineExceeded && time.Since(start) > minTry/2 && !t.turnedAway {
			a.timedOut.Store(new(time.Now()))
		}
		cancel()
	}
	if resp == nil {
		ended()
		return nil, err
	}
	resp.Request, resp.Body = sent, &timedBody{resp.Body, ended}
	return resp, err
}

// admit waits for the gate and for the rate limit.
func (a *attempts) admit(ctx context.Context, t *tries) error {
	if err := a.enter(ctx, t); err != nil {
		return err
	}
	if t.admitted {
		t.admitted = false
		return nil
	}
	if err := a.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.leave(t, context.Canceled) // nothing was sent
		return errOverLimit          // the wait would outlast the deadline
	}
	return nil
}

// record takes in how a try ended, as far as its status tells.
func (a *attempts) record(ctx context.Context, t *tries, resp *http.Response, err error, took time.Duration) {
	end := Error{Op: t.op, Err: err}
	if resp != nil {
		end.Status = resp.StatusCode
	}
	if end.OutcomeUnknown() {
		t.mayHaveActed = true
	}
	t.attempts++
	if a.observe != nil {
		a.observe(Attempt{Op: t.op, Number: t.attempts, Status: end.Status, Duration: took})
	}
	switch {
	case err != nil:
		t.hung = ctx.Err() == context.DeadlineExceeded
		a.leave(t, noAnswer(ctx, t, err))
	case end.Status == http.StatusTooManyRequests:
		a.leave(t, &Error{Op: t.op, Status: end.Status, RetryAfter: retryAfter(resp)})
	case end.Status >= 500:
		a.leave(t, &end)
	}
}

// letGo is more than HTTP/2 takes to end the stream of a try that was given up. Until then its connection is
// not idle.
const letGo = 20 * time.Millisecond

// closeDead closes the connections that no call uses, if a try has timed out since they were last closed.
func (a *attempts) closeDead(ctx context.Context) {
	at := a.timedOut.Swap(nil)
	if at == nil {
		return
	}
	select {
	case <-time.After(letGo - time.Since(*at)):
	case <-ctx.Done():
	}
	(&http.Client{Transport: a.next}).CloseIdleConnections()
}

// minTry is the least time that one try is worth: within it a TLS handshake and a short call succeed over a
// bad line too.
const minTry = time.Second

// share gives a try half of the time that is left, so that one that hangs leaves room for the next, and
// the last one all of it. So a slow ABEJA has as long as possible, whatever the number of retries.
func (t *tries) share(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline() // that of the call
	half := time.Until(deadline) / 2
	if t.left == 0 || half < minTry {
		return context.WithCancel(ctx)
	}
	t.left--
	return context.WithTimeout(ctx, half)
}

// timedBody is an answer's body. To read it takes of the try's time.
type timedBody struct {
	io.ReadCloser
	ended func()
}

// Close implements io.Closer.
func (b *timedBody) Close() error {
	defer b.ended()
	return b.ReadCloser.Close()
}

// gateInterval is how often a try asks the gate that follows one that hung.
const gateInterval = 100 * time.Millisecond

// enter asks the gate.
func (a *attempts) enter(ctx context.Context, t *tries) error {
	if a.gate == nil {
		return nil
	}
	a.leave(t, &Error{Op: t.op, Err: errCut}) // the answer to the try before could not be read
	for {
		refused := a.gate.Enter(t.hung)
		if refused == nil {
			t.entered, t.hung = time.Now(), false
			return nil
		}
		if deadline, _ := ctx.Deadline(); !t.hung || refused.Next.After(deadline) {
			return refused
		}
		select {
		case <-time.After(gateInterval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leave tells the gate how the request that it let through last has ended, unless it has been told.
func (a *attempts) leave(t *tries, err error) {
	if a.gate != nil && !t.entered.IsZero() {
		a.gate.Leave(Outcome{Began: t.entered, Err: err})
		t.entered = time.Time{}
	}
}
