package store

import (
	"errors"
	"fmt"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// What the store itself has to say; every other error is the client's.
var (
	// ErrNotFound: there is no such secret, or none that the mount shows.
	ErrNotFound = errors.New("no such secret")
	// ErrNoActive: every version of the secret is inactive.
	ErrNoActive = errors.New("no active version")
	// ErrExists: the secret exists already, and was only to be created.
	ErrExists = errors.New("the secret exists")
	// ErrIncomplete: secrets were created and deleted too fast to list all of them, so it is not known
	// whether there is one of the name.
	ErrIncomplete = errors.New("not all secrets could be listed")
	// ErrUnnamed: there is no secret of the name among those that can be told by name, but ABEJA lists
	// one that cannot.
	ErrUnnamed = errors.New("a secret in ABEJA's list has no usable name, and may be this one")
	// ErrOdd: ABEJA's record of a version cannot be understood, so it is not known what was asked for.
	ErrOdd = errors.New("a record at ABEJA cannot be understood")
)

// NoVersionError is a number that the secret has no version of.
type NoVersionError struct {
	// Newest is the number of the newest version; 0 when the secret has none.
	Newest int
	// Secret is the secret that lacks the version.
	Secret *client.Secret
}

// Error implements error.
func (e *NoVersionError) Error() string { return "no such version" }

// CASError says that a check-and-set write met another version than it asked for.
type CASError struct{ Current int }

// Error implements error.
func (e *CASError) Error() string {
	return fmt.Sprintf("check-and-set did not match: the current version is %d", e.Current)
}

// WithheldError is a secret that ABEJA lists and does not give out, because it has expired.
type WithheldError struct{ ExpiredAt time.Time }

// Error implements error.
func (e *WithheldError) Error() string {
	return "expired at " + e.ExpiredAt.Format(time.RFC3339)
}

// PartialError is a write of which the value was stored and the rest was not.
type PartialError struct {
	Version int // that the value has
	Err     error
}

// Error implements error.
func (e *PartialError) Error() string {
	if outcomeUnknown(e.Err) {
		return fmt.Sprintf("the value is stored as version %d, but the rest is not known to be: %v", e.Version, e.Err)
	}
	return fmt.Sprintf("the value is stored as version %d, but the rest is not: %v", e.Version, e.Err)
}

// Unwrap returns the cause.
func (e *PartialError) Unwrap() error { return e.Err }

// UnknownOutcomeError is a write of which it could not be found out whether ABEJA did it.
type UnknownOutcomeError struct{ Err error }

// Error implements error.
func (e *UnknownOutcomeError) Error() string {
	return e.Err.Error() + "; whether ABEJA stored it is not known"
}

// Unwrap returns the cause.
func (e *UnknownOutcomeError) Unwrap() error { return e.Err }

func outcomeUnknown(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.OutcomeUnknown()
}

// errOtherName: the id is that of a secret with another name now.
var errOtherName = badAnswer(client.OpGetSecret, "the answer is about another name")

// contradicts reports whether an error of a call about a secret says that the directory is wrong.
func contradicts(err error) bool { return unknownID(err) || errors.Is(err, errOtherName) }

// unknownID reports whether ABEJA does not know an id: 404, or 403; which of them is not documented.
func unknownID(err error) bool {
	return errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrUnauthorized)
}

func badAnswer(op client.Op, why string) error {
	return &client.Error{Op: op, Status: 200, Err: errors.New(why)}
}

func oddAnswer(op client.Op, why string) error {
	return &client.Error{Op: op, Status: 200, Err: fmt.Errorf("%w: %s", ErrOdd, why)}
}
