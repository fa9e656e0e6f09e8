package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

// The wait before try n+1 is n times a random duration between these two, unless ABEJA names
// one with Retry-After.
const (
	retryWaitMin = 100 * time.Millisecond
	retryWaitMax = 500 * time.Millisecond
)

func newRetrying(httpClient *http.Client, retries int, check retryablehttp.CheckRetry) *retryablehttp.Client {
	return &retryablehttp.Client{
		HTTPClient:   httpClient,
		RetryMax:     retries,
		RetryWaitMin: retryWaitMin,
		RetryWaitMax: retryWaitMax,
		CheckRetry:   check,
		Backoff:      backoff,
		ErrorHandler: retryablehttp.PassthroughErrorHandler,
	}
}

// backoff reads Retry-After as fits does, with any status.
func backoff(shortest, longest time.Duration, repetition int, resp *http.Response) time.Duration {
	if resp != nil {
		if wait := retryAfter(resp); wait > 0 {
			return wait
		}
	}
	return retryablehttp.LinearJitterBackoff(shortest, longest, repetition, resp)
}

type onceKey struct{}

// Once returns a context with which a call is sent one time, however it ends: for a caller who has
// something to fall back on and need not wait.
func Once(ctx context.Context) context.Context { return context.WithValue(ctx, onceKey{}, true) }

type patientKey struct{}

// Patient returns a context with which the wait for Config.Limiter comes before a call's time, and
// may last as long as the context: for one of many calls that nobody waits for each.
func Patient(ctx context.Context) context.Context {
	return context.WithValue(ctx, patientKey{}, true)
}

// retryRepeatable decides for calls that may reach ABEJA twice without harm.
func retryRepeatable(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	if ctx.Value(onceKey{}) != nil {
		return false, err
	}
	if err != nil {
		return !final(err), err
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fits(ctx, resp), nil
	}
	return false, nil
}

// retryPost decides for POST, which is never sent again unless ABEJA has said that it did
// nothing: a request over the rate limit.
func retryPost(ctx context.Context, resp *http.Response, err error) (bool, error) {
	if ctx.Err() != nil {
		return false, ctx.Err()
	}
	return err == nil && resp.StatusCode == http.StatusTooManyRequests && fits(ctx, resp), err
}

// final says of an error that trying again cannot help.
func final(err error) bool {
	var cert *tls.CertificateVerificationError
	return errors.As(err, &cert) || errors.Is(err, errTooLarge) || errors.Is(err, errOverMost) || errors.Is(err, errNoRoom) ||
		errors.Is(err, errOverLimit) || errors.As(err, new(*NotAskedError))
}

// fits reports whether the wait that ABEJA asks for ends before the caller's deadline.
func fits(ctx context.Context, resp *http.Response) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > retryAfter(resp)
}

// retryAfter reads RFC 9110's header: seconds or a date. 0 when there is none.
func retryAfter(resp *http.Response) time.Duration {
	raw := resp.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(raw); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 86400)) * time.Second
	}
	if at, err := http.ParseTime(raw); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
