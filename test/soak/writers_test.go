package soak

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// token is the mount's credential at ABEJA.
	token = "soak-personal-access-token"
	// authToken is another user's.
	authToken = "soak-auth-token"
)

func TestWritersAtTheSameTimeWhileABEJAFails(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 1, "info")
	cached := map[string]any{"cache_ttl": "1h", "stale_if_error": "1h"}
	t.Run("without a cache", func(t *testing.T) {
		writersWhileABEJAFails(t, c, setting{mounts: []string{"plain"}})
	})
	t.Run("with a config write each second", func(t *testing.T) {
		writersWhileABEJAFails(t, c, setting{mounts: []string{"configured"}, configWrites: true})
	})
	t.Run("through two mounts", func(t *testing.T) {
		writersWhileABEJAFails(t, c, setting{mounts: []string{"one", "two"}})
	})
	t.Run("with both, two users and a cache", func(t *testing.T) {
		writersWhileABEJAFails(t, c, setting{
			mounts: []string{"cached", "cached2"}, twoUsers: true, configWrites: true, config: cached, promises: promises{either: true},
		})
	})
}

// setting is how the mounts of one organization are used.
type setting struct {
	mounts       []string
	twoUsers     bool // at ABEJA, of the mounts in turn
	config       map[string]any
	configWrites bool // each second
	promises     promises
}

func writersWhileABEJAFails(t *testing.T, c *cluster, s setting) {
	a := startABEJA(t, token, authToken, "-latency", "2ms")
	config := map[string]any{"request_timeout": deadline}
	maps.Copy(config, s.config)
	for i, mount := range s.mounts {
		c.mount(t, mount, a.Config(config))
		if s.twoUsers && i%2 == 1 {
			c.must(t, http.MethodPost, mount+"/config", map[string]any{"auth_token": authToken})
		}
	}

	active := c.serves(t)
	tr := newTrouble(a, 6)
	l := &load{writers: 32, readers: 8, mounts: s.mounts, call: func(_ int, method, path string, in any) answer {
		return tr.around(t, func() answer { return active.call(c.token, method, path, in) })
	}}
	l.begin(t)
	var configWrites atomic.Int64
	stop := func() {}
	if s.configWrites {
		stop = again(t, time.Second, func(n int) {
			// For some to be under way while it happens.
			a.strike(t, fault{Op: "create_version", Kind: "delay", Delay: "300ms", Count: 4})
			if c.writeConfig(t, a, s.mounts[n%len(s.mounts)], n, config) {
				configWrites.Add(1)
			}
		})
	}
	l.until(t, 1, func(f figures) bool {
		return f.writes >= 100 && f.reads >= 200 && f.mismatches >= 5 && f.unknown >= 3 && (!s.configWrites || configWrites.Load() >= 5)
	})
	stop()
	ops := l.end()
	a.heal(t)

	t.Logf("%d failures of ABEJA, %d writes of the config", tr.struck, configWrites.Load())
	check(t, ops, a.held(t), s.promises)
	for _, o := range ops {
		if strings.HasPrefix(o.said, "500") { // what the engine has no name for
			t.Errorf("an internal error: %v", o)
			break
		}
	}
}

// writeConfig writes a mount's config, each time in another way, and reports whether it is stored: ABEJA
// may fail just when it is asked whether it accepts the credential.
func (c *cluster) writeConfig(t *testing.T, a *abeja, mount string, n int, more map[string]any) (stored bool) {
	var in map[string]any
	switch n % 5 {
	case 0:
		in = map[string]any{"max_retries": 1 + n%2, "verify_connection": false}
	case 1:
		in = map[string]any{"auth_token": authToken, "verify_connection": false}
	case 2, 3: // the second time in place of the same user's
		fresh := fmt.Sprintf("%s-%s-%d", token, mount, n)
		a.control(t, http.MethodPut, "tokens/"+fresh, nil)
		in = map[string]any{"user_id": a.Env["ABEJA_PLATFORM_USER_ID"], "personal_access_token": fresh}
	case 4:
		c.must(t, http.MethodDelete, mount+"/config", nil)
		in = a.Config(more)
		in["verify_connection"] = false
	}
	return c.active().call(c.token, http.MethodPost, mount+"/config", in).Status == http.StatusNoContent
}
