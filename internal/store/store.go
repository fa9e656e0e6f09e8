// Package store reaches one organization's secrets by name, safely: ABEJA has no look-up by name,
// no conditional write and no list that holds still. It knows neither Vault nor HTTP.
package store

import (
	"bytes"
	"context"
	"strings"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Ref names a secret, by its name in the mount or by its id at ABEJA.
type Ref struct {
	name, id string
	surely   bool
}

// ByName refers to a secret by its name, without the store's prefix.
func ByName(name string) Ref { return Ref{name: name} }

// ByID refers to a secret by ABEJA's id.
func ByID(id string) Ref { return Ref{id: id} }

// Surely is the ref for those who act on the absence of a secret or version, as a delete does that succeeds:
// ErrNotFound is then told only on the word of a complete listing that began after the request, and so is
// what versions there are.
func (r Ref) Surely() Ref {
	r.surely = true
	return r
}

// Store is a view of an organization's secrets, as one mount with one config has it: all of them, or
// those with a prefix. It is safe for concurrent use.
type Store struct {
	client       *client.Client
	prefix       string
	fresh        Freshness
	stats        *Stats
	organization *Organization
	identity     *identity
	ctx          context.Context // of the mount

	lastGood *LastGood // nil if the mount keeps none; written under organization.mu before the store is used
	keeping  func()    // ends the work of keeping
}

// Options are how a mount views an organization.
type Options struct {
	// Client reaches the organization. It should have its Limiter, Room and Gate.
	Client *client.Client
	// Prefix is what the names of the secrets begin with that are shown, without it.
	Prefix string
	Freshness
	// RequestsPerSecond bounds the requests of all mounts of the organization; 0 sets no bound.
	RequestsPerSecond float64
	// Stats is what the store counts in.
	Stats *Stats
	// Watch, when set, is told when ABEJA is no longer asked since it fails, and when it is again.
	Watch func(Weather)
}

// Open makes a view of the organization, to be closed when it is replaced. What it does in the
// background ends with ctx. It calls nothing.
func (o *Organization) Open(ctx context.Context, opts Options) *Store {
	s := &Store{
		client: opts.Client, prefix: opts.Prefix, fresh: opts.Freshness, stats: opts.Stats,
		organization: o, ctx: ctx,
	}
	o.join(s, opts.RequestsPerSecond)
	o.breaker.watch(s, opts.Watch)
	return s
}

// Inherit takes over the names and values that another store has been shown. Its ABEJA user must be
// the same, and ABEJA must have accepted the credential: whoever claims to be a user is else given
// what that one was shown.
func (s *Store) Inherit(from *Store) {
	if s.organization == from.organization && s.identity != from.identity {
		s.identity.inherit(from.identity)
	}
}

// Warm loads the directory in the background.
func (s *Store) Warm() { s.identity.names.warm(s) }

// Close releases what the store holds. Its requests under way go on.
func (s *Store) Close() {
	if s.keeping != nil {
		s.keeping()
	}
	s.organization.leave(s)
	s.organization.breaker.watch(s, nil)
	s.client.CloseIdleConnections()
}

// Revoke ends the use of all that ABEJA has told: it no longer accepts the credential.
func (s *Store) Revoke() { s.identity.revoke() }

// callTimeout bounds a call that others may share, with the listing it may need: Vault gives up a
// request after 90 s.
const callTimeout = 90 * time.Second

// background is for work that goes on when its caller gives up: it ends after the limit, or with the
// mount.
func (s *Store) background(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// Verify asks ABEJA whether it accepts the credential for the organization.
func (s *Store) Verify(ctx context.Context) error {
	_, err := s.client.ListSecrets(ctx, client.ListOptions{Limit: 1})
	return err
}

// Exists answers from the names that are known, and makes them known at most once a minute, and with on average
// a hundred requests a minute at most beyond the first listing, retries aside. While ABEJA fails and no name is
// known yet, none exists: who then creates learns from ABEJA what does.
func (s *Store) Exists(ctx context.Context, name string) bool {
	return s.identity.names.exists(ctx, s, s.prefix+name)
}

// List returns all secrets, as they were while their pages were read: for one that goes on where another has
// failed, up to 15 minutes before. What was written through the engine before the call is there. Callers share
// the answer: never change it.
func (s *Store) List(ctx context.Context) (*Listing, error) {
	all, err := s.identity.names.current(ctx, s)
	if err != nil {
		return nil, err
	}
	return all.of(s.prefix), nil
}

// ID returns the id of a secret. Of one that is known it asks nobody.
func (s *Store) ID(ctx context.Context, r Ref) (string, error) {
	_, id, err := s.find(ctx, r)
	return id, err
}

// Listed returns the ids of all secrets that the last complete listing has shown to the mount's user and of
// those made since, whatever the prefix, and when that listing began. Without one that is sure to have all
// the time is zero.
func (s *Store) Listed() (ids []string, began time.Time) { return s.identity.names.listedIDs() }

// find returns the secret's name, with the prefix, and its id.
func (s *Store) find(ctx context.Context, r Ref) (name, id string, err error) {
	if r.id == "" {
		r.name = s.prefix + r.name
	}
	look := s.identity.names.find
	if r.surely {
		look = s.identity.names.certain
	}
	name, id, err = look(ctx, s, r)
	if err == nil && !s.shows(name) {
		return "", "", ErrNotFound
	}
	return name, id, err
}

// shows reports whether the store shows the secret with this name.
func (s *Store) shows(name string) bool {
	rest, ok := strings.CutPrefix(name, s.prefix)
	return ok && ValidName(rest)
}

// withID runs do with the name, prefix included, and the id of the secret. If ABEJA contradicts the
// directory, by not knowing the id or knowing it by another name, the names are loaded anew and do
// runs again with another id, if any.
func (s *Store) withID(ctx context.Context, r Ref, do func(name, id string) error) error {
	name, id, err := s.find(ctx, r)
	if err != nil {
		return err
	}
	err = do(name, id)
	if !contradicts(err) {
		if err == nil {
			s.identity.names.learn(name, id)
		}
		return err
	}
	s.identity.refused(name)
	newName, newID, listErr := s.reconsider(ctx, r, name, id)
	switch {
	case listErr != nil:
		return listErr
	case newID != id || newName != name:
		return do(newName, newID)
	}
	if at, expired := s.identity.names.hasExpired(id); expired {
		return &WithheldError{at}
	}
	return err
}

// reconsider finds a secret anew after ABEJA has contradicted what was known of it.
func (s *Store) reconsider(ctx context.Context, r Ref, name, id string) (newName, newID string, err error) {
	names := &s.identity.names
	s.organization.recent.disown(s.identity, name, id)
	if r.surely {
		_, err = names.refresh(ctx, s)
	} else {
		err = names.doubt(ctx, s)
	}
	if err != nil {
		return "", "", err
	}
	if r.id == "" {
		r.name = name
	}
	newName, newID, known := names.peek(r)
	if !known || !s.shows(newName) {
		return "", "", ErrNotFound
	}
	return newName, newID, nil
}

// confirm asks ABEJA whether a secret is still what it was, and lists anew if it is not.
func (s *Store) confirm(ctx context.Context, name, id string) error {
	secret, err := s.client.GetSecret(ctx, id, client.ReadOptions{})
	if err == nil && secret.Name != name {
		err = errOtherName
	}
	if contradicts(err) {
		_, _, err = s.reconsider(ctx, Ref{id: id}, name, id)
	}
	return err
}

// secret asks for a secret. It must have the name, and no version twice.
func (s *Store) secret(ctx context.Context, name, id string, o client.ReadOptions) (*client.Secret, error) {
	secret, err := s.client.GetSecret(ctx, id, o)
	if err != nil {
		return nil, err
	}
	if secret.Name != name {
		return nil, errOtherName
	}
	seen := make(map[int]bool, len(secret.Versions))
	for i := range secret.Versions {
		v := &secret.Versions[i]
		if seen[v.Number] {
			return nil, badAnswer(client.OpGetSecret, "the answer holds a version twice")
		}
		seen[v.Number] = true
	}
	return secret, nil
}

// Pick chooses a version: a number, or one of the constants.
type Pick int

const (
	// Current is the newest active version.
	Current Pick = 0
	// Newest is the newest version, active or not.
	Newest Pick = -1
)

// Of returns the version that is picked among those that can be used, or nil. From and Versions.Pick tell
// whether one that cannot be used may be meant.
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

// numberOf is what check-and-set compares with: the version that is picked, else the newest; 0 where
// there is none, or it is not known for sure.
func numberOf(p Pick, s *client.Secret) (int, error) {
	v, err := p.From(s)
	if v == nil && err == nil {
		v, err = Newest.From(s)
	}
	if v == nil {
		return 0, err
	}
	return v.Number, nil
}

func newestNumber(versions []client.Version) int {
	if v := Newest.Of(versions); v != nil {
		return v.Number
	}
	return 0
}

// holds reports whether a version is in use and has the value.
func holds(v *client.Version, value []byte) bool {
	return v != nil && v.Status == client.Active && bytes.Equal(v.Value, value)
}
