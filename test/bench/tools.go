package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

const (
	abejaPlugin    = vaulttest.Plugin
	constantPlugin = "constant"
	kv1Plugin      = "vault-plugin-secrets-kv"
	kv2Plugin      = "kv2"
)

// tools are the programs that are measured.
type tools = vaulttest.Programs

// build builds everything. The plugin and the simulator are built from their own module, to be what
// users get: this module's dependencies could raise versions of theirs.
func build(ctx context.Context) (*tools, error) {
	t, err := vaulttest.Build(ctx, "../..", map[string]string{abejaPlugin: "v0.0.0-bench"})
	if err != nil {
		return nil, err
	}
	for name, pkg := range map[string]string{
		constantPlugin: "./plugin", kv2Plugin: "./plugin", kv1Plugin: "github.com/hashicorp/vault-plugin-secrets-kv/cmd/vault-plugin-secrets-kv",
	} {
		if _, err := vaulttest.Output(ctx, ".", "go", "build", "-o", filepath.Join(t.Plugins, name), pkg); err != nil {
			t.Remove()
			return nil, err
		}
	}
	return t, nil
}

// describe tells on what is measured.
func describe(ctx context.Context, t *tools) (string, error) {
	vault, err := vaulttest.Output(ctx, ".", filepath.Join(t.Bin, "vault"), "version")
	if err != nil {
		return "", err
	}
	ours, err := sdkVersion(filepath.Join(t.Plugins, abejaPlugin))
	if err != nil {
		return "", err
	}
	theirs, err := sdkVersion(filepath.Join(t.Plugins, constantPlugin))
	if err != nil {
		return "", err
	}
	if ours != theirs {
		return "", fmt.Errorf("the plugin is built with vault/sdk %s and the others with %s: go get vault/sdk@%[1]s in test/bench", ours, theirs)
	}
	return fmt.Sprintf("%s %s/%s, %d cores, %s; %s; all plugins with vault/sdk %s, KV's module %s",
		cpuModel(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version(),
		strings.Split(vault, ",")[0], ours, kvVersion(filepath.Join(t.Plugins, kv2Plugin))), nil
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
