package soak

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestNoSecretIsLeftAnywhere(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	r := &leakRun{marks: newMarks(chance(2000)), dir: dir}
	r.c = startCluster(t, dir, 1, "trace")
	for name, raw := range map[string]string{"audit": "false", "raw": "true"} {
		r.c.must(t, http.MethodPut, "sys/audit/"+name, map[string]any{
			"type": "file", "options": map[string]string{"file_path": filepath.Join(dir, name+".log"), "log_raw": raw},
		})
	}
	credential := r.marks.secret("token")
	r.a = startABEJA(t, credential, r.marks.secret("auth token"))
	r.listener = listenBefore(t, r.a)
	r.active = r.c.serves(t)
	r.c.mount(t, "abeja", r.a.Config(map[string]any{
		"api_url": r.listener.url, "request_timeout": deadline, "max_retries": 0, "cache_ttl": "1s", "stale_if_error": "1m",
	}))

	passes := 0
	for begun := time.Now(); passes < 1 || time.Since(begun) < *length; passes++ {
		r.operations(t, fmt.Sprintf("leak%d", passes))
		r.troubles(t, fmt.Sprintf("trouble%d", passes))
	}
	r.refusals(t, credential)
	r.texts["metrics"] = r.c.must(t, http.MethodGet, "sys/metrics?format=prometheus", nil).Body
	r.active.Stop() // so that all is on disk

	places := r.places(t)
	size := 0
	for _, content := range places {
		size += len(content)
	}
	t.Logf("%d passes, %d requests of which %d were refused; %d places with %d kB are scanned for %d forms",
		passes, r.requests, r.refused, len(places), size/1000, len(r.marks.forms))
	for i, hit := range r.marks.scan(places) {
		if i == 5 {
			t.Error("and more")
			break
		}
		t.Errorf("a secret is in %s", hit)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "raw.log"))
	if err != nil || len(r.marks.scan(map[string][]byte{"raw": raw})) == 0 {
		t.Errorf("nothing is found where Vault was told to log secrets: %v", err)
	}
	if !t.Failed() {
		r.plant(t)
	}
}

// leakRun drives operations whose secrets bear marks, and keeps what is said about them.
type leakRun struct {
	marks    *marks
	dir      string
	c        *cluster
	active   *node
	a        *abeja
	listener *listener
	texts    map[string][]byte // answers that must not hold secrets, by kind
	requests int
	refused  int
}

// gives is a call whose answer may hold a value; only its warnings are kept.
func (r *leakRun) gives(method, path string, in any) answer {
	a := r.active.call(r.c.token, method, "abeja/"+path, in)
	for limit := time.Now().Add(10 * time.Second); strings.Contains(string(a.Body), "was not asked") && time.Now().Before(limit); {
		time.Sleep(100 * time.Millisecond) // ABEJA is not asked for a while
		a = r.active.call(r.c.token, method, "abeja/"+path, in)
	}
	r.keep("warnings", strings.Join(a.Warnings, "\n"))
	if r.requests++; a.Status >= 400 || a.Status == 0 {
		r.refused++
		r.keep("errors", fmt.Sprintf("%v %s", a, a.Body))
	}
	return a
}

// tells is a call whose whole answer must be without a value.
func (r *leakRun) tells(method, path string, in any) answer {
	a := r.gives(method, path, in)
	r.keep("answers", string(a.Body))
	return a
}

func (r *leakRun) keep(kind, text string) {
	if r.texts == nil {
		r.texts = map[string][]byte{}
	}
	r.texts[kind] = append(append(r.texts[kind], text...), '\n')
}

func data(value any) map[string]any { return map[string]any{"data": map[string]any{"key": value}} }

// operations goes through what the engine can do.
func (r *leakRun) operations(t *testing.T, name string) {
	s := r.marks.secret
	id, _ := r.tells("POST", "secrets/"+name, map[string]any{"value": s("1"), "description": "of " + name}).Data["id"].(string)
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("2"), "cas": 1, "expired_at": "2020-01-01T00:00:00Z"})
	r.tells("PATCH", "secrets/"+name, map[string]any{"value": s("3"), "description": nil})
	binary := base64.StdEncoding.EncodeToString([]byte("\xff" + s("4")))
	r.tells("POST", "secrets/"+name, map[string]any{"value": binary, "encoding": "base64"})
	r.gives("GET", "secrets/"+name, nil)
	r.gives("GET", "secrets/"+name+"?version=2", nil)
	r.tells("LIST", "secrets/", nil)
	r.tells("LIST", "secrets/"+name+"/versions/", nil)
	r.gives("GET", "secrets/"+name+"/versions/1", nil)
	r.tells("POST", "secrets/"+name+"/versions/1", map[string]any{"status": "inactive"})
	r.tells("DELETE", "secrets/"+name+"/versions/2", nil)
	r.tells("LIST", "ids/", nil)
	r.gives("GET", "ids/"+id, nil)
	r.tells("POST", "ids/"+id, map[string]any{"value": s("5")})

	kv := name + "_kv"
	r.tells("POST", "data/"+kv, data(s("6")))
	r.tells("POST", "data/"+kv, map[string]any{"data": map[string]any{"list": []string{s("7")}, "deep": map[string]any{"x": s("8")}}, "options": map[string]any{"cas": 1}})
	r.tells("PATCH", "data/"+kv, data(s("9")))
	r.gives("GET", "data/"+kv, nil)
	r.tells("GET", "subkeys/"+kv, nil)
	r.tells("GET", "metadata/"+kv, nil)
	r.tells("LIST", "metadata/", nil)
	r.tells("POST", "metadata/"+kv, map[string]any{"custom_metadata": map[string]any{"description": "of " + kv}})
	for _, what := range []string{"delete", "undelete", "destroy"} {
		r.tells("POST", what+"/"+kv, map[string]any{"versions": []int{1, 2}})
	}
	r.tells("GET", "data/"+kv+"?version=1", nil)
	r.tells("DELETE", "data/"+kv, nil)

	generated, _ := r.gives("POST", "generate/"+name+"_gen", map[string]any{"return_value": true}).Data["value"].(string)
	if generated == "" {
		t.Error("no value was generated")
	} else {
		r.marks.add("generated", generated)
	}
	r.tells("POST", "generate/"+name+"_gen", map[string]any{"length": 64})
	r.tells("GET", "config", nil)
	r.tells("GET", "status", nil)
	r.tells("GET", "metrics", nil)

	// What is wrong with the request.
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("10"), "cas": 99})
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("11"), "cas": s("12")})
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("13"), "encoding": "base64"})
	r.tells("POST", "secrets/"+name, map[string]any{"value": "x", "encoding": s("14")})
	r.tells("POST", "secrets/"+name, map[string]any{"value": map[string]any{"a": s("15")}})
	r.tells("POST", "secrets/"+name, map[string]any{"value": []string{s("16")}})
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("17"), "expired_at": s("18"), "integration_service_type": s("19")})
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("20"), "integration_service_ids": s("21")})
	r.tells("POST", "secrets/"+name, map[string]any{"value": s("22") + strings.Repeat("x", 70_000)})
	r.tells("POST", "secrets/no.name", map[string]any{"value": s("23")})
	r.tells("POST", "secrets/name-abcdef", map[string]any{"value": s("24")})
	r.tells("POST", "data/"+name, map[string]any{"data": s("25")})
	r.tells("POST", "data/"+name, map[string]any{"data": map[string]any{"x": s("26")}, "options": map[string]any{"cas": s("27")}})
	r.tells("POST", "generate/"+name, map[string]any{"password_policy": s("28")})
	r.tells("DELETE", "secrets/"+name+"_gen", nil)
	r.tells("DELETE", "metadata/"+kv, nil)
}

// troubles goes through the ways in which ABEJA fails, with words that repeat what it was sent.
func (r *leakRun) troubles(t *testing.T, name string) {
	r.tells("POST", "secrets/"+name, map[string]any{"value": r.marks.secret("30")})
	for i, f := range failures {
		for _, op := range []string{"", "create_version"} { // "" is any call
			f.Op, f.Count = op, 2
			r.a.strike(t, f)
			r.tells("POST", "secrets/"+name, map[string]any{"value": r.marks.secret(fmt.Sprint("31 ", i, op))})
			r.a.heal(t)
		}
	}
	value := r.marks.secret("32")
	for encoding, echo := range echoes(value) {
		for _, status := range []int{400, 404, 409, 422, 500} {
			r.a.strike(t, fault{Op: "create_version", Kind: "status", Status: status, Count: 2, Body: "this is bad: " + echo})
			a := r.tells("POST", "secrets/"+name, map[string]any{"value": value})
			assert.GreaterOrEqual(t, a.Status, 400, "a write that ABEJA refused with an echo in %s and %d", encoding, status)
			r.a.heal(t)
		}
		r.a.strike(t, fault{Op: "create_secret", Kind: "status", Status: 400, Count: 1, Body: echo})
		r.tells("POST", "data/"+name+"_new", map[string]any{"data": map[string]any{"value": value}})
		r.a.heal(t)
	}
}

// echoes are the ways in which ABEJA might repeat a value, as far as the engine looks for them.
func echoes(value string) map[string]string {
	all := vaulttest.Encodings(value)
	all["half"] = value[:len(value)/2]
	return all
}

// refusals goes through credentials that are refused, by the engine or by ABEJA.
func (r *leakRun) refusals(t *testing.T, credential string) {
	s := r.marks.secret
	for _, config := range []map[string]any{
		{"personal_access_token": s("wrong")},
		{"auth_token": s("wrong")},
		{"auth_token": s("wrong"), "personal_access_token": s("both")},
		{"personal_access_token": s("with a blank")},
		{"personal_access_token": map[string]any{"a": s("map")}},
		{"personal_access_token": credential, "api_url": "http://127.0.0.1:1"},
		{"personal_access_token": credential, "api_url": "http://user:" + url.QueryEscape(s("in the URL")) + "@127.0.0.1:1"},
		{"personal_access_token": credential, "ca_cert": s("no certificate")},
		{"request_timeout": s("no time")},
	} {
		assert.GreaterOrEqual(t, r.tells("PATCH", "config", config).Status, 400, "a config was taken")
	}
	for encoding, echo := range echoes(credential) {
		for _, status := range []int{400, 401, 403, 422, 503} {
			if encoding == "half" && status != 401 && status != 403 {
				continue // to drop this would tell who sent it whether it is part of the credential
			}
			r.a.strike(t, fault{Op: "get_secret", Kind: "status", Status: status, Count: 1, Body: "bad credential: " + echo})
			a := r.tells("GET", "metadata/trouble0", nil)
			assert.GreaterOrEqual(t, a.Status, 400, "a read that ABEJA refused with an echo of the credential in %s and %d", encoding, status)
			r.a.heal(t)
		}
	}
	basic := base64.StdEncoding.EncodeToString([]byte(r.a.Env["ABEJA_PLATFORM_USER_ID"] + ":" + credential))
	r.a.strike(t, fault{Op: "list_secrets", Kind: "status", Status: 422, Count: 1, Body: "bad header: Basic " + basic})
	r.tells("LIST", "secrets/", nil)
	r.a.heal(t)
	// Stored unasked, to be used and refused.
	a := r.tells("PATCH", "config", map[string]any{"auth_token": s("stored"), "verify_connection": false})
	assert.Equal(t, http.StatusNoContent, a.Status, "storing a credential without checking it: %v", a)
	r.tells("LIST", "secrets/", nil)
}

// places are all in which no secret may be.
func (r *leakRun) places(t *testing.T) map[string][]byte {
	places := map[string][]byte{"request lines": []byte(r.listener.text())}
	for kind, text := range r.texts {
		places[kind] = text
	}
	files(t, places, filepath.Join(r.dir, "vault0")) // its log and its storage
	for place, file := range map[string]string{"audit": filepath.Join(r.dir, "audit.log"), "ABEJA's log": r.a.Log} {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		places[place] = content
	}
	// The simulator begins by telling its credentials to whoever has started it.
	_, places["ABEJA's log"], _ = cutAfter(places["ABEJA's log"], "PLATFORM_AUTH_TOKEN=")
	return places
}

// cutAfter cuts behind the line in which text is.
func cutAfter(log []byte, text string) (before, after []byte, found bool) {
	head, tail, found := strings.Cut(string(log), text)
	line, rest, _ := strings.Cut(tail, "\n")
	return []byte(head + text + line), []byte(rest), found
}

// plant puts a secret into each kind of place, in each encoding, and wants the scan to find it.
func (r *leakRun) plant(t *testing.T) {
	planted := 0
	expect := func(place string) {
		t.Helper()
		planted++
		hits := r.marks.scan(r.places(t))
		if len(hits) == 0 || !strings.HasPrefix(hits[0], place) {
			t.Errorf("what was planted in %s is not found there: %v", place, hits)
		}
	}
	for _, secret := range echoes(r.marks.secret("planted")) {
		for kind, text := range r.texts {
			r.texts[kind] = append(append([]byte{}, text...), secret...)
			expect(kind)
			r.texts[kind] = text
		}
		storage := filepath.Join(r.dir, "vault0", "storage")
		for place, file := range map[string]string{
			"audit":       filepath.Join(r.dir, "audit.log"),
			"ABEJA's log": r.a.Log,
			filepath.Join(r.dir, "vault0", "vault.log"): filepath.Join(r.dir, "vault0", "vault.log"),
			filepath.Join(storage, "vault.db"):          filepath.Join(storage, "vault.db"),
			filepath.Join(storage, "raft", "raft.db"):   filepath.Join(storage, "raft", "raft.db"),
		} {
			info, err := os.Stat(file)
			require.NoError(t, err)
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			fmt.Fprintf(f, "%s\n", secret)
			f.Close()
			expect(place)
			require.NoError(t, os.Truncate(file, info.Size()))
		}
	}
	r.listener.mu.Lock()
	r.listener.seen.WriteString("GET /secrets?value=" + url.QueryEscape(r.marks.secret("planted")))
	r.listener.mu.Unlock()
	expect("request lines")
	t.Logf("%d planted secrets were found", planted)
}
