// Package store reaches one organization's secrets by name, safely: ABEJA has no look-up by name,
// no conditional write and no list that holds still. It knows neither Vault nor HTTP.
package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"

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
)

// NoVersionError is a number that the secret has no version of.
type NoVersionError struct {
	// Newest is the number of the newest version; 0 when the secret has none.
	Newest int
	// Secret is the secret without its versions.
	Secret client.Secret
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

// Ref names a secret, by its name in the mount or by its id at ABEJA.
type Ref struct{ name, id string }

// ByName refers to a secret by its name, without the store's prefix.
func ByName(name string) Ref { return Ref{name: name} }

// ByID refers to a secret by ABEJA's id.
func ByID(id string) Ref { return Ref{id: id} }

// Store is one organization's secrets, or those with a prefix. It is safe for concurrent use.
type Store struct {
	client *client.Client
	prefix string
	dir    directory
	locks  locks
	reads  singleflight.Group
	epochs epochs
	cache  cache
	stats  *Stats
}

// New makes a store of the secrets whose names begin with prefix, which counts in stats. It calls
// nothing.
func New(c *client.Client, prefix string, f Freshness, stats *Stats) *Store {
	s := &Store{client: c, prefix: prefix, epochs: newEpochs(), stats: stats}
	s.cache = newCache(f, s.epochs)
	s.dir.list, s.dir.stats = s.list, stats
	s.dir.doubts = rate.NewLimiter(rate.Every(lookupInterval), confirmBurst)
	return s
}

// Warm loads the directory in the background.
func (s *Store) Warm() { s.dir.warm() }

// Close gives up what the store holds open. What is under way is not disturbed.
func (s *Store) Close() { s.client.CloseIdleConnections() }

// Verify asks ABEJA whether it accepts the credential for the organization.
func (s *Store) Verify(ctx context.Context) error {
	_, err := s.client.ListSecrets(ctx, client.ListOptions{Limit: 1})
	return err
}

// Exists answers from the names that are known, and makes them known at most once a minute. While
// ABEJA fails and no name is known yet, none exists: who then creates learns from ABEJA what does.
func (s *Store) Exists(ctx context.Context, name string) bool { return s.dir.exists(ctx, name) }

// List gives all secrets as they are now.
func (s *Store) List(ctx context.Context) (*Listing, error) { return s.dir.current(ctx) }

// withID runs do with the id of the secret. If ABEJA does not know that id (404, or 403: which of
// them is not documented), the names are loaded anew and do runs again with another id, if any.
func (s *Store) withID(ctx context.Context, r Ref, do func(name, id string) error) error {
	name, id, err := s.dir.find(ctx, r)
	if err != nil {
		return err
	}
	err = do(name, id)
	if !unknownID(err) {
		return err
	}
	s.epochs.of(name).Add(1) // nothing that was read before may stand in for this
	if listErr := s.dir.confirm(ctx); listErr != nil {
		return listErr
	}
	name, newID, known := s.dir.peek(r)
	switch {
	case !known:
		return ErrNotFound
	case newID != id:
		return do(name, newID)
	}
	if at, expired := s.dir.hasExpired(id); expired {
		return &WithheldError{at}
	}
	return err
}

func unknownID(err error) bool {
	return errors.Is(err, client.ErrNotFound) || errors.Is(err, client.ErrUnauthorized)
}

// get reads a secret with all its versions and their values. The answer has the name that was
// meant, without the prefix.
func (s *Store) get(ctx context.Context, name, id string) (*client.Secret, error) {
	secret, err := s.client.GetSecret(ctx, id, client.ReadOptions{Values: true})
	if err != nil {
		return nil, err
	}
	if secret.Name != s.prefix+name {
		return nil, badAnswer(client.OpGetSecret, "the answer is about another name")
	}
	seen := make(map[int]bool, len(secret.Versions))
	for i := range secret.Versions {
		v := &secret.Versions[i]
		if seen[v.Number] || len(v.Value) == 0 {
			return nil, badAnswer(client.OpGetSecret, "the answer holds a version twice or without its value")
		}
		seen[v.Number] = true
	}
	secret.Name = name
	return secret, nil
}

func badAnswer(op client.Op, why string) error {
	return &client.Error{Op: op, Status: 200, Err: errors.New(why)}
}

// Pick chooses a version: a number, or one of the constants.
type Pick int

const (
	// Current is the newest active version.
	Current Pick = 0
	// Newest is the newest version, active or not.
	Newest Pick = -1
)

// Of gives the version that is picked, or nil.
func (p Pick) Of(versions []client.Version) *client.Version {
	var best *client.Version
	for i := range versions {
		v := &versions[i]
		switch {
		case p > 0 && v.Number != int(p), p == Current && v.Status != client.Active:
		case best == nil || v.Number > best.Number:
			best = v
		}
	}
	return best
}

// numberOf is what check-and-set compares with: the version that is picked, else the newest.
func numberOf(p Pick, versions []client.Version) int {
	if v := p.Of(versions); v != nil {
		return v.Number
	}
	if v := Newest.Of(versions); v != nil {
		return v.Number
	}
	return 0
}

// holds says whether a version is in use and has the value.
func holds(v *client.Version, value []byte) bool {
	return v != nil && v.Status == client.Active && bytes.Equal(v.Value, value)
}
