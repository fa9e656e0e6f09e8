package backend

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestKVMetadataShowsEveryVersionAndTheDefaultsOfWhatABEJADoesNotHave(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	var created []any
	for n := range 4 {
		created = append(created, e.kvPut("data/one", fields{"data": fields{"value": fmt.Sprintf("hidden-%d", n)}}).ok()["created_time"])
	}
	e.sim.SetStatus("one", 2, "inactive")
	e.delete("secrets/one/versions/1").ok()
	e.delete("secrets/one/versions/4").ok()

	data := e.kvGet("metadata/one").ok()
	versions := data["versions"].(map[string]any)
	deleted := versions["2"].(map[string]any)["deletion_time"]
	isTime(t, deleted)
	isTime(t, data["created_time"])
	version := func(created, deleted any, destroyed bool) map[string]any {
		return map[string]any{"created_time": created, "deletion_time": deleted, "destroyed": destroyed, "created_by": nil, "deleted_by": nil}
	}
	require.Equal(t, map[string]any{
		"versions": map[string]any{
			"1": version(data["created_time"], "", true),
			"2": version(created[1], deleted, false),
			"3": version(created[2], "", false),
		},
		"current_version": 3.0, "oldest_version": 0.0, "updated_time": created[2], "created_time": data["created_time"],
		"max_versions": 0.0, "cas_required": false, "delete_version_after": "0s",
		"custom_metadata": nil, "last_updated_by": nil,
	}, data)

	e.delete("secrets/one/versions/2").ok()
	e.delete("secrets/one/versions/3").ok()
	data = e.kvGet("metadata/one").ok()
	require.Equal(t, map[string]any{}, data["versions"])
	require.EqualValues(t, 0, data["current_version"])
	require.Equal(t, data["created_time"], data["updated_time"])
}

func TestKVMetadataShowsThe1000NewestNumbersAtTheMost(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	sec, _ := e.sim.Secret("one")
	org, _, _, _ := e.sim.Credentials()
	const at = "2026-01-31T00:00:00Z"
	e.sim.AddFault(simulator.Fault{Op: simulator.GetSecret, Kind: simulator.FaultBody, Body: fmt.Sprintf(
		`{"id":%q,"organization_id":%q,"name":"one","created_at":%q,"updated_at":%q,"versions":[
			{"id":"2","organization_id":%q,"secret_id":%q,"version":2147483647,"status":"active","created_at":%q,"updated_at":%q,"value":%q}]}`,
		sec.ID, org, at, at, org, sec.ID, at, at, base64.StdEncoding.EncodeToString([]byte("hidden-2")))})
	data := e.kvGet("metadata/one").ok()
	require.EqualValues(t, 2147483647, data["current_version"])
	require.EqualValues(t, 2147482647, data["oldest_version"])
	versions := data["versions"].(map[string]any)
	require.Len(t, versions, 1000)
	require.Contains(t, versions, "2147482648")
	require.Equal(t, false, versions["2147483647"].(map[string]any)["destroyed"])
}

func TestKVMetadataBeyondTheLimitsIsRefusedAndChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	marks := fields{"description": "before", "owner": "me"}
	e.kvPut("metadata/one", fields{"custom_metadata": marks}).ok()
	e.sim.ResetRequests()
	keys := func(n int) fields {
		all := fields{}
		for i := range n {
			all[fmt.Sprint("key_", i)] = "x"
		}
		return all
	}
	const key, value, description = "keys must be printable text of 1 to 128 bytes", "values must be printable text of 1 to 512 bytes", "description must be text of 1 to 10000 bytes"
	for _, send := range []func(string, fields) answer{e.kvPut, e.kvPatch} {
		for _, c := range []struct {
			custom any
			says   string
		}{
			{keys(65), "at most 64 keys"},
			{fields{"": "x"}, key},
			{fields{"hidden-" + strings.Repeat("x", 122): "x"}, key},
			{fields{"hidden-\n": "x"}, key},
			{fields{"hidden-\u200b": "x"}, key},
			{fields{"owner": ""}, value},
			{fields{"owner": "hidden-" + strings.Repeat("x", 506)}, value},
			{fields{"owner": "hidden-\n"}, value},
			{fields{"owner": "hidden-\x00"}, value},
			{fields{"owner": []any{"hidden-1"}}, value},
			{fields{"owner": fields{"hidden-1": "x"}}, value},
			{fields{"owner": 1 << 53}, value},
			{fields{"description": ""}, description},
			{fields{"description": strings.Repeat("x", 10_001)}, description},
			{fields{"description": fields{}}, description},
			{"hidden", "custom_metadata must be a map"},
			{[]any{fields{"owner": "hidden-1"}}, "custom_metadata must be a map"},
		} {
			send("metadata/one", fields{"custom_metadata": c.custom}).refused(http.StatusBadRequest, c.says)
		}
		e.kvPut("metadata/new_one", fields{"custom_metadata": keys(65)}).refused(http.StatusBadRequest, "at most 64 keys")
	}
	e.kvPut("metadata/one", fields{"custom_metadata": fields{"owner": nil}}).refused(http.StatusBadRequest, value)
	e.kvPatch("metadata/one", fields{"custom_metadata": keys(64)}).refused(http.StatusBadRequest, "at most 64 keys, those that stay included")
	require.Zero(t, e.sim.Count(), "ABEJA is not asked")
	require.Equal(t, map[string]any(marks), e.kvGet("metadata/one").ok()["custom_metadata"])

	most := keys(64)
	e.kvPut("metadata/one", fields{"custom_metadata": most}).ok()
	require.Equal(t, map[string]any(most), e.kvGet("metadata/one").ok()["custom_metadata"])
}

func TestKVMetadataOfAnyPrintableTextComesBackAsItWas(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	want := fields{
		"../../secrets/one": "a/b", "__proto__": "{}", "日本語": "所有者", "a b\"'<&>": "\"", "id": "1", "custom_metadata": "x",
		strings.Repeat("k", 128): strings.Repeat("v", 512),
	}
	e.kvPut("metadata/one", fields{"custom_metadata": want}).ok()
	require.Equal(t, map[string]any(want), e.kvGet("metadata/one").ok()["custom_metadata"])
	require.Equal(t, map[string]any(want), about(e.kvGet("data/one").ok())["custom_metadata"])

	e.kvPut("metadata/one", fields{"custom_metadata": fields{"n": 5, "f": -1.5, "yes": true, "no": false, "description": 7}}).ok()
	require.Equal(t, map[string]any{"n": "5", "f": "-1.5", "yes": "1", "no": "0", "description": "7"}, e.kvGet("metadata/one").ok()["custom_metadata"])
	require.Equal(t, "7", e.read("secrets/one").ok()["description"])
}

func TestKVMetadataThatIsNotGivenStaysAndNullClears(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	described := map[string]any{"description": "before"}
	for _, c := range []struct {
		send func(string, fields) answer
		body fields
		want any
	}{
		{e.kvPut, fields{}, described},
		{e.kvPut, fields{"max_versions": 0}, described},
		{e.kvPut, fields{"custom_metadata": fields{}}, nil},
		{e.kvPatch, fields{}, described},
		{e.kvPatch, fields{"custom_metadata": fields{}}, described},
		{e.kvPatch, fields{"custom_metadata": fields{"description": nil}}, nil},
		{e.kvPatch, fields{"custom_metadata": nil}, nil},
	} {
		e.kvPut("metadata/one", fields{"custom_metadata": fields{"description": "before"}}).ok()
		a := c.send("metadata/one", c.body)
		require.Equal(t, http.StatusNoContent, a.status, a.text)
		require.Equal(t, c.want, e.kvGet("metadata/one").ok()["custom_metadata"], a.what)
	}
	e.holds("one", "hidden-1")
}

func TestKVMetadataTakesOnlyTheDefaultsOfWhatABEJACannotHold(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	before := e.writes()
	for _, send := range []func(string, fields) answer{e.kvPut, e.kvPatch} {
		for _, defaults := range []fields{
			{"max_versions": 0}, {"cas_required": false}, {"delete_version_after": 0}, {"delete_version_after": "0s"},
			{"max_versions": nil, "cas_required": nil, "delete_version_after": nil},
			{"max_versions": 0, "cas_required": false, "delete_version_after": "0s", "custom_metadata": fields{}},
		} {
			send("metadata/one", defaults).ok()
		}
		for _, other := range []fields{
			{"max_versions": 5}, {"max_versions": -1}, {"cas_required": true}, {"delete_version_after": "1h"}, {"delete_version_after": 1},
			{"cas_required": true, "custom_metadata": fields{"description": "x"}},
		} {
			send("metadata/one", other).refused(http.StatusBadRequest, "max_versions, cas_required and delete_version_after", "ABEJA has no such settings")
		}
		for _, odd := range []fields{{"max_versions": "x"}, {"cas_required": "x"}, {"delete_version_after": "x"}} {
			send("metadata/one", odd).refused(http.StatusBadRequest, "must be")
		}
	}
	require.Equal(t, 1, e.writes()-before, "only the description, which a write of {} clears, is sent")
	require.Nil(t, e.kvGet("metadata/one").ok()["custom_metadata"])
}

func TestKVMetadataListsTheNames(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, name := range []string{"two", "one", "three"} {
		e.sim.Create(name, []byte("hidden-1"))
	}
	data := e.kv(logical.ListOperation, "metadata/").ok()
	require.Equal(t, []any{"one", "three", "two"}, data["keys"])
	require.EqualValues(t, 1, data["key_info"].(map[string]any)["one"].(map[string]any)["version"])
	require.Equal(t, http.StatusNotFound, e.kv(logical.ListOperation, "metadata/one/").status, "nothing lies below a name")
}
