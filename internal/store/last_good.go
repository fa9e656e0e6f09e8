package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash/fnv"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// Shelf holds what is to outlive the process: a part of Vault's storage. It may be asked for keys that
// hold names, and must not show them where it stores.
type Shelf interface {
	// Get returns nil where there is nothing.
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte) error
	Delete(ctx context.Context, key string) error
	// Clear takes everything off the shelf at once, whatever its size.
	Clear(ctx context.Context) error
	// Retain deletes what has none of the keys.
	Retain(ctx context.Context, keys []string) error
}

const (
	// shelfTimeout bounds what a caller waits for the shelf.
	shelfTimeout = 5 * time.Second
	// maxPending and maxPendingBytes bound the values that wait to be put on the shelf. One that finds no place
	// is put there when it is read again.
	maxPending      = 10_000
	maxPendingBytes = 16 << 20
	// buckets are the parts of the index: of 100,000 secrets each is some 50 KB. Vault's storages take
	// 512 KB in one entry, or more.
	buckets = 256
)

// LastGood is what a mount has on its shelf for the time when ABEJA cannot be asked: the names and ids of
// its secrets, and the current value of each that was read. An index in memory says what there is.
type LastGood struct {
	shelf Shelf
	loads singleflight.Group // from the shelf, by name
	// failed is told when the shelf begins to fail.
	failed  func(error)
	failing atomic.Bool

	// changing is held over each change of a value on the shelf and of the index: who removes a value
	// waits for one that is being put there.
	changing sync.Mutex

	mu      sync.Mutex
	index   [buckets]map[string]lastGood // by the name with its prefix
	dirty   [buckets]bool                // the shelf has not what the index says
	pending map[string]record            // to be put on the shelf, by name; change it with enqueue and dequeue
	waiting int                          // the bytes of pending
	doomed  map[string]bool              // names of values that are still to be deleted from the shelf
	revoked bool                         // ABEJA has refused the credential, and has given no value since

	uncleared bool // the shelf is still to be cleared
	retained  bool // all that is on the shelf is in the index
}

// lastGood is what the index says of a secret.
type lastGood struct {
	ID string `json:"id"`
	// Sum is that of what is on the shelf; "" if nothing is.
	Sum string `json:"sum,omitempty"`
	// Asked is how old the value is: ABEJA was asked for it then, and gave it.
	Asked time.Time `json:"asked,omitzero"`

	saved time.Time // what is Asked on the shelf
}

// onShelf is a value as it is on the shelf.
type onShelf struct {
	Asked  time.Time     `json:"asked"`
	Odd    int           `json:"odd"`
	Secret client.Secret `json:"secret"`
	// Only is the id of the one version whose value was asked for; "" if all were.
	Only string `json:"only,omitempty"`
}

// OpenLastGood reads the index from the shelf. failed is told when the shelf begins to fail later.
func OpenLastGood(ctx context.Context, shelf Shelf, failed func(error)) (*LastGood, error) {
	g := &LastGood{shelf: shelf, failed: failed, pending: make(map[string]record), doomed: make(map[string]bool)}
	loads, ctx := errgroup.WithContext(ctx)
	loads.SetLimit(16) // each is a call to Vault's process, which the mount's first request waits for
	for i := range g.index {
		loads.Go(func() error {
			raw, err := shelf.Get(ctx, bucketKey(i))
			g.index[i] = decodeBucket(raw)
			return err
		})
	}
	if err := loads.Wait(); err != nil {
		return nil, err
	}
	return g, nil
}

// decodeBucket reads a part of the index; what cannot be understood is as nothing.
func decodeBucket(raw []byte) map[string]lastGood {
	bucket := make(map[string]lastGood)
	if json.Unmarshal(raw, &bucket) != nil || bucket == nil {
		return make(map[string]lastGood)
	}
	for name, e := range bucket {
		e.saved = e.Asked
		bucket[name] = e
	}
	return bucket
}

func bucketKey(i int) string      { return "names/" + strconv.Itoa(i) }
func valueKey(name string) string { return "value/" + name }

func bucketOf(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() % buckets)
}

// set changes the index; g.mu is held.
func (g *LastGood) set(name string, e lastGood) {
	i := bucketOf(name)
	g.index[i][name], g.dirty[i] = e, true
}

// has reports whether there is a value on the shelf that is at most as old as age.
func (g *LastGood) has(name string, age time.Duration) bool {
	_, ok := g.find(name, age)
	return ok
}

func (g *LastGood) find(name string, age time.Duration) (lastGood, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e := g.index[bucketOf(name)][name]
	return e, e.Sum != "" && young(e.Asked, age)
}

// young reports whether a time that some Vault server has told is at most age ago, nor to come:
// their clocks may differ a little.
func young(at time.Time, age time.Duration) bool {
	old := time.Since(at)
	return old <= age && old >= -time.Minute
}

// load returns a value from the shelf that is at most as old as age. Its caller must have read seq before.
func (g *LastGood) load(ctx context.Context, name string, age time.Duration, seq uint64) (record, bool) {
	e, ok := g.find(name, age)
	if !ok {
		return record{}, false
	}
	ctx, cancel := context.WithTimeout(ctx, shelfTimeout)
	defer cancel()
	raw, err := g.shelf.Get(ctx, valueKey(name))
	var found onShelf
	if err != nil || raw == nil || json.Unmarshal(raw, &found) != nil || found.Secret.Name != name {
		return record{}, false
	}
	// If the process ended before it wrote the index, this is another value than the index knows.
	if e.Asked.After(found.Asked) && found.sum() == e.Sum {
		found.Asked = e.Asked
	}
	if now := time.Now(); found.Asked.After(now) {
		found.Asked = now
	}
	r := record{secret: &found.Secret, asked: found.Asked, seq: seq, odd: found.Odd, partial: found.Only != "", only: found.Only}
	return r, young(found.Asked, age)
}

// take has a value put on the shelf soon: ABEJA has just given it.
func (g *LastGood) take(name string, r record) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = false
	current := onlyCurrent(*r.secret)
	r.secret = &current
	g.enqueue(name, r)
}

// enqueue has a value put on the shelf, unless a newer one or too many wait; g.mu is held.
func (g *LastGood) enqueue(name string, r record) {
	old, waits := g.pending[name]
	more := r.bytes()
	if waits {
		more -= old.bytes()
	}
	if waits && old.asked.After(r.asked) || !waits && len(g.pending) >= maxPending || g.waiting+more > maxPendingBytes {
		return
	}
	g.pending[name], g.waiting = r, g.waiting+more
}

// dequeue ends the wait of a value; g.mu is held.
func (g *LastGood) dequeue(name string) {
	if r, waits := g.pending[name]; waits {
		delete(g.pending, name)
		g.waiting -= r.bytes()
	}
}

// put puts a value on the shelf, unless it is there, or since says that it must no longer be used. What
// differs only in age costs the shelf nothing until lag is exceeded. g.changing is held.
func (g *LastGood) put(ctx context.Context, name string, r record, since func(string) uint64, lag time.Duration) (wrote bool, err error) {
	if since(name) > r.seq {
		return false, nil
	}
	value := onShelf{Odd: r.odd, Secret: *r.secret, Only: r.only}
	sum := value.sum()
	i := bucketOf(name)
	g.mu.Lock()
	e := g.index[i][name]
	g.mu.Unlock()
	changed := e.Sum != sum
	if changed {
		value.Asked = r.asked.UTC()
		raw, err := json.Marshal(value)
		if err == nil {
			err = g.shelf.Put(ctx, valueKey(name), raw)
		}
		if err != nil {
			return false, err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.doomed, name)
	e.ID, e.Sum, e.Asked = r.secret.ID, sum, r.asked
	g.index[i][name] = e
	g.dirty[i] = g.dirty[i] || changed || e.Asked.Sub(e.saved) > lag
	return changed, nil
}

// onlyCurrent leaves of a secret what a read of its current or newest version needs: all its versions may
// be more than an entry of Vault's storage may hold.
func onlyCurrent(s client.Secret) client.Secret {
	versions := s.Versions
	s.Versions = nil
	current, newest := Current.Of(versions), Newest.Of(versions)
	for _, v := range versions {
		if current != nil && v.ID == current.ID || newest != nil && v.ID == newest.ID {
			v.UpdatedAt = client.Time{} // moves by itself
			s.Versions = append(s.Versions, v)
		}
	}
	return s
}

// sum is the same for values that differ only in age.
func (v onShelf) sum() string {
	v.Asked = time.Time{}
	raw, _ := json.Marshal(v)
	hash := sha256.Sum256(raw)
	return hex.EncodeToString(hash[:16])
}

// remove takes a value off the shelf, and comes back when it is gone. Should the shelf fail, the value is
// gone for this process, and the shelf is asked again later.
func (g *LastGood) remove(name string) {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	g.dequeue(name)
	e := g.index[bucketOf(name)][name]
	if e.Sum != "" {
		e.Sum, e.Asked = "", time.Time{}
		g.set(name, e)
		g.doomed[name] = true
	}
	doomed := g.doomed[name]
	g.mu.Unlock()
	if doomed {
		ctx, cancel := context.WithTimeout(context.Background(), shelfTimeout)
		defer cancel()
		g.worked(g.discard(ctx, name))
	}
}

// discard deletes a doomed value; g.changing is held.
func (g *LastGood) discard(ctx context.Context, name string) error {
	err := g.shelf.Delete(ctx, valueKey(name))
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.doomed, name)
	}
	return err
}

// clear takes everything off the shelf, and comes back when it is gone. Nothing is put there until ABEJA
// has answered again.
func (g *LastGood) clear() {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	due := g.uncleared || !g.revoked
	g.revoked, g.uncleared = true, due
	clear(g.pending)
	g.waiting = 0
	clear(g.doomed)
	for i := range g.index {
		clear(g.index[i])
		g.dirty[i] = false
	}
	g.mu.Unlock()
	if due {
		ctx, cancel := context.WithTimeout(context.Background(), shelfTimeout)
		defer cancel()
		g.worked(g.empty(ctx))
	}
}

// empty empties the shelf; g.changing is held.
func (g *LastGood) empty(ctx context.Context) error {
	err := g.shelf.Clear(ctx)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.uncleared = false
	}
	return err
}

// worked tells of the first of several failures of the shelf, and reports whether there was none;
// g.changing is held.
func (g *LastGood) worked(err error) bool {
	if failed := g.failing.Swap(err != nil); err != nil && !failed {
		g.failed(err)
	}
	return err == nil
}

// Prune takes off the shelf what is older than age, and what the index does not know since a process
// ended in between. It is to be called now and then.
func (g *LastGood) Prune(ctx context.Context, age time.Duration) error {
	g.mu.Lock()
	var old []string
	for i := range g.index {
		for name, e := range g.index[i] {
			if e.Sum != "" && !young(e.Asked, age) {
				old = append(old, name)
			}
		}
	}
	g.mu.Unlock()
	for _, name := range old {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		g.remove(name)
	}
	return g.retain(ctx)
}

func (g *LastGood) retain(ctx context.Context) error {
	g.changing.Lock()
	defer g.changing.Unlock()
	g.mu.Lock()
	known := make([]string, 0, buckets)
	for i := range g.index {
		known = append(known, bucketKey(i))
		for name, e := range g.index[i] {
			if e.Sum != "" {
				known = append(known, valueKey(name))
			}
		}
	}
	done := g.retained
	g.mu.Unlock()
	if done {
		return nil
	}
	err := g.shelf.Retain(ctx, known)
	if err == nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.retained = true
	}
	return err
}

// values counts the values on the shelf.
func (g *LastGood) values() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for i := range g.index {
		for _, e := range g.index[i] {
			if e.Sum != "" {
				n++
			}
		}
	}
	return n
}
