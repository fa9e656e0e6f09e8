package backend

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/semaphore"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// listPath makes a path that lists all secrets by key.
func (b *backend) listPath(pattern, suffix, synopsis, description, answer string, key func(*store.Item) string) *framework.Path {
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

func (b *backend) list(ctx context.Context, req *logical.Request, d *framework.FieldData, key func(*store.Item) string) (*logical.Response, error) {
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
	shown := make([]*store.Item, 0, len(listing.Items))
	for i := range listing.Items {
		if item := &listing.Items[i]; key(item) > after {
			shown = append(shown, item)
		}
	}
	slices.SortFunc(shown, func(a, b *store.Item) int { return cmp.Compare(key(a), key(b)) })
	shown = slices.CompactFunc(shown, func(a, b *store.Item) bool { return key(a) == key(b) })
	if limit > 0 {
		shown = shown[:min(limit, len(shown))]
	}
	answered, err := b.long.wait(ctx, len(shown))
	if err != nil {
		return nil, err
	}
	defer answered()
	keys, info := make([]string, len(shown)), make(map[string]any, len(shown))
	for i, item := range shown {
		keys[i] = key(item)
		info[keys[i]] = newItemInfo(keys[i], item)
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

// itemInfo tells of an item what its key does not. A struct takes a fifth of the time of a map in JSON, and
// half the memory.
type itemInfo struct {
	Description any    `json:"description"`
	ExpiredAt   any    `json:"expired_at"`
	ID          string `json:"id,omitempty"`
	Name        string `json:"name,omitempty"`
	UpdatedAt   any    `json:"updated_at"`
	Version     any    `json:"version"`
}

func newItemInfo(key string, item *store.Item) *itemInfo {
	info := &itemInfo{
		Description: textOrNil(item.Description),
		ExpiredAt:   timeOrNil(item.ExpiredAt),
		UpdatedAt:   timeOrNil(item.UpdatedAt),
	}
	if item.Version > 0 {
		info.Version = item.Version
	}
	if key == item.ID {
		info.Name = item.Name
	} else {
		info.ID = item.ID
	}
	return info
}

const (
	// shortList is how many keys an answer may have that waits for no other. On its way to Vault a key takes
	// about 1 KB.
	shortList = 1_000
	// longLists is how many keys longer answers may have together, in the whole process.
	longLists = 20_000
)

// longAnswers has long lists wait for each other: callers can ask for any number at the same time, and
// Vault takes them one after the other all the same.
type longAnswers struct{ keys *semaphore.Weighted }

func newLongAnswers() longAnswers { return longAnswers{semaphore.NewWeighted(longLists)} }

// wait returns when there is room for an answer of so many keys. It is taken until answered is called and ctx
// has ended: that of a request to a plugin does when its answer has been handed over to be sent, or when the
// caller hangs up, while the answer may still be made.
func (l longAnswers) wait(ctx context.Context, keys int) (answered func(), err error) {
	if keys <= shortList {
		return func() {}, nil
	}
	room := int64(min(keys, longLists))
	if err := l.keys.Acquire(ctx, room); err != nil {
		return nil, err
	}
	return func() { context.AfterFunc(ctx, func() { l.keys.Release(room) }) }, nil
}
