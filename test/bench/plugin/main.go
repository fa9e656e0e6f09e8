// Command plugin is, by the name of its binary, one of two secrets engines with which the benchmark compares.
package main

import (
	"cmp"
	"context"
	"log"
	"os"
	"path/filepath"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	var meta api.PluginAPIClientMeta
	if err := meta.FlagSet().Parse(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: map[string]logical.Factory{"constant": constant, "kv2": kv2}[filepath.Base(os.Args[0])],
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		log.Fatal(err)
	}
}

// constant is the least that a secrets engine outside Vault's process can do: it answers each read with the
// same map, which has the keys of a secret of the abeja engine. What it reaches is the limit for every such
// engine.
func constant(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	b := &framework.Backend{
		BackendType: logical.TypeLogical,
		Paths: []*framework.Path{{
			Pattern: "secrets/(?P<name>[^/]+)",
			Fields:  map[string]*framework.FieldSchema{"name": {Type: framework.TypeString}},
			Operations: map[logical.Operation]framework.OperationHandler{
				logical.ReadOperation: &framework.PathOperation{Callback: read},
			},
		}},
	}
	return b, b.Setup(ctx, conf)
}

func read(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return &logical.Response{Data: map[string]any{
		"value":                    "made-up value 1",
		"version":                  1,
		"version_id":               "1234567890123",
		"status":                   "active",
		"id":                       "1234567890123",
		"name":                     "demo_00001",
		"description":              nil,
		"expired_at":               nil,
		"integration_service_type": nil,
		"integration_service_ids":  nil,
		"provider":                 "aws-secret-manager",
		"created_at":               "2026-01-01T00:00:00.000001Z",
		"updated_at":               "2026-01-01T00:00:00.000001Z",
	}}, nil
}

// kv2 is Vault's KV engine, version 2. The engine's own command is version 1 as a plugin: Vault passes the
// version to the KV engine that is built in only. It looks in its storage for what an older version left,
// before there is a mount even, which Vault allows only to what is built in. A mount of the benchmark
// is new, so an empty storage tells it the same; requests come with the real one.
func kv2(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	conf.StorageView = &logical.InmemStorage{}
	conf.BackendUUID = cmp.Or(conf.BackendUUID, "none")
	return kv.VersionedKVFactory(ctx, conf)
}
