package backend

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

func (b *backend) pathKVDelete() *framework.Path {
	return b.kvVersionsPath("delete", "Make versions inactive, as KV version 2's delete.", func(ctx context.Context, s *store.Store, r store.Ref, v store.Pick) error {
		return s.SetStatus(ctx, r, v, client.Inactive)
	})
}

func (b *backend) pathKVUndelete() *framework.Path {
	return b.kvVersionsPath("undelete", "Make versions active, as KV version 2's undelete.", func(ctx context.Context, s *store.Store, r store.Ref, v store.Pick) error {
		return s.SetStatus(ctx, r, v, client.Active)
	})
}

func (b *backend) pathKVDestroy() *framework.Path {
	return b.kvVersionsPath("destroy", "Delete versions for good, as KV version 2's destroy.", func(ctx context.Context, s *store.Store, r store.Ref, v store.Pick) error {
		return s.DeleteVersion(ctx, r, v)
	})
}

// kvVersionsPath makes a path that does something to each of the versions that it is given. As in
// KV v2, versions and secrets that are not there are passed over.
func (b *backend) kvVersionsPath(what, synopsis string, do func(context.Context, *store.Store, store.Ref, store.Pick) error) *framework.Path {
	write := func(ctx context.Context, r *secretRequest) (*logical.Response, error) {
		versions := r.fields.Get("versions").([]int)
		if len(versions) == 0 {
			return nil, badRequest("No version number provided")
		}
		wanted := make(map[int]bool, len(versions))
		for _, n := range versions {
			wanted[n] = true
		}
		// Only those that are there: one request could else cause any number of them at ABEJA.
		secret := r.secret.Surely()
		there, err := r.store.Versions(ctx, secret)
		if err != nil {
			return nil, ignoreAbsent(err)
		}
		for n := range wanted {
			if _, err := there.Pick(store.Pick(n)); err != nil {
				return nil, err
			}
		}
		for _, v := range there.Usable {
			if !wanted[v.Number] {
				continue
			}
			if err := ignoreAbsent(do(ctx, r.store, secret, store.Pick(v.Number))); err != nil {
				return nil, err
			}
		}
		return nil, nil
	}
	return &framework.Path{
		Pattern:         what + "/(?P<path>.+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: kvPrefix, OperationVerb: what, OperationSuffix: "versions"},
		HelpSynopsis:    synopsis,
		HelpDescription: "versions is a list of version numbers of the secret. What is not there is passed over.",
		Fields: map[string]*framework.FieldSchema{
			"path":     nameField,
			"versions": {Type: framework.TypeCommaIntSlice, Required: true, Description: "The numbers of the versions."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.UpdateOperation: &framework.PathOperation{Callback: b.onSecret(write), Summary: synopsis, Responses: noContent("Done.")},
		},
	}
}

func ignoreAbsent(err error) error {
	if errors.Is(err, store.ErrNotFound) || errors.As(err, new(*store.NoVersionError)) {
		return nil
	}
	return err
}

const (
	subkeysSynopsis    = "The keys of a secret's map without its values, as in KV version 2."
	subkeysDescription = `
Read gives the structure of the map with null in place of every value. depth=N goes N
levels deep; 0, the default, all of them.`
)

func (b *backend) pathKVSubkeys() *framework.Path {
	read := func(ctx context.Context, r *secretRequest) (*logical.Response, error) {
		depth := r.fields.Get("depth").(int)
		return r.readKV(ctx, "subkeys", func(m map[string]any) map[string]any { return subkeys(m, depth) })
	}
	return &framework.Path{
		Pattern:         "subkeys/(?P<path>.+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: kvPrefix, OperationVerb: "read", OperationSuffix: "subkeys"},
		HelpSynopsis:    subkeysSynopsis,
		HelpDescription: strings.TrimSpace(subkeysDescription),
		Fields: map[string]*framework.FieldSchema{
			"path":    nameField,
			"version": {Type: framework.TypeInt, Query: true, Description: "Read this version; the newest when not given."},
			"depth":   {Type: framework.TypeInt, Query: true, Description: "How many levels to show; 0 shows all."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.onSecret(read), Summary: subkeysSynopsis,
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The keys.", Fields: map[string]*framework.FieldSchema{
					"subkeys":  {Type: framework.TypeMap, Description: "The keys, with null for values."},
					"metadata": {Type: framework.TypeMap, Description: "The version's number, times and state."},
				}}}},
			},
		},
	}
}

// subkeys keeps the keys of depth levels, or of all when depth is 0, and no value.
func subkeys(m map[string]any, depth int) map[string]any {
	out := make(map[string]any, len(m))
	for key, value := range m {
		out[key] = nil
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 && depth != 1 {
			out[key] = subkeys(inner, max(0, depth-1))
		}
	}
	return out
}
