package store

import (
	"context"
	"fmt"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// maxAsked is how many secrets a listing asks for alone, since the list does not tell their names. What
// comes of it is known from then on.
const maxAsked = 10

// Versions are the versions of a secret, without values.
type Versions struct {
	// Usable are by number.
	Usable []client.Version
	// Odd cannot be used: each has what could be understood of it.
	Odd []client.Version
}

// Pick returns the version that is picked, or nil; ErrOdd if it may be an odd one.
func (v Versions) Pick(p Pick) (*client.Version, error) {
	return p.surely(client.OpListVersions, v.Usable, v.Odd)
}

// From returns the version of the secret that is picked, or nil; ErrOdd if it may be an odd one.
func (p Pick) From(s *client.Secret) (*client.Version, error) {
	return p.surely(client.OpGetSecret, s.Versions, s.OddVersions)
}

func (p Pick) surely(op client.Op, usable, odd []client.Version) (*client.Version, error) {
	v := p.Of(usable)
	for i := range odd {
		o := &odd[i]
		switch {
		case p > 0 && (v != nil || o.Number > 0 && o.Number != int(p)):
		case p == Current && o.Status == client.Inactive:
		case p <= 0 && v != nil && before(o, v):
		case p > 0:
			return nil, oddAnswer(op, fmt.Sprintf("one without a usable id and number may be version %d", p))
		default:
			return nil, oddAnswer(op, "a version without a usable id and number may be the newest")
		}
	}
	return v, nil
}

// before reports whether a version, of which not all is known, was surely made before another: numbers
// and times of creation grow together.
func before(o, v *client.Version) bool {
	if o.Number > 0 {
		return o.Number < v.Number
	}
	return !o.CreatedAt.IsZero() && o.CreatedAt.Before(v.CreatedAt.Time)
}

// ValueOf returns the value of a version that was read; ErrOdd if ABEJA gave none that can be
// understood.
func ValueOf(v *client.Version) ([]byte, error) {
	if len(v.Value) == 0 {
		return nil, oddAnswer(client.OpGetSecret, fmt.Sprintf("version %d has no usable value", v.Number))
	}
	return v.Value, nil
}

// oddRecords counts the records in r, the secret's own and those of its versions, that could not be understood
// in full.
// That an inactive version has no value is not known to be odd.
func (r record) oddRecords() int {
	n := len(r.secret.OddVersions)
	if r.secret.Odd {
		n++
	}
	for i := range r.secret.Versions {
		if v := &r.secret.Versions[i]; v.Odd || len(v.Value) == 0 && v.Status == client.Active && r.has(v) {
			n++
		}
	}
	return n
}

// name finds the names of the secrets that a list tells no usable name of: those that were known
// before, and else from the secret alone.
func (s *Store) name(ctx context.Context, items []Item) {
	asked := 0
	for i := range items {
		item := &items[i]
		if !item.unusable || ValidName(item.Name) {
			continue
		}
		if name, _, known := s.identity.names.peek(ByID(item.ID)); known {
			item.Name = name
		} else if asked++; asked <= maxAsked {
			if secret, err := s.client.GetSecret(ctx, item.ID, client.ReadOptions{}); err == nil {
				item.Name = secret.Name
			}
		}
	}
}
