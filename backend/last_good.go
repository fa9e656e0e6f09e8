package backend

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/helper/salt"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// shelfPrefix is where keep_last_good stores.
const shelfPrefix = "last_good/"

// saltKey is where a shelf has its salt.
const saltKey = "salt"

// shelf is a part of Vault's storage, and a store.Shelf: a salt, and a directory whose name is made with
// it. Keys are not encrypted in Vault's storage, so each is a hash with the salt. Without the salt nothing
// is found that it was made with, so all is gone with it, and is deleted afterwards.
type shelf struct {
	storage logical.Storage
	prefix  string

	mu   sync.Mutex
	salt *salt.Salt // nil: to be read, or to be made
}

// view returns the shelf's part of the storage, and the salt with which its keys are hashed. The first call
// reads the salt from storage, or makes it. Its part is named after the salt: with another salt, all that
// was stored before is out of use.
func (s *shelf) view(ctx context.Context) (logical.Storage, *salt.Salt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	view := logical.NewStorageView(s.storage, s.prefix)
	if s.salt == nil {
		made, err := salt.NewSalt(ctx, view, &salt.Config{Location: saltKey, HashFunc: salt.SHA256Hash})
		if err != nil {
			return nil, nil, err
		}
		s.salt = made
	}
	return view.SubView(directoryOf(s.salt)), s.salt, nil
}

func directoryOf(s *salt.Salt) string { return s.SaltID("directory")[:16] + "/" }

// Get implements store.Shelf.
func (s *shelf) Get(ctx context.Context, key string) ([]byte, error) {
	view, salt, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	entry, err := view.Get(ctx, salt.SaltID(key))
	if entry == nil || err != nil {
		return nil, err
	}
	return entry.Value, nil
}

// Put implements store.Shelf.
func (s *shelf) Put(ctx context.Context, key string, value []byte) error {
	view, salt, err := s.view(ctx)
	if err != nil {
		return err
	}
	return view.Put(ctx, &logical.StorageEntry{Key: salt.SaltID(key), Value: value})
}

// Delete implements store.Shelf.
func (s *shelf) Delete(ctx context.Context, key string) error {
	view, salt, err := s.view(ctx)
	if err != nil {
		return err
	}
	return view.Delete(ctx, salt.SaltID(key))
}

// Clear implements store.Shelf.
func (s *shelf) Clear(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.storage.Delete(ctx, s.prefix+saltKey); err != nil {
		return err
	}
	s.salt = nil
	return nil
}

// forget has the salt read anew.
func (s *shelf) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.salt = nil
}

// Retain implements store.Shelf.
func (s *shelf) Retain(ctx context.Context, keys []string) error {
	view, salt, err := s.view(ctx)
	if err != nil {
		return err
	}
	known := make(map[string]bool, len(keys))
	for _, key := range keys {
		known[salt.SaltID(key)] = true
	}
	there, err := view.List(ctx, "")
	if err != nil {
		return err
	}
	for _, key := range there {
		if !known[key] {
			if err := view.Delete(ctx, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// sweep deletes what can no longer be found. inUse reports whether the shelf is in use; it is asked after
// what there is was listed, so that nothing is deleted that a younger config has made.
func (s *shelf) sweep(ctx context.Context, inUse func() (bool, error)) error {
	view := logical.NewStorageView(s.storage, s.prefix)
	there, err := view.List(ctx, "") // before the salt is read: what is made afterwards is not in the list
	if err != nil || len(there) == 0 {
		return err
	}
	used, err := inUse()
	if err != nil {
		return err
	}
	current := ""
	if entry, err := view.Get(ctx, saltKey); err != nil {
		return err
	} else if entry != nil && used {
		_, salt, err := s.view(ctx)
		if err != nil {
			return err
		}
		current = directoryOf(salt)
	}
	for _, key := range there {
		switch {
		case key == current, key == saltKey && used:
		case strings.HasSuffix(key, "/"):
			err = logical.ClearView(ctx, view.SubView(key))
		default:
			err = view.Delete(ctx, key)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keepLastGood has a mount keep last good values, if its config wants that and its node may store them.
func (b *backend) keepLastGood(ctx context.Context, m *mount) error {
	if !b.keepsLastGood(&m.config) || b.standsBy() {
		return nil
	}
	lastGood, err := store.OpenLastGood(ctx, b.shelf, func(err error) {
		if !readOnly(err) {
			b.Logger().Warn("last good values could not be stored: Vault's storage fails", "error", err)
		}
	})
	switch {
	case err != nil && readOnly(err):
		return nil
	case err != nil:
		return err
	}
	m.lastGood = lastGood
	m.store.Keep(lastGood)
	return nil
}

// readOnly knows the errors by their texts, which are all that comes through the plugin's boundary.
func readOnly(err error) bool {
	return strings.Contains(err.Error(), logical.ErrReadOnly.Error()) || strings.Contains(err.Error(), logical.ErrSetupReadOnly.Error())
}

func (b *backend) keepsLastGood(c *config) bool {
	return c != nil && c.KeepLastGood && !b.System().CachingDisabled()
}

// inheritsLastGood reports whether a config may use what was kept with the one before it: its credential
// is the same, or ABEJA has accepted that it is of the same user.
func (c *config) inheritsLastGood(from *config, verified bool) bool {
	same := c.OrganizationID == from.OrganizationID && c.target() == from.target() &&
		c.PersonalAccessToken == from.PersonalAccessToken && c.AuthToken == from.AuthToken
	return c.KeepLastGood && (same || verified && c.sameUser(from))
}

// periodic is called by Vault each minute, on the node that may store.
func (b *backend) periodic(ctx context.Context, req *logical.Request) error {
	if b.standsBy() {
		return nil
	}
	err := b.shelf.sweep(ctx, func() (bool, error) {
		c, err := readConfig(ctx, req.Storage)
		return b.keepsLastGood(c), err
	})
	err = errors.Join(err, b.pruneCustom(ctx, req.Storage))
	if m := b.mounted.Load(); m != nil && m.lastGood != nil {
		err = errors.Join(err, m.lastGood.Prune(ctx, m.config.StaleIfError))
	}
	return err
}

// sweepSoon deletes in the background what is no longer used; should that fail, periodic does it.
func (b *backend) sweepSoon() {
	b.background(func() { b.periodic(b.ctx, &logical.Request{Storage: b.shelf.storage}) })
}
