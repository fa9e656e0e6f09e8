// Package soak runs the plugin in real Vaults while things break: ABEJA, the plugin's process, Vault
// itself. Each test drives a load, keeps the history of what was asked and answered, and holds it
// against what ABEJA has in the end. The flag -length says how long each load runs.
package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	length = flag.Duration("length", 10*time.Second, "how long each load runs")
	seed   = flag.Uint64("seed", rand.Uint64(), "of what is left to chance")
	tree   = flag.String("tree", "../..", "the repository that is tested: a changed copy shows what the checks catch")
)

const (
	pluginName = "vault-plugin-secrets-abeja"
	oldVersion = "v0.1.0"
	newVersion = "v0.2.0"
)

// What TestMain prepares for all tests.
var (
	workDir      string
	pluginDir    string // both versions of the plugin: Vault takes every file there for one
	vaultBin     string
	simulatorBin string
)

func TestMain(m *testing.M) {
	flag.Parse()
	if testing.Short() {
		fmt.Println("skipped: these tests need Vaults and time, and -short is set")
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "soak")
	if err == nil {
		// Vault refuses a plugin directory that is reached through a symlink.
		workDir, err = filepath.EvalSymlinks(dir)
	}
	defer cleanUp()
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-interrupted
		cleanUp()
		os.Exit(130)
	}()
	if err == nil {
		err = build()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("-length=%v -seed=%d\n", *length, *seed)
	return m.Run()
}

func cleanUp() {
	stopEverything()
	os.RemoveAll(workDir)
}

func build() (err error) {
	pluginDir, simulatorBin = filepath.Join(workDir, "plugins"), filepath.Join(workDir, "abeja-simulator")
	if vaultBin, err = output(filepath.Join("scripts", "vault.sh")); err != nil {
		return err
	}
	// The plugin looks for races exactly when these tests do.
	var race []string
	if info, ok := debug.ReadBuildInfo(); ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		race = []string{"-race"}
	}
	for _, version := range []string{oldVersion, newVersion} {
		args := append([]string{"build", "-ldflags", "-X main.version=" + version}, race...)
		if _, err := output("go", append(args, "-o", filepath.Join(pluginDir, binaryOf(version)), "./cmd/"+pluginName)...); err != nil {
			return err
		}
	}
	_, err = output("go", "build", "-o", simulatorBin, "./cmd/abeja-simulator")
	return err
}

func binaryOf(version string) string { return pluginName + "_" + version }

// output runs a program at the root of the tested repository and returns what it prints.
func output(name string, args ...string) (string, error) {
	if strings.HasPrefix(name, "scripts") {
		name = filepath.Join(*tree, name)
		if absolute, err := filepath.Abs(name); err == nil {
			name = absolute
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stderr = *tree, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// tempDir is a directory of the test, which goes with workDir: t.TempDir's would stay behind after
// Ctrl-C.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(workDir, "test")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// again takes steps until it is stopped, at the latest when the test ends.
func again(t *testing.T, pause time.Duration, step func(n int)) (stop func()) {
	stopping, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stopping:
				return
			case <-time.After(pause):
			}
			step(n)
		}
	}()
	stop = sync.OnceFunc(func() {
		close(stopping)
		<-stopped
	})
	t.Cleanup(stop)
	return stop
}

// chance gives a source of randomness that the seed determines, another one for each n.
func chance(n int) *rand.Rand { return rand.New(rand.NewPCG(*seed, uint64(n))) }

// eventually asks again and again until ready says so; it fails the test when it has not by then.
func eventually(t *testing.T, limit time.Duration, what string, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !ready(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", limit, what)
		}
	}
}
