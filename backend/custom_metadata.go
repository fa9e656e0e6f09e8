package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/helper/salt"
	"github.com/hashicorp/vault/sdk/logical"
)

// ABEJA has room for one key of KV version 2's custom_metadata: the description. All other keys are kept in
// Vault's storage, by the secret's id, and those of a name that has no secret yet until its first value
// comes. They are not secret values, and go with the secret.

// customPrefix is where custom metadata is stored, on a shelf.
const customPrefix = "custom_metadata/"

const (
	ofSecrets = "secrets/" // by id
	ofPending = "pending/" // by name, with the mount's prefix
)

const (
	// maxPending and pendingAge bound what is kept for names without a secret.
	maxPending = 1000
	pendingAge = time.Hour
	// goneFor is how long a secret must be missing in ABEJA's lists, which may lag, until what is kept of
	// it is deleted.
	goneFor = 5 * time.Minute
	// maxDeleted is how many are deleted at once: those who write wait for that.
	maxDeleted = 1000
)

var errPendingFull = logical.CodedError(http.StatusTooManyRequests, fmt.Sprintf(
	"%d names without a value have metadata already, the most that are kept: write their values, delete their metadata, or wait an hour", maxPending))

// customMetadata is the custom metadata of a mount in Vault's storage. What is there is known in memory, so
// that a read of a secret that has none costs no read of storage.
type customMetadata struct {
	shelf *shelf

	// changing is held over each change of what is stored.
	changing sync.Mutex
	missing  map[string]time.Time // when the listing began in which a secret was first missing, by key; guarded by changing
	compared time.Time            // when the listing began that was last looked at; guarded by changing

	mu     sync.Mutex
	stored map[string]map[string]bool // the keys that are stored, by kind; nil: to be listed
}

// customEntry is what is stored of a secret, or of a name.
type customEntry struct {
	Keys map[string]string `json:"custom_metadata"`
	At   time.Time         `json:"at,omitzero"` // of a name: when it was written
}

// owner is whose custom metadata something is: an id's or a name's, at one organization.
type owner struct{ apiURL, organization, of string }

func (c *config) owner(of string) owner { return owner{c.APIURL, c.OrganizationID, of} }

func (o owner) key(s *salt.Salt) string {
	return s.SaltID(strings.Join([]string{o.apiURL, o.organization, o.of}, " "))
}

// has returns the key of what is stored, or "" if nothing is.
func (c *customMetadata) has(ctx context.Context, kind string, of owner) (logical.Storage, string, error) {
	c.mu.Lock()
	stored, err := c.list(ctx)
	some := len(stored[kind]) > 0
	c.mu.Unlock()
	if err != nil || !some {
		return nil, "", err
	}
	view, salt, err := c.shelf.view(ctx)
	if err != nil {
		return nil, "", err
	}
	key := of.key(salt)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !stored[kind][key] {
		return nil, "", nil
	}
	return view, kind + key, nil
}

// list returns the keys that are stored; c.mu is held.
func (c *customMetadata) list(ctx context.Context) (map[string]map[string]bool, error) {
	if c.stored != nil {
		return c.stored, nil
	}
	stored := map[string]map[string]bool{ofSecrets: {}, ofPending: {}}
	there, err := c.shelf.storage.List(ctx, customPrefix)
	if err != nil {
		return nil, err
	}
	if slices.Contains(there, saltKey) { // else nothing is, and a reader makes none
		view, _, err := c.shelf.view(ctx)
		if err != nil {
			return nil, err
		}
		for kind, keys := range stored {
			found, err := view.List(ctx, kind)
			if err != nil {
				return nil, err
			}
			for _, key := range found {
				keys[key] = true
			}
		}
	}
	c.stored = stored
	return stored, nil
}

// get returns what is stored, or nothing.
func (c *customMetadata) get(ctx context.Context, kind string, of owner) (e customEntry, ok bool, err error) {
	view, key, err := c.has(ctx, kind, of)
	if err != nil || key == "" {
		return e, false, err
	}
	return readCustom(ctx, view, key)
}

// readCustom reads an entry. One that cannot be understood, or has waited for too long, is as none.
func readCustom(ctx context.Context, view logical.Storage, key string) (e customEntry, ok bool, err error) {
	raw, err := view.Get(ctx, key)
	if err != nil || raw == nil || raw.DecodeJSON(&e) != nil {
		return customEntry{}, false, err
	}
	// The clocks of Vault's servers may differ a little.
	if age := time.Since(e.At); strings.HasPrefix(key, ofPending) && (age > pendingAge || age < -time.Minute) {
		return customEntry{}, false, nil
	}
	return e, true, nil
}

// put stores what is kept of a secret or name; c.changing is held.
func (c *customMetadata) put(ctx context.Context, kind string, of owner, e customEntry) error {
	c.mu.Lock()
	stored, err := c.list(ctx)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	view, salt, err := c.shelf.view(ctx)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(e)
	if err != nil {
		return err
	}
	key := of.key(salt)
	if err := view.Put(ctx, &logical.StorageEntry{Key: kind + key, Value: raw}); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	stored[kind][key] = true
	return nil
}

// drop deletes what is kept of a secret or name; c.changing is held.
func (c *customMetadata) drop(ctx context.Context, kind string, of owner) error {
	view, key, err := c.has(ctx, kind, of)
	if err != nil || key == "" {
		return err
	}
	return c.discard(ctx, view, kind, strings.TrimPrefix(key, kind))
}

func (c *customMetadata) discard(ctx context.Context, view logical.Storage, kind, key string) error {
	if err := view.Delete(ctx, kind+key); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stored[kind], key)
	return nil
}

// settle keeps what a write gives of a secret, after ABEJA has taken its part. What waits for the first value
// of the name, which is of none if no value was written, is taken over.
func (c *customMetadata) settle(ctx context.Context, id, name owner, change *customChange) error {
	_, waits, err := c.has(ctx, ofPending, name)
	if err != nil {
		return err
	}
	if waits == "" && change == nil {
		return nil
	}
	c.changing.Lock()
	defer c.changing.Unlock()
	old, _, err := c.get(ctx, ofSecrets, id)
	if err != nil {
		return err
	}
	pending, _, err := c.get(ctx, ofPending, name)
	if err != nil {
		return err
	}
	keys := change.on(merge(old.Keys, pending.Keys))
	delete(keys, descriptionKey)
	switch {
	case change != nil && len(keys) > maxCustomKeys:
		return errTooManyKeys
	case maps.Equal(keys, old.Keys):
	case len(keys) == 0:
		err = c.drop(ctx, ofSecrets, id)
	default:
		err = c.put(ctx, ofSecrets, id, customEntry{Keys: keys})
	}
	if err != nil {
		return err
	}
	return c.drop(ctx, ofPending, name)
}

func merge(into, keys map[string]string) map[string]string {
	out := make(map[string]string, len(into)+len(keys))
	maps.Copy(out, into)
	maps.Copy(out, keys)
	return out
}

// wait keeps custom metadata of a name until its first value comes.
func (c *customMetadata) wait(ctx context.Context, name owner, change *customChange) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	old, known, err := c.get(ctx, ofPending, name)
	if err != nil {
		return err
	}
	c.mu.Lock()
	full := len(c.stored[ofPending]) >= maxPending
	c.mu.Unlock()
	if full && !known {
		return errPendingFull
	}
	keys := change.on(old.Keys)
	if len(keys) > maxCustomKeys {
		return errTooManyKeys
	}
	return c.put(ctx, ofPending, name, customEntry{Keys: keys, At: time.Now().UTC()})
}

// forget deletes what is kept of a deleted secret, and of its name. Nothing is kept of a zero owner.
func (c *customMetadata) forget(ctx context.Context, id, name owner) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	return errors.Join(c.drop(ctx, ofSecrets, id), c.drop(ctx, ofPending, name))
}

// reload has what is stored listed anew, since something else has changed it.
func (c *customMetadata) reload() {
	c.shelf.forget()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stored = nil
}

// clear takes everything off the shelf, which periodic then deletes.
func (c *customMetadata) clear(ctx context.Context) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	if err := c.shelf.Clear(ctx); err != nil {
		return err
	}
	c.reload()
	return nil
}

// prune deletes what has waited for too long, and what is kept of secrets that were deleted elsewhere. It is
// to be called now and then.
func (c *customMetadata) prune(ctx context.Context, m *mount) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	c.mu.Lock()
	stored, err := c.list(ctx)
	secrets, pending := slices.Collect(maps.Keys(stored[ofSecrets])), slices.Collect(maps.Keys(stored[ofPending]))
	c.mu.Unlock()
	if err != nil || len(secrets)+len(pending) == 0 {
		return err
	}
	view, salt, err := c.shelf.view(ctx)
	if err != nil {
		return err
	}
	for _, key := range pending {
		if _, waits, err := readCustom(ctx, view, ofPending+key); err == nil && !waits {
			if err := c.discard(ctx, view, ofPending, key); err != nil {
				return err
			}
		}
	}
	if len(secrets) == 0 {
		return nil
	}
	ids, began := m.store.Listed() // after what is stored: the id of each that was stored before is known
	if !began.After(c.compared) {  // or is zero
		return nil
	}
	c.compared = began
	there := make(map[string]bool, len(ids))
	for _, id := range ids {
		there[m.config.owner(id).key(salt)] = true
	}
	deleted, missing := 0, make(map[string]time.Time)
	for _, key := range secrets {
		if there[key] {
			continue
		}
		since, known := c.missing[key]
		if !known {
			since = began
		}
		if began.Sub(since) < goneFor || deleted == maxDeleted {
			missing[key] = since
			continue
		}
		deleted++
		if err := c.discard(ctx, view, ofSecrets, key); err != nil {
			return err
		}
	}
	c.missing = missing
	return nil
}

// pruneCustom does what is due of prune, and deletes what was cleared. Where storage is replicated from
// another cluster that one does it.
func (b *backend) pruneCustom(ctx context.Context, storage logical.Storage) error {
	err := b.custom.shelf.sweep(ctx, func() (bool, error) {
		c, err := readConfig(ctx, storage)
		return c != nil, err
	})
	if m := b.mounted.Load(); err == nil && m != nil {
		err = b.custom.prune(ctx, m)
	}
	if err != nil && readOnly(err) {
		return nil
	}
	return err
}
