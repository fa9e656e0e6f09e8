package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	sim "github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// engines is Vault's own KV version 2 and the plugin, mounted side by side in one Vault.
type engines struct {
	vault     string // its address
	kv, abeja string // the paths of the mounts
}

// vaultForKV starts Vault's dev server and returns its address.
func vaultForKV(t *testing.T) string {
	t.Helper()
	v, err := programs.Dev(t.Context(), t.TempDir(), "info")
	require.NoError(t, err)
	t.Cleanup(func() {
		v.Stop()
		checkVaultLog(t, v.Log, nil) // at level info it says nothing of ABEJA
	})
	return v.URL()
}

// newEngines mounts both under paths that begin with name. ABEJA behaves as it is told.
func newEngines(t *testing.T, vault, name string, behavior sim.Behavior) engines {
	t.Helper()
	abeja := sim.New(sim.Options{Behavior: behavior})
	server := httptest.NewServer(abeja)
	t.Cleanup(server.Close)
	org, user, token, _ := abeja.Credentials()

	e := engines{vault, name + "-kv", name + "-abeja"}
	for _, write := range []struct{ path, body string }{
		{"sys/mounts/" + e.kv, `{"type":"kv","options":{"version":"2"}}`},
		{"sys/mounts/" + e.abeja, `{"type":"` + vaulttest.Plugin + `"}`},
		{e.abeja + "/config", fmt.Sprintf(`{"organization_id":%q,"user_id":%q,"personal_access_token":%q,"api_url":%q}`, org, user, token, server.URL)},
	} {
		r := e.call(t, "POST", write.path, write.body)
		require.Equal(t, http.StatusNoContent, r.Status, "%s: %v", write.path, r.Errors)
	}
	// A new KV version 2 answers 400 until it has made itself ready.
	require.Eventually(t, func() bool { return e.call(t, "GET", e.kv+"/config", "").Status == http.StatusOK }, 30*time.Second, 20*time.Millisecond)
	return e
}

// reply is what a client sees of an answer.
type reply struct {
	Status   int `json:"status"`
	Data     any `json:"data"`
	Warnings any `json:"warnings"`
	Errors   any `json:"errors"`
}

func (e engines) call(t require.TestingT, method, path, body string) reply {
	status, text, err := vaulttest.Send(context.Background(), method, e.vault+"/v1/"+path, vaulttest.RootToken, []byte(body))
	require.NoError(t, err)
	var r reply
	if len(text) > 0 {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		require.NoError(t, d.Decode(&r), "%s", text)
	}
	r.Status = status
	return r
}

// seen returns all that an answer holds, by the path of the field, as JSON. Times are all alike.
func (r reply) seen() map[string]string {
	fields := map[string]string{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok && len(m) > 0 {
			for key, value := range m {
				walk(path+"."+key, value)
			}
			return
		}
		if text, ok := v.(string); ok {
			if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
				v = "TIME"
			}
		}
		text, _ := json.Marshal(v)
		fields[path] = string(text)
	}
	walk("status", r.Status)
	walk("data", r.Data)
	walk("warnings", r.Warnings)
	walk("errors", r.Errors)
	return fields
}

// kvDifference is a row of the table of differences in docs/kv.md, and what it explains: fields of
// answers in which the engines differ. What an engine lacks is empty.
type kvDifference struct {
	row    string
	fields []kvField
}

// kvField has regular expressions for a field's path, and for its JSON from either engine.
type kvField struct{ path, kv, abeja string }

const anything = "(?s).*"

// everywhere are the differences that any call may show.
var everywhere = []kvDifference{
	{"Who did it", []kvField{{`data\.(last_updated_by|versions\.\d+\.(created|deleted)_by)(\..+)?`, anything, "(null)?"}}},
	{"Lists say more", []kvField{{`data\.key_info\..+`, "", ".+"}}},
	{"Errors say more", []kvField{{"errors", `null|\[\]`, `\["1 error occurred:.*"\]`}}},
	{"Errors are wrapped", []kvField{
		{"errors", `\["(?i:(no data|no version number) provided)"\]`, `\["1 error occurred:\\n\\t\* (?i:(no data|no version number) provided)\\n\\n"\]`},
		{"errors", `\["error parsing check-and-set parameter"\]`, `\["1 error occurred:\\n\\t\* error parsing check-and-set parameter\\n\\n"\]`},
		{"errors", `\["check-and-set parameter did not match the current version"\]`, `\["1 error occurred:\\n\\t\* check-and-set parameter did not match the current version \(it is \d+: .*\)\\n\\n"\]`},
	}},
}

// refusedHere is of a call that ABEJA's limits make a 400.
func refusedHere(says string) []kvField {
	return []kvField{{"status", "200|204", "400"}, {"errors", "null", ".*" + says + ".*"}, {`data(\..+)?`, anything, "(null)?"}}
}

var (
	wrongType   = kvDifference{"Wrong types", []kvField{{"errors", ".*(error converting input|validation failed).*", ".*must be.*"}}}
	noMap       = kvDifference{"data must be a map", refusedHere("no data provided")}
	destroyed   = kvDifference{"Times of destroyed versions", []kvField{{`data\..*deletion_time`, `"TIME"`, `""`}}}
	rounded     = kvDifference{"Large numbers", append(refusedHere("2\\^53"), kvField{`data\.data\.n`, "9007199254740992", "9007199254740991"}, kvField{`data\.metadata\.version`, "9", "8"})}
	nullsInList = kvDifference{"null within a list", []kvField{{`data\.data\.e`, `\[{},null\]`, `\[{"y":null},null\]`}}}
	textPatch   = kvDifference{"Patch of a text", refusedHere("text, not a map")}
	replaced    = kvDifference{"U+FFFD", []kvField{{"warnings", "null", ".*encoding=base64.*"}}}
	custom      = kvDifference{"custom_metadata", []kvField{
		{"status", "400", "204"}, {"errors", ".*validation failed.*", "null"}, {`data\..*custom_metadata\..+`, `"1\.50"|""|`, `"1\.5"|"x+"`}, {`data\.custom_metadata`, "null", ""},
		{"status", "204", "400"}, {"errors", "null", ".*(printable text|at most 64 keys).*"},
	}}
	settings   = kvDifference{"Settings of a secret", refusedHere("must be left at")}
	noMetadata = kvDifference{"Metadata without data", []kvField{{"status", "200", "404"}, {`data(\..+)?`, ".*", "(null)?"}, {"errors", "null", `\[\]`}}}
	unchanged  = kvDifference{"The same map again", []kvField{{`data\.version`, "2", "1"}}}
	ten        = kvDifference{"How many versions", []kvField{
		{`data\.oldest_version`, "2", "0"}, {`data\.versions\.1\..*`, "", ".+"}, {`data(\..+)?`, "", ".+"}, {"data", "null", ""},
		{"status", "404", "200"}, {"errors", `\[\]`, "null"},
	}}
	current = kvDifference{"The newest version is destroyed", []kvField{
		{"status", "404", "200"}, {"status", "200", "400"}, {`data(\..+)?`, anything, anything},
		{"errors", "null", ".*(no such version|did not match the current version).*"},
	}}
	names = kvDifference{"Names", []kvField{
		{"status", "200|404", "400|404"}, {"errors", `null|\[\]`, `.*letters, digits.*|\[\]`}, {`data(\..+)?`, anything, "(null)?"},
	}}
	otherPaths     = kvDifference{"Other paths", []kvField{{"errors", "null", ".*unsupported path.*"}, {"warnings", ".*Invalid path for a versioned.*", "null"}}}
	unread         = kvDifference{"Fields that are not read", []kvField{{"status", "204", "200"}, {"errors", `\[\]`, "null"}, {`data(\..+)?`, "", "null"}, {"warnings", ".*", ".*takes no fields.*"}}}
	config         = kvDifference{"config", []kvField{{`data\..+`, anything, anything}}}
	excludeDeleted = kvDifference{"exclude_deleted", []kvField{
		{"status", "404", "200"}, {`data(\..+)?`, "(null)?", anything}, {"errors", `\[\]`, "null"}, {"warnings", "null", ".*takes no fields but after, limit.*"},
	}}
)

// openBao is what OpenBao's own KV version 2 does in another way than Vault's, call by call; "" is any call.
var openBao = map[string]kvDifference{
	"":                                    {"", []kvField{{`data\.(current_metadata_version|metadata_cas_required)`, ".+", ""}}},
	"LIST metadata/?exclude_deleted=true": {"", []kvField{{"warnings", ".*ignored these unrecognized parameters.*", ".*takes no fields but after, limit.*"}}},
	"LIST data/":                          {"", []kvField{{"status", "405", "404"}, {"errors", ".*unsupported operation.*", ".*unsupported path.*"}}},
	"GET data/":                           {},
}

// explains reports whether the row covers a field that the engines give as kv and abeja.
func (d kvDifference) explains(path, kv, abeja string) bool {
	return slices.ContainsFunc(d.fields, func(f kvField) bool {
		return whole(f.path, path) && whole(f.kv, kv) && whole(f.abeja, abeja)
	})
}

func whole(pattern, text string) bool {
	return regexp.MustCompile("^(" + pattern + ")$").MatchString(text)
}

// kvCall is a call that is made on both engines, METHOD path [body], with the differences that it
// must show beside those that any call may.
type kvCall struct {
	call    string
	differs []kvDifference
}

func same(calls ...string) []kvCall {
	var out []kvCall
	for _, c := range calls {
		out = append(out, kvCall{c, nil})
	}
	return out
}

func differ(d kvDifference, calls ...string) []kvCall {
	var out []kvCall
	for _, c := range calls {
		out = append(out, kvCall{c, []kvDifference{d}})
	}
	return out
}

// customOf is the body of a write of n keys of custom metadata.
func customOf(n int, value string) string {
	keys := map[string]string{}
	for i := range n {
		keys[fmt.Sprint("key_", i)] = value
	}
	text, _ := json.Marshal(map[string]any{"custom_metadata": keys})
	return string(text)
}

func TestKVTheSameCallsGiveTheSameAnswersAsVaultsOwnKV(t *testing.T) {
	t.Parallel()
	vault := vaultForKV(t)
	var mu sync.Mutex
	seen := map[string]bool{} // the rows that have explained something
	t.Run("stories", func(t *testing.T) {
		for i, story := range slices.Sorted(maps.Keys(kvStories)) {
			t.Run(story, func(t *testing.T) {
				t.Parallel()
				e := newEngines(t, vault, fmt.Sprintf("story%d", i), sim.Behavior{})
				for _, c := range slices.Concat(kvStories[story]...) {
					shown := e.compare(t, c)
					mu.Lock()
					maps.Copy(seen, shown)
					mu.Unlock()
				}
			})
		}
	})
	for _, d := range everywhere {
		if !seen[d.row] {
			t.Errorf("no call shows the difference %q any more", d.row)
		}
	}
	_, table, _ := strings.Cut(read(t, "docs/kv.md"), "\n## Differences from KV version 2\n")
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| \*\*(.+?)\*\* \|`).FindAllStringSubmatch(table, -1)
	inDocs := map[string]bool{}
	for _, row := range rows {
		inDocs[row[1]] = true
	}
	require.Equal(t, inDocs, seen, "docs/kv.md has a row for each difference, and for no other")
}

// compare makes a call on both engines, and returns the rows that explain how their answers differ.
func (e engines) compare(t *testing.T, c kvCall) map[string]bool {
	method, rest, _ := strings.Cut(c.call, " ")
	path, body, _ := strings.Cut(rest, " ")
	kv, abeja := e.call(t, method, e.kv+"/"+path, body).seen(), e.call(t, method, e.abeja+"/"+path, body).seen()
	shown := map[string]bool{}
	for _, field := range slices.Sorted(maps.Keys(merge(kv, abeja))) {
		if kv[field] == abeja[field] {
			continue
		}
		if programs.OpenBao && (openBao[""].explains(field, kv[field], abeja[field]) || openBao[c.call].explains(field, kv[field], abeja[field])) {
			continue
		}
		all := slices.Concat(c.differs, everywhere)
		i := slices.IndexFunc(all, func(d kvDifference) bool { return d.explains(field, kv[field], abeja[field]) })
		if i < 0 {
			t.Errorf("%s: a difference that is not documented: %s is %q in KV, %q here", c.call, field, kv[field], abeja[field])
			continue
		}
		shown[all[i].row] = true
	}
	for _, d := range c.differs {
		if _, other := openBao[c.call]; !shown[d.row] && !(programs.OpenBao && other) {
			t.Errorf("%s: the difference %q is no more", c.call, d.row)
		}
	}
	return shown
}

func merge(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

var kvStories = map[string][][]kvCall{
	"a secret's life": {
		same(
			"GET data/NAME", "GET metadata/NAME", "GET subkeys/NAME", "LIST metadata/", "DELETE data/NAME", "DELETE metadata/NAME",
			`PUT delete/NAME {"versions":[1]}`, `PUT undelete/NAME {"versions":[1]}`, `PUT destroy/NAME {"versions":[1]}`,
			`PUT data/NAME {"data":{"a":"b"}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"a":"c"}}`, `POST data/NAME {"data":{"a":"d"},"options":{}}`,
			"GET data/NAME", "GET data/NAME?version=1", "GET data/NAME?version=3", "GET data/NAME?version=4",
			"GET data/NAME?version=0", "GET data/NAME?version=-1", "GET metadata/NAME", "GET subkeys/NAME", "GET subkeys/NAME?version=1",
			"LIST metadata/", "LIST metadata", "GET metadata/?list=true", "LIST metadata/NAME",
		),
		differ(wrongType, "GET data/NAME?version=x"),
		same(
			"DELETE data/NAME", "GET data/NAME", "GET subkeys/NAME", "GET metadata/NAME", "LIST metadata/",
			"DELETE data/NAME", "GET data/NAME?version=2",
		),
		differ(excludeDeleted, "LIST metadata/?exclude_deleted=true"),
		same(
			`PUT undelete/NAME {"versions":[3]}`, "GET data/NAME",
			`PUT delete/NAME {"versions":[1,3]}`, `PUT delete/NAME {"versions":"1,2"}`,
			"GET data/NAME?version=1", "GET data/NAME?version=2", "GET metadata/NAME",
			`PUT undelete/NAME {"versions":["1",3,99,0]}`, `PUT destroy/NAME {"versions":[1,2,99]}`,
			"GET data/NAME?version=1", "GET subkeys/NAME?version=1", `PUT delete/NAME {"versions":[1]}`, `PUT undelete/NAME {"versions":[1]}`,
			"GET data/NAME?version=1",
		),
		differ(destroyed, "GET data/NAME?version=2", "GET subkeys/NAME?version=2", "GET metadata/NAME"),
		same("GET data/NAME", "DELETE metadata/NAME", "GET data/NAME", "GET metadata/NAME", `PUT data/NAME {"data":{"a":"b"}}`),
		differ(unread,
			`PUT data/NAME {"data":{"a":"c"},"options":{},"version":1}`, `PUT data/NAME {"data":{"a":"d"},"cas":7}`,
			"DELETE data/NAME?version=1", `PUT undelete/NAME {"versions":[3],"version":1}`, "DELETE metadata/NAME?version=1"),
	},
	"maps of all kinds": {
		same(
			`PUT data/NAME {"data":{"text":"日本語 <&>","empty":"","n":1.50,"whole":-12,"no":null,"yes":true,"deep":{"list":[1,{"a":null},[]],"none":{}}}}`,
			"GET data/NAME", "GET subkeys/NAME", "GET subkeys/NAME?depth=1", "GET subkeys/NAME?depth=2", "GET subkeys/NAME?depth=3", "GET subkeys/NAME?depth=0",
			`PUT data/NAME {"data":{}}`, "GET data/NAME", "GET subkeys/NAME",
			`PUT data/NAME {"data":{"value":"text"}}`, "GET data/NAME", "GET subkeys/NAME",
			`PUT data/NAME {"data":{"value":"{\"a\":1}"}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"value":""}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"value":null}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"n":0.1234567890123456789}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"n":9007199254740991}}`, "GET data/NAME",
		),
		differ(rounded, `PUT data/NAME {"data":{"n":9007199254740993}}`, "GET data/NAME"),
		differ(wrongType, "GET subkeys/NAME?depth=x"),
	},
	"check-and-set": {
		same(
			`PUT data/NAME {"data":{"a":"1"},"options":{"cas":1}}`, `PUT data/NAME {"data":{"a":"1"},"options":{"cas":-1}}`,
			`PUT data/NAME {"data":{"a":"1"},"options":{"cas":0}}`,
			`PUT data/NAME {"data":{"a":"2"},"options":{"cas":0}}`, `PUT data/NAME {"data":{"a":"2"},"options":{"cas":2}}`,
			`PUT data/NAME {"data":{"a":"2"},"options":{"cas":"1"}}`,
			`PUT data/NAME {"data":{"a":"3"},"options":{"cas":"x"}}`, `PUT data/NAME {"data":{"a":"3"},"options":{"cas":null}}`,
			`PUT data/NAME {"data":{"a":"3"},"options":null}`,
			"DELETE data/NAME",
			`PUT data/NAME {"data":{"a":"5"},"options":{"cas":2}}`, `PUT data/NAME {"data":{"a":"6"},"options":{"cas":3}}`, "GET data/NAME",
		),
		differ(wrongType, `PUT data/NAME {"data":{"a":"4"},"options":"x"}`),
	},
	"patch": {
		same(
			`PATCH data/NAME {"data":{"a":"1"}}`,
			`PUT data/NAME {"data":{"a":{"b":{"c":1,"d":2}},"f":"3"}}`,
			`PATCH data/NAME {"data":{"a":{"b":{"c":null,"x":5}},"g":{"h":null,"i":6}}}`, "GET data/NAME",
			`PATCH data/NAME {"data":{"f":null,"none":null},"options":{"cas":2}}`, "GET data/NAME",
			`PATCH data/NAME {"data":{"f":"x"},"options":{"cas":2}}`, `PATCH data/NAME {"data":{"f":"x"},"options":{"cas":"x"}}`,
			"PATCH data/NAME {}",
			"DELETE data/NAME", `PATCH data/NAME {"data":{"a":"7"}}`, `PATCH data/NAME {"data":{"a":"7"},"options":{"cas":1}}`,
			`PUT undelete/NAME {"versions":[3]}`, `PATCH data/NAME {"data":{"e":[{"y":null},null]}}`,
		),
		differ(nullsInList, "GET data/NAME"),
		differ(noMap, `PATCH data/NAME {"data":null}`),
	},
	"patch of a text": {
		same(`PUT data/NAME {"data":{"value":"a"}}`, `PATCH data/NAME {"data":{"value":"b"}}`, "GET data/NAME"),
		differ(textPatch, `PATCH data/NAME {"data":{"a":"b"}}`),
	},
	"bytes": {
		same(
			`PUT data/NAME {"data":{"value":"/w==","encoding":"base64"}}`, "GET data/NAME", "GET subkeys/NAME",
			`PUT data/NAME {"data":{"value":"YQ==","encoding":"base64"}}`, "GET data/NAME",
			`PUT data/NAME {"data":{"value":"/x==","encoding":"base64"}}`, "GET data/NAME",
		),
		differ(replaced, `PUT data/NAME {"data":{"a":["\ufffd"]}}`),
	},
	"metadata": {
		same(
			`PATCH metadata/NAME {"custom_metadata":{"description":"some"}}`,
			`PATCH metadata/NAME {"custom_metadata":{"owner":"me"}}`,
			`PUT data/NAME {"data":{"a":"1"}}`, "PUT metadata/NAME {}",
			`PUT metadata/NAME {"custom_metadata":{"description":"some"}}`, "GET metadata/NAME", "GET data/NAME", "GET subkeys/NAME",
			`PUT data/NAME {"data":{"a":"2"}}`, `PUT metadata/NAME {"custom_metadata":null}`, "GET data/NAME",
			`PUT metadata/NAME {"max_versions":0,"cas_required":false,"delete_version_after":"0s"}`, "GET metadata/NAME",
			`PATCH metadata/NAME {"custom_metadata":{"description":"other"}}`, "PATCH metadata/NAME {}", `PATCH metadata/NAME {"custom_metadata":{}}`,
			"GET data/NAME", `PATCH metadata/NAME {"custom_metadata":{"description":null}}`, "GET metadata/NAME",
			`PUT metadata/NAME {"custom_metadata":{"description":"again"}}`, `PATCH metadata/NAME {"custom_metadata":null}`, "GET data/NAME",
			`PUT metadata/NAME {"custom_metadata":{"description":"again"}}`, `PUT metadata/NAME {"custom_metadata":{}}`, "GET data/NAME",
		),
		same(
			`PUT metadata/NAME {"custom_metadata":{"owner":"me","team":"orders","description":"some"}}`, "GET metadata/NAME", "GET data/NAME", "GET data/NAME?version=1",
			"GET subkeys/NAME", `PUT data/NAME {"data":{"a":"3"}}`, `PATCH data/NAME {"data":{"b":"4"}}`, "DELETE data/NAME", "GET data/NAME", `PATCH data/NAME {"data":{"b":"4"}}`,
			`PUT data/NAME {"data":{"a":"5"}}`, `PUT destroy/NAME {"versions":[2]}`, "GET data/NAME",
			`PATCH metadata/NAME {"custom_metadata":{"owner":null,"none":null,"日本語":"所有者","../x":"{}"}}`, "GET metadata/NAME",
			`PUT metadata/NAME {"custom_metadata":{"n":5,"yes":true,"no":false}}`, "GET metadata/NAME",
			`PUT metadata/NAME {"custom_metadata":{"owner":"me"}}`, "PUT metadata/NAME {}", `PATCH metadata/NAME {"custom_metadata":{}}`, "GET metadata/NAME",
			`PUT metadata/NAME `+customOf(64, "x"), "GET metadata/NAME", `PUT metadata/NAME {"custom_metadata":{"owner":"`+strings.Repeat("x", 512)+`"}}`, "GET data/NAME",
			`PUT metadata/NAME {"custom_metadata":{"`+strings.Repeat("x", 128)+`":5}}`, "GET data/NAME",
			`PATCH metadata/NAME {"custom_metadata":null}`, "GET metadata/NAME",
		),
		differ(wrongType,
			`PUT metadata/NAME `+customOf(65, "x"), `PATCH metadata/NAME `+customOf(65, "x"),
			`PUT metadata/NAME {"custom_metadata":{"":"x"}}`, `PUT metadata/NAME {"custom_metadata":{"owner":""}}`, `PUT metadata/NAME {"custom_metadata":{"owner":null}}`,
			`PUT metadata/NAME {"custom_metadata":{"owner":{}}}`, `PUT metadata/NAME {"custom_metadata":{"owner":["x"]}}`,
			`PUT metadata/NAME {"custom_metadata":{"a\nb":"x"}}`, `PATCH metadata/NAME {"custom_metadata":{"owner":"\u200b"}}`,
			`PUT metadata/NAME {"custom_metadata":{"`+strings.Repeat("x", 129)+`":"x"}}`, `PUT metadata/NAME {"custom_metadata":{"owner":"`+strings.Repeat("x", 513)+`"}}`,
			`PUT metadata/NAME {"custom_metadata":{"description":""}}`, `PUT metadata/NAME {"custom_metadata":{"description":null}}`,
			`PUT metadata/NAME {"custom_metadata":"x"}`, `PUT metadata/NAME {"max_versions":"x"}`),
		differ(custom,
			`PUT metadata/NAME {"custom_metadata":{"description":"`+strings.Repeat("x", 513)+`"}}`, "GET metadata/NAME",
			`PUT metadata/NAME {"custom_metadata":{"n":9007199254740993}}`),
		same(`PUT metadata/NAME {"custom_metadata":{"n":1.50}}`),
		differ(custom, "GET metadata/NAME"),
		same(`PUT metadata/NAME ` + customOf(64, "x")),
		differ(custom, `PATCH metadata/NAME {"custom_metadata":{"owner":"me"}}`),
		differ(settings,
			`PUT metadata/NAME {"max_versions":5}`, `PUT metadata/NAME {"delete_version_after":"1h"}`, `PATCH metadata/NAME {"cas_required":true}`),
	},
	"metadata before data": {
		same(
			`PUT metadata/NAME {"custom_metadata":{"owner":"me","description":"some"}}`, "GET metadata/NAME", "GET data/NAME", "GET subkeys/NAME",
			`PATCH metadata/NAME {"custom_metadata":{"owner":null,"team":"orders"}}`, "GET metadata/NAME", `PATCH data/NAME {"data":{"a":"1"}}`,
		),
		differ(noMetadata, "LIST metadata/"),
		same(
			"DELETE data/NAME", "GET metadata/NAME", `PUT data/NAME {"data":{"a":"1"},"options":{"cas":0}}`, "GET metadata/NAME", "GET data/NAME", "LIST metadata/",
			"DELETE metadata/NAME", "GET metadata/NAME", "PUT metadata/NAME {}", "GET metadata/NAME", `PUT metadata/NAME {"max_versions":0}`, "GET metadata/NAME",
			"DELETE metadata/NAME", "GET metadata/NAME",
			`PUT data/NAME {"data":{"a":"1"}}`, "GET metadata/NAME",
		),
	},
	"bad requests": {
		same(
			"PUT data/NAME {}", `PUT data/NAME {"a":"b"}`, "PUT delete/NAME {}", "PUT undelete/NAME {}", "PUT destroy/NAME {}",
			`PUT destroy/NAME {"versions":[]}`, "GET delete/NAME", "DELETE destroy/NAME", "PUT subkeys/NAME {}", "LIST metadata/NAME",
		),
		differ(wrongType, `PUT data/NAME {"data":"x"}`, `PUT destroy/NAME {"versions":"x"}`, `PUT destroy/NAME {"versions":"1, 2"}`, `PUT destroy/NAME {"versions":[1.5]}`),
		differ(noMap, `PUT data/NAME {"data":null}`, `PUT data/NAME {"data":[]}`),
		differ(otherPaths, "LIST data/", "GET data/", "GET nothing/NAME"),
		differ(names, `PUT data/folder/NAME {"data":{"a":"1"}}`, "LIST metadata/folder/", "GET data/folder/NAME", "GET data/a.b"),
		differ(config, "GET config"),
	},
	"the same map again": {
		same(`PUT data/NAME {"data":{"a":"1"}}`),
		differ(unchanged, `PUT data/NAME {"data":{"a":"1"}}`),
	},
	"the newest version is destroyed": {
		same(`PUT data/NAME {"data":{"a":"1"}}`, `PUT data/NAME {"data":{"a":"2"}}`, `PUT destroy/NAME {"versions":[2]}`),
		differ(current, "GET data/NAME", "GET data/NAME?version=2", "GET metadata/NAME", `PUT data/NAME {"data":{"a":"3"},"options":{"cas":2}}`),
	},
	"eleven versions": {
		same(
			`PUT data/NAME {"data":{"a":"1"}}`, `PUT data/NAME {"data":{"a":"2"}}`, `PUT data/NAME {"data":{"a":"3"}}`, `PUT data/NAME {"data":{"a":"4"}}`,
			`PUT data/NAME {"data":{"a":"5"}}`, `PUT data/NAME {"data":{"a":"6"}}`, `PUT data/NAME {"data":{"a":"7"}}`, `PUT data/NAME {"data":{"a":"8"}}`,
			`PUT data/NAME {"data":{"a":"9"}}`, `PUT data/NAME {"data":{"a":"10"}}`, `PUT data/NAME {"data":{"a":"11"}}`,
		),
		differ(ten, "GET metadata/NAME", "GET data/NAME?version=1"),
	},
}

// A sequence of calls is made on both engines. What clients see afterwards is the same, where ABEJA
// differs in what docs/kv.md says of the newest version that is destroyed: KV's is then taken to be
// the newest that is left.

// kvBehaviors are the ways in which ABEJA may turn out to behave that a client of KV v2 could see.
var kvBehaviors = map[string]sim.Behavior{
	"default":     {},
	"deactivates": {NewVersionDeactivatesOlder: true, Order: "newest", TimesWithOffset: true},
	"protects":    {LastVersionProtected: true, UnknownIDIs403: true, DuplicateNameIs400: true},
	"all": {
		NewVersionDeactivatesOlder: true, LastVersionProtected: true, UnknownIDIs403: true, DuplicateNameIs400: true,
		ListOmitsVersions: true, GetOmitsVersions: true, Order: "hash", VersionTimesDrift: true, Clear: "null",
	},
}

// kvPair is one secret in both engines.
type kvPair struct {
	engines
	behavior sim.Behavior
	name     string
	puts     int // counts up, so that no map is like another
}

func TestKVAnySequenceOfCallsLeavesTheSameAsInVaultsOwnKV(t *testing.T) {
	t.Parallel()
	vault := vaultForKV(t)
	mounted := map[string]engines{}
	for name, behavior := range kvBehaviors {
		e := newEngines(t, vault, name, behavior)
		require.Equal(t, http.StatusNoContent, e.call(t, "POST", e.kv+"/config", `{"max_versions":100}`).Status)
		mounted[name] = e
	}
	secrets, began := 0, time.Now()
	rapid.Check(t, func(t *rapid.T) {
		if time.Since(began) > 30*time.Second {
			return // a busy machine tries fewer
		}
		name := rapid.SampledFrom(slices.Sorted(maps.Keys(kvBehaviors))).Draw(t, "ABEJA")
		secrets++
		p := &kvPair{engines: mounted[name], behavior: kvBehaviors[name], name: fmt.Sprintf("secret_%d", secrets)}
		for _, step := range rapid.SliceOfN(kvStep(), 1, 14).Draw(t, "steps") {
			p.do(t, step)
		}
		p.same(t)
	})
}

type step struct {
	what     string
	versions []int
}

func kvStep() *rapid.Generator[step] {
	return rapid.Custom(func(t *rapid.T) step {
		s := step{what: rapid.SampledFrom([]string{
			"put", "put", "put", "put with cas", "put with cas", "put with wrong cas", "patch", "rollback",
			"delete newest", "delete newest", "delete newest", "delete", "undelete", "undelete", "destroy", "describe", "mark", "delete metadata",
		}).Draw(t, "what")}
		if slices.Contains([]string{"delete", "undelete", "destroy", "rollback"}, s.what) {
			s.versions = rapid.SliceOfNDistinct(rapid.IntRange(1, 6), 1, 3, rapid.ID[int]).Draw(t, "versions")
		}
		return s
	})
}

// onKV and onABEJA call data/, metadata/ and so on of the secret.
func (p *kvPair) onKV(t *rapid.T, method, what, body string) reply {
	return p.call(t, method, p.kv+"/"+what+"/"+p.name, body)
}

func (p *kvPair) onABEJA(t *rapid.T, method, what, body string) reply {
	return p.call(t, method, p.abeja+"/"+what+"/"+p.name, body)
}

// both makes a call on both engines, and wants the same status. A call that ABEJA refuses since it
// would leave no active version has no effect on either.
func (p *kvPair) both(t *rapid.T, method, what, body, kvWhat, kvBody string) (done bool) {
	abeja := p.onABEJA(t, method, what, body)
	if abeja.Status == http.StatusBadRequest && p.behavior.LastVersionProtected && strings.Contains(fmt.Sprint(abeja.Errors), "only") {
		active := 0
		for _, v := range p.kvState(t).versions {
			if v == "active" {
				active++
			}
		}
		require.Equal(t, 1, active, "only the last one is protected")
		return false
	}
	if kvWhat != what {
		method = "PUT"
	}
	kv := p.onKV(t, method, kvWhat, kvBody)
	require.Equal(t, kv.Status, abeja.Status, "%s %s %s: %v", method, what, body, abeja.Errors)
	return kv.Status < 300
}

func (p *kvPair) put(t *rapid.T, data string, cas *[2]int) {
	kvBody, body := `{"data":`+data+`}`, `{"data":`+data+`}`
	if cas != nil {
		kvBody = fmt.Sprintf(`{"data":%s,"options":{"cas":%d}}`, data, cas[0])
		body = fmt.Sprintf(`{"data":%s,"options":{"cas":%d}}`, data, cas[1])
	}
	p.written(t, p.both(t, "PUT", "data", body, "data", kvBody))
}

// written deletes the older versions in KV, where ABEJA makes them inactive by itself.
func (p *kvPair) written(t *rapid.T, done bool) {
	if !done || !p.behavior.NewVersionDeactivatesOlder {
		return
	}
	var older []int
	for n := 1; n < p.currentOf(t, p.onKV); n++ {
		older = append(older, n)
	}
	if older != nil {
		p.onKV(t, "PUT", "delete", versionsBody(older))
	}
}

func versionsBody(versions []int) string {
	list, _ := json.Marshal(versions)
	return fmt.Sprintf(`{"versions":%s}`, list)
}

// currentOf returns the current_version of an engine, or 0.
func (p *kvPair) currentOf(t *rapid.T, on func(t *rapid.T, method, what, body string) reply) int {
	data, _ := on(t, "GET", "metadata", "").Data.(map[string]any)
	n, _ := data["current_version"].(json.Number)
	current, _ := n.Int64()
	return int(current)
}

func (p *kvPair) do(t *rapid.T, s step) {
	cas := &[2]int{p.currentOf(t, p.onKV), p.currentOf(t, p.onABEJA)}
	newestIsDestroyed := cas[0] != cas[1]
	p.puts++
	data := fmt.Sprintf(`{"n":%d,"deep":{"of":%q}}`, p.puts, p.name)
	if p.puts%2 == 0 {
		data = fmt.Sprintf(`{"value":"%d"}`, p.puts)
	}
	switch s.what {
	case "put":
		p.put(t, data, nil)
	case "put with cas":
		p.put(t, data, cas)
	case "put with wrong cas":
		p.put(t, data, &[2]int{cas[0] + 1, cas[1] + 1})
	case "patch":
		if newestIsDestroyed {
			return // 404 in KV; merged into the newest that is left here
		}
		body := fmt.Sprintf(`{"data":{"patched":%d}}`, p.puts)
		if data, _ := p.read(t, p.abeja, "").data.(map[string]any); len(data) == 1 && data["value"] != nil {
			body = fmt.Sprintf(`{"data":{"value":"patched %d"}}`, p.puts) // all that can be patched of a text
		}
		p.written(t, p.both(t, "PATCH", "data", body, "data", body))
	case "rollback": // as a client does: read the old version, put it back if no one else has written
		old := fmt.Sprintf("?version=%d", s.versions[0])
		kv, abeja := p.call(t, "GET", p.kv+"/data/"+p.name+old, ""), p.call(t, "GET", p.abeja+"/data/"+p.name+old, "")
		require.Equal(t, kv.Status, abeja.Status)
		if kv.Status != http.StatusOK || reflect.DeepEqual(p.read(t, p.abeja, "").data, p.read(t, p.abeja, old).data) {
			return // the current map makes no new version here
		}
		text, _ := json.Marshal(abeja.Data.(map[string]any)["data"])
		p.put(t, string(text), cas)
	case "delete newest":
		if newestIsDestroyed && cas[1] > 0 {
			p.both(t, "DELETE", "data", "", "delete", versionsBody([]int{cas[1]}))
			return
		}
		p.both(t, "DELETE", "data", "", "data", "")
	case "delete", "undelete", "destroy":
		for _, n := range s.versions {
			p.both(t, "PUT", s.what, versionsBody([]int{n}), s.what, versionsBody([]int{n}))
		}
	case "describe":
		body := fmt.Sprintf(`{"custom_metadata":{"description":"%d","owner":"%[1]d"}}`, p.puts)
		p.both(t, "PUT", "metadata", body, "metadata", body)
	case "mark":
		body := fmt.Sprintf(`{"custom_metadata":{"owner":null,"key_%d":"%[1]d"}}`, p.puts)
		p.both(t, "PATCH", "metadata", body, "metadata", body)
	case "delete metadata":
		p.both(t, "DELETE", "metadata", "", "metadata", "")
	}
}

// kvState is what a client sees of a secret, without times.
type kvState struct {
	there          bool
	current        int
	versions       map[int]string // active, deleted or destroyed
	customMetadata any
}

func (p *kvPair) kvState(t *rapid.T) kvState {
	return readState(p.onKV(t, "GET", "metadata", "")).asABEJA()
}
func (p *kvPair) abejaState(t *rapid.T) kvState {
	return readState(p.onABEJA(t, "GET", "metadata", ""))
}

func readState(r reply) kvState {
	s := kvState{there: r.Status == http.StatusOK, versions: map[int]string{}}
	if !s.there {
		return s
	}
	data := r.Data.(map[string]any)
	fmt.Sscan(fmt.Sprint(data["current_version"]), &s.current)
	s.customMetadata = data["custom_metadata"]
	for number, about := range data["versions"].(map[string]any) {
		var n int
		fmt.Sscan(number, &n)
		s.versions[n] = stateOf(about.(map[string]any))
	}
	return s
}

func stateOf(version map[string]any) string {
	switch {
	case version["destroyed"] == true:
		return "destroyed"
	case version["deletion_time"] != "":
		return "deleted"
	}
	return "active"
}

// asABEJA leaves out the versions that are destroyed and newer than all that are left.
func (s kvState) asABEJA() kvState {
	for s.current > 0 && s.versions[s.current] == "destroyed" {
		delete(s.versions, s.current)
		s.current--
	}
	return s
}

// readVersion is what a client sees of a version.
type readVersion struct {
	status  int
	data    any
	version any
	state   string
}

func (p *kvPair) read(t *rapid.T, mount, query string) readVersion {
	r := p.call(t, "GET", mount+"/data/"+p.name+query, "")
	out := readVersion{status: r.Status}
	if answer, ok := r.Data.(map[string]any); ok {
		about := answer["metadata"].(map[string]any)
		out.data, out.version, out.state = answer["data"], about["version"], stateOf(about)
	}
	if query != "" {
		out.version = nil // that which was asked for
	}
	return out
}

func (p *kvPair) same(t *rapid.T) {
	kv := p.kvState(t)
	require.Equal(t, kv, p.abejaState(t))
	for n := 1; n <= kv.current; n++ {
		query := fmt.Sprintf("?version=%d", n)
		require.Equal(t, p.read(t, p.kv, query), p.read(t, p.abeja, query), "version %d", n)
	}
	if kv.current == 0 {
		require.Equal(t, http.StatusNotFound, p.read(t, p.abeja, "").status)
		return
	}
	current := fmt.Sprintf("?version=%d", kv.current)
	want := p.read(t, p.kv, current)
	want.version = json.Number(fmt.Sprint(kv.current))
	require.Equal(t, want, p.read(t, p.abeja, ""))
}
