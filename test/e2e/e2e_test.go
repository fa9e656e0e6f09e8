// Package e2e runs the plugin in a real Vault. Each script in testdata shows one use of it: read
// those first. They are testscript scripts; what they can do beyond its own commands is in
// commands_test.go.
package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

const pluginName = "vault-plugin-secrets-abeja"

// What TestMain prepares for all scripts.
var (
	repository string // the root of this repository
	binDir     string // vault, abeja-simulator and Prometheus
	pluginDir  string // the plugin alone: Vault takes every file in its plugin directory for one
	tmpDir     string // short, as the path of a socket must be, of which Vault and plugins make some here
	goEnv      []string
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped: these tests need a Vault, and -short is set")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2e")
	if err == nil {
		defer os.RemoveAll(dir)
		err = prepare(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	left, _ := os.ReadDir(tmpDir)
	for _, entry := range left {
		// A plugin that is killed leaves its socket.
		if entry.Type() != fs.ModeSocket {
			fmt.Fprintln(os.Stderr, "a script left in $TMPDIR:", entry)
			status = 1
		}
	}
	return status
}

func prepare(dir string) error {
	// Vault refuses a plugin directory that is reached through a symlink.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if repository, err = filepath.Abs("../.."); err != nil {
		return err
	}
	binDir, pluginDir, tmpDir = filepath.Join(dir, "bin"), filepath.Join(dir, "plugins"), filepath.Join(dir, "tmp")
	scriptsDir := filepath.Join(dir, "scripts")
	for _, dir := range []string{binDir, pluginDir, tmpDir, scriptsDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	// testscript keeps its work directory when it runs only some of the scripts. This one is removed.
	os.Setenv("GOTMPDIR", scriptsDir)

	vault, err := output(filepath.Join(repository, "scripts", "vault.sh"))
	if err != nil {
		return err
	}
	if err := os.Symlink(vault, filepath.Join(binDir, "vault")); err != nil {
		return err
	}
	// Without scripts/deps-e2e.sh these lead nowhere, and only the scripts about Prometheus fail.
	for _, name := range []string{"prometheus", "promtool"} {
		if err := os.Symlink(filepath.Join(repository, "bin", name), filepath.Join(binDir, name)); err != nil {
			return err
		}
	}
	// The plugin looks for races exactly when these tests do.
	build := []string{"build", "-ldflags", "-X main.version=v0.0.0-e2e"}
	if info, ok := debug.ReadBuildInfo(); ok &&
		slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		build = append(build, "-race")
	}
	if _, err := output("go", append(build, "-o", pluginDir+"/", "./cmd/"+pluginName)...); err != nil {
		return err
	}
	if _, err := output("go", "build", "-o", binDir+"/", "./cmd/abeja-simulator"); err != nil {
		return err
	}

	// For scripts/demo.sh and dev.sh, which build the plugin. With a HOME of their own they would build
	// it from nothing, and git might not trust the repository.
	goEnv = []string{"GOFLAGS=-buildvcs=false"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		value, err := output("go", "env", name)
		if err != nil {
			return err
		}
		goEnv = append(goEnv, name+"="+value)
	}
	return nil
}

// output runs a program at the root of the repository and returns what it prints.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = repository
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		Cmds:                commands,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// setup gives a script its environment. It has nothing of the caller's: no VAULT_ADDR, no ABEJA
// credential, no home directory to leave a token in.
func setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("PATH", binDir+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("TMPDIR", tmpDir)
	env.Setenv("PLUGIN_DIR", pluginDir)
	env.Setenv("REPOSITORY", repository)
	env.Vars = append(env.Vars, goEnv...)
	s := &state{}
	env.Values[stateKey] = s
	t := env.T().(testing.TB)
	env.Defer(func() { checkVaultLog(t, filepath.Join(env.WorkDir, vaultLog), s.credentials) })
	return nil
}

// checkVaultLog looks for what no answer to a request shows. The log is at level trace.
func checkVaultLog(t testing.TB, file string, credentials []string) {
	log, err := os.ReadFile(file)
	if err != nil {
		return // The script started no Vault.
	}
	for _, credential := range credentials {
		for _, form := range []string{
			credential, base64.StdEncoding.EncodeToString([]byte(credential)),
			hex.EncodeToString([]byte(credential)), url.QueryEscape(credential),
		} {
			if bytes.Contains(log, []byte(form)) {
				t.Error("Vault's log holds a credential of ABEJA")
			}
		}
	}
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte("DATA RACE")) || bytes.Contains(line, []byte("panic")) {
			t.Errorf("in Vault's log: %s", line)
		}
		if t.Failed() && (bytes.Contains(line, []byte("[WARN]")) || bytes.Contains(line, []byte("[ERROR]"))) {
			t.Logf("in Vault's log: %s", line)
		}
	}
}
