package client

import (
	"fmt"
	"time"
)

// Gate decides before each request whether ABEJA is to be asked, and is told what came of it. It must
// be quick and safe for concurrent use. Clients of one organization may share one.
type Gate interface {
	// Enter lets a request through, or returns why not. hung says that it is the next try after one that had
	// no answer in its time: perhaps only the connection of that one is dead. Such a try that is not let
	// through is asked for again until its call's time is over.
	Enter(hung bool) *NotAskedError
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
	Why *Error
}

// Error implements error.
func (e *NotAskedError) Error() string {
	wait := (max(0, time.Until(e.Next)) + time.Second - 1).Truncate(time.Second) // rounded up: who waits so long is not too early
	return fmt.Sprintf("ABEJA has been failing since %s (%v), and was not asked; the next request goes out in %s",
		e.Since.UTC().Format(time.RFC3339), e.Why.fact(), wait)
}

// Unwrap returns how ABEJA fails.
func (e *NotAskedError) Unwrap() error { return e.Why }
