package store

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

const (
	// maxWhole is the largest answer, in bytes of JSON, in which a secret is read with the values of all its
	// versions: 10 versions of 16 KiB. A secret with more is large: it is asked for without values, and then for
	// one version with its value. 100 versions of 64 KiB, which ABEJA may hold, have 9 MB together.
	maxWhole = 256 << 10
	// maxLarge bounds how many secrets are known to be large. One that is not costs one request more.
	maxLarge = 10_000
	// maxLooks is how often a large secret is looked at whose versions change between the two requests. Then
	// it is asked for in one, whatever its size.
	maxLooks = 3
)

// fetch asks for a secret with the values of all its versions, or with none if it is large.
func (s *Store) fetch(ctx context.Context, name, id string) (record, error) {
	got := record{asked: time.Now(), seq: s.organization.seq.Load()}
	versions, known := s.identity.large.Get(id)
	var err error
	if !known {
		got.secret, err = s.secret(ctx, name, id, client.ReadOptions{Values: true, MaxBytes: maxWhole})
		if !errors.Is(err, client.ErrLarge) {
			return got, err
		}
	}
	got.partial = true
	if got.secret, err = s.describe(ctx, name, id); err != nil {
		return got, err
	}
	if left := len(got.secret.Versions) + len(got.secret.OddVersions); left >= versions {
		s.identity.large.Add(id, left)
	} else {
		s.identity.large.Remove(id) // some were deleted: it may no longer be large
	}
	return got, nil
}

// get returns what fetch brings of a secret, with the value of the version that is picked, if there is one.
func (s *Store) get(ctx context.Context, name, id string, p Pick, fetch fetch) (record, error) {
	got, err := s.look(ctx, name, id, p, fetch)
	if err == nil {
		got.odd = got.oddRecords()
		s.identity.names.read(id, got.odd > 0)
	}
	return got, err
}

// fetch is Store.fetch, or shares its calls.
type fetch func(ctx context.Context, name, id string) (record, error)

func (s *Store) look(ctx context.Context, name, id string, p Pick, fetch fetch) (got record, err error) {
	for range maxLooks {
		if got, err = fetch(ctx, name, id); err != nil || !got.partial {
			return got, err
		}
		v, _ := p.From(got.secret) // an error is the same for those who then look
		if v == nil {
			return got, nil
		}
		read, err := s.client.GetVersion(ctx, id, v.ID, client.ReadOptions{Values: true})
		switch {
		case err != nil && !unknownID(err):
			return got, err
		case err == nil && read.Number == v.Number && read.Status == v.Status:
			return got.with(read), nil
		}
	}
	got = record{asked: time.Now(), seq: s.organization.seq.Load()}
	got.secret, err = s.secret(ctx, name, id, client.ReadOptions{Values: true})
	return got, err
}

// has reports whether ABEJA was asked for the value of a version.
func (r record) has(v *client.Version) bool { return !r.partial || v.ID == r.only }

// without is the record without the values of versions that are not picked: a reader may hold it for long, until
// a slow client has its answer.
func (r record) without(p Pick) record {
	if r.partial {
		return r
	}
	secret := *r.secret
	r.secret, r.partial = &secret, true
	if v, _ := p.From(&secret); v != nil {
		r.only = v.ID
	}
	secret.Versions = slices.Clone(secret.Versions)
	for i := range secret.Versions {
		if v := &secret.Versions[i]; v.ID != r.only {
			v.Value = nil
		}
	}
	return r
}

// with is a record without values with that of one version.
func (r record) with(v *client.Version) record {
	secret := *r.secret // others share it
	secret.Versions = slices.Clone(secret.Versions)
	for i := range secret.Versions {
		if secret.Versions[i].ID == v.ID {
			secret.Versions[i] = *v
		}
	}
	r.secret, r.only = &secret, v.ID
	return r
}
