package vaulttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RootToken is that of a dev server.
const RootToken = "root"

// Vault is a server. After it has ended, it can be started again.
type Vault struct {
	*Process
	Addr string

	programs *Programs
	ready    string // answers 200 as soon as the server can be used
}

// auditThroughAPI has OpenBao enable audit devices as Vault does; else only its configuration can have some.
const auditThroughAPI = "unsafe_allow_api_audit_creation = true\n"

// Dev starts a dev server, unsealed, with its storage in memory and all plugins registered.
func (p *Programs) Dev(ctx context.Context, dir, level string) (*Vault, error) {
	v, err := p.vault(ctx, dir, "sys/health", func(addr string) ([]string, error) {
		file, config := filepath.Join(dir, "dev.hcl"), fmt.Sprintf("plugin_directory = %q\n", p.Plugins)
		if p.OpenBao {
			config += auditThroughAPI
		}
		return []string{
			"server", "-log-level=" + level, "-dev", "-dev-root-token-id=" + RootToken, "-dev-no-store-token",
			"-dev-listen-address=" + addr, "-config=" + file,
		}, os.WriteFile(file, []byte(config), 0o600)
	})
	if err != nil {
		return nil, err
	}
	if err := v.registerAll(ctx); err != nil {
		v.Kill()
		return nil, err
	}
	return v, nil
}

// registerAll registers all plugins. So does Vault's -dev-plugin-dir, but it runs each as a plugin of every
// type there is, and takes four times as long.
func (v *Vault) registerAll(ctx context.Context) error {
	plugins, err := os.ReadDir(v.programs.Plugins)
	if err != nil {
		return err
	}
	for _, file := range plugins {
		binary, err := os.ReadFile(filepath.Join(v.programs.Plugins, file.Name()))
		if err != nil {
			return err
		}
		plugin := map[string]any{"sha256": fmt.Sprintf("%x", sha256.Sum256(binary)), "command": file.Name()}
		if err := v.Write(ctx, "sys/plugins/catalog/secret/"+file.Name(), plugin); err != nil {
			return err
		}
	}
	return nil
}

// Raft starts a server on integrated storage, which is sealed. It is to join the cluster of another one,
// if any. Of plugins it knows what is in that directory. Its configuration has what is in these files too.
func (p *Programs) Raft(ctx context.Context, dir, level, storage, plugins string, join *Vault, config ...string) (*Vault, error) {
	if err := os.MkdirAll(storage, 0o700); err != nil {
		return nil, err
	}
	retryJoin := ""
	if join != nil {
		retryJoin = fmt.Sprintf("retry_join {\n leader_api_addr = %q\n}", join.URL())
	}
	return p.vault(ctx, dir, "sys/health?uninitcode=200&sealedcode=200&standbyok=true", func(addr string) ([]string, error) {
		clusterAddr, err := FreeAddr()
		if err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "vault.hcl")
		alone := "disable_mlock = true" // what the other one does not know
		if p.OpenBao {
			alone = fmt.Sprintf("disable_standby_reads = %t\n%s", p.DisableStandbyReads, auditThroughAPI)
		}
		args := []string{"server", "-log-level=" + level, "-config=" + file}
		for _, more := range config {
			args = append(args, "-config="+more)
		}
		// With a performance_multiplier of 1, as HashiCorp recommends for production, a leader that gets no processor
		// for half a second may lose its lease.
		return args, os.WriteFile(file, fmt.Appendf(nil, `
storage "raft" {
  path                   = %q
  node_id                = %q
  performance_multiplier = 2
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
api_addr         = "http://%[4]s"
cluster_addr     = "https://%[5]s"
plugin_directory = %[6]q
%[7]s
`, storage, filepath.Base(dir), retryJoin, addr, clusterAddr, plugins, alone), 0o600)
	})
}

// vault starts a server that logs to vault.log. Between the choice of a free port and its use, somebody
// else may take it.
func (p *Programs) vault(ctx context.Context, dir, ready string, args func(addr string) ([]string, error)) (v *Vault, err error) {
	for range 3 {
		v = &Vault{programs: p, ready: ready}
		if v.Addr, err = FreeAddr(); err != nil {
			return nil, err
		}
		var words []string
		if words, err = args(v.Addr); err != nil {
			return nil, err
		}
		if v.Process, err = p.Start(dir, "vault.log", "vault", words...); err != nil {
			return nil, err
		}
		if err = v.answers(ctx); err == nil {
			return v, nil
		}
	}
	return nil, err
}

// Start starts the server again, which must have ended, and waits until it answers.
func (v *Vault) Start(ctx context.Context) error {
	if err := v.Restart(); err != nil {
		return err
	}
	return v.answers(ctx)
}

// answers waits until the server answers.
func (v *Vault) answers(ctx context.Context) error {
	err := v.WaitUntil(ctx, func() bool { return v.Call(ctx, "", http.MethodGet, v.ready, nil).Status == http.StatusOK })
	if err != nil {
		v.Kill()
	}
	return err
}

// URL is the address as VAULT_ADDR has it.
func (v *Vault) URL() string { return "http://" + v.Addr }

// Plugins returns the processes of plugins whose binary's name begins so. Only Linux tells.
func (v *Vault) Plugins(name string) (pids []int) {
	binaries, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, link := range binaries {
		binary, _ := os.Readlink(link)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(link)))
		if !strings.HasPrefix(binary, filepath.Join(v.programs.Plugins, name)) {
			continue
		}
		if group, err := syscall.Getpgid(pid); err == nil && group == v.life.Load().cmd.Process.Pid {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Answer is Vault's, or the lack of one: then Status is 0 and Failure says why.
type Answer struct {
	Status   int    `json:"-"`
	Body     []byte `json:"-"`
	Failure  string `json:"-"`
	Data     map[string]any
	Warnings []string
	Errors   []string
}

func (a Answer) String() string {
	return strings.TrimSpace(fmt.Sprintf("%d %s%s", a.Status, a.Failure, strings.Join(a.Errors, "; ")))
}

// OK reports whether Vault has done as it was asked.
func (a Answer) OK() bool { return a.Status/100 == 2 }

// Call makes one request, with JSON if there is anything to send.
func (v *Vault) Call(ctx context.Context, token, method, path string, in any) (a Answer) {
	var body []byte
	if in != nil {
		body, _ = json.Marshal(in)
	}
	status, body, err := Send(ctx, method, v.URL()+"/v1/"+path, token, body)
	if err != nil {
		return Answer{Failure: err.Error()}
	}
	json.Unmarshal(body, &a)
	a.Status, a.Body = status, body
	return a
}

// It does not repeat requests, as Vault's own client does: each answer is that to one request. Vault itself
// gives up after 90 s.
var client = &http.Client{Timeout: 80 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1_000}}

// Write makes a call as root of a dev server. A warning is an error, since it tells of a field that does not
// exist.
func (v *Vault) Write(ctx context.Context, path string, in any) error {
	if a := v.Call(ctx, RootToken, http.MethodPost, path, in); !a.OK() || len(a.Warnings) > 0 {
		return fmt.Errorf("%s: %v %s", path, a, strings.Join(a.Warnings, "; "))
	}
	return nil
}

// Mount enables the plugin at a path and configures it, as Write does.
func (v *Vault) Mount(ctx context.Context, path string, config map[string]any) error {
	if err := v.Write(ctx, "sys/mounts/"+path, map[string]any{"type": Plugin}); err != nil {
		return err
	}
	return v.Write(ctx, path+"/config", config)
}

// Send makes one request to Vault, with a token if there is one, and returns the whole answer.
func Send(ctx context.Context, method, url, token string, body []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	return do(req)
}

func do(req *http.Request) (status int, answer []byte, err error) {
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}
