package soak

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// cluster is Vault on its integrated storage, with the plugin registered.
type cluster struct {
	nodes     []*node
	unsealKey string
	token     string
}

// node is one server, which can be started again.
type node struct {
	*process
	addr string
	args []string
	dir  string
}

// startCluster starts so many nodes. Logs and storage are below dir.
func startCluster(t *testing.T, dir string, size int, logLevel string) *cluster {
	t.Helper()
	c := &cluster{}
	for i := range size {
		n := &node{addr: freeAddr(t), dir: filepath.Join(dir, fmt.Sprintf("vault%d", i))}
		storage := filepath.Join(n.dir, "storage")
		if err := os.MkdirAll(storage, 0o700); err != nil {
			t.Fatal(err)
		}
		clusterAddr, join := freeAddr(t), ""
		if i > 0 {
			join = fmt.Sprintf("retry_join {\n leader_api_addr = \"http://%s\"\n}", c.nodes[0].addr)
		}
		// The performance_multiplier is what HashiCorp recommends for production.
		config := fmt.Sprintf(`
storage "raft" {
  path                   = %q
  node_id                = "node%d"
  performance_multiplier = 1
  autopilot_reconcile_interval = "1s"
  autopilot_update_interval    = "1s"
  %s
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
telemetry {
  prometheus_retention_time = "1m"
  disable_hostname          = true
}
api_addr         = "http://%s"
cluster_addr     = "https://%s"
plugin_directory = %q
disable_mlock    = true
`, storage, i, join, n.addr, clusterAddr, n.addr, clusterAddr, pluginDir)
		file := filepath.Join(n.dir, "vault.hcl")
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		n.args = []string{"server", "-log-level=" + logLevel, "-config=" + file}
		c.nodes = append(c.nodes, n)
		n.start(t)
	}
	c.initialize(t)
	c.register(t, oldVersion)
	return c
}

func (n *node) start(t *testing.T) {
	t.Helper()
	n.process = start(t, n.dir, "vault.log", vaultBin, n.args...)
	t.Cleanup(func() {
		log, _ := os.ReadFile(n.log)
		for _, line := range findings(log) {
			t.Errorf("in Vault's log: %s", line)
		}
		if t.Failed() {
			t.Logf("the end of Vault's log:\n%s", tail(n.log))
		}
	})
	eventually(t, time.Minute, "Vault answers", func() bool {
		if !n.alive() {
			t.Fatalf("Vault ended at its start:\n%s", tail(n.log))
		}
		return n.health() != 0
	})
}

func (c *cluster) initialize(t *testing.T) {
	t.Helper()
	var keys struct {
		Keys      []string `json:"keys"`
		RootToken string   `json:"root_token"`
	}
	first := c.nodes[0].must(t, "", http.MethodPut, "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	if err := json.Unmarshal(first.body, &keys); err != nil {
		t.Fatal(err)
	}
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
		json.Unmarshal(c.must(t, http.MethodGet, "sys/storage/raft/configuration", nil).body, &raft)
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
func (n *node) health() int { return n.call("", http.MethodGet, "sys/health", nil).status }

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
		if n.alive() && n.health() == 200 {
			return n
		}
	}
	return nil
}

func (c *cluster) register(t *testing.T, version string) {
	t.Helper()
	binary, err := os.ReadFile(filepath.Join(pluginDir, binaryOf(version)))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(binary)
	c.must(t, http.MethodPut, "sys/plugins/catalog/secret/"+pluginName, map[string]string{
		"version": version, "command": binaryOf(version), "sha256": hex.EncodeToString(sum[:]),
	})
}

// mount enables the plugin at a path and connects it, with more of its config.
func (c *cluster) mount(t *testing.T, path, apiURL, token string, more map[string]any) {
	t.Helper()
	c.must(t, http.MethodPost, "sys/mounts/"+path, map[string]any{
		"type": pluginName, "config": map[string]string{"plugin_version": oldVersion},
	})
	c.must(t, http.MethodPost, path+"/config", connection(apiURL, token, more))
}

// connection is a whole config.
func connection(apiURL, token string, more map[string]any) map[string]any {
	config := map[string]any{"organization_id": organization, "user_id": user, "personal_access_token": token, "api_url": apiURL}
	maps.Copy(config, more)
	return config
}

// must makes a call on the active node that has to succeed.
func (c *cluster) must(t *testing.T, method, path string, in any) answer {
	t.Helper()
	return c.serves(t).must(t, c.token, method, path, in)
}

// answer is Vault's, or the lack of one: then status is 0 and failure says why.
type answer struct {
	status   int
	body     []byte
	failure  string
	Data     map[string]any
	Warnings []string
	Errors   []string
}

func (a answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s%s", a.status, a.failure, strings.Join(a.Errors, "; ")))
}

// client does not repeat requests, as Vault's own does: each answer is that to one request.
var client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}

func (n *node) call(token, method, path string, in any) (a answer) {
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	req, err := http.NewRequest(method, "http://"+n.addr+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return answer{failure: err.Error()}
	}
	req.Header.Set("X-Vault-Token", token)
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{failure: err.Error()}
	}
	defer resp.Body.Close()
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{failure: err.Error()}
	}
	json.Unmarshal(a.body, &a)
	a.status = resp.StatusCode
	return a
}

func (n *node) must(t *testing.T, token, method, path string, in any) answer {
	t.Helper()
	a := n.call(token, method, path, in)
	if a.status/100 != 2 {
		t.Fatalf("%s %s: %v %s", method, path, a, a.body)
	}
	return a
}
