package soak

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestTheActiveVaultIsKilled(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 3, "info")
	a := startABEJA(t, token, "unused")
	c.mount(t, "abeja", a.Config(map[string]any{"request_timeout": deadline}))
	config := c.must(t, http.MethodGet, "abeja/config", nil).Data

	l := &load{writers: 8, readers: 8, mounts: []string{"abeja"}, losing: true, call: c.anyNode}
	l.begin(t)
	rounds := 1
	if *length >= 30*time.Second {
		rounds = 3
	}
	var deaths []span
	for range rounds {
		l.until(t, 0.5/float64(rounds), func(f figures) bool { return f.writes > 0 })
		dies := c.serves(t)
		acknowledged := l.latest()
		deaths = append(deaths, l.ended(dies.Crash))
		killed := time.Now()
		c.goodRead(t, acknowledged)
		t.Logf("first good read %v after the active Vault was killed", time.Since(killed).Round(time.Millisecond))

		// What it leaves behind is no child of anybody, and is not asked any more.
		for _, pid := range dies.Plugins(vaulttest.Plugin) {
			t.Logf("the killed Vault's plugin still runs, as process %d of parent %d", pid, parentOf(pid))
		}
		deaths = append(deaths, l.ended(dies.Kill))
		require.NoError(t, dies.Start(t.Context()))
		c.unseal(t, dies)
		time.Sleep(*length / time.Duration(2*rounds))
	}
	l.until(t, 0, func(f figures) bool { return f.writes >= 50 && f.reads >= 50 })
	ops := l.end()
	check(t, ops, a.held(t), promises{vaultRepeats: true, deaths: deaths})
	assert.Equal(t, config, c.must(t, http.MethodGet, "abeja/config", nil).Data, "the config has changed")
}

// anyNode asks a node that is up. A standby hands the request on to the active one.
func (c *cluster) anyNode(client int, method, path string, in any) answer {
	for i := range c.nodes {
		if n := c.nodes[(client+i)%len(c.nodes)]; n.Alive() {
			return n.call(c.token, method, path, in)
		}
	}
	return answer{Failure: "no node is up"}
}

// latest is the newest version of a secret that was acknowledged.
func (l *load) latest() operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range slices.Backward(l.ops) {
		if o.write && o.outcome == done {
			return o
		}
	}
	return operation{}
}

// goodRead waits until some node returns an acknowledged version.
func (c *cluster) goodRead(t *testing.T, acknowledged operation) {
	t.Helper()
	client := 0
	eventually(t, time.Minute, "a read succeeds", func() bool {
		client++
		a := c.anyNode(client, http.MethodGet, "abeja/"+acknowledged.path+acknowledged.name, nil)
		_, version := valueOf(a)
		if a.Status == 200 && version < acknowledged.version {
			t.Fatalf("an acknowledged write is lost: got version %d after %v", version, acknowledged)
		}
		return a.Status == 200
	})
}
