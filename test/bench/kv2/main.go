// Command kv2 is Vault's KV engine, version 2, as a plugin outside Vault's process. The engine's own
// command becomes version 1 there: Vault passes the version to the KV engine that is built in only.
package main

import (
	"cmp"
	"context"
	"log"
	"os"

	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	var meta api.PluginAPIClientMeta
	if err := meta.FlagSet().Parse(os.Args[1:]); err != nil {
		log.Fatal(err)
	}
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		log.Fatal(err)
	}
}

// factory makes version 2 of the engine. That looks in its storage for what an older version left,
// before there is a mount even, which Vault allows only to what is built in. A mount of the benchmark
// is new, so an empty storage tells it the same; requests come with the real one.
func factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	conf.StorageView = &logical.InmemStorage{}
	conf.BackendUUID = cmp.Or(conf.BackendUUID, "none")
	return kv.VersionedKVFactory(ctx, conf)
}
