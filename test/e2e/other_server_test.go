package e2e

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// prefersBAO is a vault that takes its settings from BAO_ variables first, as OpenBao's does, whichever the
// real one is.
const prefersBAO = `#!/bin/bash
for name in "${!BAO_@}"; do export "VAULT_${name#BAO_}=${!name}"; done
exec 'REAL_VAULT' "$@"
`

// TestNoScriptReachesAServerThatItDidNotStart sets every variable that could lead to another server.
func TestNoScriptReachesAServerThatItDidNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	vault := filepath.Join(dir, "vault")
	realVault, err := filepath.EvalSymlinks(filepath.Join(programs.Bin, "vault"))
	require.NoError(t, err)
	write(t, vault, strings.ReplaceAll(prefersBAO, "REAL_VAULT", realVault))

	var requests atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		http.Error(w, `{"errors":["this is somebody else's server"]}`, http.StatusBadRequest)
	}))
	t.Cleanup(other.Close)
	env := append(os.Environ(), goEnv...)
	env = slices.DeleteFunc(env, func(v string) bool {
		return strings.HasPrefix(v, "ABEJA_") || strings.HasPrefix(v, "PLATFORM_AUTH_TOKEN")
	})
	env = append(env, "VAULT="+vault, "TMPDIR="+programs.TempDir)
	for _, name := range []string{"ADDR", "AGENT_ADDR", "PROXY_ADDR", "HTTP_PROXY", "API_ADDR", "CLUSTER_ADDR", "REDIRECT_ADDR"} {
		env = append(env, "VAULT_"+name+"="+other.URL, "BAO_"+name+"="+other.URL)
	}
	// None that would keep a request from being sent at all, such as a CACERT.
	for _, setting := range []string{"TOKEN=another", "NAMESPACE=another", "FORMAT=json", "WRAP_TTL=1m", "MAX_RETRIES=0"} {
		env = append(env, "VAULT_"+setting, "BAO_"+setting)
	}
	run := func(t *testing.T, name string, args ...string) *exec.Cmd {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
		t.Cleanup(cancel)
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Env = repository, env
		return cmd
	}

	// That it counts what comes, and that the variables do lead there.
	_, err = run(t, vault, "status").CombinedOutput()
	require.Error(t, err)
	require.Positive(t, requests.Swap(0), "the variables do not lead to the other server, so this test shows nothing")

	for name, script := range map[string][]string{
		"demo":    {"scripts/demo.sh"},
		"clients": {"go", "test", "-count=1", "-run=^TestClients$/^vault_kv_as_version_1$", "./test/clients"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := run(t, script[0], script[1:]...).CombinedOutput()
			require.NoError(t, err, string(out))
			require.Zero(t, requests.Load())
		})
	}
	t.Run("dev", func(t *testing.T) {
		cmd := run(t, "scripts/dev.sh")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		var printed []byte
		for buf := make([]byte, 4096); !bytes.Contains(printed, []byte("Ctrl-C stops")); {
			n, err := out.Read(buf)
			if err != nil {
				cmd.Wait()
				t.Fatalf("%v: %s%s", err, printed, &stderr)
			}
			printed = append(printed, buf[:n]...)
		}
		require.NoError(t, cmd.Process.Signal(os.Interrupt))
		require.NoError(t, cmd.Wait(), stderr.String())
		require.Zero(t, requests.Load())
	})
}
