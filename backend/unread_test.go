package backend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestWhatAWriteOrDeleteDoesNotReadIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	e := seen(t)
	before, _ := e.sim.Secret("one")
	const aVersion, aMap = "secrets/NAME/versions/N", "data/NAME"
	for _, c := range []struct {
		op   logical.Operation
		path string
		data fields
		says string
	}{
		{logical.DeleteOperation, "secrets/one", fields{"version": "1"}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"versions": "1,2"}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"cas": "1"}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"cas": 1, "version": 1}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"": ""}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"version": nil}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"name": "one"}, aVersion},
		{logical.DeleteOperation, "secrets/one", fields{"hidden-field": []any{}}, aVersion},
		{logical.DeleteOperation, "ids/" + before.ID, fields{"version": "1"}, aVersion},
		{logical.DeleteOperation, "ids/" + before.ID, fields{"cas": "1"}, aVersion},
		{logical.DeleteOperation, "secrets/one/versions/1", fields{"version": "2"}, "in the path"},
		{logical.UpdateOperation, "secrets/one", fields{"version": "1", "description": "x"}, aVersion},
		{logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2", "name": "two"}, "takes no fields but"},
		{logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2", "Description": "x"}, "description"},
		{logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2", "status": "inactive"}, aVersion},
		{logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2", "hidden-field": "x"}, "takes no fields but"},
		{logical.UpdateOperation, "secrets/one", fields{"password": "hidden-2", "username": "bob"}, aMap},
		{logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2", "username": "bob"}, aMap},
		{logical.UpdateOperation, "secrets/one", fields{"data": fields{"value": "hidden-2"}, "options": fields{}}, aMap},
		{logical.UpdateOperation, "secrets/one", fields{"options": fields{"cas": 1}, "value": "hidden-2"}, aMap},
		{logical.PatchOperation, "secrets/one", fields{"data": fields{"value": "hidden-2"}}, aMap},
		{logical.PatchOperation, "secrets/one", fields{"version": "1", "description": "x"}, aVersion},
		{logical.CreateOperation, "secrets/new_one", fields{"value": "hidden-2", "username": "bob"}, aMap},
		{logical.CreateOperation, "secrets/new_one", fields{"data": fields{"value": "hidden-2"}}, aMap},
		{logical.UpdateOperation, "ids/" + before.ID, fields{"value": "hidden-2", "username": "bob"}, aMap},
		{logical.PatchOperation, "ids/" + before.ID, fields{"description": "x", "id": "2"}, "takes no fields but"},
		{logical.UpdateOperation, "secrets/one/versions/1", fields{"status": "inactive", "value": "hidden-2"}, "secrets/NAME"},
		{logical.UpdateOperation, "secrets/one/versions/1", fields{"status": "inactive", "version": "2"}, "takes no fields but status"},
		{logical.UpdateOperation, "generate/one", fields{"value": "hidden-2"}, "secrets/NAME"},
		{logical.CreateOperation, "generate/new_one", fields{"cas": 0}, "length"},
		{logical.DeleteOperation, "config", fields{"name_prefix": ""}, "patch it to null"},
		{logical.UpdateOperation, "config", fields{"organisation_id": "1"}, "correct"},
	} {
		a := e.call(c.op, c.path, c.data)
		a.refused(http.StatusBadRequest, "takes no fields", "nothing was changed", c.says)
		require.NotContains(t, a.text, "bob", "what was given is not repeated")
	}
	require.Zero(t, e.sim.Count(), "ABEJA is not called")
	after, _ := e.sim.Secret("one")
	require.Equal(t, before, after)
	e.read("config").ok()
}

func TestWhatAReadDoesNotReadIsAWarningThatRepeatsNoName(t *testing.T) {
	t.Parallel()
	e := seen(t)
	one, _ := e.sim.Secret("one")
	for path, takes := range map[string]string{
		"config":                 "'read config' takes no fields:",
		"status":                 "'read status' takes no fields:",
		"secrets/one":            "'read secrets/NAME' takes no fields but version:",
		"ids/" + one.ID:          "'read ids/ID' takes no fields but version:",
		"secrets/one/versions/1": "'read secrets/NAME/versions/N' takes no fields:",
		"data/one":               "'read data/NAME' takes no fields but version:",
		"metadata/one":           "'read metadata/NAME' takes no fields:",
		"subkeys/one":            "'read subkeys/NAME' takes no fields but depth, version:",
	} {
		// The name of the path itself, and one that is declared with another type for writes.
		for _, field := range []string{"hidden-field", "name", "id", "path", "cas", "data"} {
			a := e.kvGet(path, fields{field: "hidden-0"})
			a.ok()
			require.Equal(t, []string{takes + " what else was given is ignored"}, a.warnings, field)
		}
	}
	for path, takes := range map[string]string{
		"secrets/":              "'list secrets/' takes no fields but after, limit:",
		"ids/":                  "'list ids/' takes no fields but after, limit:",
		"metadata/":             "'list metadata/' takes no fields but after, limit:",
		"secrets/one/versions/": "'list secrets/NAME/versions/' takes no fields:",
	} {
		a := e.list(path, fields{"hidden-field": "hidden-0"})
		a.ok()
		require.Equal(t, []string{takes + " what else was given is ignored"}, a.warnings)
	}
	e.read("secrets/three", fields{"hidden-field": ""}).refused(http.StatusNotFound)
	require.Equal(t, "hidden-1", e.read("secrets/one", fields{"version": "1", "cas": "x"}).ok()["value"])
}

func TestThePathsOfKVIgnoreWhatKVIgnoresWithAWarning(t *testing.T) {
	t.Parallel()
	e := seen(t)
	e.sim.AddVersion("one", []byte("hidden-3"))
	a := e.call(logical.DeleteOperation, "data/one", fields{"version": "1"})
	a.ok()
	require.Equal(t, []string{"'delete data/NAME' takes no fields: what else was given is ignored"}, a.warnings)
	one, _ := e.sim.Secret("one")
	require.Equal(t, "active", one.Versions[0].Status)
	require.Equal(t, "inactive", one.Versions[1].Status, "the newest, as in KV")

	a = e.write("data/one", fields{"data": fields{"value": "hidden-4"}, "options": fields{}, "version": 1, "hidden-field": 1})
	require.Equal(t, 3, a.ok()["version"])
	require.Equal(t, []string{"'write data/NAME' takes no fields but data, options: what else was given is ignored"}, a.warnings)
	require.Empty(t, e.write("data/one", fields{"data": fields{"value": "hidden-4"}, "options": fields{}}).warnings)
	a = e.call(logical.DeleteOperation, "metadata/one", fields{"versions": "1"})
	a.ok()
	require.Len(t, a.warnings, 1)
	_, there := e.sim.Secret("one")
	require.False(t, there)
}

func TestTheOpenAPIDocumentHasEachFieldWhereItIsRead(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	for _, of := range []string{"", "secrets/one", "data/one"} { // the whole document, and with 'vault path-help'
		resp, err := e.backend.HandleRequest(t.Context(), e.request(logical.HelpOperation, of, nil))
		require.NoError(t, err)
		doc := resp.Data["openapi"].(*framework.OASDocument)
		require.NotEmpty(t, doc.Paths)
		for shown, item := range doc.Paths {
			if item.Get == nil && item.Post == nil {
				continue // for names that no secret can have
			}
			path := e.backend.(*backend).Route(strings.TrimPrefix(shown, "/"))
			require.NotNil(t, path, shown)
			for op, described := range map[logical.Operation]*framework.OASOperation{
				logical.ReadOperation: item.Get, logical.UpdateOperation: item.Post,
				logical.PatchOperation: item.Patch, logical.DeleteOperation: item.Delete,
			} {
				if described == nil {
					continue
				}
				if path.Operations[logical.ListOperation] != nil && op == logical.ReadOperation {
					op = logical.ListOperation
				}
				offered := []string{}
				for _, parameter := range described.Parameters {
					if parameter.Name != "list" {
						offered = append(offered, parameter.Name)
					}
				}
				if described.RequestBody != nil {
					ref := described.RequestBody.Content["application/json"].Schema.Ref
					for name := range doc.Components.Schemas[ref[len("#/components/schemas/"):]].Properties {
						offered = append(offered, name)
					}
				}
				require.ElementsMatch(t, readFields(path, op), offered, "%s %s", op, shown)
			}
		}
	}
}
