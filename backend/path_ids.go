package backend

import (
	"strings"

	"github.com/hashicorp/vault/sdk/framework"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const (
	idsSynopsis    = "List the secrets by ABEJA's ids."
	idsDescription = `
Lists the ids that ABEJA has given the secrets, for those who know them from ABEJA's
SDK. 'vault list -detailed' shows names, descriptions, versions and times too.`

	idSynopsis    = "A secret by ABEJA's id."
	idDescription = `
The same secret as at secrets/NAME, with the same fields, found by the id that ABEJA has
given it. It is never created here: write secrets/NAME for that. A policy on a name does
not cover the id: grant both, or only the names.`
)

func (b *backend) pathIDsList() *framework.Path {
	return b.listPath("ids/?$", "secret-ids", idsSynopsis, idsDescription,
		"The ids, and what ABEJA says about each.", func(item *store.Item) string { return item.ID })
}

func (b *backend) pathID() *framework.Path {
	p := b.secretPath("ids/(?P<id>[^/]+)", "secret-by-id")
	p.HelpSynopsis, p.HelpDescription = idSynopsis, strings.TrimSpace(idDescription)
	p.Fields["id"] = &framework.FieldSchema{
		Type: framework.TypeString, Required: true,
		Description: "ABEJA's id of the secret.",
	}
	return p
}
