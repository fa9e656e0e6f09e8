package soak

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestThePluginsProcessIsKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	c := startCluster(t, tempDir(t), 1, "info")
	a := startABEJA(t, token, "unused", "-latency", "5ms")
	c.mount(t, "abeja", a.Config(map[string]any{"request_timeout": deadline}))
	c.must(t, http.MethodPost, "sys/mounts/other", map[string]any{"type": "kv"})

	active := c.serves(t)
	tr := newTrouble(a, 12)
	l := &load{writers: 32, readers: 8, mounts: []string{"abeja"}, losing: true, call: func(_ int, method, path string, in any) answer {
		return tr.around(t, func() answer { return active.call(c.token, method, path, in) })
	}}
	l.begin(t)
	calls := 0
	stopWatching := again(t, 20*time.Millisecond, func(n int) {
		calls++
		want := strconv.Itoa(n)
		wrote := active.call(c.token, http.MethodPost, "other/key", map[string]string{"value": want})
		if got := active.call(c.token, http.MethodGet, "other/key", nil); wrote.Status != http.StatusNoContent || got.Data["value"] != want {
			t.Errorf("another mount failed: %v, %v", wrote, got)
		}
	})
	var kills atomic.Int32
	var deaths []span
	readsBefore := -1
	spare := again(t, 2*time.Second, func(int) {
		if l.soFar().reads == readsBefore {
			return // it has not come up again
		}
		for _, pid := range active.Plugins(vaulttest.Plugin) {
			deaths = append(deaths, l.ended(func() {
				if syscall.Kill(pid, syscall.SIGKILL) == nil {
					kills.Add(1)
				}
			}))
		}
		readsBefore = l.soFar().reads
	})
	l.until(t, 1, func(f figures) bool {
		return f.writes >= 100 && f.reads >= 100 && f.unknown+f.refused >= 3 && kills.Load() >= 3
	})
	spare()
	ops := l.end()
	stopWatching()
	a.heal(t)

	t.Logf("the plugin was killed %d times; Vault's own kv answered %d calls meanwhile", kills.Load(), calls)
	if calls < 20 {
		t.Error("this run has shown too little")
	}
	check(t, ops, a.held(t), promises{vaultRepeats: true, deaths: deaths})
	assert.True(t, active.Alive(), "Vault is down")
	assert.Equal(t, a.URL(), c.must(t, http.MethodGet, "abeja/config", nil).Data["api_url"], "the config has changed")
}

// parentOf returns the number of a process's parent.
func parentOf(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ") // what is before may have blanks
	fields := strings.Fields(after)
	if len(fields) < 2 {
		return 0
	}
	parent, _ := strconv.Atoi(fields[1])
	return parent
}
