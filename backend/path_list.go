package backend

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// listPath makes a path that lists all secrets by key.
func (b *backend) listPath(pattern, suffix, synopsis, description, answer string, key func(store.Item) string) *framework.Path {
	return &framework.Path{
		Pattern:         pattern,
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "list", OperationSuffix: suffix},
		HelpSynopsis:    synopsis,
		HelpDescription: strings.TrimSpace(description),
		Fields: map[string]*framework.FieldSchema{
			"after": {Type: framework.TypeString, Query: true, Description: "List what comes after this key."},
			"limit": {Type: framework.TypeInt, Query: true, Description: "List at most this many; 0, the default, lists all."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Summary: synopsis,
				Callback: func(ctx context.Context, req *logical.Request, d *framework.FieldData) (*logical.Response, error) {
					return b.list(ctx, req, d, key)
				},
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: answer, Fields: map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "What can be read."},
					"key_info": {Type: framework.TypeMap, Description: "What ABEJA says about each key."},
				}}}},
			},
		},
	}
}

func (b *backend) list(ctx context.Context, req *logical.Request, d *framework.FieldData, key func(store.Item) string) (*logical.Response, error) {
	after, limit := d.Get("after").(string), d.Get("limit").(int)
	if limit < 0 {
		return nil, badRequest("limit must be 0 for all, or more")
	}
	m, err := b.mount(ctx, req)
	if err != nil {
		return nil, err
	}
	listing, err := m.store.List(ctx)
	if err != nil {
		return nil, err
	}
	shown := make(map[string]store.Item, len(listing.Items))
	for _, item := range listing.Items {
		if k := key(item); k > after {
			shown[k] = item
		}
	}
	keys := slices.Sorted(maps.Keys(shown))
	if limit > 0 && limit < len(keys) {
		keys = keys[:limit]
	}
	info := make(map[string]any, len(keys))
	for _, k := range keys {
		info[k] = itemInfo(k, shown[k])
	}
	resp := logical.ListResponseWithInfo(keys, info)
	if listing.Incomplete {
		resp.AddWarning("Secrets were created and deleted at ABEJA faster than they could be listed: others may be missing here. List again.")
	}
	warnOfOdd(resp, listing.Odd)
	if listing.Unusable > 0 {
		resp.AddWarning("Secrets whose names break ABEJA's own rule are left out.")
	}
	return resp, nil
}

// itemInfo tells of an item what its key does not.
func itemInfo(key string, item store.Item) map[string]any {
	info := map[string]any{
		"description": textOrNil(item.Description),
		"version":     nil,
		"expired_at":  timeOrNil(item.ExpiredAt),
		"updated_at":  timeOrNil(item.UpdatedAt),
	}
	if item.Version > 0 {
		info["version"] = item.Version
	}
	if key == item.ID {
		info["name"] = item.Name
	} else {
		info["id"] = item.ID
	}
	return info
}
