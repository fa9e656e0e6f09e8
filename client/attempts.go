package client

import (
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

type opKey struct{}

// attempts stands between the retries and the network: each single request waits for the rate
// limit and is reported, whether it is a first try or a repetition.
type attempts struct {
	next    http.RoundTripper
	limiter *rate.Limiter
	observe func(Attempt)
}

// RoundTrip implements http.RoundTripper.
func (a *attempts) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := a.limiter.Wait(req.Context()); err != nil {
		if req.Context().Err() != nil {
			return nil, req.Context().Err()
		}
		return nil, errOverLimit // the wait would outlast the deadline
	}
	start := time.Now()
	resp, err := a.next.RoundTrip(req)
	if a.observe != nil {
		attempt := Attempt{Duration: time.Since(start)}
		attempt.Op, _ = req.Context().Value(opKey{}).(Op)
		if resp != nil {
			attempt.Status = resp.StatusCode
		}
		a.observe(attempt)
	}
	return resp, err
}

// CloseIdleConnections lets http.Client reach the transport's.
func (a *attempts) CloseIdleConnections() {
	if t, ok := a.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}
