package backend

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

const (
	versionsSynopsis    = "List the versions of a secret."
	versionsDescription = `
Lists the numbers of the secret's versions. 'vault list -detailed' shows their ids,
status and times too.`

	versionSynopsis    = "One version of a secret."
	versionDescription = `
Read gives the version's value, active or not. Write status=inactive takes a version
out of use and status=active puts it back; a read of the secret gives its newest active
version. Delete deletes the version for good.`
)

func (b *backend) pathVersionsList() *framework.Path {
	return &framework.Path{
		Pattern:         "secrets/(?P<name>[^/]+)/versions/?$",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "list", OperationSuffix: "secret-versions"},
		HelpSynopsis:    versionsSynopsis,
		HelpDescription: strings.TrimSpace(versionsDescription),
		Fields:          map[string]*framework.FieldSchema{"name": nameField},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ListOperation: &framework.PathOperation{
				Callback: b.onSecret(listVersions), Summary: versionsSynopsis,
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The version numbers, and what ABEJA says about each.", Fields: map[string]*framework.FieldSchema{
					"keys":     {Type: framework.TypeStringSlice, Description: "The version numbers."},
					"key_info": {Type: framework.TypeMap, Description: "Id, status and times of each version."},
				}}}},
			},
		},
	}
}

func (b *backend) pathVersion() *framework.Path {
	return &framework.Path{
		Pattern:         "secrets/(?P<name>[^/]+)/versions/(?P<version>[^/]+)",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationSuffix: "secret-version"},
		HelpSynopsis:    versionSynopsis,
		HelpDescription: strings.TrimSpace(versionDescription),
		Fields: map[string]*framework.FieldSchema{
			"name":    nameField,
			"version": {Type: framework.TypeString, Required: true, Description: "The version's number, 1 or more."},
			"status":  {Type: framework.TypeString, AllowedValues: []any{"active", "inactive"}, Description: "'active' or 'inactive'."},
		},
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.onSecret(readVersion), Summary: "Read the version with its value.", DisplayAttrs: verb("read"),
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "The secret with this version.", Fields: secretAnswer}}},
			},
			logical.UpdateOperation: &framework.PathOperation{
				Callback: b.onSecret(writeVersion), Summary: "Make the version active or inactive.", DisplayAttrs: verb("write"),
				Responses: noContent("The version has this status."),
			},
			logical.DeleteOperation: &framework.PathOperation{
				Callback: b.onSecret(deleteVersion), Summary: "Delete the version for good.", DisplayAttrs: verb("delete"),
				Responses: noContent("Deleted."),
			},
		},
	}
}

func listVersions(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	versions, err := r.store.Versions(ctx, r.secret)
	if err != nil {
		return nil, err
	}
	keys, info := make([]string, len(versions.Usable)), make(map[string]any, len(versions.Usable))
	for i, v := range versions.Usable {
		keys[i] = strconv.Itoa(v.Number)
		info[keys[i]] = map[string]any{
			"id":         v.ID,
			"status":     string(v.Status),
			"created_at": timeOrNil(v.CreatedAt.Time),
			"updated_at": timeOrNil(v.UpdatedAt.Time),
		}
	}
	resp := logical.ListResponseWithInfo(keys, info)
	warnOfOdd(resp, len(versions.Odd))
	return resp, nil
}

func readVersion(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	number, err := versionNumber(r.fields.Get("version").(string))
	if err != nil {
		return nil, err
	}
	return r.read(ctx, number)
}

func writeVersion(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	status := client.Status(r.fields.Get("status").(string))
	if status != client.Active && status != client.Inactive {
		return nil, badRequest("status must be 'active' or 'inactive'")
	}
	number, err := versionNumber(r.fields.Get("version").(string))
	if err != nil {
		return nil, err
	}
	return nil, r.store.SetStatus(ctx, r.secret, number, status)
}

func deleteVersion(ctx context.Context, r *secretRequest) (*logical.Response, error) {
	number, err := versionNumber(r.fields.Get("version").(string))
	if err != nil {
		return nil, err
	}
	return nil, r.store.DeleteVersion(ctx, r.secret, number)
}
