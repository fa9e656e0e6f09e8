package client

import (
	"errors"
	"fmt"
	"time"
)

// Gate decides before each request whether ABEJA is to be asked, and is told what came of it. It must
// be quick and safe for concurrent use. Clients of one organization may share one.
type Gate interface {
	// Enter lets a request through, or returns why not.
	Enter() *NotAskedError
	// Leave is told how a request ended that was let through.
	Leave(Outcome)
}

// Outcome is how a request ended.
type Outcome struct {
	// Began is when the request was sent.
	Began time.Time
	// Err is nil when ABEJA answered, if only to refuse. Else it is an *Error, for which errors.Is
	// tells ErrTimeout, ErrUnavailable, ErrRateLimited and ErrBadAnswer apart, or the context's own
	// when the caller gave up.
	Err error
}

// NotAskedError is why a request was not sent: ABEJA has been failing.
type NotAskedError struct {
	// Since is when ABEJA began to fail, and Next when it is asked again at the earliest.
	Since, Next time.Time
	// Why is how it fails.
	Why error
}

// Error implements error.
func (e *NotAskedError) Error() string {
	return fmt.Sprintf("ABEJA was not asked, since it has been failing from %s on (%v); the next try is in %s",
		e.Since.UTC().Format(time.RFC3339), e.Why, max(0, time.Until(e.Next)).Round(time.Second))
}

// ErrNotAsked: the request was not sent, so its outcome is known: nothing was done.
var ErrNotAsked = errors.New("not asked")
