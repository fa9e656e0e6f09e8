package backend

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// kvPrefix names the KV v2 paths in the ids of Vault's OpenAPI document.
const kvPrefix = operationPrefix + "-kv"

const (
	dataSynopsis    = "A secret as KV version 2 shows it."
	dataDescription = `
The same secrets as at secrets/NAME, in the shape of the KV version 2 engine, for the
clients that speak it. A value that is a JSON object is the data; any other text is
{"value": TEXT}, and what is not text {"value": BASE64, "encoding": "base64"}. What was
read can be written back. A patch needs an object to merge into.

The current version is the newest, as in KV version 2: when it is inactive the secret is
deleted until it is undeleted or written again.`
)

func (b *backend) pathKVData() *framework.Path {
	written := map[int][]framework.Response{http.StatusOK: {{Description: "The metadata of the version.", Fields: kvVersionAnswer}}}
	return &framework.Path{
		Pattern:         "data/(?P<path>.+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: kvPrefix},
		HelpSynopsis:    dataSynopsis,
		HelpDescription: strings.TrimSpace(dataDescription),
		Fields: map[string]*framework.FieldSchema{
			"path":    nameField,
			"version": {Type: framework.TypeInt, Query: true, Description: "Read this version; the newest when not given."},
			"data":    {Type: framework.TypeMap, DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}, Description: "The map to store."},
			"options": {Type: framework.TypeMap, Description: "'cas' in it writes only if that is the current version; 0: only if there is no such secret."},
		},
		ExistenceCheck: b.exists,
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.onSecret(readKVData), Summary: "Read a version.", DisplayAttrs: verb("read"),
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The version.", Fields: map[string]*framework.FieldSchema{
					"data":     {Type: framework.TypeMap, Description: "The map that is stored.", DisplayAttrs: &framework.DisplayAttributes{Sensitive: true}},
					"metadata": {Type: framework.TypeMap, Description: "The version's number, times and state."},
				}}}},
			},
			logical.CreateOperation: &framework.PathOperation{Callback: b.onSecret(writeKVData), Summary: "Create the secret.", DisplayAttrs: verb("write"), Responses: written},
			logical.UpdateOperation: &framework.PathOperation{Callback: b.onSecret(writeKVData), Summary: "Write a new version.", DisplayAttrs: verb("write"), Responses: written},
			logical.PatchOperation:  &framework.PathOperation{Callback: b.onSecret(patchKVData), Summary: "Merge into the current version.", DisplayAttrs: verb("patch"), Responses: written},
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.onSecret(deleteKVData), Summary: "Make the newest version inactive.", DisplayAttrs: verb("delete"), Responses: noContent("Deleted; undelete restores it."),
			},
		},
	}
}

var kvVersionAnswer = map[string]*framework.FieldSchema{
	"version":         {Type: framework.TypeInt, Description: "The version's number."},
	"created_time":    {Type: framework.TypeString, Description: "When the version was made."},
	"deletion_time":   {Type: framework.TypeString, Description: "When the version was made inactive, or empty."},
	"destroyed":       {Type: framework.TypeBool, Description: "Whether ABEJA no longer has the version."},
	"custom_metadata": {Type: framework.TypeMap, Description: "Keys and texts that mark the secret, with its 'description', or null."},
}

func readKVData(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	return r.readKV(ctx, "data", func(m map[string]any) map[string]any { return m })
}

// readKV answers a read of a version with what show makes of its map, under key.
func (r *secretRequest) readKV(ctx context.Context, key string, show func(map[string]any) map[string]any) (*logical.Response, error) {
	pick := store.Newest
	if n := r.fields.Get("version").(int); n > 0 {
		pick = store.Pick(n)
	}
	reading, err := r.store.Read(ctx, r.secret, pick)
	var missing *store.NoVersionError
	switch {
	case errors.As(err, &missing) && pick > 0 && int(pick) < missing.Newest:
		metadata, err := r.kvMetadata(ctx, int(pick), nil, missing.Secret)
		if err != nil {
			return nil, err
		}
		return logical.RespondWithStatusCode(&logical.Response{Data: map[string]any{key: nil, "metadata": metadata}}, r.req, http.StatusNotFound)
	case err != nil:
		return nil, err
	}
	v := reading.Version
	metadata, err := r.kvMetadata(ctx, v.Number, v, reading.Secret)
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: map[string]any{key: nil, "metadata": metadata}}
	if err := r.warn(resp, &reading); err != nil {
		return nil, err
	}
	if v.Status != client.Active {
		return logical.RespondWithStatusCode(resp, r.req, http.StatusNotFound)
	}
	resp.Data[key] = show(decodeMap(v.Value))
	return resp, nil
}

// kvMetadata is the metadata of a secret's version, as the paths of data answer it.
func (m *mount) kvMetadata(ctx context.Context, number int, v *client.Version, s *client.Secret) (map[string]any, error) {
	custom, err := m.customOf(ctx, s.ID, s.Description)
	if err != nil {
		return nil, err
	}
	about := kvVersion(v, s)
	about["version"], about["custom_metadata"] = number, custom
	return about, nil
}

// kvVersion is what each path shows of a secret's version. A nil version is one that ABEJA no longer has: it
// has the secret's time, since clients refuse an answer without one.
func kvVersion(v *client.Version, s *client.Secret) map[string]any {
	about := map[string]any{
		"created_time":  s.CreatedAt.Format(time.RFC3339Nano),
		"deletion_time": "",
		"destroyed":     v == nil,
	}
	if v != nil {
		about["created_time"] = v.CreatedAt.Format(time.RFC3339Nano)
		about["deletion_time"] = deletionTime(v)
	}
	return about
}

// deletionTime is when ABEJA last changed a version that is inactive now: it does not say more.
func deletionTime(v *client.Version) string {
	if v.Status == client.Active {
		return ""
	}
	return v.UpdatedAt.Format(time.RFC3339Nano)
}

// parseKVWrite returns the data and options of a write.
func parseKVWrite(d *framework.FieldData) (data map[string]any, cas *int, err error) {
	data, ok := d.Raw["data"].(map[string]any)
	if !ok {
		return nil, nil, badRequest("no data provided")
	}
	cas, err = givenCAS(d)
	return data, cas, err
}

func writeKVData(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	data, cas, err := parseKVWrite(r.fields)
	if err != nil {
		return nil, err
	}
	value, err := encodeMap(data)
	if err != nil {
		return nil, err
	}
	written, err := r.write(ctx, store.Update{Value: value, Same: sameMap(data), CAS: cas, Against: store.Newest}, nil)
	return r.kvWriteResponse(ctx, data, written, err)
}

func (m *mount) kvWriteResponse(ctx context.Context, data map[string]any, w store.WriteResult, err error) (*logical.Response, error) {
	if err != nil {
		return nil, err
	}
	v := client.Version{Status: client.Active, CreatedAt: client.Time{Time: w.VersionCreatedAt}}
	metadata, err := m.kvMetadata(ctx, w.Version, &v, &client.Secret{ID: w.ID, Description: w.Description})
	if err != nil {
		return nil, err
	}
	resp := &logical.Response{Data: metadata}
	warnReplaced(resp, data)
	return resp, nil
}

// patchKVData merges into the newest version, which must be active.
func patchKVData(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	data, cas, err := parseKVWrite(r.fields)
	if err != nil {
		return nil, err
	}
	errNotActive := errors.New("the newest version is not active")
	var secret *client.Secret
	written, err := r.store.Update(ctx, r.secret, store.Update{CAS: cas, Against: store.Newest, Derive: func(s *client.Secret) ([]byte, error) {
		secret = s
		newest, err := store.Newest.From(s)
		if err != nil {
			return nil, err
		}
		if newest == nil || newest.Status != client.Active {
			return nil, errNotActive
		}
		old, err := store.ValueOf(newest)
		if err != nil {
			return nil, err
		}
		return patchedMap(old, data)
	}})
	if errors.Is(err, errNotActive) {
		return r.notActive(ctx, secret)
	}
	return r.kvWriteResponse(ctx, data, written, err)
}

// notActive answers a patch of a secret whose newest version is inactive, or that has none.
func (r *secretRequest) notActive(ctx context.Context, s *client.Secret) (*logical.Response, error) {
	newest, _ := store.Newest.From(s)
	if newest == nil {
		return logical.RespondWithStatusCode(nil, r.req, http.StatusNotFound)
	}
	metadata, err := r.kvMetadata(ctx, newest.Number, newest, s)
	if err != nil {
		return nil, err
	}
	return logical.RespondWithStatusCode(&logical.Response{Data: metadata}, r.req, http.StatusNotFound)
}

// merged is RFC 7396's merge of a patch into a map, which it leaves as it is.
func merged(into, patch map[string]any) map[string]any {
	out := maps.Clone(into)
	for key, value := range patch {
		change, isMap := value.(map[string]any)
		switch {
		case value == nil:
			delete(out, key)
		case isMap:
			old, _ := out[key].(map[string]any)
			if old == nil {
				old = map[string]any{}
			}
			out[key] = merged(old, change)
		default:
			out[key] = value
		}
	}
	return out
}

// deleteKVData does nothing when the newest version is inactive already, so that a repeated
// delete never reaches an older one.
func deleteKVData(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	return nil, r.store.SetStatus(ctx, r.secret, store.Newest, client.Inactive)
}
