package soak

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// cluster is Vault on its integrated storage, with the plugin registered.
type cluster struct {
	nodes     []*node
	unsealKey string
	token     string
}

// node is one server, which can be started again.
type node struct{ *vaulttest.Vault }

type answer = vaulttest.Answer

// startCluster starts so many nodes. Logs and storage are below dir.
func startCluster(t *testing.T, dir string, size int, logLevel string) *cluster {
	t.Helper()
	c := &cluster{}
	var first *vaulttest.Vault
	for i := range size {
		dir := filepath.Join(dir, fmt.Sprintf("vault%d", i))
		v, err := programs.Raft(context.Background(), dir, logLevel, filepath.Join(dir, "storage"), programs.Plugins, first)
		require.NoError(t, err)
		if first == nil {
			first = v
		}
		c.nodes = append(c.nodes, &node{v})
		t.Cleanup(func() {
			v.Stop()
			wrong, troubles := vaulttest.CheckLog(v.Log)
			for _, line := range wrong {
				t.Errorf("in Vault's log: %s", line)
			}
			if t.Failed() {
				t.Logf("troubles in Vault's log:\n%s", troubles)
			}
		})
	}
	c.initialize(t)
	c.register(t, oldVersion)
	return c
}

func (c *cluster) initialize(t *testing.T) {
	t.Helper()
	var keys struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	first := c.nodes[0].must(t, "", http.MethodPut, "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	require.NoError(t, json.Unmarshal(first.Body, &keys))
	c.unsealKey, c.token = keys.Keys[0], keys.RootToken
	for _, n := range c.nodes {
		// A node that is to join is first told so by the leader.
		eventually(t, time.Minute, "the node is initialized", func() bool { return n.health() == 503 })
		c.unseal(t, n)
	}
	// A node that has joined votes only after a while, and without votes nobody takes over.
	c.must(t, http.MethodPost, "sys/storage/raft/autopilot/configuration", map[string]string{"server_stabilization_time": "1s"})
	eventually(t, time.Minute, "every node has a vote", func() bool {
		var raft struct {
			Data struct {
				Config struct{ Servers []struct{ Voter bool } }
			}
		}
		json.Unmarshal(c.must(t, http.MethodGet, "sys/storage/raft/configuration", nil).Body, &raft)
		voters := 0
		for _, s := range raft.Data.Config.Servers {
			if s.Voter {
				voters++
			}
		}
		return voters == len(c.nodes)
	})
}

// unseal unseals a node and waits until it has its place in the cluster.
func (c *cluster) unseal(t *testing.T, n *node) {
	t.Helper()
	eventually(t, time.Minute, "the node is unsealed", func() bool {
		if health := n.health(); health == 200 || health == 429 {
			return true
		}
		n.call("", http.MethodPut, "sys/unseal", map[string]string{"key": c.unsealKey})
		return false
	})
}

// health is 200 for the active node, 429 for a standby, 503 when sealed, 501 when not initialized.
func (n *node) health() int { return n.call("", http.MethodGet, "sys/health", nil).Status }

// serves waits until there is an active node.
func (c *cluster) serves(t *testing.T) *node {
	t.Helper()
	var active *node
	eventually(t, time.Minute, "a node is active", func() bool {
		active = c.active()
		return active != nil
	})
	return active
}

func (c *cluster) active() *node {
	for _, n := range c.nodes {
		if n.Alive() && n.health() == 200 {
			return n
		}
	}
	return nil
}

func (c *cluster) register(t *testing.T, version string) {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(programs.Plugins, binaryOf(version)))
	require.NoError(t, err)
	sum := sha256.Sum256(binary)
	c.must(t, http.MethodPut, "sys/plugins/catalog/secret/"+vaulttest.Plugin, map[string]string{
		"version": version, "command": binaryOf(version), "sha256": hex.EncodeToString(sum[:]),
	})
}

// mount enables the plugin at a path and connects it. A standby that reads by itself learns of a new mount
// a moment later, and answers 404 until then.
func (c *cluster) mount(t *testing.T, path string, config map[string]any) {
	t.Helper()
	c.must(t, http.MethodPost, "sys/mounts/"+path, map[string]any{
		"type": vaulttest.Plugin, "config": map[string]string{"plugin_version": oldVersion},
	})
	c.must(t, http.MethodPost, path+"/config", config)
	for _, n := range c.nodes {
		eventually(t, time.Minute, "the node has the mount", func() bool {
			return n.call(c.token, http.MethodGet, path+"/config", nil).OK()
		})
	}
}

// must makes a call on the active node that has to succeed. On a busy machine that node may lose its place
// in between; then it has done nothing.
func (c *cluster) must(t *testing.T, method, path string, in any) (a answer) {
	t.Helper()
	eventually(t, time.Minute, "a node is active while it is called", func() bool {
		a = c.serves(t).call(c.token, method, path, in)
		return !strings.Contains(string(a.Body), "local node not active")
	})
	return succeeded(t, method, path, a)
}

func (n *node) call(token, method, path string, in any) answer {
	return n.Call(context.Background(), token, method, path, in)
}

func (n *node) must(t *testing.T, token, method, path string, in any) answer {
	t.Helper()
	return succeeded(t, method, path, n.call(token, method, path, in))
}

func succeeded(t *testing.T, method, path string, a answer) answer {
	t.Helper()
	if !a.OK() {
		t.Fatalf("%s %s: %v %s", method, path, a, a.Body)
	}
	return a
}
