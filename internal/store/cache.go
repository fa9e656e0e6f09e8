package store

import (
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Freshness says how old an answer may be; the terms are those of RFC 5861. The zero value keeps
// nothing: each read asks ABEJA.
type Freshness struct {
	// TTL is how old a value may be that is given without asking ABEJA.
	TTL time.Duration
	// StaleWhileRevalidate is by how much more than TTL a value may be older that is given while a
	// call in the background asks for a newer one.
	StaleWhileRevalidate time.Duration
	// StaleIfError is how old a value may be that is given when ABEJA fails.
	StaleIfError time.Duration
	// Size bounds the secrets of which values are kept; those unused longest go first.
	Size int
	// Bytes bounds what is kept of those secrets, in bytes; the one that was read last is kept whatever its size.
	Bytes int
}

// bounds are how many secrets the store wants kept, and how many bytes of them: none if it would never use one.
func (f Freshness) bounds() (secrets, bytes int) {
	if max(f.TTL, f.StaleWhileRevalidate, f.StaleIfError) > 0 {
		return f.Size, f.Bytes
	}
	return 0, 0
}

// cache keeps secrets that were read, each with all its versions as they came in one answer, or of a large
// secret in two that agree: what one answer says of a secret is never mixed with another's. The zero value keeps nothing.
type cache struct {
	mu      sync.Mutex
	records *simplelru.LRU[string, record] // by name; nil when nothing is kept
	bytes   int                            // of the records
	most    int                            // that bytes may be
}

// record is an answer, as old as the begin of the call that brought it.
type record struct {
	secret *client.Secret
	asked  time.Time
	seq    uint64 // of the organization when it was asked for
	odd    int    // records in it that could not be understood in full
	// partial says that not all values were asked for: only that of the version with the id in only, if any.
	partial bool
	only    string
}

func (r record) bytes() int {
	const overhead = 512 // of the texts beside a value
	n := overhead
	for i := range r.secret.Versions {
		n += overhead + len(r.secret.Versions[i].Value)
	}
	return n
}

// resize bounds the number of secrets that are kept, and their bytes; 0 keeps none.
func (c *cache) resize(size, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.most = bytes
	switch {
	case size == 0:
		c.records, c.bytes = nil, 0
	case c.records == nil:
		c.records, _ = simplelru.NewLRU(size, func(_ string, r record) { c.bytes -= r.bytes() })
	default:
		c.records.Resize(size)
		c.shrink()
	}
}

// shrink drops what is unused longest until the rest is within the bound of bytes; c.mu is held.
func (c *cache) shrink() {
	for c.bytes > c.most && c.records.Len() > 1 {
		c.records.RemoveOldest()
	}
}

// get returns what was asked for no longer than age ago.
func (c *cache) get(name string, age time.Duration) (r record, old time.Duration, ok bool) {
	if age == 0 {
		return record{}, 0, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		return record{}, 0, false
	}
	if r, ok = c.records.Get(name); !ok {
		return record{}, 0, false
	}
	old = time.Since(r.asked)
	return r, old, old <= age
}

// keep keeps an answer, unless since says that something has made it invalid. Whoever makes an answer
// invalid lets since say so first, and drops the name afterwards.
func (c *cache) keep(name string, r record, since func(name string) uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil || since(name) > r.seq {
		return
	}
	if old, ok := c.records.Peek(name); ok {
		if old.asked.After(r.asked) {
			return
		}
		c.records.Remove(name)
	}
	c.bytes += r.bytes()
	c.records.Add(name, r)
	c.shrink()
}

func (c *cache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records != nil {
		c.records.Remove(name)
	}
}

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records != nil {
		c.records.Purge()
	}
}

// size is how many secrets are kept, and how many bytes.
func (c *cache) size() (secrets, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		return 0, 0
	}
	return c.records.Len(), c.bytes
}

// all are the records that are kept, unused longest first.
func (c *cache) all() (names []string, records []record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records == nil {
		return nil, nil
	}
	return c.records.Keys(), c.records.Values()
}
