package store

import (
	"errors"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Freshness says how old an answer may be; the terms are those of RFC 5861. The zero value keeps
// nothing: each read asks ABEJA.
type Freshness struct {
	// TTL is how old a value may be that is given without asking ABEJA.
	TTL time.Duration
	// StaleIfError is how old a value may be that is given when ABEJA fails.
	StaleIfError time.Duration
	// Size bounds the values that are kept; those unused longest go first.
	Size int
}

// cache keeps values that were read.
type cache struct {
	Freshness
	entries *lru.Cache[cacheKey, cached] // nil when nothing is kept
	epochs  epochs
}

type cacheKey struct {
	name string
	pick Pick
}

// cached is an answer, as old as the begin of the call that brought it.
type cached struct {
	reading *Reading
	asked   time.Time
	epoch   uint64 // of the name when it was asked for
}

func newCache(f Freshness, e epochs) cache {
	c := cache{Freshness: f, epochs: e}
	if f.Size > 0 && max(f.TTL, f.StaleIfError) > 0 {
		c.entries, _ = lru.New[cacheKey, cached](f.Size) // fails for sizes below 1 alone
	}
	return c
}

// get gives what was read no longer than age ago and not written since. An id that is not empty
// must be the secret's.
func (c cache) get(k cacheKey, id string, age time.Duration) (*Reading, time.Duration) {
	if c.entries == nil || age == 0 {
		return nil, 0
	}
	e, ok := c.entries.Get(k)
	if !ok || e.epoch != c.epochs.of(k.name).Load() || id != "" && id != e.reading.Secret.ID {
		return nil, 0
	}
	if old := time.Since(e.asked); old <= age {
		return e.reading, old
	}
	return nil, 0
}

func (c cache) keep(k cacheKey, e cached) {
	if c.entries != nil {
		c.entries.Add(k, e)
	}
}

func (c cache) len() int {
	if c.entries == nil {
		return 0
	}
	return c.entries.Len()
}

func (c cache) drop(k cacheKey) {
	if c.entries != nil {
		c.entries.Remove(k)
	}
}

// abejaFails says of an error that ABEJA could not answer, not that it refused to.
func abejaFails(err error) bool {
	return errors.Is(err, client.ErrUnavailable) || errors.Is(err, client.ErrTimeout) ||
		errors.Is(err, client.ErrRateLimited) || errors.Is(err, client.ErrBadAnswer)
}
