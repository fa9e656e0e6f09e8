package store

import (
	"cmp"
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Listing is all secrets of the organization whose name has the store's prefix, by name.
type Listing struct {
	Items []Item
	// Incomplete says that secrets were created and deleted too fast to be sure of all others.
	Incomplete bool
	// Unusable counts secrets that are left out since their names break ABEJA's own rule.
	Unusable int
}

// Item is what a listing tells of a secret.
type Item struct {
	ID, Name, Description string
	// Version is the current version, or 0 where ABEJA lists no versions.
	Version              int
	ExpiredAt, UpdatedAt time.Time
	createdAt            time.Time
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,512}$`)

// ValidName says whether a secret can have this name: ASCII letters, digits, '_' and '-'. The
// length is AWS Secrets Manager's, where ABEJA keeps the values.
func ValidName(name string) bool { return nameForm.MatchString(name) }

// list reads all pages. It never asks for values.
func (s *Store) list(ctx context.Context) (*Listing, error) {
	var l Listing
	secrets := lister[Item]{
		stats: s.stats,
		id:    func(i Item) string { return i.ID },
		fetch: func(ctx context.Context, offset, limit int) (page[Item], error) {
			p, err := s.client.ListSecrets(ctx, client.ListOptions{Offset: offset, Limit: limit})
			if err != nil {
				return page[Item]{}, err
			}
			items := make([]Item, len(p.Secrets))
			for i := range p.Secrets {
				items[i] = newItem(&p.Secrets[i])
			}
			return page[Item]{offset, items, p.HasNext}, nil
		},
	}
	all, complete, err := secrets.all(ctx)
	if err != nil {
		return nil, err
	}
	l.Incomplete = !complete
	l.Items = make([]Item, 0, len(all))
	for _, item := range all {
		name, has := strings.CutPrefix(item.Name, s.prefix)
		switch {
		case !has:
		case !ValidName(name):
			l.Unusable++
		default:
			item.Name = name
			l.Items = append(l.Items, item)
		}
	}
	// A secret that was deleted and made again while the pages were read is in both lives.
	slices.SortFunc(l.Items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), b.createdAt.Compare(a.createdAt), cmp.Compare(b.ID, a.ID))
	})
	l.Items = slices.CompactFunc(l.Items, func(a, b Item) bool { return a.Name == b.Name })
	return &l, nil
}

func newItem(s *client.Secret) Item {
	return Item{
		ID: s.ID, Name: s.Name, Description: s.Description,
		ExpiredAt: s.ExpiredAt.Time, UpdatedAt: s.UpdatedAt.Time, createdAt: s.CreatedAt.Time,
		Version: numberOf(Current, s.Versions),
	}
}
