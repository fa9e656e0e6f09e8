package backend

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const (
	listSynopsis    = "List the secrets."
	listDescription = `
Lists the names of all secrets, in order. 'vault list -detailed' shows their ids,
descriptions, current versions and times too. With after=NAME the list begins behind
that name; limit=N ends it after N names. Values are never part of a list.`

	secretSynopsis    = "A secret by its name."
	secretDescription = `
Read returns the value of the newest active version, or with version=N that of version
N whatever its status.

Write creates the secret or changes it. Creating needs value. A new value becomes a
new version; a value that is the current one already changes nothing, so that a write
can be repeated. Fields that are not given stay as they are. With cas=N the write
happens only if the current version is N, and with cas=0 only if there is no such
secret.

A value that is not UTF-8 text is read and written in base64, with encoding=base64.

Creating needs the capability "create" and changing "update". Vault decides which of
them a write needs by the names that it knows: a secret made at ABEJA a moment ago
may be unknown, and is then not changed by a "create" but refused with 409.

Delete deletes the secret at ABEJA with all its versions.`
)

func (b *backend) pathSecretsList() *framework.Path {
	return b.listPath("secrets/?$", "secrets", listSynopsis, listDescription,
		"The names, and what ABEJA says about each.", func(item *store.Item) string { return item.Name })
}

func (b *backend) pathSecret() *framework.Path {
	p := b.secretPath("secrets/(?P<name>[^/]+)", "secret")
	p.HelpSynopsis, p.HelpDescription = secretSynopsis, strings.TrimSpace(secretDescription)
	p.Fields["name"] = nameField
	p.ExistenceCheck = b.exists
	p.Operations[logical.CreateOperation] = &framework.PathOperation{
		Callback: b.onSecret(writeSecret), Summary: "Create the secret.",
		Responses:    map[int][]framework.Response{http.StatusOK: {{Description: "What was stored.", Fields: writeAnswer}}},
		DisplayAttrs: verb("write"),
	}
	return p
}

// pathNoName answers for names that no secret can have, and that so match no other path.
func (b *backend) pathNoName() *framework.Path {
	refuse := &framework.PathOperation{Unpublished: true, Callback: func(context.Context, *logical.Request, *framework.FieldData) (*logical.Response, error) {
		return nil, badRequest("%s", nameRule)
	}}
	return &framework.Path{
		Pattern:             "secrets/.+",
		TakesArbitraryInput: true,
		HelpSynopsis:        "No secret can have this name.", HelpDescription: "Here " + nameRule + ".",
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: refuse, logical.ListOperation: refuse, logical.UpdateOperation: refuse,
			logical.PatchOperation: refuse, logical.DeleteOperation: refuse,
		},
	}
}

// secretPath makes a path with what can be done to a secret that exists.
func (b *backend) secretPath(pattern, suffix string) *framework.Path {
	written := map[int][]framework.Response{http.StatusOK: {{Description: "What was stored.", Fields: writeAnswer}}}
	return &framework.Path{
		Pattern:      pattern,
		DisplayAttrs: &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: suffix},
		Fields: map[string]*framework.FieldSchema{
			"version": {Type: framework.TypeString, Query: true, Description: "Read this version, whatever its status; the newest active one when not given, empty, 0 or -1."},
			"value":   {Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}, Description: "The secret value, not empty."},
			"encoding": {Type: framework.TypeString, AllowedValues: []any{"base64"},
				Description: "'base64' when value is given in base64, as for what is not UTF-8 text."},
			"description": {Type: framework.TypeString, Description: "A description; empty clears it."},
			"expired_at":  {Type: framework.TypeString, Description: "When the secret expires, as RFC 3339 such as 2030-01-31T00:00:00Z; empty clears it."},
			"integration_service_type": {Type: framework.TypeString, AllowedValues: []any{labs},
				Description: "The ABEJA service that may use the secret."},
			"integration_service_ids": {Type: framework.TypeCommaStringSlice, Description: "The ids of that service's apps that may use the secret."},
			"custom_metadata":         {Type: framework.TypeMap, Description: "Keys and texts that mark the secret, in place of those that it has; kept in Vault."},
			"cas":                     {Type: framework.TypeInt, Description: "Write only if this is the current version; 0: only if the secret does not exist."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.onSecret(readSecret), Summary: "Read the secret with its value.", DisplayAttrs: verb("read"),
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The secret.", Fields: secretAnswer}}},
			},
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.onSecret(writeSecret), Summary: "Change the secret.", DisplayAttrs: verb("write"), Responses: written,
			},
			logical.PatchOperation: &framework.PathOperation{
				Callback: b.onSecret(writeSecret), Summary: "Change the secret; null clears a field.", DisplayAttrs: verb("patch"), Responses: written,
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.onSecret(deleteSecret), Summary: "Delete the secret with all its versions.", DisplayAttrs: verb("delete"),
				Responses: noContent("The secret no longer exists."),
			},
		},
	}
}

var writeAnswer = map[string]*framework.FieldSchema{
	"id":      {Type: framework.TypeString, Description: "ABEJA's id of the secret."},
	"version": {Type: framework.TypeInt, Description: "The current version after the write, or null where there is none."},
	"created": {Type: framework.TypeBool, Description: "Whether the secret is new."},
}

var secretAnswer = map[string]*framework.FieldSchema{
	"value":                    {Type: framework.TypeString, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}, Description: "The value."},
	"encoding":                 {Type: framework.TypeString, Description: "'base64' when the value is not UTF-8 text, otherwise missing."},
	"version":                  {Type: framework.TypeInt, Description: "The number of the version that is shown."},
	"version_id":               {Type: framework.TypeString, Description: "ABEJA's id of that version."},
	"status":                   {Type: framework.TypeString, Description: "'active' or 'inactive'."},
	"id":                       {Type: framework.TypeString, Description: "ABEJA's id of the secret."},
	"name":                     {Type: framework.TypeString, Description: "The secret's name in the mount."},
	"description":              {Type: framework.TypeString, Description: "The description, or null."},
	"expired_at":               {Type: framework.TypeString, Description: "When the secret expires or expired, or null."},
	"integration_service_type": {Type: framework.TypeString, Description: "The ABEJA service that may use the secret, or null."},
	"integration_service_ids":  {Type: framework.TypeStringSlice, Description: "The ids of that service's apps, or null."},
	"provider":                 {Type: framework.TypeString, Description: "Where ABEJA keeps the value, or null."},
	"created_at":               {Type: framework.TypeString, Description: "When the secret was created."},
	"updated_at":               {Type: framework.TypeString, Description: "When ABEJA last changed the secret's record."},
	"custom_metadata":          {Type: framework.TypeMap, Description: "What marks the secret, else missing."},
}

func readSecret(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	pick := store.Current
	switch text := r.fields.Get("version").(string); text {
	case "", "0", "-1": // so clients of KV say that they want no version in particular
	default:
		var err error
		if pick, err = versionNumber(text); err != nil {
			return nil, err
		}
	}
	return r.read(ctx, pick)
}

func (r *secretRequest) read(ctx context.Context, pick store.Pick) (*logical.Response, error) {
	reading, err := r.store.Read(ctx, r.secret, pick)
	if err != nil {
		return nil, err
	}
	s, v := reading.Secret, reading.Version
	resp := &logical.Response{Data: map[string]any{
		"version":                  v.Number,
		"version_id":               v.ID,
		"status":                   string(v.Status),
		"id":                       s.ID,
		"name":                     reading.Name,
		"description":              textOrNil(s.Description),
		"expired_at":               timeOrNil(s.ExpiredAt.Time),
		"integration_service_type": textOrNil(s.IntegrationServiceType),
		"integration_service_ids":  nil,
		"provider":                 textOrNil(s.Provider),
		"created_at":               timeOrNil(s.CreatedAt.Time),
		"updated_at":               timeOrNil(s.UpdatedAt.Time),
	}}
	if len(s.IntegrationServiceIDs) > 0 {
		resp.Data["integration_service_ids"] = s.IntegrationServiceIDs
	}
	if custom, err := r.customOf(ctx, s.ID, ""); err != nil {
		return nil, err
	} else if custom != nil {
		resp.Data["custom_metadata"] = custom
	}
	value, err := store.ValueOf(v)
	if err != nil {
		return nil, err
	}
	encodeValue(resp.Data, value)
	if err := r.warn(resp, &reading); err != nil {
		return nil, err
	}
	return resp, nil
}

// warn adds what a reader should know of a value; an expired one may be refused.
func (m *mount) warn(resp *logical.Response, r *store.Reading) error {
	switch age := r.Stale.Round(time.Second); {
	case r.Renewing:
		resp.AddWarning(fmt.Sprintf("ABEJA is being asked for a newer answer: this one is %s old.", age))
	case r.Stale > 0:
		resp.AddWarning(fmt.Sprintf("ABEJA could not be asked: this answer is %s old.", age))
	}
	warnOfOdd(resp, r.Odd)
	at := r.Secret.ExpiredAt.Time
	if at.IsZero() || at.After(time.Now()) {
		return nil
	}
	expired := &store.WithheldError{ExpiredAt: at}
	if err := m.denied(expired); err != nil {
		return err
	}
	resp.AddWarning("This secret has " + expired.Error() + ".")
	return nil
}

func writeSecret(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	u, err := parseWrite(r.fields)
	if err != nil {
		return nil, err
	}
	change, err := customField(r)
	if err != nil {
		return nil, err
	}
	written, err := r.write(ctx, u, change)
	resp, err := writeResponse(written, err)
	warnReplaced(resp, r.fields.Raw["value"])
	return resp, err
}

// customField returns what a write says of custom metadata, which has no description here: that is a field.
func customField(r *secretRequest) (*customChange, error) {
	raw, given := r.fields.Raw["custom_metadata"]
	if !given {
		return nil, nil
	}
	change, err := parseCustom(raw, r.req.Operation == logical.PatchOperation)
	if err != nil {
		return nil, err
	}
	if _, given := change.keys[descriptionKey]; given {
		return nil, badRequest("custom_metadata can have no 'description' here: give it in the field of that name")
	}
	return change, nil
}

func writeResponse(w store.WriteResult, err error) (*logical.Response, error) {
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{"id": w.ID, "version": nil, "created": w.Created}}
	if w.Version > 0 {
		resp.Data["version"] = w.Version
	}
	return resp, nil
}

func deleteSecret(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	return nil, r.delete(ctx)
}
