package backend

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// casRefusal is what clients of KV v2 look for, word by word.
const casRefusal = "check-and-set parameter did not match the current version"

func values(sec simulator.Snapshot) []string {
	var all []string
	for _, v := range sec.Versions {
		all = append(all, string(v.Value))
	}
	return all
}

// holds wants ABEJA to hold these values under the name, oldest first; none if there is no secret.
func (e *engine) holds(name string, want ...string) {
	e.t.Helper()
	sec, _ := e.sim.Secret(name)
	require.Equal(e.t, want, values(sec), name)
}

func createAndRead(t *testing.T, e *engine) {
	written := e.write("secrets/one", fields{
		"value": "hidden-1", "description": "the first", "expired_at": "2999-01-31T09:00:00+09:00",
		"integration_service_type": "abeja-platform-labs", "integration_service_ids": "11,22",
	}).ok()
	sec, _ := e.sim.Secret("one")
	require.Equal(t, map[string]any{"id": sec.ID, "version": 1, "created": true}, written)
	require.Equal(t, []string{"hidden-1"}, values(sec))

	got := e.read("secrets/one")
	require.Empty(t, got.warnings)
	data := got.ok()
	for _, field := range []string{"created_at", "updated_at"} {
		at, err := time.Parse(time.RFC3339Nano, data[field].(string))
		require.NoError(t, err)
		require.Equal(t, time.UTC, at.Location(), "whatever ABEJA's offset")
		require.WithinDuration(t, time.Now(), at, time.Hour)
		delete(data, field)
	}
	require.Equal(t, map[string]any{
		"value": "hidden-1", "version": 1, "version_id": sec.Versions[0].ID, "status": "active",
		"id": sec.ID, "name": "one", "description": "the first", "expired_at": "2999-01-31T00:00:00Z",
		"integration_service_type": "abeja-platform-labs", "integration_service_ids": []string{"11", "22"},
		"provider": "aws-secret-manager",
	}, data)

	// A secret that has nothing but a value shows the same keys.
	e.write("secrets/two", fields{"value": "hidden-2", "expired_at": ""}).ok()
	bare := e.read("secrets/two").ok()
	for field, want := range map[string]any{
		"value": "hidden-2", "description": nil, "expired_at": nil, "integration_service_type": nil, "integration_service_ids": nil,
	} {
		require.Equal(t, want, bare[field], field)
	}
	keys := append(slices.Collect(maps.Keys(data)), "created_at", "updated_at")
	require.ElementsMatch(t, keys, slices.Collect(maps.Keys(bare)))
}

func newValue(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	require.Equal(t, 2, e.write("secrets/one", fields{"value": "hidden-2"}).ok()["version"])
	require.Equal(t, false, e.patch("secrets/one", fields{"value": "hidden-3"}).ok()["created"])
	e.holds("one", "hidden-1", "hidden-2", "hidden-3")

	require.Equal(t, "hidden-3", e.read("secrets/one").ok()["value"])
	for n, want := range []string{"hidden-1", "hidden-2", "hidden-3"} {
		data := e.read("secrets/one", fields{"version": n + 1}).ok()
		require.Equal(t, want, data["value"])
		require.Equal(t, n+1, data["version"])
	}
	e.read("secrets/one", fields{"version": "999"}).refused(http.StatusNotFound, "no such version", "list its versions")
}

func repeatedWrite(t *testing.T, e *engine) {
	for range 3 {
		require.Equal(t, 1, e.write("secrets/one", fields{"value": "hidden-1"}).ok()["version"])
	}
	e.patch("secrets/one", fields{"value": "hidden-1", "cas": 1}).ok()
	e.write("secrets/one", fields{}).ok()
	e.holds("one", "hidden-1")
	require.Equal(t, 1, e.writes(), "only the create is sent")

	// The value is compared with the current version's, which is not always the newest.
	e.write("secrets/one", fields{"value": "hidden-2"}).ok()
	e.write("secrets/one/versions/1", fields{"status": "active"}).ok()
	e.write("secrets/one/versions/2", fields{"status": "inactive"}).ok()
	require.Equal(t, 1, e.write("secrets/one", fields{"value": "hidden-1"}).ok()["version"])
	require.Equal(t, 3, e.write("secrets/one", fields{"value": "hidden-2"}).ok()["version"])
	require.Equal(t, "hidden-2", e.read("secrets/one").ok()["value"])
}

func changeAttributes(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1", "description": "before"}).ok()
	attributes := []string{"description", "expired_at", "integration_service_type", "integration_service_ids"}
	want := map[string]any{"description": "before", "expired_at": nil, "integration_service_type": nil, "integration_service_ids": nil}
	for _, step := range []struct {
		send   func(string, fields) answer
		change fields
		shown  any
	}{
		{e.write, fields{"description": "after"}, "after"},
		{e.patch, fields{"expired_at": "2999-01-31T00:00:00.5Z"}, "2999-01-31T00:00:00.5Z"},
		{e.patch, fields{"integration_service_type": "abeja-platform-labs"}, "abeja-platform-labs"},
		{e.write, fields{"integration_service_ids": []string{"11", "22"}}, []string{"11", "22"}},
	} {
		require.Equal(t, 1, step.send("secrets/one", step.change).ok()["version"])
		for field := range step.change {
			want[field] = step.shown
		}
		data := e.read("secrets/one").ok()
		for _, field := range attributes {
			require.Equal(t, want[field], data[field], "%s after %v", field, step.change)
		}
	}
	e.holds("one", "hidden-1")
}

func clearAttributes(t *testing.T, e *engine) {
	set := fields{"value": "hidden-1", "description": "some", "expired_at": "2999-01-31T00:00:00Z", "integration_service_ids": "11"}
	for _, send := range []func(string, fields) answer{e.write, e.patch} {
		for field, clear := range map[string]any{"description": "", "expired_at": "", "integration_service_ids": ""} {
			e.write("secrets/one", set).ok()
			send("secrets/one", fields{field: clear}).ok()
			data := e.read("secrets/one").ok()
			require.Nil(t, data[field], field)
			require.Equal(t, "hidden-1", data["value"])
		}
	}
	e.write("secrets/one", set).ok()
	e.patch("secrets/one", fields{"description": nil, "expired_at": nil, "integration_service_ids": nil, "cas": nil, "encoding": nil}).ok()
	data := e.read("secrets/one").ok()
	for _, field := range []string{"description", "expired_at", "integration_service_ids"} {
		require.Nil(t, data[field], field)
	}
	e.holds("one", "hidden-1")
}

func checkAndSet(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1", "cas": 1}).refused(http.StatusBadRequest, casRefusal)
	require.Zero(t, e.writes())
	e.write("secrets/one", fields{"value": "hidden-1", "cas": 0}).ok()

	sec, _ := e.sim.Secret("one")
	for _, cas := range []int{0, 2, 999} {
		for _, change := range []fields{{"value": "hidden-2"}, {"value": "hidden-1"}, {"description": "new"}} {
			change["cas"] = cas
			e.write("secrets/one", change).refused(http.StatusBadRequest, casRefusal, "it is 1", "read")
			e.patch("secrets/one", change).refused(http.StatusBadRequest, casRefusal)
			e.write("ids/"+sec.ID, change).refused(http.StatusBadRequest, casRefusal)
		}
	}
	require.Equal(t, 1, e.writes(), "a refused write is not sent")

	require.Equal(t, 2, e.write("secrets/one", fields{"value": "hidden-2", "cas": 1}).ok()["version"])
	require.Equal(t, 2, e.write("secrets/one", fields{"description": "new", "cas": 2}).ok()["version"])
	e.holds("one", "hidden-1", "hidden-2")
	e.write("secrets/one", fields{"value": "hidden-3", "cas": 1}).refused(http.StatusBadRequest, casRefusal, "it is 2")

	// The current version is the one that a read returns.
	e.write("secrets/one/versions/1", fields{"status": "active"}).ok()
	e.write("secrets/one/versions/2", fields{"status": "inactive"}).ok()
	e.write("secrets/one", fields{"value": "hidden-3", "cas": 2}).refused(http.StatusBadRequest, casRefusal, "it is 1")
	e.write("secrets/one", fields{"value": "hidden-3", "cas": 1}).ok()

	// cas=0 meets a secret of which Vault does not know yet: the same refusal as of one it knows.
	e.sim.Create("two", []byte("hidden-4"))
	e.write("secrets/two", fields{"value": "hidden-5", "cas": 0}).refused(http.StatusBadRequest, casRefusal)
	e.holds("two", "hidden-4")
}

func deletedSecret(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.write("secrets/two", fields{"value": "hidden-2"}).ok()
	e.delete("secrets/one").ok()
	e.holds("one")
	e.holds("two", "hidden-2")
	e.read("secrets/one").refused(http.StatusNotFound, "no such secret", "list")
	require.Equal(t, []string{"two"}, e.list("secrets/").ok()["keys"])
	e.delete("secrets/one").ok()
	e.delete("secrets/never_was").ok()

	created := e.write("secrets/one", fields{"value": "hidden-3"}).ok()
	require.Equal(t, true, created["created"], "the existence check knows that it is gone")
	require.Equal(t, "hidden-3", e.read("secrets/one").ok()["value"])
}

func createBehindVault(t *testing.T, e *engine) {
	e.read("secrets/one").refused(http.StatusNotFound)
	e.sim.Create("one", []byte("hidden-1"))
	e.write("secrets/one", fields{"value": "hidden-2", "description": "new"}).refused(http.StatusConflict, "the secret exists", "write again to update it")
	e.holds("one", "hidden-1")
	sec, _ := e.sim.Secret("one")
	require.Empty(t, sec.Description)

	written := e.write("secrets/one", fields{"value": "hidden-2"}).ok()
	require.Equal(t, map[string]any{"id": sec.ID, "version": 2, "created": false}, written)
}

func updateBehindVault(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	for _, send := range []func(string, fields) answer{e.write, e.patch} {
		e.sim.Delete("one")
		send("secrets/one", fields{"value": "hidden-2"}).refused(http.StatusNotFound, "no such secret", "write it again", "to create it")
		e.holds("one")
		require.Equal(t, true, e.write("secrets/one", fields{"value": "hidden-2"}).ok()["created"])
	}
	// PATCH has no existence check, and never creates.
	e.patch("secrets/two", fields{"value": "hidden-1"}).refused(http.StatusNotFound, "to create it")
	e.holds("two")
}

func madeAgain(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	remake := func() {
		e.sim.Delete("one")
		e.sim.Create("one", []byte("hidden-2"))
	}
	remake()
	require.Equal(t, "hidden-2", e.read("secrets/one").ok()["value"])
	remake()
	e.write("secrets/one", fields{"value": "hidden-3"}).ok()
	e.holds("one", "hidden-2", "hidden-3")
	remake()
	require.Equal(t, []string{"1"}, e.list("secrets/one/versions/").ok()["keys"])
	remake()
	e.delete("secrets/one").ok()
	e.holds("one")
}

func listSecrets(t *testing.T, e *engine) {
	e.sim.Fill(250)
	e.write("secrets/one", fields{"value": "hidden-1", "description": "the first", "expired_at": "2999-01-31T00:00:00Z"}).ok()
	data := e.list("secrets/").ok()
	keys := data["keys"].([]string)
	require.Len(t, keys, 251)
	require.True(t, slices.IsSorted(keys))
	info := data["key_info"].(map[string]any)
	require.Len(t, info, 251)

	sec, _ := e.sim.Secret("one")
	one := *info["one"].(*itemInfo)
	require.Contains(t, []any{1, nil}, one.Version, "null where ABEJA lists no versions")
	require.NotEmpty(t, one.UpdatedAt)
	one.Version, one.UpdatedAt = nil, nil
	require.Equal(t, itemInfo{ID: sec.ID, Description: "the first", ExpiredAt: "2999-01-31T00:00:00Z"}, one)

	page := e.list("secrets/", fields{"after": "demo_00010", "limit": 3}).ok()
	require.Equal(t, []string{"demo_00011", "demo_00012", "demo_00013"}, page["keys"])
	require.Len(t, page["key_info"], 3)
	require.Equal(t, []string{"one"}, e.list("secrets/", fields{"after": "demo_00250"}).ok()["keys"])
	require.Empty(t, e.list("secrets/", fields{"after": "one"}).ok()["keys"])
	require.Len(t, e.list("secrets/", fields{"limit": 1000}).ok()["keys"], 251)
}

func noActiveVersion(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.sim.SetStatus("one", 1, "inactive")
	e.read("secrets/one").refused(http.StatusNotFound, "no active version", "version=N", "status=active")
	data := e.read("secrets/one", fields{"version": 1}).ok()
	require.Equal(t, "hidden-1", data["value"])
	require.Equal(t, "inactive", data["status"])

	// The same value is a new version then: else the write would change nothing for the reader.
	require.Equal(t, 2, e.write("secrets/one", fields{"value": "hidden-1"}).ok()["version"])
	require.Equal(t, "hidden-1", e.read("secrets/one").ok()["value"])
}

func expiredSecret(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.write("secrets/later", fields{"value": "hidden-2", "expired_at": "2999-01-31T00:00:00Z"}).ok()
	e.sim.SetExpiry("one", time.Date(2020, 1, 31, 0, 0, 0, 0, time.UTC))
	reads := func() []answer {
		return []answer{e.read("secrets/one"), e.read("secrets/one", fields{"version": 1}), e.read("secrets/one/versions/1")}
	}
	for _, a := range reads() {
		if a.status == http.StatusNotFound { // some ABEJAs no longer return it
			a.refused(http.StatusNotFound, "expired at 2020-01-31", "set a later expired_at")
			continue
		}
		require.Equal(t, "hidden-1", a.ok()["value"])
		require.Equal(t, []string{"This secret has expired at 2020-01-31T00:00:00Z."}, a.warnings)
	}
	require.Empty(t, e.read("secrets/later").warnings)

	e.write("config", fields{"expired_secrets": "deny"}).ok()
	for _, a := range reads() {
		a.refused(http.StatusForbidden, "expired at 2020-01-31", "expired_secrets=deny", "set a later expired_at")
	}
	require.Equal(t, "hidden-2", e.read("secrets/later").ok()["value"])
	require.Contains(t, e.list("secrets/").ok()["keys"], "one")

	// It is renewed as the refusal says, or deleted.
	e.patch("secrets/one", fields{"expired_at": "2999-01-31T00:00:00Z"}).ok()
	for _, a := range reads() {
		require.Equal(t, "hidden-1", a.ok()["value"])
		require.Empty(t, a.warnings)
	}
	e.sim.SetExpiry("one", time.Date(2020, 1, 31, 0, 0, 0, 0, time.UTC))
	e.delete("secrets/one").ok()
	e.holds("one")
}

func namePrefix(t *testing.T, e *engine) {
	e.sim.Create("shop_one", []byte("hidden-1"))
	e.sim.Create("bank_two", []byte("hidden-2"))
	e.sim.Create("shop_", []byte("hidden-3")) // has no name left
	other, _ := e.sim.Secret("bank_two")
	e.write("config", fields{"name_prefix": "shop_"}).ok()

	list := e.list("secrets/")
	require.Equal(t, []string{"one"}, list.ok()["keys"])
	require.Len(t, list.warnings, 1)
	data := e.read("secrets/one").ok()
	require.Equal(t, "one", data["name"])
	require.Equal(t, "hidden-1", data["value"])

	for _, path := range []string{"secrets/bank_two", "secrets/shop_one", "ids/" + other.ID} {
		e.read(path).refused(http.StatusNotFound)
		e.patch(path, fields{"value": "hidden-4"}).refused(http.StatusNotFound)
		e.delete(path).ok()
	}
	e.holds("bank_two", "hidden-2")

	e.write("secrets/new", fields{"value": "hidden-5"}).ok()
	e.holds("shop_new", "hidden-5")
	e.write("secrets/one", fields{"value": "hidden-6"}).ok()
	e.holds("shop_one", "hidden-1", "hidden-6")
	e.write("secrets/bank_two", fields{"value": "hidden-7"}).ok()
	e.holds("bank_two", "hidden-2")
	e.holds("shop_bank_two", "hidden-7")
	e.delete("secrets/one").ok()
	e.holds("shop_one")
}

// refusedByABEJA is about what can only be known by asking: it is asked, and told to do nothing.
func refusedByABEJA(t *testing.T, e *engine) {
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	sent := e.writes()
	const unknown = "1234567890123"
	e.read("secrets/two").refused(http.StatusNotFound, "no such secret")
	e.read("secrets/one", fields{"version": 999}).refused(http.StatusNotFound, "no such version")
	e.read("secrets/one/versions/999").refused(http.StatusNotFound, "no such version")
	e.write("secrets/one/versions/999", fields{"status": "inactive"}).refused(http.StatusNotFound, "no such version")
	e.delete("secrets/one/versions/999").ok()
	e.list("secrets/two/versions/").refused(http.StatusNotFound, "no such secret")
	e.read("secrets/two/versions/1").refused(http.StatusNotFound, "no such secret")
	e.write("secrets/two/versions/1", fields{"status": "inactive"}).refused(http.StatusNotFound, "no such secret")
	e.delete("secrets/two/versions/1").ok()
	e.read("ids/"+unknown).refused(http.StatusNotFound, "no such secret")
	e.write("ids/"+unknown, fields{"value": "hidden-2"}).refused(http.StatusNotFound, "no such secret", "by its name")
	e.patch("ids/"+unknown, fields{"value": "hidden-2"}).refused(http.StatusNotFound, "no such secret")
	e.delete("ids/" + unknown).ok()
	e.write("secrets/one", fields{"value": "hidden-2", "cas": 2}).refused(http.StatusBadRequest, casRefusal)
	require.Equal(t, sent, e.writes())
	e.holds("one", "hidden-1")
	require.Equal(t, 1, e.sim.Len())
}

func TestAValueThatIsNoTextComesAndGoesInBase64(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	binary := "hidden-\xff\x00"
	encoded := base64.StdEncoding.EncodeToString([]byte(binary))
	e.write("secrets/one", fields{"value": encoded, "encoding": "base64"}).ok()
	e.holds("one", binary)
	data := e.read("secrets/one").ok()
	require.Equal(t, encoded, data["value"])
	require.Equal(t, "base64", data["encoding"])

	// What was read can be written again, and changes nothing.
	e.write("secrets/one", fields{"value": data["value"], "encoding": data["encoding"]}).ok()
	e.holds("one", binary)

	// Text may be written in base64 too, and is read as text; text that looks like base64 is text.
	for _, value := range []string{"hidden-é 秘密 \x00\n", encoded} {
		e.write("secrets/one", fields{"value": base64.StdEncoding.EncodeToString([]byte(value)), "encoding": "base64"}).ok()
		data = e.read("secrets/one").ok()
		require.Equal(t, value, data["value"])
		require.NotContains(t, data, "encoding")
	}
	e.write("secrets/two", fields{"value": encoded}).ok()
	e.holds("two", encoded)
}

// A client has put U+FFFD in place of what is not UTF-8 before anything is sent.
func TestAValueWithU_FFFDIsStoredWithAWarning(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	const lossy, plain = "hidden\uFFFD", "hidden-2"
	id := e.sim.Create("by_id", []byte(plain))
	warned := func(a answer, want bool) {
		t.Helper()
		a.ok()
		if !want {
			require.Empty(t, a.warnings, a.what)
			return
		}
		require.Len(t, a.warnings, 1, a.what)
		require.Contains(t, a.warnings[0], "U+FFFD")
		require.Contains(t, a.warnings[0], "encoding=base64")
	}
	in64 := fields{"value": base64.StdEncoding.EncodeToString([]byte(lossy)), "encoding": "base64"}
	warned(e.write("secrets/one", fields{"value": lossy}), true)
	warned(e.write("secrets/one", fields{"value": lossy}), true)
	warned(e.write("secrets/one", fields{"description": "x"}), false)
	warned(e.write("secrets/one", in64), false)
	warned(e.write("secrets/one", fields{"value": plain}), false)
	warned(e.patch("secrets/one", fields{"value": lossy}), true)
	warned(e.write("ids/"+id, fields{"value": lossy}), true)
	e.holds("one", lossy, plain, lossy)
	e.holds("by_id", plain, lossy)

	for _, data := range []fields{{"value": lossy}, {"a": []any{fields{"b": lossy}}}, {lossy: nil}} {
		warned(e.kvPut("data/two", fields{"data": data}), true)
		warned(e.kvPut("data/two", fields{"data": fields{"a": plain}}), false)
		warned(e.kvPatch("data/two", fields{"data": data}), true)
		warned(e.kvPatch("data/two", fields{"data": fields{"c": plain}}), false)
	}
}

func TestAWriteTellsNoVersionWhereABEJATellsOfNone(t *testing.T) {
	t.Parallel()
	e := seen(t)
	org, _, _, _ := e.sim.Credentials()
	sec, _ := e.sim.Secret("one")
	e.sim.AddFault(simulator.Fault{Op: simulator.UpdateSecret, Kind: simulator.FaultBody,
		Body: `{"id":"` + sec.ID + `","organization_id":"` + org + `","name":"one","description":"new"}`})
	require.Equal(t, map[string]any{"id": sec.ID, "version": nil, "created": false}, e.write("secrets/one", fields{"description": "new"}).ok())
}

func TestBadInputIsRefusedBeforeABEJAIsCalled(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.write("secrets/one", fields{"value": "hidden-1"}).ok()["id"].(string)
	before, _ := e.sim.Secret("one")
	e.sim.ResetRequests()

	const rule = "1 to 512 ASCII letters, digits, '_' and '-'"
	bad := []answer{}
	refused := func(a answer, says ...string) {
		t.Helper()
		a.refused(http.StatusBadRequest, says...)
		bad = append(bad, a)
	}
	for _, name := range []string{"db.password", "with space", "日本", "one+two", "a/b", "one/", "..", "one/versions/1/x", strings.Repeat("x", 513)} {
		refused(e.read("secrets/"+name), rule)
		refused(e.write("secrets/"+name, fields{"value": "hidden-2"}), rule)
		refused(e.patch("secrets/"+name, fields{"value": "hidden-2"}), rule)
		refused(e.delete("secrets/"+name), rule)
	}
	refused(e.list("secrets/one/"), rule)
	refused(e.list("secrets/db.password/versions/"), rule)
	refused(e.read("secrets/db.password/versions/1"), rule)
	for _, name := range []string{"db-secret", "x-123456", "a-_-___--_"} {
		refused(e.write("secrets/"+name, fields{"value": "hidden-2"}), "hyphen", "choose another")
	}
	for _, c := range []struct {
		field string
		value any
		says  string
	}{
		{"value", "", "must not be empty"},
		{"value", nil, "must not be empty"},
		{"expired_at", "tomorrow", "RFC 3339"},
		{"expired_at", "2030-01-31", "RFC 3339"},
		{"expired_at", "2030-01-31T00:00:00", "RFC 3339"},
		{"expired_at", "1969-12-31T00:00:00Z", "RFC 3339"},
		{"expired_at", "9999-12-31T23:59:59-01:00", "RFC 3339"},
		{"expired_at", 1900000000, "RFC 3339"},
		{"integration_service_type", "abeja-cloud", "'abeja-platform-labs'"},
		{"integration_service_type", "", "'abeja-platform-labs'"},
		{"integration_service_ids", "1,a/b", "ids of labs apps"},
		{"integration_service_ids", []string{"1 2"}, "ids of labs apps"},
		{"description", strings.Repeat("x", 10_001), "at most 10000 bytes"},
		{"cas", -1, "current version"},
		{"encoding", "base64", "encoding needs a value"},
		{"encoding", "rot13", "'base64'"},
	} {
		for _, path := range []string{"secrets/one", "secrets/two", "ids/" + id} {
			refused(e.write(path, fields{c.field: c.value}), c.says)
			refused(e.patch(path, fields{c.field: c.value}), c.says)
		}
	}
	for _, value := range []string{"%%%", "aGlkZGVuLTE", "aGlkZGVu LTE=", "_-_-", "====", "\n"} {
		refused(e.write("secrets/one", fields{"value": value, "encoding": "base64"}), "standard base64")
	}
	refused(e.write("secrets/one", fields{"value": "hidden-2", "encoding": "rot13"}), "'base64'")

	for _, version := range []any{0, -1, "x", "", "1.5", "01", "+1", " 1", "2147483648", "99999999999999999999"} {
		if !slices.Contains([]any{0, -1, ""}, version) {
			refused(e.read("secrets/one", fields{"version": version}), "version must be a whole number, 1 or more")
			refused(e.read("ids/"+id, fields{"version": version}), "version must be a whole number, 1 or more")
		}
		if version == "" {
			continue
		}
		path := fmt.Sprintf("secrets/one/versions/%v", version)
		refused(e.read(path), "version must be a whole number, 1 or more")
		refused(e.write(path, fields{"status": "inactive"}), "version must be a whole number, 1 or more")
		refused(e.delete(path), "version must be a whole number, 1 or more")
	}
	for _, status := range []any{"", "asleep", "ACTIVE", nil} {
		refused(e.write("secrets/one/versions/1", fields{"status": status}), "'active' or 'inactive'")
	}
	refused(e.write("secrets/one/versions/1", fields{}), "'active' or 'inactive'")
	for _, bad := range []string{"a b", "日本", "a.b", strings.Repeat("1", 65)} {
		refused(e.read("ids/"+bad), "an id must have")
		refused(e.write("ids/"+bad, fields{"value": "hidden-2"}), "an id must have")
		refused(e.patch("ids/"+bad, fields{"value": "hidden-2"}), "an id must have")
		refused(e.delete("ids/"+bad), "an id must have")
	}
	for _, path := range []string{"secrets/", "ids/"} {
		refused(e.list(path, fields{"limit": -1}), "limit must be 0 for all, or more")
	}

	require.Zero(t, e.sim.Count(), "ABEJA is called")
	// Only ABEJA knows whether there is one of the name.
	refused(e.write("secrets/two", fields{"description": "no value"}), "no such secret", "creating one needs a value")
	require.Equal(t, e.sim.Count("list_secrets"), e.sim.Count())
	require.Greater(t, len(bad), 150)
	after, _ := e.sim.Secret("one")
	require.Equal(t, before, after)
	require.Equal(t, 1, e.sim.Len())
}

func TestAReservedNameIsRefusedWithThePrefixThatItHasAtABEJA(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"name_prefix": "team-"})
	e.list("secrets/").ok()
	e.sim.ResetRequests()
	e.write("secrets/secret", fields{"value": "hidden-1"}).refused(http.StatusBadRequest, "hyphen", "choose another")
	require.Zero(t, e.sim.Count())
	e.write("secrets/secrets", fields{"value": "hidden-1"}).ok()
	e.holds("team-secrets", "hidden-1")
}

func TestANameThatIsTooLongWithThePrefixIsRefusedBeforeABEJAIsCalled(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"name_prefix": "team_"})
	name := strings.Repeat("a", 508)
	for _, a := range []answer{
		e.write("secrets/"+name, fields{"value": "hidden-1"}),
		e.kvPut("data/"+name, fields{"data": fields{"value": "hidden-1"}}),
		e.kvPut("generate/"+name, fields{}),
		e.read("secrets/" + name), e.delete("secrets/" + name), e.list("secrets/" + name + "/versions/"), e.kvGet("data/" + name), e.kvDelete("metadata/" + name),
	} {
		a.refused(http.StatusBadRequest, "at most 512 characters", "name_prefix")
	}
	require.Zero(t, e.sim.Count())
	e.write("secrets/"+name[1:], fields{"value": "hidden-1"}).ok()
	require.Equal(t, "hidden-1", e.read("secrets/" + name[1:]).ok()["value"])
}

func TestWhatAPathCannotDoIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.list("config").refused(http.StatusMethodNotAllowed)
	e.write("secrets/", fields{"value": "hidden-1"}).refused(http.StatusMethodNotAllowed)
	e.patch("secrets/one/versions/1", fields{"status": "active"}).refused(http.StatusMethodNotAllowed)
	e.read("nothing/here").refused(http.StatusNotFound)
	require.Zero(t, e.sim.Count())
}

func TestAReadOfAKnownNameIsOneRequestHoweverManySecretsThereAre(t *testing.T) {
	t.Parallel()
	for _, secrets := range []int{3, 700} {
		synctest.Test(t, func(t *testing.T) {
			e := inMemory(t)
			e.sim.Fill(secrets)
			sec, _ := e.sim.Secret("demo_00002")
			e.list("secrets/").ok()
			for _, path := range []string{"secrets/demo_00001", "secrets/demo_00002", "ids/" + sec.ID, "secrets/demo_00003/versions/1"} {
				synctest.Wait()
				e.sim.ResetRequests()
				e.read(path).ok()
				synctest.Wait()
				require.Equal(t, 1, e.sim.Count(), "%s of %d", path, secrets)
				require.Equal(t, 1, e.sim.Count(simulator.GetSecret))
			}
		})
	}
}

func TestAnAnswerFromMemorySaysHowOldItIs(t *testing.T) {
	t.Parallel()
	e := seen(t, fields{"stale_if_error": "1h"})
	fresh := e.read("secrets/one")
	require.Empty(t, fresh.warnings)
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
	stale := e.read("secrets/one")
	require.Equal(t, fresh.ok(), stale.ok())
	require.Len(t, stale.warnings, 1)
	require.Regexp(t, `could not be asked.* \d+s old`, stale.warnings[0])
	e.read("secrets/two").refused(http.StatusBadGateway)

	// Vault's disable_cache goes over it.
	e.sim.ClearFaults()
	view := logical.TestSystemView()
	view.CachingDisabledVal = true
	e.backend = e.startWith(view)
	e.read("secrets/one").ok()
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
	e.read("secrets/one").refused(http.StatusBadGateway)
}

func TestValuesAreAskedForOnlyWhereOneIsWanted(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.list("secrets/").ok()
	e.list("ids/").ok()
	e.list("secrets/one/versions/").ok()
	e.write("secrets/one/versions/1", fields{"status": "inactive"}).ok()
	e.exists("secrets/two", nil)
	for _, r := range e.sim.Requests() {
		require.NotContains(t, r.Query, "return_secret_value", "%s %s", r.Method, r.Path)
	}
}

func TestExistenceChecksCauseOneListingAtTheMost(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	check := func(path string, data fields) (bool, bool) {
		checked, exists, err := e.exists(path, data)
		require.NoError(t, err)
		return checked, exists
	}
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() { e.exists(fmt.Sprintf("secrets/guess_%d", i), nil) })
	}
	group.Wait()
	for i := range 20 {
		checked, exists := check(fmt.Sprintf("secrets/other_%d", i), fields{"value": "hidden-2"})
		require.True(t, checked)
		require.False(t, exists)
	}
	_, exists := check("secrets/one", nil)
	require.True(t, exists)
	require.Equal(t, 1, e.sim.Count())

	// What cannot be a secret is not looked for: the handler refuses it, once the policy has let it through.
	_, exists = check("secrets/db.password", nil)
	require.False(t, exists)
	checked, _ := check("secrets/one", fields{"value": fields{"a": "b"}})
	require.False(t, checked)
	require.Equal(t, 1, e.sim.Count())
}

func TestExistenceChecksAskNoMoreOftenWhenABEJAFails(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
	for i := range 20 {
		_, exists, err := e.exists(fmt.Sprintf("secrets/guess_%d", i), nil)
		require.NoError(t, err)
		require.False(t, exists)
	}
	require.Equal(t, 1, e.sim.Count())

	// A write is then a create, which says what is wrong, and changes nothing that exists.
	e.write("secrets/one", fields{"value": "hidden-2"}).refused(http.StatusBadGateway)
	e.sim.ClearFaults()
	e.write("secrets/one", fields{"value": "hidden-2"}).refused(http.StatusConflict, "write again to update it")
	e.holds("one", "hidden-1")
	e.write("secrets/one", fields{"value": "hidden-2"}).ok()
	e.holds("one", "hidden-1", "hidden-2")
}

func TestWithoutAConfigTheExistenceCheckLetsTheHandlerExplain(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	checked, exists, err := e.exists("secrets/one", nil)
	require.NoError(t, err)
	require.True(t, checked)
	require.False(t, exists)
}

func TestOfWritersOfOneNewNameWithCASOneSucceeds(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	var group sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for i := range 8 {
		group.Go(func() {
			req := e.request(logical.CreateOperation, "secrets/one", fields{"value": fmt.Sprintf("hidden-%d", i), "cas": 0})
			_, err := e.backend.HandleRequest(t.Context(), req)
			status := http.StatusOK
			if coded, ok := err.(logical.HTTPCodedError); ok {
				status = coded.Code()
			}
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
		})
	}
	group.Wait()
	require.Equal(t, map[int]int{http.StatusOK: 1, http.StatusBadRequest: 7}, statuses)
	sec, _ := e.sim.Secret("one")
	require.Len(t, sec.Versions, 1)
}

// Bank-Vaults asks for version -1 of whatever it reads, as KV version 2 has it for the newest.
func TestAVersionThatIsEmptyZeroOrMinusOneIsNone(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	e.write("secrets/one", fields{"value": "hidden-2"}).ok()
	e.write("secrets/one", fields{"value": "hidden-3"}).ok()
	e.write("secrets/one/versions/3", fields{"status": "inactive"}).ok()
	for _, version := range []any{"", 0, "0", -1, "-1", nil} {
		for _, path := range []string{"secrets/one", "ids/" + id} {
			require.Equal(t, "hidden-2", e.read(path, fields{"version": version}).ok()["value"], "%s, version %v", path, version)
		}
	}
}
