// Package azureauth stands in for that of github.com/hashicorp/vault-plugin-auth-azure in the builds of old
// versions of Vault, which have it even with -tags minimal. It brings in the whole of Microsoft Graph, which
// is more than all the rest. What fails is to enable the auth method azure.
package azureauth

import (
	"context"
	"errors"

	"github.com/hashicorp/vault/sdk/logical"
)

// Factory always fails.
func Factory(context.Context, *logical.BackendConfig) (logical.Backend, error) {
	return nil, errors.New("this build of Vault has no Azure")
}
