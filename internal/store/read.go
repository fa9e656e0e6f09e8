package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Reading is a secret with one of its versions.
type Reading struct {
	// Name is the secret's name, without the store's prefix.
	Name string
	// Secret and Version are shared between callers: never change them. The secret's own Name has
	// the prefix. Its Versions are complete, but those other than Version may lack their values.
	Secret *client.Secret
	// An inactive version may be without a value.
	Version *client.Version
	// Odd counts the records of the secret, its own and those of its versions, that could not be
	// understood in full.
	Odd int
	// Stale is how old the answer is when an older one had to do, else 0: since ABEJA failed, or
	// while, as Renewing says, it is asked for a newer one.
	Stale    time.Duration
	Renewing bool
}

// Read returns a secret with the version that is picked. Identical reads share one call.
func (s *Store) Read(ctx context.Context, r Ref, p Pick) (Reading, error) {
	name := s.prefix + r.name
	if r.id != "" {
		name, _, _ = s.identity.names.peek(r)
	}
	f := s.fresh
	old, ok := s.kept(name, r, p, max(f.TTL+f.StaleWhileRevalidate, f.StaleIfError))
	if f.TTL+f.StaleWhileRevalidate > 0 {
		switch {
		case ok && old.Stale <= f.TTL:
			s.stats.CacheHits.Add(1)
			old.Stale = 0
			return old, nil
		case ok && old.Stale <= f.TTL+f.StaleWhileRevalidate:
			s.stats.Revalidations.Add(1)
			s.renew(name, r, p)
			old.Renewing = true
			return old, nil
		}
		s.stats.CacheMisses.Add(1)
	}
	if (!ok || old.Stale > f.StaleIfError) && !s.onShelf(name) {
		return s.ask(ctx, "read", r, p)
	}

	// No use to try often, nor to wait long, where an older answer can do. The call goes on.
	var reading Reading
	var err error
	if hangs, due := s.organization.breaker.hangs(); hangs {
		if due {
			s.try()
		}
	} else {
		begin := time.Now()
		patient, cancel := context.WithTimeout(client.Once(ctx), patience)
		defer cancel()
		reading, err = s.ask(patient, "read once", r, p)
		switch {
		case ctx.Err() != nil:
			return reading, ctx.Err()
		case patient.Err() != nil && err != nil:
			s.organization.breaker.gaveUp(begin)
		case err == nil || !abejaFails(err):
			return reading, err
		}
	}
	if old, ok := s.lastGoodOf(ctx, name, r, p); ok {
		s.stats.StaleAnswers.Add(1)
		return old, nil
	}
	return s.ask(ctx, "read", r, p) // what was kept has been written or refused meanwhile
}

// onShelf reports whether the mount's shelf has a value of the name that may be given out.
func (s *Store) onShelf(name string) bool {
	return s.lastGood != nil && s.lastGood.has(name, s.fresh.StaleIfError)
}

// lastGoodOf answers from what is kept, and else from the mount's shelf, for which identical reads share
// one call.
func (s *Store) lastGoodOf(ctx context.Context, name string, r Ref, p Pick) (Reading, bool) {
	old, ok := s.kept(name, r, p, s.fresh.StaleIfError)
	if ok || !s.onShelf(name) {
		return old, ok
	}
	s.lastGood.loads.Do(name, func() (any, error) {
		found, ok := s.lastGood.load(context.WithoutCancel(ctx), name, s.fresh.StaleIfError, s.organization.seq.Load())
		if ok {
			s.identity.values.keep(name, found, s.identity.since)
		}
		return nil, nil
	})
	return s.kept(name, r, p, s.fresh.StaleIfError)
}

// try sends one light call in the background, for the breaker to learn whether ABEJA still hangs.
func (s *Store) try() {
	go s.stats.recovering(func() error {
		ctx, cancel := s.background(client.Once(context.Background()), callTimeout)
		defer cancel()
		return s.Verify(ctx)
	})()
}

// renew asks for a secret in the background, once at a time.
func (s *Store) renew(name string, r Ref, p Pick) {
	if _, underWay := s.identity.renewing.LoadOrStore(name, true); underWay {
		return
	}
	go s.stats.recovering(func() error {
		defer s.identity.renewing.Delete(name)
		ctx, cancel := s.background(context.Background(), callTimeout)
		defer cancel()
		_, err := s.ask(ctx, "read", r, p)
		return err
	})()
}

// kept answers from what is kept and was asked for no longer than age ago.
func (s *Store) kept(name string, r Ref, p Pick, age time.Duration) (Reading, bool) {
	kept, old, ok := s.identity.values.get(name, age)
	if !ok || r.id != "" && (r.id != kept.secret.ID || !s.shows(name)) {
		return Reading{}, false
	}
	v, err := p.read(kept.secret)
	if v == nil || err != nil || !kept.has(v) {
		return Reading{}, false
	}
	return Reading{Name: name[len(s.prefix):], Secret: kept.secret, Version: v, Odd: kept.odd, Stale: old}, true
}

// read is From for those who want the value: that of an active version must be there.
func (p Pick) read(s *client.Secret) (*client.Version, error) {
	v, err := p.From(s)
	if v != nil && v.Status == client.Active {
		if _, err := ValueOf(v); err != nil {
			return nil, err
		}
	}
	return v, err
}

// ask reads at ABEJA, sharing calls with those who ask for the same what, and keeps the answer as old as
// the call that it shared. Of a secret that is not large the same call does for all its versions.
func (s *Store) ask(ctx context.Context, what string, r Ref, p Pick) (reading Reading, err error) {
	fetch := func(ctx context.Context, name, id string) (record, error) {
		return shared(ctx, s, what, name, id, s.fetch)
	}
	err = s.withID(ctx, r, func(name, id string) error {
		got, err := shared(ctx, s, fmt.Sprint(what, " ", int(p)), name, id, func(ctx context.Context, name, id string) (record, error) {
			got, err := s.get(ctx, name, id, p, fetch)
			switch {
			case err == nil:
				s.keep(name, got)
				got = got.without(p)
			case !abejaFails(err) && ctx.Err() == nil:
				s.identity.refused(name)
			}
			return got, err
		})
		if err != nil {
			return err
		}
		v, err := p.read(got.secret)
		switch {
		case err != nil:
			return err
		case v != nil:
			reading = Reading{Name: name[len(s.prefix):], Secret: got.secret, Version: v, Odd: got.odd}
			return nil
		case p == Current && len(got.secret.Versions)+len(got.secret.OddVersions) > 0:
			return ErrNoActive
		}
		return &NoVersionError{Newest: newestNumber(got.secret.Versions), Secret: got.secret}
	})
	return reading, err
}

// keep keeps an answer that has the current value. Another one is of less use than what was kept before.
func (s *Store) keep(name string, got record) {
	size, _ := s.fresh.bounds()
	if _, odd := Current.read(got.secret); size > 0 && odd == nil && (!got.partial || got.only != "") {
		s.identity.keep(name, got)
	}
}

// abejaFails reports whether ABEJA could not answer, rather than refused to.
func abejaFails(err error) bool {
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrNotAsked) || errors.Is(err, client.ErrTimeout) ||
		errors.Is(err, client.ErrRateLimited) || errors.Is(err, client.ErrBadAnswer) && !errors.Is(err, errOtherName)
}

// Describe returns a secret with all its versions, without their values, as they are at ABEJA. Identical
// calls share one: never change the answer.
func (s *Store) Describe(ctx context.Context, r Ref) (*client.Secret, error) {
	var secret *client.Secret
	err := s.withID(ctx, r, func(name, id string) (err error) {
		secret, err = shared(ctx, s, "describe", name, id, s.describe)
		return err
	})
	return secret, err
}

// describe asks for no value. Where ABEJA leaves out the versions for that, it asks for their list too.
func (s *Store) describe(ctx context.Context, name, id string) (*client.Secret, error) {
	secret, err := s.secret(ctx, name, id, client.ReadOptions{})
	if err != nil || len(secret.Versions)+len(secret.OddVersions) > 0 {
		return secret, err
	}
	versions, err := s.versions(ctx, name, id)
	secret.Versions, secret.OddVersions = versions.Usable, versions.Odd
	return secret, err
}

// Versions returns all versions of a secret, without values. Identical calls share one, but for one with a
// Surely ref.
func (s *Store) Versions(ctx context.Context, r Ref) (versions Versions, err error) {
	err = s.withID(ctx, r, func(name, id string) (err error) {
		if r.surely {
			versions, err = s.versions(ctx, name, id)
		} else {
			versions, err = shared(ctx, s, "versions", name, id, s.versions)
		}
		return err
	})
	return versions, err
}

func (s *Store) versions(ctx context.Context, _, id string) (Versions, error) {
	var mu sync.Mutex
	var odd []client.Version
	list := lister[client.Version]{
		stats: s.stats,
		id:    func(v client.Version) string { return v.ID },
		fetch: func(ctx context.Context, offset, limit int) (page[client.Version], error) {
			p, err := s.client.ListVersions(ctx, id, client.ListOptions{Offset: offset, Limit: limit})
			if err != nil {
				return page[client.Version]{}, err
			}
			mu.Lock()
			defer mu.Unlock()
			for _, v := range p.Odd { // pages overlap
				if v.ID == "" || !slices.ContainsFunc(odd, func(o client.Version) bool { return o.ID == v.ID }) {
					odd = append(odd, v)
				}
			}
			return page[client.Version]{offset, len(p.Versions) + len(p.Odd), p.Versions, p.Pagination.HasNext}, nil
		},
	}
	// A secret has about 100 versions at the most: one page or two, with no churn to speak of.
	versions, _, err := list.all(ctx)
	if err != nil {
		return Versions{}, err
	}
	slices.SortFunc(versions, func(a, b client.Version) int { return cmp.Compare(a.Number, b.Number) })
	for i := 1; i < len(versions); i++ {
		if versions[i].Number == versions[i-1].Number {
			return Versions{}, badAnswer(client.OpListVersions, "the answer holds a version twice")
		}
	}
	return Versions{versions, odd}, nil
}

// shared lets identical calls about a secret share one. A caller never joins a call that began
// before the last write of that name was answered, nor one that may take longer than its own. One
// that gives up does not disturb the others.
func shared[T any](ctx context.Context, s *Store, what, name, id string, call func(ctx context.Context, name, id string) (T, error)) (T, error) {
	var none T
	for {
		if ctx.Err() != nil {
			return none, ctx.Err()
		}
		timeout, retries := s.client.Patience()
		key := fmt.Sprint(what, " ", id, " ", s.identity.since(name), " ", timeout, " ", retries)
		joined := true
		done := s.identity.calls.DoChan(key, func() (result any, err error) {
			joined = false
			ctx, cancel := s.background(context.WithoutCancel(ctx), callTimeout)
			defer cancel()
			err = s.stats.recovering(func() (err error) {
				result, err = call(ctx, name, id)
				return err
			})()
			return result, err
		})
		select {
		case r := <-done:
			if joined {
				s.stats.Coalesced.Add(1)
				if errors.Is(r.Err, context.Canceled) && s.ctx.Err() == nil {
					continue // the mount whose call it was is gone
				}
			}
			result, _ := r.Val.(T)
			return result, r.Err
		case <-ctx.Done():
			return none, ctx.Err()
		}
	}
}
