package vaulttest_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A secret is written and read in a Vault with the plugin.
func Example() {
	ctx := context.Background()
	programs, err := vaulttest.Build(ctx, "../..", map[string]string{vaulttest.Plugin: "v1.2.3"})
	if err != nil {
		panic(err)
	}
	defer programs.Remove()
	sim, err := programs.Simulator(ctx, programs.Dir)
	if err != nil {
		panic(err)
	}
	vault, err := programs.Dev(ctx, programs.Dir, "info")
	if err != nil {
		panic(err)
	}
	if err := vault.Mount(ctx, "abeja", sim.Config(map[string]any{"cache_ttl": "1m"})); err != nil {
		panic(err)
	}
	fmt.Println(vault.Call(ctx, vaulttest.RootToken, http.MethodPost, "abeja/secrets/one", map[string]any{"value": "first"}))
}

func ExampleProgram_Start() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	p, err := vaulttest.Program{Path: "/bin/sh", Args: []string{"-c", "echo ready; exec sleep 600"}, Dir: dir, Log: "sh.log"}.Start()
	if err != nil {
		panic(err)
	}
	err = p.WaitUntil(context.Background(), func() bool { return p.Printed() == "ready\n" })
	fmt.Println(err, p.Alive())
	p.Stop()
	fmt.Println(p.Alive())
	// Output:
	// <nil> true
	// false
}

func ExampleShows() {
	fmt.Println(vaulttest.Shows("Authorization: Basic dXNlcjpoaWRkZW4=", "hidden"))
	// Output: [URL base64, 2 before base64, 2 before]
}

func TestALogIsSearchedForCredentialsRacesAndPanics(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "log")
	require.NoError(t, os.WriteFile(file, []byte("[INFO] hidden\n[WARN] slow\nWARNING: DATA RACE\npanic: no\n"), 0o600))
	wrong, troubles := vaulttest.CheckLog(file, "hidden", "absent")
	require.Subset(t, wrong, []string{"a credential of ABEJA, as plain", "WARNING: DATA RACE\n", "panic: no\n"})
	require.NotContains(t, strings.Join(wrong, ""), "hidden")
	require.Equal(t, "[WARN] slow\n", troubles)
}

func TestAProgramThatEndsAtItsStartIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	p, err := vaulttest.Program{Path: "/bin/sh", Args: []string{"-c", "echo why"}, Dir: t.TempDir(), Log: "sh.log"}.Start()
	require.NoError(t, err)
	require.ErrorContains(t, p.WaitUntil(t.Context(), func() bool { return false }), "sh is not ready: why")
	require.False(t, p.Alive())
}

func TestAProgramIsStartedAgainWhileOthersAskWhetherItRuns(t *testing.T) {
	t.Parallel()
	p, err := vaulttest.Program{Path: "/bin/sh", Args: []string{"-c", "echo ready; exec sleep 600"}, Dir: t.TempDir(), Log: "sh.log"}.Start()
	require.NoError(t, err)
	printed := func() bool { return p.Printed() == "ready\n" }
	require.NoError(t, p.WaitUntil(t.Context(), printed))
	p.Crash()
	require.False(t, p.Alive())
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for !p.Alive() {
			time.Sleep(time.Millisecond)
		}
	}()
	require.NoError(t, p.Restart())
	<-asked
	require.NoError(t, p.WaitUntil(t.Context(), printed), "what was printed before is not this start's")
	p.Kill()
	require.False(t, p.Alive())
}

func TestNoAddressIsGivenTwice(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 50 {
		addr, err := vaulttest.FreeAddr()
		require.NoError(t, err)
		require.False(t, seen[addr])
		seen[addr] = true
	}
}
