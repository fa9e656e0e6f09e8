package backend

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const (
	metadataSynopsis    = "What KV version 2 says about a secret besides its values."
	metadataDescription = `
Read returns the secret's versions with their times and state. Of custom_metadata ABEJA has
'description', and Vault the rest; written before the secret's first value, it is kept
for an hour. max_versions, cas_required and
delete_version_after can only have their defaults. Delete deletes the secret with all
its versions.`
)

// maxDestroyed bounds how many versions that ABEJA no longer has are shown as destroyed.
const maxDestroyed = 1000

func (b *backend) pathKVList() *framework.Path {
	return b.listPath("metadata/?$", "kv-secrets", listSynopsis, listDescription,
		"The names, and what ABEJA says about each.", func(item *store.Item) string { return item.Name })
}

func (b *backend) pathKVMetadata() *framework.Path {
	return &framework.Path{
		Pattern:         "metadata/(?P<path>.+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: kvPrefix, OperationSuffix: "metadata"},
		HelpSynopsis:    metadataSynopsis,
		HelpDescription: strings.TrimSpace(metadataDescription),
		Fields: map[string]*framework.FieldSchema{
			"path":                 nameField,
			"custom_metadata":      {Type: framework.TypeMap, Description: "Keys and texts that mark the secret; 'description' is its description at ABEJA."},
			"max_versions":         {Type: framework.TypeInt, Description: "0, the default: ABEJA decides how many versions it keeps."},
			"cas_required":         {Type: framework.TypeBool, Description: "false, the default: check-and-set cannot be demanded."},
			"delete_version_after": {Type: framework.TypeDurationSecond, Description: "0, the default: versions are not deleted by time."},
		},
		ExistenceCheck: b.exists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.onSecret(readKVMetadata), Summary: "Read the versions and times.", DisplayAttrs: verb("read"),
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The secret without its values.", Fields: kvMetadataAnswer}}},
			},
			logical.CreateOperation: &framework.PathOperation{Callback: b.onSecret(createKVMetadata), Summary: "Keep metadata until the secret's first value comes, for an hour.", DisplayAttrs: verb("write"), Responses: noContent("Kept.")},
			logical.UpdateOperation: &framework.PathOperation{Callback: b.onSecret(writeKVMetadata), Summary: "Set the custom metadata.", DisplayAttrs: verb("write"), Responses: noContent("Set.")},
			logical.PatchOperation:  &framework.PathOperation{Callback: b.onSecret(writeKVMetadata), Summary: "Change the custom metadata; null removes a key.", DisplayAttrs: verb("patch"), Responses: noContent("Set.")},
			logical.ListOperation:   &framework.PathOperation{Callback: emptyFolder, Unpublished: true},
			logical.DeleteOperation: &framework.PathOperation{Callback: b.onSecret(deleteKVMetadata), Summary: "Delete the secret with all its versions.", DisplayAttrs: verb("delete"), Responses: noContent("The secret no longer exists.")},
		},
	}
}

var kvMetadataAnswer = map[string]*framework.FieldSchema{
	"versions":             {Type: framework.TypeMap, Description: "Times and state of each version, by number."},
	"current_version":      {Type: framework.TypeInt, Description: "The newest version."},
	"oldest_version":       {Type: framework.TypeInt, Description: "The oldest version that is shown, or 0 when all are."},
	"created_time":         {Type: framework.TypeString, Description: "When the secret was created."},
	"updated_time":         {Type: framework.TypeString, Description: "When the newest version was created."},
	"max_versions":         {Type: framework.TypeInt, Description: "Always 0."},
	"cas_required":         {Type: framework.TypeBool, Description: "Always false."},
	"delete_version_after": {Type: framework.TypeString, Description: "Always '0s'."},
	"custom_metadata":      {Type: framework.TypeMap, Description: "Keys and texts that mark the secret, with its 'description', or null."},
	"last_updated_by":      {Type: framework.TypeMap, Description: "Always null: ABEJA knows only the mount's user."},
}

// emptyFolder lists what lies below a name: nothing, since names at ABEJA have no slash.
func emptyFolder(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
	return nil, nil
}

func readKVMetadata(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	secret, err := r.store.Describe(ctx, r.secret)
	if errors.Is(err, store.ErrNotFound) {
		return r.readPending(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	newest, updated := 0, secret.CreatedAt.Time
	if v, err := store.Newest.From(secret); err != nil {
		return nil, err
	} else if v != nil {
		newest, updated = v.Number, v.CreatedAt.Time
	}
	oldest := max(0, newest-maxDestroyed)
	versions := make(map[string]any)
	for n := oldest + 1; n <= newest; n++ {
		if v, err := store.Pick(n).From(secret); err == nil { // else it is not known to be destroyed
			versions[strconv.Itoa(n)] = kvMetadataVersion(v, secret)
		}
	}
	custom, err := r.customOf(ctx, secret.ID, secret.Description)
	if err != nil {
		return nil, err
	}
	resp := kvMetadataResponse(secret.CreatedAt.Time, updated, custom)
	resp.Data["versions"], resp.Data["current_version"], resp.Data["oldest_version"] = versions, newest, oldest
	return resp, nil
}

// kvMetadataResponse is that of a secret without versions.
func kvMetadataResponse(created, updated time.Time, custom any) *logical.Response {
	return &logical.Response{Data: map[string]any{
		"versions":             map[string]any{},
		"current_version":      0,
		"oldest_version":       0,
		"created_time":         created.Format(time.RFC3339Nano),
		"updated_time":         updated.Format(time.RFC3339Nano),
		"max_versions":         0,
		"cas_required":         false,
		"delete_version_after": "0s",
		"custom_metadata":      custom,
		"last_updated_by":      nil,
	}}
}

// readPending answers with the metadata that wait for a first value, or with the error if there are none.
func (r *secretRequest) readPending(ctx context.Context, absent error) (*logical.Response, error) {
	e, waits, err := r.custom.get(ctx, ofPending, r.byName())
	switch {
	case err != nil:
		return nil, err
	case !waits:
		return nil, absent
	}
	return kvMetadataResponse(e.At, e.At, shownCustom(e.Keys, "")), nil
}

func kvMetadataVersion(v *client.Version, s *client.Secret) map[string]any {
	about := kvVersion(v, s)
	about["created_by"], about["deleted_by"] = nil, nil // ABEJA knows only the mount's user
	return about
}

// createKVMetadata keeps metadata of a name until its first value comes: ABEJA has no secret without one.
func createKVMetadata(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	change, err := parseKVMetadata(r)
	if err != nil {
		return nil, err
	}
	if err := checkNewName(r.config.NamePrefix + r.name); err != nil {
		return nil, err
	}
	if err := r.store.Absent(ctx, r.secret); err != nil {
		return nil, err
	}
	if len(r.req.Data) == 0 { // what it does not read has been taken out
		return nil, nil
	}
	return nil, forwarded(r.custom.wait(ctx, r.byName(), change))
}

// writeKVMetadata replaces the custom metadata, or with PATCH merges into them.
func writeKVMetadata(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	change, err := parseKVMetadata(r)
	if err != nil {
		return nil, err
	}
	if r.req.Operation == logical.PatchOperation {
		if _, waits, err := r.custom.get(ctx, ofPending, r.byName()); err != nil {
			return nil, err
		} else if waits && r.store.Absent(ctx, r.secret) == nil {
			return nil, forwarded(r.custom.wait(ctx, r.byName(), change))
		}
	}
	var u store.Update
	u.Description = change.description()
	_, err = r.write(ctx, u, change)
	return nil, err
}

// parseKVMetadata returns what a write of metadata says of custom metadata.
func parseKVMetadata(r *secretRequest) (*customChange, error) {
	if r.fields.Get("max_versions").(int) != 0 || r.fields.Get("cas_required").(bool) || r.fields.Get("delete_version_after").(int) != 0 {
		return nil, badRequest("max_versions, cas_required and delete_version_after must be left at 0, false and 0: ABEJA has no such settings")
	}
	raw, given := r.fields.Raw["custom_metadata"]
	if !given {
		return nil, nil
	}
	return parseCustom(raw, r.req.Operation == logical.PatchOperation)
}

func deleteKVMetadata(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	return nil, r.delete(ctx)
}
