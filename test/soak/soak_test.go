// Package soak runs the plugin in real Vaults while things break: ABEJA, the plugin's process, Vault
// itself. Each test drives a load, keeps the history of what was asked and answered, and holds it
// against what ABEJA has in the end. The flag -length says how long each load runs.
package soak

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

var (
	length = flag.Duration("length", 10*time.Second, "how long each load runs")
	seed   = flag.Uint64("seed", rand.Uint64(), "of what is left to chance")
	passOn = flag.Bool("disable_standby_reads", false, "the setting of that name of an OpenBao, for all nodes")
	tree   = flag.String("tree", "../..", "the repository that is tested: a changed copy shows what the checks catch")
)

const (
	oldVersion = "v0.1.0"
	newVersion = "v0.2.0"
)

var programs *vaulttest.Programs // with both versions of the plugin

func TestMain(m *testing.M) {
	flag.Parse()
	versions := map[string]string{binaryOf(oldVersion): oldVersion, binaryOf(newVersion): newVersion}
	vaulttest.Main(m, *tree, versions, func(p *vaulttest.Programs) error {
		programs = p
		p.DisableStandbyReads = *passOn
		fmt.Printf("-length=%v -seed=%d -disable_standby_reads=%v\n", *length, *seed, *passOn)
		return nil
	})
}

func binaryOf(version string) string { return vaulttest.Plugin + "_" + version }

// tempDir is a directory of the test, which goes with the programs: t.TempDir's would stay behind after
// Ctrl-C.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(programs.Dir, "test")
	require.NoError(t, err)
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

// chance returns a source of randomness that the seed determines, another one for each n.
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
