package soak

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestUpgradeUnderLoadThenSealAndUnseal(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 1, "info")
	a := startABEJA(t, token, "unused", "-latency", "5ms")
	c.mount(t, "abeja", a.Config(nil))
	active := c.serves(t)

	t.Run("upgrade", func(t *testing.T) {
		l := &load{writers: 4, readers: 8, mounts: []string{"abeja"}, call: func(_ int, method, path string, in any) answer {
			return active.call(c.token, method, path, in)
		}}
		l.begin(t)
		l.until(t, 0.3, func(f figures) bool { return f.writes > 0 })
		c.register(t, newVersion)
		c.must(t, http.MethodPost, "sys/mounts/abeja/tune", map[string]string{"plugin_version": newVersion})
		assert.Equal(t, oldVersion, c.runningVersion(t), "before the reload")
		begun := time.Since(l.start)
		c.must(t, http.MethodPut, "sys/plugins/reload/backend", map[string]string{"plugin": vaulttest.Plugin})
		took := time.Since(l.start) - begun
		assert.Equal(t, newVersion, c.runningVersion(t), "after the reload")
		l.until(t, 0.3, func(f figures) bool { return f.writes >= 50 && f.reads >= 100 })
		ops := l.end()
		check(t, ops, a.held(t), promises{})

		var longest operation
		failed := 0
		for _, o := range ops {
			// Two who create the same secret at once, and one who updates it before, are rightly refused.
			if o.outcome == unknown || o.outcome == refused && !strings.HasPrefix(o.said, "409") && !strings.HasPrefix(o.said, "404") {
				if failed++; failed <= 3 {
					t.Errorf("failed in an upgrade: %v", o)
				}
			}
			if o.end-o.begin > longest.end-longest.begin {
				longest = o
			}
		}
		t.Logf("the reload took %v, the longest request %v; %d of %d failed",
			took.Round(time.Millisecond), (longest.end - longest.begin).Round(time.Millisecond), failed, len(ops))
	})

	t.Run("seal", func(t *testing.T) {
		l := &load{writers: 8, readers: 8, mounts: []string{"abeja"}, names: "sealed", losing: true, call: func(_ int, method, path string, in any) answer {
			return active.call(c.token, method, path, in)
		}}
		l.begin(t)
		l.until(t, 0.1, func(f figures) bool { return f.writes >= 20 })
		acknowledged := l.latest()
		sealed := l.ended(func() { active.must(t, c.token, http.MethodPut, "sys/seal", nil) })
		got := active.call(c.token, http.MethodGet, "abeja/"+acknowledged.path+acknowledged.name, nil)
		assert.Equal(t, http.StatusServiceUnavailable, got.Status, "a sealed Vault answers %v", got)
		eventually(t, time.Minute, "the plugin has ended with the seal", func() bool { return len(active.Plugins(vaulttest.Plugin)) == 0 })
		unsealed := time.Now()
		c.unseal(t, active)
		c.goodRead(t, acknowledged)
		t.Logf("first good read %v after the unseal", time.Since(unsealed).Round(time.Millisecond))
		l.until(t, 0.1, func(f figures) bool { return f.refused+f.unknown > 0 })
		check(t, l.end(), a.held(t), promises{vaultRepeats: true, deaths: []span{sealed}})
		assert.Equal(t, a.URL(), c.must(t, http.MethodGet, "abeja/config", nil).Data["api_url"], "the config has changed")
	})
}

// Of Vault's nodes only the active one runs the plugin. Those of OpenBao's that stand by run it too, and
// nothing but a restart brings them to another version.
func TestAnUpgradeReachesEveryNode(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 3, "info")
	a := startABEJA(t, token, "unused")
	c.mount(t, "abeja", a.Config(nil))
	active := c.serves(t)
	standby := c.nodes[(slices.Index(c.nodes, active)+1)%len(c.nodes)]

	upgraded, err := c.upgrade(t, standby)
	if programs.OpenBao {
		if want := "Set BAO_ADDR to the active node: " + active.URL(); err == nil || !strings.Contains(upgraded, want) {
			t.Errorf("at a standby: %s (%v)", upgraded, err)
		}
		upgraded, err = c.upgrade(t, active)
	}
	if err != nil || !strings.Contains(upgraded, "abeja/ runs "+newVersion) {
		t.Fatalf("%s (%v)", upgraded, err)
	}

	for _, n := range c.nodes {
		if programs.OpenBao && !*passOn && n != active {
			got := n.must(t, c.token, http.MethodGet, "abeja/status", nil).Data["version"]
			assert.Equal(t, oldVersion, got, "a standby has another version without a restart: say so in docs/operations.md")
			n.Stop()
			require.NoError(t, n.Start(t.Context()))
			c.unseal(t, n)
		}
		eventually(t, time.Minute, "the node runs the new version", func() bool {
			return n.call(c.token, http.MethodGet, "abeja/status", nil).Data["version"] == newVersion
		})
	}
}

// upgrade has scripts/register.sh upgrade the mount at abeja/, and returns what it prints.
func (c *cluster) upgrade(t *testing.T, n *node) (string, error) {
	cmd := exec.CommandContext(t.Context(), "scripts/register.sh", "-d", programs.Plugins, filepath.Join(programs.Plugins, binaryOf(newVersion)))
	cmd.Dir = programs.Tree
	cmd.Env = []string{
		"PATH=" + programs.Bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + tempDir(t),
		"VAULT_ADDR=" + n.URL(), "VAULT_TOKEN=" + c.token,
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (c *cluster) runningVersion(t *testing.T) string {
	t.Helper()
	mounts := c.must(t, http.MethodGet, "sys/mounts", nil).Data
	about, _ := mounts["abeja/"].(map[string]any)
	version, _ := about["running_plugin_version"].(string)
	return version
}
