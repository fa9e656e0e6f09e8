package client

import (
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

type triesKey struct{}

// tries is what the attempts of one call share.
type tries struct {
	op       Op
	attempts int
	admitted bool // by the limiter, before the call's time began
	// mayHaveActed says that ABEJA may have done what an attempt asked.
	mayHaveActed bool
}

// attempts stands between the retries and the network: each single request waits for the rate
// limit and is reported, whether it is a first try or a repetition. It has no CloseIdleConnections,
// which go-retryablehttp calls whenever a call fails: the other calls need those connections.
type attempts struct {
	next    http.RoundTripper
	limiter *rate.Limiter
	observe func(Attempt)
}

// RoundTrip implements http.RoundTripper.
func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	tries := req.Context().Value(triesKey{}).(*tries)
	if tries.admitted {
		tries.admitted = false
	} else if err := a.limiter.Wait(req.Context()); err != nil {
		if req.Context().Err() != nil {
			return nil, req.Context().Err()
		}
		return nil, errOverLimit // the wait would outlast the deadline
	}
	start := time.Now()
	resp, err := a.next.RoundTrip(req)
	took := time.Since(start)
	end := Error{Err: err}
	if resp != nil {
		end.Status = resp.StatusCode
	}
	if end.OutcomeUnknown() {
		tries.mayHaveActed = true
	}
	tries.attempts++
	if a.observe != nil {
		a.observe(Attempt{Op: tries.op, Number: tries.attempts, Status: end.Status, Duration: took})
	}
	return resp, err
}
