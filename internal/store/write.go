package store

import (
	"context"
	"errors"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// WriteResult is what a write came to.
type WriteResult struct {
	ID, Description string
	// Version is the current version after the write, and VersionCreatedAt when it was made; zero
	// where no version was written and ABEJA told of none.
	Version          int
	VersionCreatedAt time.Time
	// Created says that the secret is new.
	Created bool
}

// Create makes a secret and never changes one. Its CAS, when not nil, must be 0.
func (s *Store) Create(ctx context.Context, name string, u Update) (WriteResult, error) {
	if u.CAS != nil && *u.CAS != 0 {
		if err := s.Absent(ctx, ByName(name).Surely()); err != nil {
			return WriteResult{}, err
		}
		return WriteResult{}, &CASError{Current: 0}
	}
	n := client.NewSecret{Name: s.prefix + name, Value: u.Value, SecretUpdate: u.SecretUpdate}
	release, err := s.organization.locks.acquire(ctx, n.Name)
	if err != nil {
		return WriteResult{}, err
	}
	defer release()
	bounded, cancel := s.bounded(ctx)
	defer cancel()
	made, err := once(bounded, func() (*client.Secret, error) {
		return change(s, n.Name, func() (*client.Secret, error) { return s.client.CreateSecret(bounded, n) })
	}, func() (*client.Secret, error) { return s.madeBefore(bounded, n) })
	if errors.Is(err, client.ErrConflict) || errors.Is(err, client.ErrInvalid) {
		// ABEJA's answer to a name that exists: 409 or 400, which of them is not documented.
		if listErr := s.identity.names.doubt(ctx, s); listErr == nil {
			if _, _, known := s.identity.names.peek(ByName(n.Name)); known {
				return WriteResult{}, ErrExists
			}
		}
	}
	if err != nil {
		return WriteResult{}, err
	}
	s.organization.created(s.identity, newItem(made))
	w := WriteResult{ID: made.ID, Description: made.Description, Version: 1, VersionCreatedAt: made.CreatedAt.Time, Created: true}
	if v := Newest.Of(made.Versions); v != nil {
		w.Version, w.VersionCreatedAt = v.Number, v.CreatedAt.Time
	}
	return w, nil
}

// Absent returns nil when there is no such secret, ErrExists when there is one, and else why that is not
// known. Of a secret that ABEJA has had for less than 5 s it may not know, unless the ref is Surely.
func (s *Store) Absent(ctx context.Context, r Ref) error {
	_, _, err := s.find(ctx, r)
	switch {
	case err == nil:
		return ErrExists
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// madeBefore looks for the secret that a create without a known outcome may have made.
func (s *Store) madeBefore(ctx context.Context, n client.NewSecret) (*client.Secret, error) {
	if _, err := s.identity.names.refresh(ctx, s); err != nil {
		return nil, err
	}
	_, id, known := s.identity.names.peek(ByName(n.Name))
	if !known {
		return nil, nil
	}
	got, err := s.get(ctx, n.Name, id, Newest, s.fetch)
	if err != nil {
		return nil, err
	}
	secret := got.secret
	v, err := Newest.read(secret)
	switch {
	case err != nil:
		return nil, err
	case len(secret.Versions)+len(secret.OddVersions) != 1 || !holds(v, n.Value):
		return nil, ErrExists
	}
	return secret, nil
}

// change sends something that changes the secret with this name. From then on no older answer is
// used, unless ABEJA is sure to have done nothing.
func change[T any](s *Store, name string, send func() (T, error)) (T, error) {
	result, err := send()
	if e := (*client.Error)(nil); !errors.As(err, &e) || e.OutcomeUnknown() {
		s.organization.outdate(name)
	}
	return result, err
}

// Update is what to change in a secret; nil leaves a part as it is.
type Update struct {
	// Value becomes a new version, unless it is that of the current version already.
	Value []byte
	// Same, when not nil, reports whether a stored value means the same as Value. If one of the versions
	// has such a value, the newest of them is stored in place of Value.
	Same func(stored []byte) bool
	// CAS, when not nil, is what the current version must be.
	CAS *int
	// Against says which version is the current one: Current or Newest.
	Against Pick
	// Derive, when not nil, makes Value from the secret as it is while no other writer of the engine changes it.
	Derive func(*client.Secret) (value []byte, err error)
	client.SecretUpdate
}

// Update changes a secret and never makes one.
func (s *Store) Update(ctx context.Context, r Ref, u Update) (WriteResult, error) {
	var w WriteResult
	err := s.locked(ctx, r, func(ctx context.Context, name, id string) error {
		if u.Value == nil && u.Derive == nil && u.CAS == nil && u.SecretUpdate != (client.SecretUpdate{}) {
			// Nothing to compare: this reaches a secret too that ABEJA no longer returns.
			secret, err := s.updateSecret(ctx, name, id, u.SecretUpdate)
			if err == nil {
				w = WriteResult{ID: id, Description: secret.Description}
				w.Version, _ = numberOf(u.Against, secret)
			}
			return err
		}
		var got record
		var err error
		look := Pick.From
		if u.Value == nil && u.Derive == nil {
			got.secret, err = s.describe(ctx, name, id)
		} else {
			got, err = s.get(ctx, name, id, u.Against, s.fetch)
			if u.CAS == nil { // else the number is enough to repeat the write safely, even where the value is odd
				look = Pick.read
			}
		}
		if err != nil {
			return err
		}
		secret := got.secret
		before, err := numberOf(u.Against, secret)
		if err != nil {
			return err
		}
		if u.CAS != nil && *u.CAS != before {
			return &CASError{Current: before}
		}
		if u.Derive != nil {
			if u.Value, err = u.Derive(secret); err != nil {
				return err
			}
		}
		w = WriteResult{ID: id, Description: secret.Description, Version: before}
		v, err := look(u.Against, secret)
		if err != nil {
			return err
		}
		value, err := s.asStored(ctx, u, got)
		if err != nil {
			return err
		}
		if value != nil && !holds(v, value) {
			if v, err = s.addVersion(ctx, secret, value); err != nil {
				return err
			}
		}
		if v != nil {
			w.Version, w.VersionCreatedAt = v.Number, v.CreatedAt.Time
		}
		if u.SecretUpdate == (client.SecretUpdate{}) {
			return nil
		}
		_, err = s.updateSecret(ctx, name, id, u.SecretUpdate)
		if err != nil && w.Version != before {
			return &PartialError{w.Version, err}
		}
		return err
	})
	return w, err
}

// asStored returns the value in the form in which one of the versions has it, or as it is.
func (s *Store) asStored(ctx context.Context, u Update, got record) ([]byte, error) {
	if u.Same == nil {
		return u.Value, nil
	}
	v := u.newestSame(got.secret.Versions)
	if v == nil && got.partial {
		all, err := s.secret(ctx, got.secret.Name, got.secret.ID, client.ReadOptions{Values: true, Keep: u.Same})
		if err != nil {
			return nil, err
		}
		v = u.newestSame(all.Versions)
	}
	if v == nil {
		return u.Value, nil
	}
	return v.Value, nil
}

func (u *Update) newestSame(versions []client.Version) (newest *client.Version) {
	for i := range versions {
		v := &versions[i]
		if (newest == nil || v.Number > newest.Number) && len(v.Value) > 0 && u.Same(v.Value) {
			newest = v
		}
	}
	return newest
}

func (s *Store) updateSecret(ctx context.Context, name, id string, u client.SecretUpdate) (*client.Secret, error) {
	return change(s, name, func() (*client.Secret, error) { return s.client.UpdateSecret(ctx, id, u) })
}

func (s *Store) addVersion(ctx context.Context, before *client.Secret, value []byte) (*client.Version, error) {
	newest := Newest.Of(before.Versions)
	return once(ctx, func() (*client.Version, error) {
		return change(s, before.Name, func() (*client.Version, error) { return s.client.CreateVersion(ctx, before.ID, value) })
	}, func() (*client.Version, error) {
		after, err := s.get(ctx, before.Name, before.ID, Newest, s.fetch)
		if err != nil {
			return nil, err
		}
		v, err := Newest.read(after.secret)
		if holds(v, value) && (newest == nil || v.Number > newest.Number) {
			return v, nil
		}
		return nil, err
	})
}

// once sends what must not take effect twice. When the outcome is not known it looks whether it
// took effect, and sends it a second time only if it did not. After a time-out it does not send
// again, since ABEJA may still be at work: the caller is told, and may repeat the whole write.
func once[T any](ctx context.Context, send, look func() (*T, error)) (*T, error) {
	result, err := send()
	if !outcomeUnknown(err) {
		return result, err
	}
	found, lookErr := look()
	if refused := (*client.NotAskedError)(nil); errors.As(lookErr, &refused) && pause(ctx, time.Until(refused.Next)) {
		found, lookErr = look()
	}
	if found != nil || errors.Is(lookErr, ErrExists) {
		return found, lookErr
	} else if lookErr != nil || errors.Is(err, client.ErrTimeout) {
		return nil, &UnknownOutcomeError{err}
	}
	if result, err = send(); outcomeUnknown(err) {
		if found, lookErr := look(); found != nil || errors.Is(lookErr, ErrExists) {
			return found, lookErr
		}
		return nil, &UnknownOutcomeError{err}
	}
	return result, err
}

// pause waits until ABEJA may be asked again, and reports whether that is worth it.
func pause(ctx context.Context, wait time.Duration) bool {
	if wait > hangTime {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Delete deletes a secret with all its versions. One that is surely not there is not an error.
func (s *Store) Delete(ctx context.Context, r Ref) error {
	var gone struct{ name, id string }
	err := s.locked(ctx, r.Surely(), func(ctx context.Context, name, id string) error {
		gone.name, gone.id = name, id
		return s.remove(name, func() error { return s.client.DeleteSecret(ctx, id) })
	})
	switch {
	case err == nil:
		s.organization.deleted(gone.name, gone.id)
	case errors.Is(err, ErrNotFound):
		return nil
	}
	return err
}

// remove is change for what has no answer.
func (s *Store) remove(name string, send func() error) error {
	_, err := change(s, name, func() (struct{}, error) { return struct{}{}, send() })
	return err
}

// SetStatus makes a version active or inactive.
func (s *Store) SetStatus(ctx context.Context, r Ref, p Pick, status client.Status) error {
	return s.locked(ctx, r, func(ctx context.Context, name, id string) error {
		v, err := s.version(ctx, name, id, p)
		if err != nil || v.Status == status {
			return err
		}
		_, err = change(s, name, func() (*client.Version, error) { return s.client.UpdateVersion(ctx, id, v.ID, status) })
		if unknownID(err) {
			if _, gone := s.version(ctx, name, id, Pick(v.Number)); gone != nil {
				return gone
			}
		}
		return err
	})
}

// DeleteVersion deletes a version for good.
func (s *Store) DeleteVersion(ctx context.Context, r Ref, p Pick) error {
	return s.locked(ctx, r, func(ctx context.Context, name, id string) error {
		v, err := s.version(ctx, name, id, p)
		if err != nil {
			return err
		}
		if err = s.remove(name, func() error { return s.client.DeleteVersion(ctx, id, v.ID) }); unknownID(err) {
			if _, gone := s.version(ctx, name, id, p); errors.As(gone, new(*NoVersionError)) {
				return nil // by this call's first try, whose answer was lost, or by another
			}
		}
		return err
	})
}

func (s *Store) version(ctx context.Context, name, id string, p Pick) (*client.Version, error) {
	versions, err := s.versions(ctx, name, id)
	if err != nil {
		return nil, err
	}
	v, err := versions.Pick(p)
	if v != nil || err != nil {
		return v, err
	}
	return nil, &NoVersionError{Newest: newestNumber(versions.Usable)}
}

// bounded limits a write to the time of two calls that hang, one that does it and one that looks what came of
// it, however many calls it makes. Waiting for other writers or for a listing does not count.
func (s *Store) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout, _ := s.client.Patience()
	return context.WithTimeout(ctx, 2*timeout)
}

// locked runs do alone among the writers of the secret's name.
func (s *Store) locked(ctx context.Context, r Ref, do func(ctx context.Context, name, id string) error) error {
	name, _, err := s.find(ctx, r)
	if err != nil {
		return err
	}
	release, err := s.organization.locks.acquire(ctx, name)
	if err != nil {
		return err
	}
	defer release()
	var done error
	err = s.withID(ctx, r, func(name, id string) error {
		ctx, cancel := s.bounded(ctx)
		defer cancel()
		done = do(ctx, name, id)
		return done
	})
	if errors.Is(err, ErrNotFound) {
		return err
	}
	// Not that of err: what went wrong last may be the list that was to tell why ABEJA knows no such id.
	if e := (*client.Error)(nil); errors.As(done, &e) && e.OutcomeUnknown() && !errors.As(done, new(*UnknownOutcomeError)) {
		switch e.Op {
		case client.OpUpdateSecret, client.OpDeleteSecret, client.OpUpdateVersion, client.OpDeleteVersion:
			return &UnknownOutcomeError{err}
		}
	}
	return err
}
