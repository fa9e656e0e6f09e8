package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// recorder is a way to ABEJA without a network, that remembers what was asked for.
type recorder struct {
	abeja http.Handler
	mu    sync.Mutex
	asked []*http.Request
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	r.asked = append(r.asked, req)
	r.mu.Unlock()
	if req.Body == nil {
		req.Body = http.NoBody
	}
	answer := httptest.NewRecorder()
	r.abeja.ServeHTTP(answer, req)
	return answer.Result(), nil
}

// fuzzed is a mount that reaches abeja through a recorder.
func fuzzed(t *testing.T, sim *simulator.Simulator, abeja http.Handler) (*engine, *recorder) {
	org, user, _, _ := sim.Credentials()
	r := &recorder{abeja: abeja}
	c, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, pat), Transport: r})
	require.NoError(t, err)
	e := &engine{t: t, sim: sim, storage: &storage{}, log: &enginetest.Log{}}
	e.backend = e.start()
	b := e.backend.(*backend)
	b.mounted.Store(&mount{store: storeOf(t, c), custom: b.custom})
	return e, r
}

// does performs a request as Vault does: its existence check decides between create and update.
func (e *engine) does(op logical.Operation, path string, data fields) (*logical.Response, error) {
	return enginetest.Do(e.t.Context(), e.backend, e.request(op, path, data))
}

// statusOf is the HTTP status that Vault makes of an answer.
func statusOf(t *testing.T, resp *logical.Response, err error) int {
	return enginetest.AnswerTo(logical.ReadOperation, resp, err).Status
}

var operations = []logical.Operation{
	logical.ReadOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation, logical.ListOperation,
}

// FuzzPaths: whatever the path, only what the mount's own organization has is asked for, only ids
// that ABEJA has given are named, and a value is shown only on that secret's own paths.
func FuzzPaths(f *testing.F) {
	for _, path := range []string{
		"secrets/", "secrets/one", "secrets/one/versions/", "secrets/one/versions/1", "secrets/one/versions/01", "secrets/one/versions/1/",
		"secrets/one/versions/-1", "secrets/one/versions/9223372036854775808", "ids/", "ids/$ID", "ids/$ID/", "ids/../organizations/x", "ids/%2e%2e",
		"data/one", "data/one/", "data//one", "data/../secrets/one", "metadata/one", "metadata/", "metadata/one/", "subkeys/one", "generate/one",
		"delete/one", "undelete/one", "destroy/one", "config", "config/", "", "/", "secrets//one", "secrets/./one", "secrets/one%2fversions", "secrets/ONE",
		"secrets/..", "secrets/../../organizations/x/secrets", "secrets/one?limit=1", "secrets/one#x", "secrets/one\n", "secrets/one\x00", "secrets/оne",
		"secrets/one", "secrets/o\u200bne", "secrets/\xff", "secrets/one%00", "data/one\r\nHost: x", "secrets/" + strings.Repeat("a", 10_000),
	} {
		for op := range operations {
			f.Add(byte(op), path, "1", "text")
		}
	}
	f.Fuzz(func(t *testing.T, op byte, path, version, value string) {
		if !utf8.ValidString(version + value) { // JSON, in which Vault takes them, has no others
			t.Skip()
		}
		sim := simulator.New(simulator.Options{Token: pat})
		one, two := sim.Create("one", []byte("hidden-one")), sim.Create("two", []byte("hidden-two"))
		path = strings.Replace(path, "$ID", one, 1)
		if strings.TrimSuffix(path, "/") == "config" {
			t.Skip() // has its own target, and would ask a real ABEJA
		}
		e, r := fuzzed(t, sim, sim)
		operation := operations[int(op)%len(operations)]
		// A query or a body, each field under the name that the path's family has for it.
		data := fields{"version": version, "value": value, "versions": version, "status": value, "depth": 0}
		if strings.HasPrefix(path, "data/") {
			data["data"] = map[string]any{"value": value}
		}
		resp, err := e.does(operation, path, data)

		status := statusOf(t, resp, err)
		require.True(t, status == http.StatusOK || status/100 == 4, "%s %q: %d %v", operation, path, status, err)
		org, _, _, _ := sim.Credentials()
		asked := regexp.MustCompile(`^/secret-manager/organizations/` + org + `/secrets(/(` + one + `|` + two + `)(/versions(/[0-9]+)?)?)?$`)
		for _, req := range r.asked {
			require.Regexp(t, asked, req.URL.EscapedPath(), "%s %q", operation, path)
			require.Equal(t, "api.abeja.io", req.URL.Host)
		}
		require.LessOrEqual(t, len(r.asked), 8, "%s %q", operation, path)
		if err != nil {
			noneShown(t, err.Error())
		}
		if resp == nil {
			return
		}
		shown, err := json.Marshal(resp.Data)
		require.NoError(t, err)
		for name, id := range map[string]string{"one": one, "two": two} {
			if strings.Contains(string(shown), "hidden-"+name) {
				require.True(t, operation == logical.ReadOperation)
				require.Contains(t, []string{"secrets/" + name, "secrets/" + name + "/versions/1", "ids/" + id, "data/" + name}, path)
			}
		}
	})
}

// FuzzAnswers: whatever ABEJA answers, a read returns the secret that was asked for or an error.
func FuzzAnswers(f *testing.F) {
	secret := func(name, rest string) string {
		return `{"id":"$ID","organization_id":"$ORG","name":"` + name + `",` + rest + `"versions":[{"id":"7","version":1,"status":"active","value":"aGlkZGVuLW9uZQ=="}]}`
	}
	for _, answer := range []string{
		secret("one", ""), secret("two", ""), secret("one", `"name":"two",`), secret("one", `"NAME":"two",`),
		secret("one", `"expired_at":"9999-12-31T23:59:59-23:59","created_at":"10000-01-01T00:00:00Z",`),
		strings.Replace(secret("one", ""), "$ORG", "1420000000000", 1), strings.Replace(secret("one", ""), "$ID", "8", 1),
		strings.Replace(secret("one", ""), `"version":1`, `"version":-1`, 1), strings.Replace(secret("one", ""), `"version":1`, `"version":1e3`, 1),
		strings.Replace(secret("one", ""), `"id":"7"`, `"id":"7","secret_id":"8"`, 1), strings.Replace(secret("one", ""), `"aGl`, `"aG`, 1),
		`{"pagination":{"has_next":true},"versions":[{"id":"7","version":1},{"id":"8","version":1}]}`, `{"versions":[]}`,
		`{"organization_id":"$ORG","has_next":true,"secrets":[]}`, `{"organization_id":"$ORG","has_next":true,"secrets":[` + secret("one", "") + "," + secret("one", "") + `]}`,
		strings.Repeat(`{"a":`, 20_000), "", "null", "[]", "<html>",
	} {
		f.Add(answer)
	}
	sim := simulator.New(simulator.Options{Token: pat})
	id := sim.Create("one", []byte("hidden-one"))
	org, _, _, _ := sim.Credentials()
	f.Fuzz(func(t *testing.T, answer string) {
		answer = strings.NewReplacer("$ID", id, "$ORG", org).Replace(answer)
		e, r := fuzzed(t, sim, sim)
		_, err := e.does(logical.ReadOperation, "secrets/one", nil) // makes the name known
		require.NoError(t, err)
		answers := 0
		r.abeja = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if r.mu.Lock(); answers > 20 { // of a list without an end FuzzPages tells more, and faster
				w.WriteHeader(http.StatusBadRequest)
			}
			answers++
			r.mu.Unlock()
			w.Write([]byte(answer))
		})
		for _, req := range []struct {
			op   logical.Operation
			path string
		}{
			{logical.ReadOperation, "secrets/one"}, {logical.ReadOperation, "secrets/one/versions/1"}, {logical.ReadOperation, "ids/" + id},
			{logical.ReadOperation, "data/one"}, {logical.ReadOperation, "metadata/one"}, {logical.ReadOperation, "subkeys/one"},
			{logical.ListOperation, "secrets/one/versions/"}, {logical.ListOperation, "secrets/"}, {logical.ListOperation, "ids/"}, {logical.ReadOperation, "secrets/one"},
		} {
			answers = 0
			resp, err := e.does(req.op, req.path, nil)
			status := statusOf(t, resp, err)
			require.NotEqual(t, http.StatusInternalServerError, status, "%s %s: %v", req.op, req.path, err)
			if req.op == logical.ListOperation || resp == nil || resp.Data["value"] == nil && resp.Data["data"] == nil {
				continue
			}
			var said struct {
				ID             string            `json:"id"`
				OrganizationID string            `json:"organization_id"`
				Name           string            `json:"name"`
				Versions       []json.RawMessage `json:"versions"`
			}
			require.NoError(t, json.Unmarshal([]byte(answer), &said))
			require.Equal(t, []string{"one", id, org}, []string{said.Name, said.ID, said.OrganizationID}, "%s gives out another secret", req.path)
			if n, ok := resp.Data["version"].(int); ok {
				require.True(t, slices.ContainsFunc(said.Versions, func(raw json.RawMessage) bool {
					var v struct {
						Version int    `json:"version"`
						Value   []byte `json:"value"`
					}
					return json.Unmarshal(raw, &v) == nil && v.Version == n && len(v.Value) > 0
				}))
			}
		}
	})
}

// FuzzWriteBack: who reads a secret and writes back what was read, through whatever path, changes
// nothing at ABEJA; and who writes an old version back gives ABEJA its bytes again.
func FuzzWriteBack(f *testing.F) {
	for _, value := range jsonLike {
		f.Add([]byte(value))
	}
	f.Add([]byte("\xff\xfe"))
	f.Add([]byte("\ufffd"))
	f.Add([]byte(strings.Repeat(`{"a":`, 299) + "1" + strings.Repeat("}", 299)))
	f.Add([]byte(`{"a":"` + strings.Repeat("x", 1000) + `"}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		if len(value) == 0 || len(value) > 65_536 {
			t.Skip() // ABEJA has no such value
		}
		sim := simulator.New(simulator.Options{Token: pat})
		id := sim.Create("one", value)
		const other = `{"none of the fuzzer's":1}`
		e, _ := fuzzed(t, sim, sim)
		read := func(path string, query fields) map[string]any {
			resp, err := e.does(logical.ReadOperation, path, query)
			require.Equal(t, http.StatusOK, statusOf(t, resp, err), "%s: %v", path, err)
			return carry(t, resp.Data)
		}
		writeBack := func(path string, query fields) {
			body := fields{}
			switch data := read(path, query); {
			case strings.HasPrefix(path, "data/"):
				body["data"] = data["data"]
			case data["encoding"] != nil:
				body["encoding"] = data["encoding"]
				fallthrough
			default:
				body["value"] = data["value"]
			}
			resp, err := e.does(logical.UpdateOperation, path, body)
			require.Equal(t, http.StatusOK, statusOf(t, resp, err), "%s: what was read is refused: %v", path, err)
		}
		at := func() (values []string) {
			secret, _ := sim.Secret("one")
			for _, v := range secret.Versions {
				values = append(values, string(v.Value))
			}
			return values
		}
		want := []string{string(value)}
		for _, path := range []string{"secrets/one", "ids/" + id, "data/one"} {
			writeBack(path, nil)
			require.Equal(t, want, at(), "%s: what was read and written back is something else", path)
		}
		for _, path := range []string{"secrets/one", "ids/" + id, "data/one"} {
			sim.AddVersion("one", []byte(other))
			writeBack(path, fields{"version": "1"})
			want = append(want, other, string(value))
			require.Equal(t, want, at(), "%s: a version that was written back is something else", path)
		}
		// A patch of nothing changes nothing, and one of one more key adds just that, or is refused.
		e.does(logical.PatchOperation, "data/one", fields{"data": fields{}})
		require.Equal(t, want, at(), "a patch of nothing changes something")
		before := read("data/one", nil)["data"].(map[string]any)
		if _, err := e.does(logical.PatchOperation, "data/one", fields{"data": fields{"one more": 1}}); err != nil {
			require.Equal(t, http.StatusBadRequest, statusOf(t, nil, err))
			require.Equal(t, want, at(), "a patch that is refused changes something")
			return
		}
		if _, had := before["one more"]; had {
			return
		}
		before["one more"] = 1.0
		require.Equal(t, before, read("data/one", nil)["data"])
		patched := at()[len(want)]
		require.Equal(t, tokens(string(value))+2, tokens(patched), "a patch loses a part of %s", value)
		if escaped := strings.Contains(strings.ToLower(string(value)), "ufffd"); !escaped {
			require.Equal(t, strings.Count(string(value), "\ufffd"), strings.Count(patched, "\ufffd"), "a patch loses a character of %s", value)
		}
	})
}

// tokens counts the parts of a JSON text.
func tokens(text string) (n int) {
	for d := json.NewDecoder(strings.NewReader(text)); ; n++ {
		if _, err := d.Token(); err != nil {
			return n
		}
	}
}

// FuzzConfig: no write stores a config that cannot be used, none shows a credential, and the stored
// credential stays with the host and the user for which it was given.
func FuzzConfig(f *testing.F) {
	for _, given := range []string{
		`{}`, `{"api_url":"https://example.com"}`, `{"api_url":"http://127.0.0.1@example.com"}`, `{"api_url":"http://[::1%25x]:1/"}`,
		`{"api_url":"https://api.abeja.io#@example.com"}`, `{"api_url":null,"ca_cert":null,"user_id":null}`, `{"user_id":"user-user-1410000000001"}`,
		`{"personal_access_token":" ","api_url":"https://example.com"}`, `{"auth_token":null,"api_url":"https://example.com"}`,
		`{"auth_token":"x","personal_access_token":""}`, `{"auth_token":" "}`, `{"personal_access_token":"x\ny","organization_id":"../x"}`,
		`{"request_timeout":"18446744075s","cache_ttl":1e300}`, `{"cache_ttl":-1}`, `{"cache_ttl":"-1ns"}`, `{"stale_if_error":"720h1s"}`,
		`{"max_requests_per_second":"NaN"}`, `{"max_requests_per_second":-0.0,"max_retries":1.5}`, `{"cache_size":0}`, `{"name_prefix":"a/../b"}`,
		`{"ca_cert":"-----BEGIN CERTIFICATE-----\n"}`, `{"expired_secrets":"DENY"}`, `{"verify":1}`, `{"organization_id":["1"]}`, `{"organization_id":1410000000000}`,
	} {
		f.Add(byte(0), given)
		f.Add(byte(1), given)
	}
	sim := simulator.New(simulator.Options{Token: pat})
	f.Fuzz(func(t *testing.T, op byte, given string) {
		var data fields
		if json.Unmarshal([]byte(given), &data) != nil || data == nil {
			t.Skip()
		}
		for _, token := range []string{"personal_access_token", "auth_token"} {
			if text, ok := data[token].(string); ok && strings.TrimSpace(text) != "" {
				data[token] = "hidden-given" + text
			}
		}
		data["verify_connection"] = false // what is fuzzed here must reach no network
		e, _ := fuzzed(t, sim, sim)
		e.url = client.DefaultBaseURL
		if op%3 != 0 {
			_, err := e.does(logical.UpdateOperation, "config", e.config(fields{"verify_connection": false}))
			require.NoError(t, err)
		}
		before, err := readConfig(t.Context(), e.storage)
		require.NoError(t, err)

		operation := logical.Operation(logical.UpdateOperation)
		if op%2 == 1 {
			operation = logical.PatchOperation
		}
		resp, err := e.does(operation, "config", data)
		if err != nil {
			status := statusOf(t, resp, err)
			require.Equal(t, 4, status/100, "%s: %v", given, err)
			if field, _ := json.Marshal(data); !strings.Contains(string(field), `hidden":`) {
				noneShown(t, err.Error())
			}
		}

		after, readErr := readConfig(t.Context(), e.storage)
		require.NoError(t, readErr)
		if err != nil {
			require.Equal(t, before, after, "a write that is refused stores nothing")
		}
		if after == nil {
			return
		}
		require.NoError(t, after.check(), given)
		_, err = e.backend.(*backend).newMount(*after)
		require.NoError(t, err, given)
		if after.PersonalAccessToken == pat {
			require.Equal(t, before.target(), after.target(), "the stored credential would go elsewhere")
		}
		read, err := e.does(logical.ReadOperation, "config", nil)
		require.NoError(t, err)
		for _, credential := range []string{after.PersonalAccessToken, after.AuthToken} {
			require.True(t, credential == "" || !strings.Contains(fmt.Sprint(read.Data), credential), "the credential is shown")
		}
	})
}
