// Vault-plugin-secrets-abeja is a Vault secrets engine for ABEJA Secret Manager. Vault starts it;
// by hand it only prints its version.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	"github.com/hashicorp/vault/sdk/plugin"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
)

// Set by the linker. Vault wants a semantic version with "v"; the commit is the hash of git's.
var (
	version = "v0.0.0-dev"
	commit  = "unknown"
)

func main() {
	var meta api.PluginAPIClientMeta
	flags := meta.FlagSet()
	printVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(os.Args[1:]); err != nil {
		if err == flag.ErrHelp {
			os.Exit(0)
		}
		os.Exit(2)
	}
	if *printVersion {
		fmt.Println(version)
		return
	}
	defer runtime.KeepAlive(tuneMemory())
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: backend.Factory(backend.Build{Version: version, Commit: commit}),
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		hclog.Default().Error("the plugin has stopped", "error", err)
		os.Exit(1)
	}
}
