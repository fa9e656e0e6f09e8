package backend

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// asKV is an answer as a client of KV v2 gets it: every number is a float64 on its way from the plugin, too.
func (a answer) asKV() answer {
	if a.data != nil {
		a.data = carry(a.e.t, a.data)
	}
	return a
}

func (e *engine) kv(op logical.Operation, path string, data ...fields) answer {
	e.t.Helper()
	return e.call(op, path, data...).asKV()
}

func (e *engine) kvPut(path string, data fields) answer {
	e.t.Helper()
	return e.write(path, data).asKV()
}

func (e *engine) kvGet(path string, data ...fields) answer {
	e.t.Helper()
	return e.kv(logical.ReadOperation, path, data...)
}

func (e *engine) kvPatch(path string, data fields) answer {
	e.t.Helper()
	return e.kv(logical.PatchOperation, path, data)
}

func (e *engine) kvDelete(path string) answer {
	e.t.Helper()
	return e.kv(logical.DeleteOperation, path)
}

// put writes a map to data/ and returns the version's number.
func (e *engine) put(name string, data fields, options ...fields) int {
	e.t.Helper()
	body := fields{"data": data}
	if len(options) > 0 {
		body["options"] = options[0]
	}
	return int(e.kvPut("data/"+name, body).ok()["version"].(float64))
}

func about(data map[string]any) map[string]any { return data["metadata"].(map[string]any) }

// isTime wants a time as KV v2 writes it: in UTC.
func isTime(t *testing.T, text any) {
	t.Helper()
	at, err := time.Parse(time.RFC3339Nano, text.(string))
	require.NoError(t, err)
	require.Equal(t, time.UTC, at.Location())
	require.WithinDuration(t, time.Now(), at, time.Hour)
}

// gone wants the 404 with a body that KV v2 answers for a version that was deleted or destroyed.
func (a answer) gone(version int, destroyed bool) {
	a.e.t.Helper()
	a.refused(http.StatusNotFound)
	require.Contains(a.e.t, a.data, "data", a.what)
	require.Nil(a.e.t, a.data["data"])
	got := about(a.data)
	require.EqualValues(a.e.t, version, got["version"], a.what)
	require.Equal(a.e.t, destroyed, got["destroyed"], a.what)
	if !destroyed {
		isTime(a.e.t, got["deletion_time"])
	}
}

func TestKVAMapIsWrittenAndReadWithTheVersionsMetadata(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	require.Equal(t, 1, e.put("one", fields{"value": "hidden-0"}))
	written := e.kvPut("data/one", fields{"data": fields{"user": "hidden-1", "n": 1.5, "deep": fields{"none": nil}}})
	require.Equal(t, http.StatusOK, written.status)
	e.holds("one", "hidden-0", `{"deep":{"none":null},"n":1.5,"user":"hidden-1"}`)

	isTime(t, written.data["created_time"])
	want := map[string]any{
		"version": 2.0, "created_time": written.data["created_time"], "deletion_time": "", "destroyed": false, "custom_metadata": nil,
	}
	require.Equal(t, want, written.data)
	read := e.kvGet("data/one")
	require.Empty(t, read.warnings)
	require.Equal(t, map[string]any{
		"data":     map[string]any{"user": "hidden-1", "n": 1.5, "deep": map[string]any{"none": nil}},
		"metadata": want,
	}, read.ok())
}

func TestKVReadsWhatABEJAsOwnClientsStored(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("text", []byte("hidden-1"))
	e.sim.Create("bytes", []byte("\xffhidden"))
	require.Equal(t, map[string]any{"value": "hidden-1"}, e.kvGet("data/text").ok()["data"])
	require.Equal(t, map[string]any{"value": "/2hpZGRlbg==", "encoding": "base64"}, e.kvGet("data/bytes").ok()["data"])

	e.put("text", fields{"value": "hidden-2"})
	e.holds("text", "hidden-1", "hidden-2")
	require.Equal(t, "hidden-2", e.read("secrets/text").ok()["value"], "the other paths read the same")
}

func TestKVReadGivesEachVersion(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for n := range 4 {
		require.Equal(t, n+1, e.put("one", fields{"value": fmt.Sprintf("hidden-%d", n+1)}))
	}
	for _, version := range []any{2, "2"} {
		got := e.kvGet("data/one", fields{"version": version}).ok()
		require.Equal(t, map[string]any{"value": "hidden-2"}, got["data"])
		require.EqualValues(t, 2, about(got)["version"])
	}
	for _, newest := range []any{0, -1, nil} {
		require.EqualValues(t, 4, about(e.kvGet("data/one", fields{"version": newest}).ok())["version"])
	}
	e.sim.SetStatus("one", 1, "inactive")
	e.delete("secrets/one/versions/2").ok()
	e.kvGet("data/one", fields{"version": 1}).gone(1, false)
	e.kvGet("data/one", fields{"version": 2}).gone(2, true)
	e.kvGet("data/one", fields{"version": 5}).refused(http.StatusNotFound, "no such version")

	// When the newest is inactive the secret is deleted, although an older version is active.
	e.sim.SetStatus("one", 4, "inactive")
	e.kvGet("data/one").gone(4, false)
	require.Equal(t, map[string]any{"value": "hidden-3"}, e.kvGet("data/one", fields{"version": 3}).ok()["data"])

	// The newest that ABEJA still has is the current one.
	e.delete("secrets/one/versions/4").ok()
	require.EqualValues(t, 3, about(e.kvGet("data/one").ok())["version"])
	e.kvGet("data/one", fields{"version": 4}).refused(http.StatusNotFound, "no such version")
	e.delete("secrets/one/versions/3").ok()
	e.delete("secrets/one/versions/1").ok()
	e.kvGet("data/one").refused(http.StatusNotFound, "no version")
	require.Equal(t, 5, e.put("one", fields{"value": "hidden-5"}, fields{"cas": 0}))
}

func TestKVACustomMetadataDescriptionIsInEveryAnswer(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.write("secrets/one", fields{"value": "hidden-1", "description": "the first"}).ok()
	want := map[string]any{"description": "the first"}
	require.Equal(t, want, e.kvPut("data/one", fields{"data": fields{"value": "hidden-2"}}).ok()["custom_metadata"])
	require.Equal(t, want, e.kvPatch("data/one", fields{"data": fields{"value": "hidden-3"}}).ok()["custom_metadata"])
	require.Equal(t, want, about(e.kvGet("data/one").ok())["custom_metadata"])
	require.Equal(t, want, about(e.kvGet("subkeys/one").ok())["custom_metadata"])
	require.Equal(t, want, e.kvGet("metadata/one").ok()["custom_metadata"])
	e.kvDelete("data/one").ok()
	require.Equal(t, want, about(e.kvGet("data/one").data)["custom_metadata"])
	e.delete("secrets/one/versions/2").ok()
	require.Equal(t, want, about(e.kvGet("data/one", fields{"version": 2}).data)["custom_metadata"])
}

func TestKVWithoutASecretIs404AndANameThatCannotBeIs400(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.kvGet("data/two").refused(http.StatusNotFound, "no such secret")
	e.kvGet("metadata/two").refused(http.StatusNotFound, "no such secret")
	e.kvGet("subkeys/two").refused(http.StatusNotFound, "no such secret")
	e.kvPatch("data/two", fields{"data": fields{"a": "b"}}).refused(http.StatusNotFound, "no such secret")
	e.kvPatch("metadata/two", fields{"custom_metadata": fields{"description": "x"}}).refused(http.StatusNotFound, "no such secret")
	var all sync.WaitGroup // each waits for a list that begins after it
	for _, send := range []func() answer{
		func() answer { return e.kvDelete("data/two") },
		func() answer { return e.kvDelete("metadata/two") },
		func() answer { return e.kvPut("delete/two", fields{"versions": 1}) },
		func() answer { return e.kvPut("undelete/two", fields{"versions": 1}) },
		func() answer { return e.kvPut("destroy/two", fields{"versions": 1}) },
	} {
		all.Go(func() { assert.Equal(t, http.StatusNoContent, send().status) })
	}
	all.Wait()
	require.Zero(t, e.writes())

	e.sim.ResetRequests()
	body := fields{"data": fields{"value": "hidden-2"}, "versions": 1, "custom_metadata": fields{"description": "x"}}
	for _, name := range []string{"a/b", "a.b", "one/", strings.Repeat("a", 513)} {
		const says = "letters, digits, '_' and '-', and no slash"
		for _, path := range []string{"data/", "metadata/", "delete/", "undelete/", "destroy/"} {
			e.kv(logical.UpdateOperation, path+name, body).refused(http.StatusBadRequest, says)
		}
		for _, path := range []string{"data/", "metadata/", "subkeys/"} {
			e.kvGet(path+name).refused(http.StatusBadRequest, says)
		}
		e.kv(logical.CreateOperation, "data/"+name, body).refused(http.StatusBadRequest, says)
		for _, path := range []string{"data/", "metadata/"} {
			e.kvPatch(path+name, body).refused(http.StatusBadRequest, says)
			e.kvDelete(path+name).refused(http.StatusBadRequest, says)
		}
		_, exists, err := e.exists("data/"+name, nil)
		require.NoError(t, err)
		require.False(t, exists)
	}
	e.kv(logical.CreateOperation, "data/api-secret", body).refused(http.StatusBadRequest, "hyphen")
	require.Zero(t, e.sim.Count())
}

func TestKVCheckAndSetComparesWithTheNewestVersion(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	put := func(value string, cas any) answer {
		return e.kvPut("data/one", fields{"data": fields{"value": value}, "options": fields{"cas": cas}})
	}
	for _, wrong := range []any{1, -1, "1"} {
		put("hidden-x", wrong).refused(http.StatusBadRequest, casRefusal)
	}
	put("hidden-1", 0).ok()
	put("hidden-2", "1").ok()
	put("hidden-3", 2).ok()
	for _, wrong := range []any{0, 1, 2, 4, -3} {
		put("hidden-x", wrong).refused(http.StatusBadRequest, casRefusal)
		e.kvPatch("data/one", fields{"data": fields{"a": "hidden-x"}, "options": fields{"cas": wrong}}).refused(http.StatusBadRequest, casRefusal)
	}
	for _, odd := range []any{"hidden-x", fields{"a": 1}, "1.5"} {
		put("hidden-x", odd).refused(http.StatusBadRequest, "error parsing check-and-set parameter")
	}
	e.holds("one", "hidden-1", "hidden-2", "hidden-3")

	// That of a deleted secret is still the current version.
	e.kvDelete("data/one").ok()
	put("hidden-x", 2).refused(http.StatusBadRequest, casRefusal)
	e.kvPatch("data/one", fields{"data": fields{"a": "hidden-x"}, "options": fields{"cas": 2}}).refused(http.StatusBadRequest, casRefusal)
	put("hidden-3", 3).ok()
	e.kvPatch("data/one", fields{"data": fields{"value": "hidden-4"}, "options": fields{"cas": 4}}).ok()
	e.holds("one", "hidden-1", "hidden-2", "hidden-3", "hidden-3", "hidden-4")
}

func TestKVAWriteOfTheCurrentMapMakesNoVersion(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"a": "hidden-0"})
	first := e.kvPut("data/one", fields{"data": fields{"a": "hidden-1", "b": 2}}).ok()
	for range 2 {
		require.Equal(t, first, e.kvPut("data/one", fields{"data": fields{"b": 2, "a": "hidden-1"}}).ok())
		require.Equal(t, first, e.kvPatch("data/one", fields{"data": fields{"b": 2}}).ok())
	}
	require.Equal(t, 2, e.writes())

	e.kvDelete("data/one").ok()
	require.Equal(t, 3, e.put("one", fields{"a": "hidden-1", "b": 2}), "a deleted one has to be written anew")
}

func TestKVAWriteWithoutAUsableMapIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()
	e.sim.ResetRequests()
	for _, name := range []string{"one", "two"} {
		for _, send := range []func(string, fields) answer{e.kvPut, e.kvPatch} {
			for _, c := range []struct {
				body fields
				says string
			}{
				{fields{}, "no data provided"},
				{fields{"data": nil}, "no data provided"},
				{fields{"options": fields{"cas": 1}}, "no data provided"},
				{fields{"data": "hidden-2"}, "data must be a map"},
				{fields{"data": []any{1}}, "data must be a map"},
				{fields{"data": fields{}, "options": "hidden-2"}, "options must be a map"},
			} {
				send("data/"+name, c.body).refused(http.StatusBadRequest, c.says)
			}
		}
		e.kvPut("data/"+name, fields{"data": fields{"hidden": 1 << 53}}).refused(http.StatusBadRequest, "2^53", "as a string")
	}
	e.kvPatch("data/one", fields{"data": fields{"hidden": []any{1 << 53}}}).refused(http.StatusBadRequest, "2^53")
	require.Zero(t, e.writes())
	e.holds("one", "hidden-1")
}

func TestKVPatchMergesIntoTheCurrentVersion(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before string
		patch  fields
		after  string
	}{
		"a key is added":                    {`{"a":"1"}`, fields{"b": "2"}, `{"a":"1","b":"2"}`},
		"a key is replaced":                 {`{"a":"1"}`, fields{"a": 2}, `{"a":2}`},
		"null removes":                      {`{"a":"1","b":"2"}`, fields{"a": nil, "c": nil}, `{"b":"2"}`},
		"the last key is removed":           {`{"a":"1"}`, fields{"a": nil}, `{}`},
		"maps are merged at every depth":    {`{"a":{"b":{"c":1,"d":2},"e":3}}`, fields{"a": fields{"b": fields{"c": nil, "x": 4}}}, `{"a":{"b":{"d":2,"x":4},"e":3}}`},
		"a map replaces what is none":       {`{"a":"1"}`, fields{"a": fields{"b": "2", "c": nil}}, `{"a":{"b":"2"}}`},
		"a list is replaced":                {`{"a":[1,2,3]}`, fields{"a": []any{nil, 4}}, `{"a":[null,4]}`},
		"text stays text":                   {`text`, fields{"value": "other", "a": nil}, `other`},
		"text may look like another object": {`text`, fields{"value": `{"a":1,"a":2}`}, `{"a":1,"a":2}`},
		"an object stays one":               {`{"value":"text"}`, fields{"value": "other"}, `{"value":"other"}`},
		"down to a value":                   {`{"a":"1","value":"text"}`, fields{"a": nil}, `{"value":"text"}`},
		"down to what stands for bytes":     {`{"a":"1","value":"/w=="}`, fields{"a": nil, "encoding": "base64"}, `{"encoding":"base64","value":"/w=="}`},
		"numbers that stay keep their form": {`{"a":"1","n":1e5,"m":1.50}`, fields{"a": nil}, `{"m":1.50,"n":1e5}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, simulator.Options{})
			e.sim.Create("one", []byte(c.before))
			require.EqualValues(t, 2, e.kvPatch("data/one", fields{"data": c.patch}).ok()["version"])
			e.holds("one", c.before, c.after)
		})
	}
}

// A patch could only put JSON in the place of what is not an object, or lose what Vault does not carry.
func TestKVPatchOfWhatIsNoMapIsRefused(t *testing.T) {
	t.Parallel()
	for before, says := range map[string]string{
		"text":                            "text, not a map",
		`["hidden"]`:                      "text, not a map",
		`{"hidden":1`:                     "text, not a map",
		"\xffhidden":                      "bytes that are not text",
		`{"hidden":1234567890123456789}`:  "loses digits",
		`{"hidden":9007199254740992}`:     "loses digits",
		`{"a":{"hidden":1},"a":"hidden"}`: "a key twice",
		`{"hidden":"\ud800"}`:             "half of a surrogate pair",
		strings.Repeat(`{"hidden":`, 300) + "1" + strings.Repeat("}", 300): "too many levels",
	} {
		e := newEngine(t, simulator.Options{})
		e.sim.Create("one", []byte(before))
		read := e.kvGet("data/one").ok()["data"]
		for _, patch := range []fields{{"a": "hidden-1"}, {"value": nil}, {"value": `{"a":"hidden-1"}`}, {"value": 1}, {"value": ""}, {"a": fields{"b": nil}}} {
			e.kvPatch("data/one", fields{"data": patch}).refused(http.StatusBadRequest, says, "write the whole secret")
		}
		if says != "text, not a map" {
			for _, patch := range []fields{{}, {"value": "hidden-1"}, {"value": "/w=="}, {"encoding": nil}} {
				e.kvPatch("data/one", fields{"data": patch}).refused(http.StatusBadRequest, says)
			}
		}
		require.Zero(t, e.writes())
		e.holds("one", before)
		require.Equal(t, read, e.kvGet("data/one").ok()["data"])
	}
}

func TestKVPatchThatChangesNothingKeepsTheForm(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("{ \"b\":1.50,\n\"a\": {}}"))
	e.kvPatch("data/one", fields{"data": fields{"b": 1.5, "a": fields{"c": nil}}}).ok()
	require.Zero(t, e.writes())
}

// kvRollback does as clients do: it reads a version and writes it as the newest.
func (e *engine) kvRollback(name string, version int) {
	e.t.Helper()
	newest := about(e.kvGet("data/" + name).ok())["version"]
	old := e.kvGet("data/"+name, fields{"version": version}).ok()["data"]
	e.kvPut("data/"+name, fields{"data": old, "options": fields{"cas": newest}}).ok()
}

func TestKVWritingBackWhatWasReadGivesTheBytes(t *testing.T) {
	t.Parallel()
	for _, value := range []string{
		"text", "text\n", "\xff\xfe\x00hidden", "/w==", `{"value":"hidden"}`, `{"value":""}`, `{"value":"{}"}`, "{}", " {}\n",
		"{ \"b\" : 1.50e0,\n\"a\":\"\\u003c\" }", `{"value":"/w==","encoding":"base64"}`, `{"encoding":"base64","value":"YQ=="}`,
		`{"hidden":1234567890123456789}`, `{"hidden":1e22}`, `{"a":1,"a":2}`, `{"a":"\ud800"}`, "[1]", "null", "\ufeff{}",
	} {
		e := newEngine(t, simulator.Options{})
		e.sim.Create("one", []byte(value))
		e.kvRollback("one", 1)
		e.kvPut("data/one", fields{"data": e.kvGet("data/one").ok()["data"]}).ok()
		e.holds("one", value)

		e.sim.AddVersion("one", []byte(`{"hidden":"other"}`))
		e.kvRollback("one", 1)
		e.holds("one", value, `{"hidden":"other"}`, value)
	}
}

// Of two forms of one map, nobody can tell which was read.
func TestKVWritingBackTakesTheNewestFormOfAMap(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte(`{"value":"hidden"}`))
	e.sim.AddVersion("one", []byte("hidden"))
	e.sim.AddVersion("one", []byte("hidden-3"))
	e.kvRollback("one", 1)
	e.holds("one", `{"value":"hidden"}`, "hidden", "hidden-3", "hidden")

	e.kvDelete("data/one").ok()
	e.put("one", fields{"value": "hidden"})
	e.holds("one", `{"value":"hidden"}`, "hidden", "hidden-3", "hidden", "hidden")
}

func TestKVPatchOfADeletedSecretIs404WithItsMetadata(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"a": "hidden-1"})
	e.kvDelete("data/one").ok()
	e.sim.ResetRequests()
	a := e.kvPatch("data/one", fields{"data": fields{"b": "hidden-2"}})
	a.refused(http.StatusNotFound)
	require.EqualValues(t, 1, a.data["version"])
	isTime(t, a.data["deletion_time"])
	require.Equal(t, false, a.data["destroyed"])

	e.delete("secrets/one/versions/1").ok()
	a = e.kvPatch("data/one", fields{"data": fields{"b": "hidden-2"}})
	a.refused(http.StatusNotFound)
	require.Nil(t, a.data)
	require.Zero(t, e.sim.Count(simulator.CreateVersion, simulator.CreateSecret))
}

func TestKVPatchLosesNoWriteThatComesBetween(t *testing.T) {
	t.Parallel()
	for _, cas := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := inMemory(t)
			e.put("one", fields{"a": "hidden-1"})
			e.sim.AddFault(simulator.Fault{Op: simulator.GetSecret, Count: 1, Kind: simulator.FaultDelay, Delay: time.Second, AfterActing: true})
			first := make(chan answer, 1)
			go func() { first <- e.kvPatch("data/one", fields{"data": fields{"other": "hidden-2"}}) }()
			synctest.Wait() // it has read, and is about to write
			body := fields{"data": fields{"b": "hidden-3"}}
			if cas {
				body["options"] = fields{"cas": 1}
				e.kvPatch("data/one", body).refused(http.StatusBadRequest, casRefusal)
				(<-first).ok()
				e.holds("one", `{"a":"hidden-1"}`, `{"a":"hidden-1","other":"hidden-2"}`)
				return
			}
			e.kvPatch("data/one", body).ok()
			(<-first).ok()
			e.holds("one", `{"a":"hidden-1"}`, `{"a":"hidden-1","other":"hidden-2"}`, `{"a":"hidden-1","b":"hidden-3","other":"hidden-2"}`)
		})
	}
}

func TestKVDeleteActsOnTheNewestVersionAlone(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	e.put("one", fields{"value": "hidden-2"})
	for range 3 {
		require.Equal(t, http.StatusNoContent, e.kvDelete("data/one").status)
	}
	e.kvGet("data/one").gone(2, false)
	require.Equal(t, 1, e.sim.Count(simulator.UpdateVersion))
	require.Equal(t, map[string]any{"value": "hidden-1"}, e.kvGet("data/one", fields{"version": 1}).ok()["data"])

	for _, n := range []string{"1", "2"} {
		e.delete("secrets/one/versions/" + n).ok()
	}
	require.Equal(t, http.StatusNoContent, e.kvDelete("data/one").status, "a secret without any version")
}

// What is made or deleted at ABEJA behind Vault's back changes what the policy should have been
// asked for. It is never done all the same.
func TestKVCreateNeverUpdatesAndUpdateNeverCreates(t *testing.T) {
	t.Parallel()
	for _, duplicateIs400 := range []bool{false, true} {
		for _, unknownIs403 := range []bool{false, true} {
			e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{DuplicateNameIs400: duplicateIs400, UnknownIDIs403: unknownIs403}})
			body, ifNew := fields{"data": fields{"value": "hidden-2"}}, fields{"data": fields{"value": "hidden-2"}, "options": fields{"cas": 0}}
			for name, create := range map[string]func() answer{
				"plain": func() answer { return e.kv(logical.CreateOperation, "data/plain", body) },
				"cas":   func() answer { return e.kv(logical.CreateOperation, "data/cas", ifNew) },
				"drawn": func() answer { return e.kv(logical.CreateOperation, "generate/drawn", fields{}) },
			} {
				e.sim.Create(name, []byte("hidden-1"))
				a := create()
				if name == "cas" {
					a.refused(http.StatusBadRequest, casRefusal)
				} else {
					a.refused(http.StatusConflict, "write again to update it")
				}
				e.holds(name, "hidden-1")
				_, exists, err := e.exists("data/"+name, nil)
				require.NoError(t, err)
				require.True(t, exists, "the next write is an update")
				e.sim.Delete(name)
			}
			description := fields{"custom_metadata": fields{"description": "x"}}
			for name, update := range map[string]func() answer{
				"write":       func() answer { return e.kv(logical.UpdateOperation, "data/write", body) },
				"write_ifnew": func() answer { return e.kv(logical.UpdateOperation, "data/write_ifnew", ifNew) },
				"patched":     func() answer { return e.kvPatch("data/patched", body) },
				"metadata":    func() answer { return e.kv(logical.UpdateOperation, "metadata/metadata", description) },
				"made":        func() answer { return e.kv(logical.UpdateOperation, "generate/made", fields{}) },
			} {
				e.put(name, fields{"value": "hidden-1"})
				e.sim.Delete(name)
				update().refused(http.StatusNotFound, "no such secret")
				_, there := e.sim.Secret(name)
				require.False(t, there, name)
				_, exists, err := e.exists("data/"+name, nil)
				require.NoError(t, err)
				require.False(t, exists, "the next write is a create")
			}
			e.kv(logical.CreateOperation, "metadata/never", description).ok()
			require.Zero(t, e.sim.Len(), "metadata make no secret")
		}
	}
}

func TestKVAnExpiredSecretIsAsTheConfigSays(t *testing.T) {
	t.Parallel()
	for _, withheld := range []bool{false, true} {
		for _, deny := range []string{"warn", "deny"} {
			e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{ExpiredIs404: withheld}}, fields{"expired_secrets": deny})
			e.put("one", fields{"a": "hidden-1"})
			e.put("one", fields{"a": "hidden-2"})
			e.sim.SetStatus("one", 1, "inactive")
			e.sim.SetExpiry("one", time.Now().Add(-time.Hour))
			for _, a := range []answer{e.kvGet("data/one"), e.kvGet("subkeys/one"), e.kvGet("data/one", fields{"version": 1})} {
				switch {
				case deny == "deny":
					a.refused(http.StatusForbidden, "expired at", "expired_secrets=deny")
				case withheld:
					a.refused(http.StatusNotFound, "expired at")
				default:
					require.Len(t, a.warnings, 1, a.what)
					require.Contains(t, a.warnings[0], "expired at")
				}
			}
		}
	}
}

func TestKVPathsWithoutAConfigNameTheCommandToRun(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	body := fields{"data": fields{"value": "hidden-1"}, "versions": 1}
	for _, a := range []answer{
		e.kvGet("data/one"), e.kvPut("data/one", body), e.kv(logical.UpdateOperation, "data/one", body), e.kvPatch("data/one", body), e.kvDelete("data/one"),
		e.kv(logical.ListOperation, "metadata/"), e.kvGet("metadata/one"), e.kv(logical.UpdateOperation, "metadata/one", body),
		e.kvPatch("metadata/one", body), e.kvDelete("metadata/one"), e.kvPut("delete/one", body), e.kvPut("undelete/one", body),
		e.kvPut("destroy/one", body), e.kvGet("subkeys/one"), e.kvPut("generate/one", nil),
	} {
		a.refused(http.StatusBadRequest, "not configured", "vault write abeja/config")
	}
	require.Zero(t, e.sim.Count())
}

func TestKVWorksHoweverABEJABehaves(t *testing.T) {
	t.Parallel()
	for name, behavior := range behaviors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, test := range []func(*testing.T, *engine, simulator.Behavior){kvLife, kvDescription, kvMountPrefix} {
				test(t, newEngine(t, simulator.Options{Behavior: behavior}, fields{"max_retries": 10}), behavior)
			}
		})
	}
}

// kvLife is a secret's life, from its first version to its end.
func kvLife(t *testing.T, e *engine, behavior simulator.Behavior) {
	require.Equal(t, 1, e.put("one", fields{"a": "hidden-1"}, fields{"cas": 0}))
	require.Equal(t, 2, e.put("one", fields{"a": "hidden-2"}, fields{"cas": 1}))
	require.EqualValues(t, 3, e.kvPatch("data/one", fields{"data": fields{"b": 3}}).ok()["version"])
	require.Equal(t, map[string]any{"a": "hidden-2", "b": 3.0}, e.kvGet("data/one").ok()["data"])

	if behavior.NewVersionDeactivatesOlder {
		e.kvGet("data/one", fields{"version": 1}).gone(1, false)
		e.kvPut("undelete/one", fields{"versions": []any{1, 2}}).ok()
	}
	require.Equal(t, map[string]any{"a": "hidden-1"}, e.kvGet("data/one", fields{"version": 1}).ok()["data"])
	require.Equal(t, map[string]any{"a": "hidden-2"}, e.kvGet("data/one", fields{"version": 2}).ok()["data"])

	e.kvDelete("data/one").ok()
	e.kvDelete("data/one").ok()
	e.kvGet("data/one").gone(3, false)
	e.kvPut("delete/one", fields{"versions": "1"}).ok()
	e.kvGet("data/one", fields{"version": 1}).gone(1, false)
	e.kvPut("undelete/one", fields{"versions": "1,3"}).ok()
	e.kvPut("destroy/one", fields{"versions": []any{2}}).ok()
	e.kvGet("data/one", fields{"version": 2}).gone(2, true)
	require.Equal(t, map[string]any{"a": nil, "b": nil}, e.kvGet("subkeys/one").ok()["subkeys"])
	require.Equal(t, map[string]any{"a": "hidden-1"}, e.kvGet("data/one", fields{"version": 1}).ok()["data"])

	metadata := e.kvGet("metadata/one").ok()
	require.EqualValues(t, 3, metadata["current_version"])
	isTime(t, metadata["created_time"])
	isTime(t, metadata["updated_time"])
	for n, destroyed := range map[string]bool{"1": false, "2": true, "3": false} {
		v := metadata["versions"].(map[string]any)[n].(map[string]any)
		require.Equal(t, destroyed, v["destroyed"])
		require.Equal(t, "", v["deletion_time"], n)
	}
	require.Equal(t, []any{"one"}, e.kv(logical.ListOperation, "metadata/").ok()["keys"])
	e.kvDelete("metadata/one").ok()
	e.kvDelete("metadata/one").ok()
	e.kvGet("data/one").refused(http.StatusNotFound)
	require.Empty(t, e.kv(logical.ListOperation, "metadata/").ok()["keys"])
	require.Equal(t, 1, e.put("one", fields{"a": "hidden-4"}))
}

func kvDescription(t *testing.T, e *engine, _ simulator.Behavior) {
	e.put("one", fields{"a": "hidden-1"})
	description := func() any { return e.kvGet("metadata/one").ok()["custom_metadata"] }
	for _, change := range []func(string, fields) answer{e.kvPut, e.kvPatch} {
		change("metadata/one", fields{"custom_metadata": fields{"description": "some"}}).ok()
		require.Equal(t, map[string]any{"description": "some"}, description())
		require.Equal(t, "some", e.read("secrets/one").ok()["description"])
	}
	e.kvPut("metadata/one", fields{"custom_metadata": fields{}}).ok()
	require.Nil(t, description())
	e.write("secrets/one", fields{"description": "other"}).ok()
	require.Equal(t, map[string]any{"description": "other"}, description())
	e.kvPatch("metadata/one", fields{"custom_metadata": fields{"description": nil}}).ok()
	require.Nil(t, description())
}

func kvMountPrefix(t *testing.T, e *engine, _ simulator.Behavior) {
	e.write("config", fields{"name_prefix": "team_"}).ok()
	e.put("one", fields{"a": "hidden-1"})
	e.holds("team_one", `{"a":"hidden-1"}`)
	require.Equal(t, []any{"one"}, e.kv(logical.ListOperation, "metadata/").ok()["keys"])
	e.kvPut("generate/one", fields{"length": 8}).ok()
	require.EqualValues(t, 2, e.kvGet("metadata/one").ok()["current_version"])
}

// While a call is under way whose answer is old when it comes, its caller may have read what is newer: from
// ABEJA's next answer, though the write itself is not acknowledged yet.
func TestKVAPatchOrDeleteIsDecidedByAnAnswerThatIsNoOlderThanItsCall(t *testing.T) {
	t.Parallel()
	old := simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Second, AfterActing: true, Count: 1}
	for name, c := range map[string]struct {
		delayed simulator.Op
		call    func(*engine) answer
		want    int // the newest version afterwards
	}{
		"patch with cas": {simulator.GetSecret, func(e *engine) answer {
			return e.kvPatch("data/one", fields{"data": fields{"b": "hidden"}, "options": fields{"cas": 2}})
		}, 3},
		"patch": {simulator.GetSecret, func(e *engine) answer {
			return e.kvPatch("data/one", fields{"data": fields{"b": "hidden"}})
		}, 3},
		"delete": {simulator.ListVersions, func(e *engine) answer { return e.delete("data/one") }, 2},
		"delete by number": {simulator.ListVersions, func(e *engine) answer {
			return e.write("delete/one", fields{"versions": []int{2}})
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := inMemory(t)
				e.sim.Create("one", []byte(`{"a":"hidden-1"}`))
				e.read("secrets/one").ok()
				f := old
				f.Op = c.delayed
				e.sim.AddFault(f)
				first := make(chan answer, 1)
				go func() {
					if c.delayed == simulator.ListVersions {
						first <- e.list("secrets/one/versions")
					} else {
						first <- e.read("metadata/one")
					}
				}()
				synctest.Wait()
				e.sim.AddVersion("one", []byte(`{"a":"hidden-2"}`))
				require.EqualValues(t, 2, e.read("secrets/one").ok()["version"])
				c.call(e).ok()
				(<-first).ok()
				now, _ := e.sim.Secret("one")
				require.Len(t, now.Versions, c.want)
				if c.want == 3 {
					require.JSONEq(t, `{"a":"hidden-2","b":"hidden"}`, string(now.Versions[2].Value))
				} else {
					require.Equal(t, "inactive", now.Versions[1].Status)
				}
			})
		})
	}
}
