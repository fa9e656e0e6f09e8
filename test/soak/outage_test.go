package soak

import (
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// freshWithin is how soon after ABEJA's return readers are given what ABEJA has now.
const freshWithin = 5 * time.Second

func TestReadsGoOnWhileABEJAIsAwayAndTheActiveVaultIsKilled(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	c := startCluster(t, dir, 3, "info")
	m, name := newMarks(chance(3000)), newMarks(chance(3001)).letters
	m.add("name", name)
	outages := []*outage{newOutage(t, c, "cut", name, m), newOutage(t, c, "hang", name, m)}
	for _, o := range outages {
		o.fillShelf(t, c)
	}
	for _, o := range outages {
		o.beginLoad(t, m)
	}
	part := *length / 8
	time.Sleep(part)
	for _, o := range outages {
		o.a.strike(t, fault{Kind: o.how})
	}
	time.Sleep(part)

	dies := c.serves(t)
	killed := time.Now()
	dies.Crash()
	for _, o := range outages {
		o.readFromEachNode(t, c)
	}
	serving := time.Now()
	t.Logf("every node gives every secret %v after the active Vault was killed", serving.Sub(killed).Round(time.Millisecond))
	dies.Kill() // with its plugin, which is left behind
	for _, o := range outages {
		o.readSecret(0, o.overwritten, chance(3004)) // no old value is given, and there is no other
	}
	time.Sleep(part)

	for _, o := range outages {
		o.readSince(t, serving)
		o.change(t, m)
	}
	fresh := time.Now().Add(freshWithin)
	time.Sleep(freshWithin + part)
	for _, o := range outages {
		o.readSince(t, fresh)
		o.check(t, span{killed.Sub(o.start), serving.Sub(o.start)})
	}
	c.storesNothingInTheClear(t, dir, m, name)
}

// outage is an ABEJA that goes away while secrets are read, and written, through a mount that keeps last
// good values.
type outage struct {
	*load
	a          *abeja
	how, mount string
	known      []string // secrets that are on the shelf before, and are changed by nobody but ABEJA afterwards
	// overwritten is a secret whose value was on the shelf. It has another since, which was not read.
	overwritten string

	changes []operation // what happened at ABEJA meanwhile
	back    time.Duration
}

func newOutage(t *testing.T, c *cluster, how, name string, m *marks) *outage {
	t.Helper()
	o := &outage{a: startABEJA(t, token, "unused"), how: how, mount: "abeja-" + how, overwritten: name + "_overwritten"}
	o.load = &load{
		history: newHistory(), writers: 2, readers: 2, mounts: []string{o.mount}, names: "written", losing: true, call: c.anyNode,
	}
	c.mount(t, o.mount, o.a.Config(map[string]any{
		"request_timeout": deadline, "cache_ttl": "1s", "stale_if_error": "1h", "keep_last_good": true,
	}))
	for i := range 8 {
		o.known = append(o.known, fmt.Sprintf("%s_%d", name, i))
	}
	for version := 1; version <= 2; version++ {
		for i, name := range o.known {
			o.put(t, name, m.secret(fmt.Sprintf("%s %d %d", o.mount, i, version)))
		}
	}
	o.put(t, o.overwritten, m.secret("overwritten 1"))
	return o
}

// fillShelf waits until the values are in Vault's storage.
func (o *outage) fillShelf(t *testing.T, c *cluster) {
	t.Helper()
	random := chance(3002)
	// The index is stored after the values: that of the known ones is when another is that is read later.
	for _, names := range [][]string{o.known, {o.overwritten}} {
		before := o.shelved(t, c)
		for _, name := range names {
			o.readSecret(0, name, random)
		}
		eventually(t, time.Minute, "values are on the shelf", func() bool { return o.shelved(t, c) == before+float64(len(names)) })
	}
}

// shelved is how many values are on the shelf.
func (o *outage) shelved(t *testing.T, c *cluster) float64 {
	t.Helper()
	n, _ := c.must(t, http.MethodGet, o.mount+"/status", nil).Data["last_good_entries"].(float64)
	return n
}

// beginLoad begins the load, beside readers of the known secrets.
func (o *outage) beginLoad(t *testing.T, m *marks) {
	t.Helper()
	o.put(t, o.overwritten, m.secret("overwritten 2"))
	o.begin(t)
	for client := range 4 {
		random := chance(3003 + client)
		o.stops = append(o.stops, again(t, pause, func(int) {
			o.readSecret(100+client, o.known[random.IntN(len(o.known))], random)
		}))
	}
}

func (o *outage) put(t *testing.T, name, value string) {
	t.Helper()
	w := operation{write: true, mount: o.mount, path: "secrets/", name: name, value: value, cas: noCAS}
	eventually(t, time.Minute, "a write is answered in its time", func() bool {
		w = o.record(w, func() answer {
			return o.call(0, http.MethodPost, o.mount+"/secrets/"+name, map[string]any{"value": value})
		}, written(false))
		return w.outcome != unknown
	})
	if w.outcome != done {
		t.Fatal(w)
	}
}

// readFromEachNode waits until each node that is left gives each known secret.
func (o *outage) readFromEachNode(t *testing.T, c *cluster) {
	t.Helper()
	for i, n := range c.nodes {
		for _, name := range o.known {
			r := operation{client: 200 + i, mount: o.mount, path: "secrets/", name: name, cas: noCAS}
			eventually(t, time.Minute, "a read succeeds", func() bool {
				return !n.Alive() || o.record(r, func() answer {
					return n.call(c.token, http.MethodGet, o.mount+"/secrets/"+name, nil)
				}, read).outcome == done
			})
		}
	}
}

// readSince waits until the load has read each known secret since then.
func (o *outage) readSince(t *testing.T, then time.Time) {
	t.Helper()
	since := then.Sub(o.start)
	eventually(t, time.Minute, "each known secret is read", func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		given := map[string]bool{}
		for _, r := range o.ops {
			if !r.write && r.outcome == done && r.begin > since {
				given[r.name] = true
			}
		}
		return !slices.ContainsFunc(o.known, func(name string) bool { return !given[name] })
	})
}

// change gives the known secrets new values at ABEJA, past the plugin, and ends the outage. To readers it is
// as if the new values were acknowledged when they must be given.
func (o *outage) change(t *testing.T, m *marks) {
	t.Helper()
	for i, name := range o.known {
		change := operation{
			client: 300, write: true, mount: "ABEJA", name: name, value: m.secret(fmt.Sprintf("%s %d 3", o.mount, i)), cas: noCAS,
			begin: time.Since(o.start), outcome: done, version: 3,
		}
		o.a.control(t, http.MethodPut, "secrets/"+name, map[string]string{"value": change.value})
		o.changes = append(o.changes, change)
	}
	o.a.heal(t)
	o.back = time.Since(o.start)
	for i := range o.changes {
		o.changes[i].end = o.back + freshWithin
	}
}

// check holds the history against what is promised. During the failover, from the end of the active Vault
// until each node served again, reads may fail.
func (o *outage) check(t *testing.T, failover span) {
	t.Helper()
	p := promises{vaultRepeats: true, deaths: []span{failover}, either: true}
	ops := append(o.end(), o.changes...)
	t.Log(o.mount)
	check(t, ops, o.a.held(t), p)

	failures := 0
	fail := func(of []operation, what string, about ...operation) {
		if failures++; failures <= 3 {
			t.Errorf("%s: %s:\n%s", o.mount, what, excerpt(of, about...))
		}
	}
	for _, name := range o.known {
		of := byName(ops)[name]
		old, fresh := 0, 0
		for _, r := range of {
			switch {
			case r.write || p.diedUnder(r):
			case r.outcome != done:
				fail(of, "a known secret is not given", r)
			case r.begin > failover.to && r.end < o.back && !r.stale:
				fail(of, "an answer does not say that it is old", r)
			case r.stale && r.begin > failover.to:
				old++
			case r.begin > o.back:
				fresh++
			}
		}
		readsNeverGoBack(of, fail)
		if old == 0 || fresh == 0 {
			t.Errorf("%s: %d old answers of the new active Vault and %d fresh ones in the end: this run has shown too little", o.mount, old, fresh)
		}
	}
}

// readsNeverGoBack wants no read to give less than another that had ended before it began.
func readsNeverGoBack(of []operation, fail failure) {
	for _, r := range of {
		for _, before := range of {
			if !r.write && !before.write && r.outcome == done && before.end < r.begin && before.version > r.version {
				fail(of, "a reader is given less than one before", before, r)
				return
			}
		}
	}
}

// kept is the storage key of a value that is kept, or of a part of the index.
var kept = regexp.MustCompile(`last_good/[0-9a-f]{16}/[0-9a-f]{64}`)

// storesNothingInTheClear scans the storage of all nodes, their logs, and a snapshot for names and values.
func (c *cluster) storesNothingInTheClear(t *testing.T, dir string, m *marks, name string) {
	t.Helper()
	places := func() map[string][]byte {
		places := map[string][]byte{}
		for i := range c.nodes {
			files(t, places, filepath.Join(dir, fmt.Sprintf("vault%d", i)))
		}
		unpack(t, places, "snapshot", c.must(t, http.MethodGet, "sys/storage/raft/snapshot", nil).Body)
		return places
	}
	stored := []string{"snapshot/state.bin"}
	for i, n := range c.nodes {
		if n.Alive() {
			stored = append(stored, filepath.Join(dir, fmt.Sprintf("vault%d", i), "storage", "vault.db"))
		}
	}
	all, size := places(), 0
	for place, content := range all {
		size += len(content)
		if slices.Contains(stored, place) && !kept.Match(content) {
			t.Errorf("there is no last good value in %s", place)
		}
	}
	t.Logf("%d places with %d kB are scanned for %d forms", len(all), size/1000, len(m.forms))
	for _, hit := range m.scan(all) {
		t.Errorf("a name or a value is in %s", hit)
	}

	// Keys are not encrypted: what is in one is found in each place.
	c.must(t, http.MethodPost, "sys/mounts/planted", map[string]any{"type": "kv"})
	for _, key := range []string{name, m.letters} {
		c.must(t, http.MethodPost, "planted/"+key, map[string]string{"key": "value"})
	}
	eventually(t, time.Minute, "what was planted is found", func() bool {
		hits := m.scan(places())
		return !slices.ContainsFunc(stored, func(place string) bool {
			return !found(hits, place+": name plain") || !found(hits, place+": letters plain")
		})
	})
}

func found(hits []string, hit string) bool {
	return slices.ContainsFunc(hits, func(h string) bool { return strings.HasPrefix(h, hit) })
}
