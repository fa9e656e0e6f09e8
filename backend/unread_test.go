package backend

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
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

func TestWhatWasReadCanBeWrittenBackWithAnotherValue(t *testing.T) {
	t.Parallel()
	for _, of := range []string{"secrets/one", "ids/ID"} {
		e := seen(t)
		one, _ := e.sim.Secret("one")
		path := strings.Replace(of, "ID", one.ID, 1)
		e.write(path, fields{"description": "some", "custom_metadata": mark}).ok()
		data := e.read(path).ok()
		require.Nil(t, data["integration_service_type"])
		a := e.write(path, data)
		require.Equal(t, data["version"], a.ok()["version"])
		require.Len(t, a.warnings, 1)
		require.Contains(t, a.warnings[0], "created_at, id, name, provider, status, updated_at, version, version_id cannot be written and are ignored")
		after := e.read(path).ok()
		delete(data, "updated_at")
		delete(after, "updated_at")
		require.Equal(t, data, after)

		data["updated_at"], data["value"], data["description"] = nil, "hidden-9", "other"
		require.Equal(t, data["version"].(int)+1, e.write(path, data).ok()["version"])
		got := e.read(path).ok()
		require.Equal(t, "hidden-9", got["value"])
		require.Equal(t, "other", got["description"])

		before := e.writes()
		for _, leave := range append([]string{"value"}, toldByABEJA...) {
			less := maps.Clone(data)
			delete(less, leave)
			e.write(path, less).refused(http.StatusBadRequest, "nothing was changed")
		}
		data["user"] = "bob"
		e.write(path, data).refused(http.StatusBadRequest, "takes no fields but", "data/NAME")
		delete(data, "user")
		e.patch(path, data).refused(http.StatusBadRequest, "takes no fields but")
		require.Equal(t, before, e.writes())
	}
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

// swept says for each operation of the backend what a plain request gives it, and for each field
// that it reads another value, with which the request comes to something else.
var swept = map[string]struct{ plain, other fields }{
	"read config":  {},
	"write config": {fields{}, configSwept},
	"patch config": {fields{}, configSwept},
	"read status":  {}, "read metrics": {}, "delete config": {},

	"list secrets/": {nil, listSwept}, "list ids/": {nil, fields{"after": "3", "limit": 1}}, "list metadata/": {nil, listSwept},
	"list secrets/NAME/versions/": {}, "list metadata/NAME": {},

	"read secrets/NAME": {nil, fields{"version": "1"}}, "read ids/ID": {nil, fields{"version": "1"}},
	"write secrets/NAME": {fields{"value": "aGlkZGVu"}, secretSwept}, "write ids/ID": {fields{"value": "aGlkZGVu"}, secretSwept},
	"patch secrets/NAME": {fields{"value": "aGlkZGVu"}, secretSwept}, "patch ids/ID": {fields{"value": "aGlkZGVu"}, secretSwept},
	"delete secrets/NAME": {}, "delete ids/ID": {},
	"read secrets/NAME/versions/N": {}, "delete secrets/NAME/versions/N": {},
	"write secrets/NAME/versions/N": {fields{"status": "inactive"}, fields{"status": "active"}},
	"write generate/NAME":           {nil, fields{"length": 8, "charset": "ab", "password_policy": "none", "return_value": true}},

	"read data/NAME": {nil, fields{"version": 1}}, "read subkeys/NAME": {nil, fields{"version": 1, "depth": 1}},
	"write data/NAME":  {fields{"data": fields{"a": "hidden-8"}}, dataSwept},
	"patch data/NAME":  {fields{"data": fields{"a": "hidden-8"}}, dataSwept},
	"delete data/NAME": {}, "read metadata/NAME": {}, "delete metadata/NAME": {},
	"write metadata/NAME": {nil, metadataSwept}, "patch metadata/NAME": {nil, metadataSwept},
	"write delete/NAME":   {fields{"versions": 1}, fields{"versions": 2}},
	"write undelete/NAME": {fields{"versions": 2}, fields{"versions": 1}},
	"write destroy/NAME":  {fields{"versions": 1}, fields{"versions": 2}},
}

var (
	listSwept   = fields{"after": "one", "limit": 1}
	dataSwept   = fields{"data": fields{"a": "hidden-9"}, "options": fields{"cas": 7}}
	secretSwept = fields{
		"value": "hidden-9", "encoding": "base64", "description": "x", "expired_at": "2999-01-01T00:00:00Z",
		"integration_service_type": labs, "integration_service_ids": "1,2", "cas": 7, "custom_metadata": fields{"owner": "x"},
	}
	metadataSwept = fields{
		"custom_metadata": fields{"description": "x"}, "max_versions": 1, "cas_required": true, "delete_version_after": "1s",
	}
	configSwept = fields{
		"organization_id": "1", "user_id": "1", "personal_access_token": "hidden-9", "auth_token": "hidden-9",
		"api_url": "http://127.0.0.1:1", "ca_cert": "x", "request_timeout": 7, "max_retries": 7, "max_requests_per_second": 1000,
		"cache_ttl": 7, "stale_while_revalidate": 7, "stale_if_error": 7, "keep_last_good": true, "cache_size": 7, "cache_bytes": 1 << 20, "expired_secrets": "deny", "name_prefix": "o", "standby_max_age": 7,
		"verify_connection": false,
	}
)

// Every operation of every path, with every field that any path declares and three that none does:
// it is used, refused or warned of, never ignored in silence.
func TestNoFieldIsIgnoredInSilence(t *testing.T) {
	t.Parallel()
	b := newUnconfigured(t, simulator.Options{}).backend.(*backend)
	b.Route("config") // compiles the patterns
	given := map[string]bool{"hidden-field": true, "": true, "Value": true}
	for _, path := range b.Paths {
		for field := range path.Fields {
			given[field] = true
		}
	}
	found := map[string]bool{}
	for _, path := range b.Paths {
		if path.TakesArbitraryInput {
			continue // names that no secret can have: refuses everything
		}
		for op := range path.Operations {
			shown := shownPath(path)
			what := operationName(op) + " " + shown
			found[what] = true
			t.Run(string(op)+" "+shown, func(t *testing.T) {
				t.Parallel()
				sweep, known := swept[what]
				require.True(t, known, "say in swept what this operation reads")
				require.ElementsMatch(t, readFields(path, op), slices.Collect(maps.Keys(sweep.other)), "say in swept what this operation reads")
				plain := sweepOnce(t, shown, op, sweep.plain, nil)
				for field := range given {
					other, read := sweep.other[field]
					if !read {
						other = "1"
					}
					got := sweepOnce(t, shown, op, sweep.plain, fields{field: other})
					refused := strings.Contains(got, "takes no fields") && strings.HasPrefix(got, "400")
					warned := strings.Contains(got, "is ignored")
					switch {
					case what == "list metadata/NAME": // whatever is asked
						require.Regexp(t, "^404", got)
					case read:
						require.NotEqual(t, plain, got, "%s is not used", field)
						require.False(t, refused || warned, "%s: %s", field, got)
					default:
						require.Regexp(t, "^2", plain)
						require.True(t, refused || warned, "%s is ignored in silence: %s", field, got)
					}
				}
			})
		}
	}
	for what := range swept {
		require.True(t, found[what], "%s is in swept, and is no operation", what)
	}
	for what := range meantElsewhere {
		require.True(t, found[what], "%s is in meantElsewhere, and is no operation", what)
	}
}

var times = regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)

// sweepOnce makes a request to a new mount, and tells all that came of it.
func sweepOnce(t *testing.T, path string, op logical.Operation, plain, more fields) string {
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte(`{"a":{"b":"hidden-1"},"value":"hidden-1"}`))
	e.sim.AddVersion("one", []byte(`{"a":{"b":"hidden-2"},"c":"hidden-2"}`))
	e.sim.SetStatus("one", 1, "inactive")
	e.sim.Create("two", []byte("hidden-3"))
	name := "one"
	if op == logical.CreateOperation {
		name = "new_one"
	}
	e.list("secrets/").ok()
	e.sim.ResetRequests()

	data := fields{}
	maps.Copy(data, plain)
	maps.Copy(data, more)
	at := strings.NewReplacer("versions/N", "versions/1", "NAME", name, "ID", id).Replace(path)
	resp, err := e.backend.HandleRequest(t.Context(), e.request(op, at, data))
	a := enginetest.AnswerTo(op, resp, err)
	require.NotEqual(t, http.StatusInternalServerError, a.Status, a.Text)
	warnings := strings.Join(a.Warnings, "\n")
	noneShown(t, a.Text+warnings)
	var shown []byte
	if resp != nil && (op != logical.ReadOperation || path != "metrics" && path != "status") {
		shown, err = json.Marshal(resp.Data)
		require.NoError(t, err)
	}
	came := fmt.Sprint(a.Status, " ", a.Text, string(shown), warnings, " calls: ", e.sim.Count())
	for _, name := range []string{"one", "two", "new_one"} {
		secret, there := e.sim.Secret(name)
		came += fmt.Sprint("\n", name, there, secret.Description, secret.ExpiredAt, secret.IntegrationServiceType, secret.IntegrationServiceIDs)
		for _, v := range secret.Versions {
			value := string(v.Value)
			if path == "generate/NAME" { // is random
				value = fmt.Sprint(len(value), strings.Trim(value, "ab") == "")
			}
			came += " " + v.Status + " " + value
		}
	}
	for _, name := range []string{"one", "new_one"} {
		if metadata := e.kvGet("metadata/" + name); metadata.status == http.StatusOK {
			came += fmt.Sprint("\n", metadata.data["custom_metadata"])
		}
	}
	stored, err := e.storage.Get(t.Context(), configKey)
	require.NoError(t, err)
	if stored != nil {
		came += "\n" + strings.ReplaceAll(string(stored.Value), e.url, "URL")
	}
	return times.ReplaceAllString(came, "TIME")
}
