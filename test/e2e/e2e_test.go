// Package e2e runs the plugin in a real Vault. Each script in testdata shows one use of it: read
// those first. They are testscript scripts; what they can do beyond its own commands is in
// commands_test.go.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// What TestMain prepares for all scripts.
var (
	programs   *vaulttest.Programs
	repository string // the root of this repository
	goEnv      []string
)

func TestMain(m *testing.M) {
	vaulttest.Main(m, "../..", map[string]string{vaulttest.Plugin: "v0.0.0-e2e"}, prepare)
}

func prepare(p *vaulttest.Programs) error {
	programs, repository = p, p.Tree
	// testscript keeps its work directory when it runs only some of the scripts. This one is removed.
	scripts := filepath.Join(p.Dir, "scripts")
	if err := os.Mkdir(scripts, 0o755); err != nil {
		return err
	}
	os.Setenv("GOTMPDIR", scripts)
	// Without scripts/deps-e2e.sh these lead nowhere, and only the scripts about Prometheus fail.
	for _, name := range []string{"prometheus", "promtool"} {
		if err := os.Symlink(filepath.Join(repository, "bin", name), filepath.Join(p.Bin, name)); err != nil {
			return err
		}
	}
	// For scripts/demo.sh and dev.sh, which build the plugin. With a HOME of their own they would build
	// it from nothing, and git might not trust the repository.
	goEnv = []string{"GOFLAGS=-buildvcs=false"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE"} {
		value, err := vaulttest.Output(context.Background(), repository, "go", "env", name)
		if err != nil {
			return err
		}
		goEnv = append(goEnv, name+"="+value)
	}
	return nil
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		Setup:               setup,
		Cmds:                commands,
		Condition:           condition,
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
	})
}

// condition is what a line in brackets asks for: [openbao] is for what OpenBao does in another way than Vault.
func condition(name string) (bool, error) {
	if name != "openbao" {
		return false, fmt.Errorf("there is no condition %q", name)
	}
	return programs.OpenBao, nil
}

// setup gives a script its environment. It has nothing of the caller's: no VAULT_ADDR, no ABEJA
// credential, no home directory to leave a token in.
func setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("PATH", programs.Bin+string(os.PathListSeparator)+env.Getenv("PATH"))
	env.Setenv("TMPDIR", programs.TempDir)
	env.Setenv("PLUGIN_DIR", programs.Plugins)
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
	wrong, troubles := vaulttest.CheckLog(file, credentials...)
	for _, line := range wrong {
		t.Errorf("in Vault's log: %s", line)
	}
	if t.Failed() {
		t.Logf("in Vault's log: %s", troubles)
	}
}
