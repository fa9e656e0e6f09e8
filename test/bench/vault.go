package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
)

// vault is a dev server, which keeps its storage in memory.
type vault struct {
	*process
	http *http.Client
	url  string
}

const rootToken = "root"

func startVault(ctx context.Context, t *tools) (*vault, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	log, err := os.CreateTemp(t.dir, "vault")
	if err != nil {
		return nil, err
	}
	p, err := start(t, log, t.vault, "server", "-dev", "-dev-root-token-id="+rootToken, "-dev-no-store-token",
		"-dev-plugin-dir="+t.plugins, "-dev-listen-address="+addr)
	if err != nil {
		return nil, err
	}
	v := &vault{process: p, http: newHTTP(), url: "http://" + addr + "/v1/"}
	err = p.waitUntil(ctx, func() bool {
		_, err := v.read(ctx, "sys/health")
		return err == nil
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	return v, nil
}

// read gives the answer as it comes.
func (v *vault) read(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.url+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Vault-Token", rootToken)
	return send(v.http, req)
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

func (v *vault) write(ctx context.Context, path string, in any) error {
	req, err := newJSON(ctx, http.MethodPost, v.url+path, in)
	if err != nil {
		return err
	}
	req.Header.Set("X-Vault-Token", rootToken)
	body, err := send(v.http, req)
	var answer secret
	if err == nil && len(body) > 0 && json.Unmarshal(body, &answer) == nil && len(answer.Warnings) > 0 {
		return fmt.Errorf("%s: %s", path, strings.Join(answer.Warnings, "; ")) // such as a field that does not exist
	}
	return err
}

// enable mounts an engine.
func (v *vault) enable(ctx context.Context, path, engine string, options map[string]string) error {
	return v.write(ctx, "sys/mounts/"+path, map[string]any{"type": engine, "options": options})
}

// mountABEJA mounts the plugin for an organization, with more of its config.
func (v *vault) mountABEJA(ctx context.Context, path string, s *simulator, more map[string]any) error {
	if err := v.enable(ctx, path, abejaPlugin, nil); err != nil {
		return err
	}
	config := map[string]any{
		"api_url":               s.env["ABEJA_API_URL"],
		"organization_id":       s.env["ABEJA_ORGANIZATION_ID"],
		"user_id":               s.env["ABEJA_PLATFORM_USER_ID"],
		"personal_access_token": s.env["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"],
	}
	for field, value := range more {
		config[field] = value
	}
	return v.write(ctx, path+"/config", config)
}
