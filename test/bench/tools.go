package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	abejaPlugin    = "vault-plugin-secrets-abeja"
	constantPlugin = "constant"
	kv1Plugin      = "vault-plugin-secrets-kv"
	kv2Plugin      = "kv2"
)

// tools are the programs that are measured.
type tools struct {
	root      string // of the repository
	dir       string // a temporary directory
	plugins   string // all plugins, and nothing else: Vault takes every file there for one
	vault     string
	simulator string
}

// build builds everything. The plugin and the simulator are built from their own module, to be what
// users get: this module's dependencies could raise versions of theirs.
func build(ctx context.Context) (t *tools, err error) {
	t = &tools{}
	if t.root, err = filepath.Abs("../.."); err != nil {
		return nil, err
	}
	if t.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.clean()
		}
	}()
	// Vault refuses a plugin directory that is reached through a symlink, as macOS's /tmp is.
	if t.dir, err = filepath.EvalSymlinks(t.dir); err != nil {
		return nil, err
	}
	t.plugins, t.simulator = filepath.Join(t.dir, "plugins"), filepath.Join(t.dir, "abeja-simulator")

	if t.vault, err = output(ctx, t.root, filepath.Join(t.root, "scripts", "vault.sh")); err != nil {
		return nil, err
	}
	for _, what := range []struct{ dir, to, pkg string }{
		{t.root, t.plugins, "./cmd/vault-plugin-secrets-abeja"},
		{t.root, t.dir, "./cmd/abeja-simulator"},
		{".", t.plugins, "./constant"},
		{".", t.plugins, "./kv2"},
		{".", t.plugins, "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv"},
	} {
		if _, err := output(ctx, what.dir, "go", "build", "-trimpath", "-o", what.to+"/", what.pkg); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func (t *tools) clean() { os.RemoveAll(t.dir) }

// output runs a program and gives what it prints.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// describe tells on what is measured.
func describe(ctx context.Context, t *tools) (string, error) {
	vault, err := output(ctx, ".", t.vault, "version")
	if err != nil {
		return "", err
	}
	ours, err := sdkVersion(filepath.Join(t.plugins, abejaPlugin))
	if err != nil {
		return "", err
	}
	theirs, err := sdkVersion(filepath.Join(t.plugins, constantPlugin))
	if err != nil {
		return "", err
	}
	if ours != theirs {
		return "", fmt.Errorf("the plugin is built with vault/sdk %s and the others with %s: go get vault/sdk@%[1]s in test/bench", ours, theirs)
	}
	return fmt.Sprintf("%s %s/%s, %d cores, %s; %s; all plugins with vault/sdk %s, KV's module %s",
		cpuModel(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.Split(vault, ",")[0], ours, kvVersion(filepath.Join(t.plugins, kv2Plugin))), nil
}

func sdkVersion(binary string) (string, error) {
	if v := moduleVersion(binary, "github.com/hashicorp/vault/sdk"); v != "" {
		return v, nil
	}
	return "", errors.New(filepath.Base(binary) + " is built without vault/sdk")
}

func kvVersion(binary string) string {
	return moduleVersion(binary, "github.com/hashicorp/vault-plugin-secrets-kv")
}

func moduleVersion(binary, module string) string {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			return dep.Version
		}
	}
	return ""
}

// cpuModel is what Linux says, or nothing.
func cpuModel() string {
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range bytes.Lines(info) {
		if name, model, ok := strings.Cut(string(line), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model) + ","
		}
	}
	return ""
}
