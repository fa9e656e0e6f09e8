package soak

import (
	"strings"
	"testing"
)

// token is the mount's credential at ABEJA.
const token = "soak-personal-access-token"

func TestWritersAtTheSameTimeWhileABEJAFails(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 1, "info")
	t.Run("without a cache", func(t *testing.T) { writersWhileABEJAFails(t, c, "plain", "0s", promises{}) })
	t.Run("with a cache", func(t *testing.T) { writersWhileABEJAFails(t, c, "cached", "1h", promises{cached: true}) })
}

func writersWhileABEJAFails(t *testing.T, c *cluster, mount, cacheTTL string, p promises) {
	a := startABEJA(t, token, "unused", "-latency", "2ms")
	c.mount(t, mount, a.url, token, map[string]any{"request_timeout": deadline, "cache_ttl": cacheTTL})

	active := c.serves(t)
	tr := newTrouble(a, 6)
	l := &load{writers: 32, readers: 8, mount: mount, call: func(_ int, method, path string, in any) answer {
		tr.maybe(t)
		return active.call(c.token, method, path, in)
	}}
	l.begin(t)
	l.until(t, 1, func(f figures) bool { return f.writes >= 100 && f.reads >= 200 && f.mismatches >= 5 && f.unknown >= 3 })
	ops := l.end()
	a.heal(t)

	t.Logf("%d failures of ABEJA", tr.struck)
	check(t, ops, a.held(t, token), p)
	for _, o := range ops {
		if strings.HasPrefix(o.said, "500") { // what the engine has no name for
			t.Errorf("an internal error: %v", o)
			break
		}
	}
}
