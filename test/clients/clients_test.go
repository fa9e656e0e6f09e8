// Package clients runs the programs and libraries with which people read Vault against a real Vault
// with the plugin and ABEJA's simulator: what docs/clients.md says of each, word for word, and all
// that each can do.
package clients

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// What TestMain prepares for all tests. The environment says how to reach Vault, as "root", and the
// simulator; vault is on the PATH.
var (
	repository string // the root of this repository
	reader     string // a token with the policy of docs/clients.md that reads db_password
	writer     string // a token with the one that may do all that KV clients do
)

func TestMain(m *testing.M) {
	vaulttest.Main(m, "../..", map[string]string{vaulttest.Plugin: "v0.0.0-clients"}, prepare)
}

// prepare mounts the plugin for a simulator.
func prepare(p *vaulttest.Programs) error {
	ctx := context.Background()
	repository = p.Tree
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		for _, prefix := range []string{"VAULT_", "BAO_", "ABEJA_"} {
			if strings.HasPrefix(name, prefix) {
				os.Unsetenv(name)
			}
		}
	}
	sim, err := p.Simulator(ctx, p.Dir)
	if err != nil {
		return err
	}
	vault, err := p.Dev(ctx, p.Dir, "info")
	if err != nil {
		return err
	}
	os.Setenv("PATH", p.Bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	os.Setenv("VAULT_ADDR", vault.URL())
	for name, value := range sim.Env {
		os.Setenv(name, value)
	}
	return vault.Mount(ctx, "abeja", sim.Config(nil))
}

// TestClients runs them one after the other: most of them use the secret db_password, as the page
// does, and begin by making it anew.
func TestClients(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "reader.hcl", page(t, "Policies", "hcl", 0))
	write(t, dir, "writer.hcl", page(t, "Policies", "hcl", 1))
	shell(t, dir, "root", page(t, "Policies", "sh", 0))
	reader = read(t, dir, "token")
	writer = shell(t, dir, "root", "vault token create -policy=writer -field=token")

	t.Run("vault kv as version 1", vaultKV1)
	t.Run("vault kv as version 2", vaultKV2)
	t.Run("Vault Agent", vaultAgent)
	t.Run("consul-template", consulTemplate)
	t.Run("hvac", hvac)
	t.Run("Ansible", ansible)
	t.Run("Go", goProgram)
	t.Run("Go KVv1", goKV1)
	t.Run("Go KVv2", goKV2)
	t.Run("node-vault", nodeVault)
	t.Run("curl", curl)
}

// page returns one of the code blocks in a language under a heading of docs/clients.md, counted from 0.
func page(t *testing.T, heading, language string, n int) string {
	t.Helper()
	text := read(t, repository, "docs/clients.md")
	_, section, found := strings.Cut(text, "\n## "+heading+"\n")
	require.True(t, found, "docs/clients.md has no heading %q", heading)
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := strings.Split(section, "\n```"+language+"\n")[1:]
	require.Greater(t, len(blocks), n, "docs/clients.md has too few blocks of %s under %q", language, heading)
	block, _, _ := strings.Cut(blocks[n], "\n```\n")
	return block + "\n"
}

// dbPassword makes the secret of the page anew, with one version.
func dbPassword(t *testing.T, value string) {
	t.Helper()
	shell(t, t.TempDir(), "root", `
vault delete abeja/secrets/db_password
vault write abeja/secrets/db_password value=`+value)
}

// shell runs commands, of which each must succeed, and returns what they print.
func shell(t *testing.T, dir, token, commands string) string {
	t.Helper()
	return program(t, dir, token, "sh", "-euc", commands)
}

// program runs a program to its end and returns what it prints.
func program(t *testing.T, dir, token, name string, args ...string) string {
	t.Helper()
	out, err := try(t, dir, token, name, args...)
	require.NoError(t, err, out)
	return out
}

func try(t *testing.T, dir, token, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "VAULT_TOKEN="+token, "NODE_PATH="+filepath.Join(repository, "bin/node/node_modules"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", cmd, err, &stderr)
	}
	return strings.TrimSpace(string(out)), err
}

// background runs a program until the test ends.
func background(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err)
	p, err := vaulttest.Program{Path: path, Args: args, Dir: dir, Log: "log", Env: os.Environ()}.Start()
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Stop()
		if t.Failed() {
			t.Logf("%s:\n%s", name, p.Printed())
		}
	})
}

// eventually waits until a file holds what it is to hold.
func eventually(t *testing.T, file, want string) {
	t.Helper()
	var got []byte
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got, _ = os.ReadFile(file); string(got) == want {
			return
		}
	}
	t.Fatalf("%s has not become %q after 30 seconds, but is %q", file, want, got)
}

// installed fails the test if a client is missing.
func installed(t *testing.T, client string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s is missing: run 'make deps-e2e' (%v)", client, err)
	}
}

// as returns a Go client that uses a token.
func as(t *testing.T, token string) *api.Client {
	t.Helper()
	c, err := api.NewClient(api.DefaultConfig())
	require.NoError(t, err)
	c.SetToken(token)
	return c
}

func read(t *testing.T, dir, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	return string(text)
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
}
