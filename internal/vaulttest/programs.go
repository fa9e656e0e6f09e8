// Package vaulttest runs what the tests need beside them: Vault with the plugin, ABEJA's simulator, and
// other programs, each a child process that ends with the tests, however they end. It also searches what
// those have logged, for secrets and for lines that no test should cause.
//
// TestMain calls Main, which builds the Programs; these start a dev server, or one on integrated storage,
// and the simulator. Nothing here needs a *testing.T, so that scripts and benchmarks can use it too.
package vaulttest

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Plugin is the name of the plugin and of its binary.
const Plugin = "vault-plugin-secrets-abeja"

// Programs are what was built, in a directory of their own.
type Programs struct {
	Tree    string // the repository from which they are
	Dir     string // what else is to be removed in the end belongs here
	Bin     string // vault and abeja-simulator
	Plugins string // only the plugin's binaries: Vault takes every file there for one
	// TempDir is short, as the path of a socket must be, of which Vault and plugins make some here.
	TempDir string

	OpenBao bool // vault is OpenBao's bao
	// DisableStandbyReads has those nodes of an OpenBao that stand by pass all requests on.
	DisableStandbyReads bool
}

// Build finds Vault, and builds the simulator and the plugin: for each of versions, by the name of its
// binary.
func Build(ctx context.Context, tree string, versions map[string]string) (_ *Programs, err error) {
	p := &Programs{}
	if p.Tree, err = filepath.Abs(tree); err != nil {
		return nil, err
	}
	if p.Dir, err = os.MkdirTemp("", "abeja"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			p.Remove()
		}
	}()
	// Vault refuses a plugin directory that is reached through a symlink, as macOS's /tmp is.
	if p.Dir, err = filepath.EvalSymlinks(p.Dir); err != nil {
		return nil, err
	}
	p.Bin, p.Plugins, p.TempDir = filepath.Join(p.Dir, "bin"), filepath.Join(p.Dir, "plugins"), filepath.Join(p.Dir, "tmp")
	for _, dir := range []string{p.Bin, p.Plugins, p.TempDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	vault, err := Output(ctx, p.Tree, filepath.Join(p.Tree, "scripts", "vault.sh"))
	if err != nil {
		return nil, err
	}
	if err := os.Symlink(vault, p.path("vault")); err != nil {
		return nil, err
	}
	version, err := Output(ctx, p.Tree, vault, "version")
	if err != nil {
		return nil, err
	}
	p.OpenBao = strings.HasPrefix(version, "OpenBao ")
	// The plugin looks for races exactly when the tests do.
	build := []string{"build"}
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		build = append(build, "-race")
	}
	for file, version := range versions {
		args := append(build, "-ldflags", "-s -w -X main.version="+version, "-o", filepath.Join(p.Plugins, file), "./cmd/"+Plugin)
		if _, err := Output(ctx, p.Tree, "go", args...); err != nil {
			return nil, err
		}
	}
	_, err = Output(ctx, p.Tree, "go", "build", "-o", p.path("abeja-simulator"), "./cmd/abeja-simulator")
	return p, err
}

// Main is what TestMain does: it builds the programs, has prepare prepare the rest, and runs the tests.
// Without a Vault, so with -short, it does nothing.
func Main(m *testing.M, tree string, versions map[string]string, prepare func(*Programs) error) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped: these tests need a Vault, and -short is set")
		return
	}
	os.Exit(run(m, tree, versions, prepare))
}

func run(m *testing.M, tree string, versions map[string]string, prepare func(*Programs) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	programs, err := Build(ctx, tree, versions)
	if err == nil {
		defer programs.Remove()
		defer context.AfterFunc(ctx, func() {
			programs.Remove()
			os.Exit(130)
		})()
		err = prepare(programs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	left, _ := os.ReadDir(programs.TempDir)
	for _, entry := range left {
		// A plugin that is killed leaves its socket.
		if entry.Type() != fs.ModeSocket {
			fmt.Fprintln(os.Stderr, "left in $TMPDIR:", entry)
			status = 1
		}
	}
	return status
}

// Remove ends all that was started, and removes the programs.
func (p *Programs) Remove() {
	endAll()
	os.RemoveAll(p.Dir)
}

func (p *Programs) path(name string) string { return filepath.Join(p.Bin, name) }

// Start starts one of the programs in Bin. It has nothing of the caller's environment but the path: no
// VAULT_ADDR, no credential, no home directory to leave a token in.
func (p *Programs) Start(dir, log, name string, args ...string) (*Process, error) {
	env := []string{
		"PATH=" + p.Bin + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "TMPDIR=" + p.TempDir,
		"GORACE=atexit_sleep_ms=0", // else a plugin that looks for races takes a second to exit, and Vault waits
	}
	return Program{Path: p.path(name), Args: args, Dir: dir, Log: log, Env: env}.Start()
}

// Output runs a program to its end and returns what it prints.
func Output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
