package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// vault is a dev server, which keeps its storage in memory.
type vault struct{ *vaulttest.Vault }

func startVault(ctx context.Context, t *tools) (*vault, error) {
	dir, err := os.MkdirTemp(t.Dir, "vault")
	if err != nil {
		return nil, err
	}
	v, err := t.Dev(ctx, dir, "info")
	return &vault{v}, err
}

// mounted starts a Vault in which an organization is mounted at abeja.
func mounted(ctx context.Context, t *tools, secrets int, latency time.Duration, config map[string]any) (v *vault, s *simulator, stop func(), err error) {
	if s, err = startSimulator(ctx, t, secrets, latency); err != nil {
		return nil, nil, nil, err
	}
	if v, err = startVault(ctx, t); err != nil {
		s.Stop()
		return nil, nil, nil, err
	}
	stop = func() { v.Stop(); s.Stop() }
	if err = v.Mount(ctx, "abeja", s.Config(config)); err != nil {
		stop()
	}
	return v, s, stop, err
}

// read returns the answer as it comes.
func (v *vault) read(ctx context.Context, path string) ([]byte, error) {
	status, body, err := vaulttest.Send(ctx, http.MethodGet, v.URL()+"/v1/"+path, vaulttest.RootToken, nil)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s: %d %.500s", path, status, body)
	}
	return body, err
}

// secret is what is used of Vault's answer to a read.
type secret struct {
	Data     map[string]any
	Warnings []string
}

func (v *vault) readSecret(ctx context.Context, path string) (secret, error) {
	var s secret
	body, err := v.read(ctx, path)
	if err == nil {
		err = json.Unmarshal(body, &s)
	}
	return s, err
}

// enable mounts an engine.
func (v *vault) enable(ctx context.Context, path, engine string, options map[string]string) error {
	return v.Write(ctx, "sys/mounts/"+path, map[string]any{"type": engine, "options": options})
}
