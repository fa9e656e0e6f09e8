package store

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Reading is a secret with one of its versions. It is shared between callers: never change it.
type Reading struct {
	// Secret has its Versions left out.
	Secret  client.Secret
	Version client.Version
	// Stale is how old the answer is when ABEJA failed and an older one had to do, else 0.
	Stale time.Duration
}

// Read gives a secret with the version that is picked. Identical reads share one call.
func (s *Store) Read(ctx context.Context, r Ref, p Pick) (*Reading, error) {
	key := cacheKey{r.name, p}
	if r.id != "" {
		key.name, _, _ = s.dir.peek(r)
	}
	if s.cache.entries != nil && s.cache.TTL > 0 {
		if old, _ := s.cache.get(key, r.id, s.cache.TTL); old != nil {
			s.stats.CacheHits.Add(1)
			return old, nil
		}
		s.stats.CacheMisses.Add(1)
	}
	what := "read"
	if old, _ := s.cache.get(key, r.id, s.cache.StaleIfError); old != nil {
		what, ctx = "read once", client.Once(ctx) // no use to try long where an older answer can do
	}
	reading, err := s.ask(ctx, what, r, p)
	switch {
	case err == nil || ctx.Err() != nil:
	case abejaFails(err):
		if old, age := s.cache.get(key, r.id, s.cache.StaleIfError); old != nil {
			s.stats.StaleAnswers.Add(1)
			stale := *old
			stale.Stale = age
			return &stale, nil
		}
	default:
		s.cache.drop(key)
	}
	return reading, err
}

// ask reads at ABEJA, sharing calls with those who ask for the same what, and keeps the answer as old as the call that it shared.
func (s *Store) ask(ctx context.Context, what string, r Ref, p Pick) (*Reading, error) {
	type answer struct {
		*client.Secret
		asked time.Time
	}
	var reading *Reading
	err := s.withID(ctx, r, func(name, id string) error {
		epoch := s.epochs.of(name).Load()
		got, err := shared(ctx, s, what, name, id, func(ctx context.Context, name, id string) (answer, error) {
			asked := time.Now()
			secret, err := s.get(ctx, name, id)
			return answer{secret, asked}, err
		})
		if err != nil {
			return err
		}
		v := p.Of(got.Versions)
		switch {
		case v != nil:
			reading = &Reading{Secret: *got.Secret, Version: *v}
			reading.Secret.Versions = nil
			s.cache.keep(cacheKey{name, p}, cached{reading, got.asked, epoch})
			return nil
		case p == Current && len(got.Versions) > 0:
			return ErrNoActive
		}
		missing := &NoVersionError{Newest: numberOf(Newest, got.Versions), Secret: *got.Secret}
		missing.Secret.Versions = nil
		return missing
	})
	return reading, err
}

// Get gives a secret with all its versions and their values, as they are at ABEJA. Identical calls
// share one: never change the answer.
func (s *Store) Get(ctx context.Context, r Ref) (*client.Secret, error) {
	var secret *client.Secret
	err := s.withID(ctx, r, func(name, id string) (err error) {
		secret, err = shared(ctx, s, "get", name, id, s.get)
		return err
	})
	return secret, err
}

// Versions gives all versions of a secret by number, without values.
func (s *Store) Versions(ctx context.Context, r Ref) ([]client.Version, error) {
	var versions []client.Version
	err := s.withID(ctx, r, func(name, id string) (err error) {
		versions, err = shared(ctx, s, "versions", name, id, s.versions)
		return err
	})
	return versions, err
}

func (s *Store) versions(ctx context.Context, _, id string) ([]client.Version, error) {
	list := lister[client.Version]{
		stats: s.stats,
		id:    func(v client.Version) string { return v.ID },
		fetch: func(ctx context.Context, offset, limit int) (page[client.Version], error) {
			p, err := s.client.ListVersions(ctx, id, client.ListOptions{Offset: offset, Limit: limit})
			if err != nil {
				return page[client.Version]{}, err
			}
			return page[client.Version]{offset, p.Versions, p.Pagination.HasNext}, nil
		},
	}
	// A secret has about 100 versions at the most: one page or two, with no churn to speak of.
	versions, _, err := list.all(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(versions, func(a, b client.Version) int { return cmp.Compare(a.Number, b.Number) })
	for i := 1; i < len(versions); i++ {
		if versions[i].Number == versions[i-1].Number {
			return nil, badAnswer(client.OpListVersions, "the answer holds a version twice")
		}
	}
	return versions, nil
}

// shared lets identical calls about a secret share one. A caller never joins a call that began
// before the last write of that name was answered, and one that gives up does not disturb the
// others: the call goes on, within the client's own time limit.
func shared[T any](ctx context.Context, s *Store, what, name, id string, call func(ctx context.Context, name, id string) (T, error)) (T, error) {
	key := what + " " + id + " " + strconv.FormatUint(s.epochs.of(name).Load(), 10)
	joined := true
	done := s.reads.DoChan(key, func() (result any, err error) {
		joined = false
		err = s.stats.recovering(func() (err error) {
			result, err = call(context.WithoutCancel(ctx), name, id)
			return err
		})()
		return result, err
	})
	select {
	case r := <-done:
		if joined {
			s.stats.Coalesced.Add(1)
		}
		result, _ := r.Val.(T)
		return result, r.Err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// epochs counts the writes that were answered, by name. Names share a number of counters, so that
// they need no clearing up: a write of one name may then end the sharing of another's reads.
type epochs struct {
	seed   maphash.Seed
	counts *[1024]atomic.Uint64
}

func newEpochs() epochs { return epochs{maphash.MakeSeed(), new([1024]atomic.Uint64)} }

func (e epochs) of(name string) *atomic.Uint64 {
	return &e.counts[maphash.String(e.seed, name)%uint64(len(e.counts))]
}
