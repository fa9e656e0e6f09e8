package store

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Listing is all secrets of the organization, or those of a store, by name.
type Listing struct {
	Items []Item
	// Incomplete says that secrets were created and deleted too fast to be sure of all others.
	Incomplete bool
	// Unusable counts secrets that are left out since their names break ABEJA's own rule.
	Unusable int
	// Odd counts secrets of which ABEJA tells something that cannot be understood: it is left out, or
	// else the whole secret.
	Odd int

	lost int // records that are not items, since they have no id

	mu    sync.Mutex
	parts map[string]*Listing // by prefix
}

// Item is what a listing tells of a secret.
type Item struct {
	ID, Name, Description string
	// Version is the current version, or 0 where ABEJA lists no versions.
	Version              int
	ExpiredAt, UpdatedAt time.Time
	createdAt            time.Time

	odd      bool // a part of the record could not be understood
	unusable bool // the record cannot be shown
}

// ValidName reports whether a secret can have this name: ASCII letters, digits, '_' and '-'. The
// length is AWS Secrets Manager's, where ABEJA keeps the values.
func ValidName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return 1 <= len(name) && len(name) <= 512
}

// list reads the pages that r lacks, some at the same time, and calls met with the secrets of each. It never
// asks for values. The names are those at ABEJA, with the mount's prefix, and may break ABEJA's own rule.
func (s *Store) list(ctx context.Context, r *reading[Item], met func([]Item)) (*Listing, error) {
	secrets := lister[Item]{
		stats: s.stats, expected: s.identity.names.count(),
		id: func(i Item) string { return i.ID },
		fetch: func(ctx context.Context, offset, limit int) (page[Item], error) {
			p, err := s.client.ListSecrets(ctx, client.ListOptions{Offset: offset, Limit: limit})
			if err != nil {
				return page[Item]{}, err
			}
			items := make([]Item, len(p.Secrets), len(p.Secrets)+len(p.Odd))
			for i := range p.Secrets {
				items[i] = newItem(&p.Secrets[i])
			}
			for i := range p.Odd {
				if !client.ValidID(p.Odd[i].ID) {
					continue
				}
				item := newItem(&p.Odd[i])
				item.odd, item.unusable = true, true
				items = append(items, item)
			}
			met(items)
			return page[Item]{offset, len(p.Secrets) + len(p.Odd), items, p.HasNext}, nil
		},
	}
	all, complete, err := secrets.goOn(client.Patient(ctx), r)
	if err != nil {
		return nil, err
	}
	s.name(ctx, all)
	// A secret that was deleted and made again while the pages were read may be there twice: the newer stays.
	slices.SortFunc(all, func(a, b Item) int {
		return cmp.Or(byName(a, b), b.createdAt.Compare(a.createdAt), cmp.Compare(b.ID, a.ID))
	})
	all = slices.CompactFunc(all, func(a, b Item) bool { return a.Name == b.Name && a.Name != "" })
	return &Listing{Items: all, Incomplete: !complete, lost: r.lost}, nil
}

func byName(a, b Item) int { return cmp.Compare(a.Name, b.Name) }

// correct takes in what was done through the engine and ABEJA's list may not show yet. It returns
// what was created and is listed.
func (l *Listing) correct(created map[string]Item, deleted map[string]bool) (listed map[string]Item) {
	listed = make(map[string]Item)
	if len(created)+len(deleted) == 0 {
		return listed
	}
	l.Items = slices.DeleteFunc(l.Items, func(i Item) bool {
		made, ok := created[i.Name]
		if ok && made.ID == i.ID {
			listed[i.Name] = i
		}
		return deleted[i.ID] || ok && made.ID != i.ID
	})
	for name, item := range created {
		if _, ok := listed[name]; !ok {
			l.Items = append(l.Items, item)
		}
	}
	slices.SortFunc(l.Items, byName)
	return listed
}

// of is the part of a listing whose names have the prefix, without it. All who ask share it.
func (l *Listing) of(prefix string) *Listing {
	l.mu.Lock()
	defer l.mu.Unlock()
	part, made := l.parts[prefix]
	if !made {
		part = l.part(prefix)
		if l.parts == nil {
			l.parts = make(map[string]*Listing)
		}
		l.parts[prefix] = part
	}
	return part
}

func (l *Listing) part(prefix string) *Listing {
	part := &Listing{Incomplete: l.Incomplete, Items: make([]Item, 0, len(l.Items)), Odd: l.lost}
	for _, item := range l.Items {
		name, has := strings.CutPrefix(item.Name, prefix)
		if item.odd && (has || item.Name == "") {
			part.Odd++
		}
		switch {
		case !has, item.unusable:
		case !ValidName(name):
			part.Unusable++
		default:
			item.Name = name
			part.Items = append(part.Items, item)
		}
	}
	return part
}

// unnamed reports whether a secret may be in the list under a name that is not.
func (l *Listing) unnamed() bool {
	return l.lost > 0 || slices.ContainsFunc(l.Items, func(i Item) bool { return i.Name == "" })
}

func newItem(s *client.Secret) Item {
	version, _ := numberOf(Current, s)
	return Item{
		ID: s.ID, Name: s.Name, Description: s.Description,
		ExpiredAt: s.ExpiredAt.Time, UpdatedAt: s.UpdatedAt.Time, createdAt: s.CreatedAt.Time,
		Version: version,
		odd: s.Odd || len(s.OddVersions) > 0 ||
			slices.ContainsFunc(s.Versions, func(v client.Version) bool { return v.Odd }),
	}
}
