package clients

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func vaultKV1(t *testing.T) {
	dir := t.TempDir()
	shell(t, dir, writer, page(t, "vault CLI", "sh", 0))
	require.Equal(t, "first", program(t, dir, writer, "vault", "kv", "get", "-mount=abeja", "-field=value", "secrets/db_password"))

	var got struct {
		Data map[string]any `json:"data"`
	}
	out := program(t, dir, writer, "vault", "kv", "get", "-mount=abeja", "-format=json", "secrets/db_password")
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, "first", got.Data["value"])
	require.Equal(t, "of the orders database", got.Data["description"])
	require.EqualValues(t, 1, got.Data["version"])

	out = program(t, dir, writer, "vault", "kv", "list", "-mount=abeja", "-format=json", "secrets")
	require.Contains(t, out, `"db_password"`)

	// The path can be given in whole, too.
	program(t, dir, writer, "vault", "kv", "put", "abeja/secrets/made_up", "value=second")
	require.Equal(t, "second", program(t, dir, writer, "vault", "kv", "get", "-field=value", "abeja/secrets/made_up"))
	program(t, dir, writer, "vault", "kv", "delete", "-mount=abeja", "secrets/made_up")
	_, err := try(t, dir, writer, "vault", "kv", "get", "-mount=abeja", "secrets/made_up")
	require.ErrorContains(t, err, "No value found at abeja/secrets/made_up")

	for _, args := range []string{"metadata get", "patch", "rollback -version=1", "undelete -versions=1", "destroy -versions=1"} {
		command := append(append([]string{"kv"}, strings.Fields(args)...), "-mount=abeja", "secrets/db_password")
		if args == "patch" {
			command = append(command, "value=second")
		}
		_, err := try(t, dir, writer, "vault", command...)
		require.Error(t, err, args)
		require.Regexp(t, "(?i)KV Version 1|must be version 2", err.Error())
	}
}

// vaultKV2 runs as "root": the mount at abeja_kv is not in the policies of the page.
func vaultKV2(t *testing.T) {
	dir := t.TempDir()
	shell(t, dir, "root", page(t, "vault CLI", "sh", 1))
	out := shell(t, dir, "root", page(t, "vault CLI", "sh", 2))
	require.Regexp(t, `value +4711`, out)
	require.Contains(t, out, "map[description:of the orders service]")
	_, err := try(t, dir, "root", "vault", "kv", "get", "-mount=abeja_kv", "api_key")
	require.ErrorContains(t, err, "No value found at abeja_kv/data/api_key")
}

func vaultAgent(t *testing.T) {
	rendered(t, strings.Replace(page(t, "Vault Agent", "hcl", 0), `"1m"`, `"1s"`, 1), "vault", "agent", "-config=config.hcl")
}

func consulTemplate(t *testing.T) {
	program := filepath.Join(repository, "bin/consul-template")
	_, err := os.Stat(program)
	installed(t, "consul-template", err)
	rendered(t, page(t, "consul-template", "hcl", 0), program, "-config=config.hcl", "-vault-default-lease-duration=1s")
}

// rendered runs a program that renders both versions of KV to app.env, and changes the secret under it.
func rendered(t *testing.T, config, name string, args ...string) {
	t.Helper()
	dir := t.TempDir()
	dbPassword(t, "first")
	write(t, dir, "token", reader)
	write(t, dir, "config.hcl", config)
	background(t, dir, name, args...)
	file := filepath.Join(dir, "app.env")
	eventually(t, file, "V1=first\nV2=first\n")
	shell(t, dir, writer, "vault write abeja/secrets/db_password value=second")
	eventually(t, file, "V1=second\nV2=second\n")

	// So it does when the change was made at ABEJA.
	req, err := http.NewRequest("PUT", os.Getenv("ABEJA_API_URL")+"/_simulator/secrets/db_password", strings.NewReader(`{"value":"third"}`))
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusNoContent, resp.StatusCode)
	eventually(t, file, "V1=third\nV2=third\n")
}

// The system's own Python: Debian's package installs hvac for no other.
const python = "/usr/bin/python3"

func hvac(t *testing.T) {
	dir := t.TempDir()
	_, err := try(t, dir, "", python, "-c", "import hvac")
	installed(t, "hvac for "+python, err)
	dbPassword(t, "first")
	write(t, dir, "page.py", page(t, "Python: hvac", "python", 0))
	require.Equal(t, "first\nfirst 1", program(t, dir, reader, python, "page.py"))
	program(t, dir, writer, python, filepath.Join(repository, "test/clients/testdata/hvac_all.py"))
}

func ansible(t *testing.T) {
	dir := t.TempDir()
	_, err := try(t, dir, "", python, "-c", "import ansible, ansible_collections.community.hashi_vault")
	installed(t, "Ansible for "+python, err)
	dbPassword(t, "first")
	write(t, dir, "playbook.yaml", page(t, "Ansible", "yaml", 0))
	play := func() string {
		return program(t, dir, writer, "env", "HOME="+dir, "LC_ALL=C.UTF-8", python, "-m", "ansible", "playbook", "playbook.yaml")
	}
	require.Regexp(t, "changed=2 .*failed=0", play())
	require.Equal(t, "V1=first\nV2=first\n", read(t, dir, "app.env"))
	stored, err := as(t, writer).KVv2("abeja").Get(t.Context(), "ansible_db")
	require.NoError(t, err)
	require.Equal(t, map[string]any{"user": "app", "password": "first"}, stored.Data)
	require.Regexp(t, "changed=0 .*failed=0", play())
}

func nodeVault(t *testing.T) {
	dir := t.TempDir()
	_, err := try(t, dir, "", "node", "-e", "require('node-vault')")
	installed(t, "node-vault for Node.js", err)
	dbPassword(t, "first")
	write(t, dir, "page.js", page(t, "Node.js: node-vault", "js", 0))
	require.Equal(t, "first\nfirst 1", program(t, dir, reader, "node", "page.js"))
	program(t, dir, writer, "node", filepath.Join(repository, "test/clients/testdata/node_vault_all.js"))
}

func goProgram(t *testing.T) {
	dir := t.TempDir()
	dbPassword(t, "first")
	write(t, dir, "page.go", page(t, "Go: vault/api", "go", 0))
	// In the repository it gets the vault/api that the plugin itself uses.
	program(t, repository, "", "go", "build", "-o", dir, filepath.Join(dir, "page.go"))
	require.Equal(t, "first\nfirst 1", program(t, dir, reader, filepath.Join(dir, "page")))
}

func curl(t *testing.T) {
	_, err := exec.LookPath("curl")
	installed(t, "curl", err)
	dbPassword(t, "first")
	var v1 struct {
		Data struct {
			Value string `json:"value"`
		} `json:"data"`
	}
	var v2 struct {
		Data struct {
			Data     map[string]string `json:"data"`
			Metadata map[string]any    `json:"metadata"`
		} `json:"data"`
	}
	answers := json.NewDecoder(strings.NewReader(shell(t, t.TempDir(), reader, page(t, "curl", "sh", 0))))
	require.NoError(t, answers.Decode(&v1))
	require.NoError(t, answers.Decode(&v2))
	require.Equal(t, "first", v1.Data.Value)
	require.Equal(t, map[string]string{"value": "first"}, v2.Data.Data)
	require.EqualValues(t, 1, v2.Data.Metadata["version"])
}
