package store

import (
	"cmp"
	"context"
	"hash/maphash"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Reading is a secret with one of its versions. It is shared between callers: never change it.
type Reading struct {
	// Secret has its Versions left out.
	Secret  client.Secret
	Version client.Version
}

// Read gives a secret with the version that is picked. Identical reads share one call.
func (s *Store) Read(ctx context.Context, r Ref, p Pick) (*Reading, error) {
	var reading *Reading
	err := s.withID(ctx, r, func(name, id string) error {
		secret, err := shared(ctx, s, "read", name, id, s.get)
		if err != nil {
			return err
		}
		v := p.of(secret.Versions)
		switch {
		case v != nil:
			reading = &Reading{*secret, *v}
			reading.Secret.Versions = nil
			return nil
		case p == Current && len(secret.Versions) > 0:
			return ErrNoActive
		}
		return ErrNoVersion
	})
	return reading, err
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
		id: func(v client.Version) string { return v.ID },
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
	slices.SortFunc(versions, func(a, b client.Version) int { return cmp.Compare(a.Number, b.Number) })
	return versions, err
}

// shared lets identical calls about a secret share one. A caller never joins a call that began
// before the last write of that name was answered, and one that gives up does not disturb the
// others: the call goes on, within the client's own time limit.
func shared[T any](ctx context.Context, s *Store, what, name, id string, call func(ctx context.Context, name, id string) (T, error)) (T, error) {
	key := what + " " + id + " " + strconv.FormatUint(s.epochs.of(name).Load(), 10)
	done := s.reads.DoChan(key, func() (result any, err error) {
		err = recovering(func() (err error) {
			result, err = call(context.WithoutCancel(ctx), name, id)
			return err
		})()
		return result, err
	})
	select {
	case r := <-done:
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
