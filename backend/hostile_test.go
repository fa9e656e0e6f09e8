package backend

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// says makes ABEJA answer one kind of call with body. $ID and $ORG in it are those of the secret
// that the simulator has under the name "one", and of the organization.
func (e *engine) says(op simulator.Op, body string) {
	e.sim.ClearFaults()
	one, _ := e.sim.Secret("one")
	org, _, _, _ := e.sim.Credentials()
	e.sim.AddFault(simulator.Fault{Op: op, Kind: simulator.FaultBody, Body: strings.NewReplacer("$ID", one.ID, "$ORG", org).Replace(body)})
}

// oneSecret is a secret as ABEJA has it, whose value is "hidden".
const oneSecret = `{"id":"$ID","organization_id":"$ORG","name":"one","versions":[{"id":"7","version":1,"status":"active","value":"aGlkZGVu"}]}`

// reachedAs returns Vault's path and operation for a request to its HTTP API: the path is unescaped
// once, and a list has a slash at its end.
func reachedAs(t *testing.T, method, target string) (logical.Operation, string) {
	u, err := url.ParseRequestURI(target)
	require.NoError(t, err)
	path := strings.TrimPrefix(u.Path, "/v1/abeja/")
	switch {
	case method == "LIST" || u.Query().Get("list") == "true":
		return logical.ListOperation, strings.TrimSuffix(path, "/") + "/"
	case method == http.MethodGet:
		return logical.ReadOperation, path
	case method == http.MethodDelete:
		return logical.DeleteOperation, path
	}
	return logical.UpdateOperation, path
}

func TestANameThatNoSecretCanHaveNeverReachesABEJA(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	org, _, _, _ := e.sim.Credentials()
	for _, name := range []string{
		"..", ".", "...", "one/..", "../one", "one/../one", "one/", "/one", "//", "one/versions/../..", "a/b/c",
		"%2e%2e", "..%2f..%2forganizations%2fx", "one%2f", "one%2fversions%2f1%2f..", "one%252f", "%252e%252e", "one%00", "one%0a", "%0aone", "one%0d%0aX:%201",
		"one%20", "%20one", "one%3flimit=1", "one%23", "one;", "one%5c..", "*", "+", "one*", "$ID",
		"%D0%BEne",     // a Cyrillic o
		"%EF%BD%8Fne",  // a full-width o
		"on%65%CC%81",  // an accent of its own
		"o%E2%80%8Bne", // a space of no width
		"%E2%80%AEeno", // right to left
		"one%FF", "%C0%AE%C0%AE", strings.Repeat("a", 513), strings.Repeat("a", 10_000), strings.Repeat("../", 3_000),
	} {
		for _, family := range []string{"secrets/", "data/", "metadata/", "subkeys/", "generate/", "delete/", "undelete/", "destroy/"} {
			for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
				op, path := reachedAs(t, method, "/v1/abeja/"+family+name)
				_, err := e.does(op, path, fields{"value": "hidden-2", "data": map[string]any{"value": "hidden-2"}, "versions": []int{1}})
				require.Error(t, err, "%s %s", op, path)
				require.Equal(t, 4, statusOf(t, nil, err)/100, "%s %s: %v", op, path, err)
			}
		}
	}
	for _, id := range []string{
		"../organizations/x", "..", "%2e%2e", id + "%2fversions", id + "/versions", id + "/..", id + "%00", id + "%20", "%20" + id, id + "%3freturn_secret_value=True",
		"..%2f..%2f..%2forganizations%2f" + org + "%2fsecrets%2f" + id, strings.Repeat("1", 65), strings.Repeat("1", 10_000), "%D9%A1%D9%A2",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
			op, path := reachedAs(t, method, "/v1/abeja/ids/"+id)
			_, err := e.does(op, path, fields{"value": "hidden-2"})
			require.Equal(t, 4, statusOf(t, nil, err)/100, "%s %s: %v", op, path, err)
		}
	}
	for _, number := range []string{"0", "-1", "+1", "01", "1.0", "1e0", "0x1", "%D9%A1", "1%20", "2147483648", "9223372036854775808", strings.Repeat("9", 10_000), "..", "1%2f.."} {
		if number != "0" && number != "-1" { // as KV's clients say that they want none in particular
			e.read("secrets/one", fields{"version": number}).refused(http.StatusBadRequest, "version")
		}
		op, path := reachedAs(t, http.MethodGet, "/v1/abeja/secrets/one/versions/"+number)
		_, err := e.does(op, path, nil)
		require.Equal(t, http.StatusBadRequest, statusOf(t, nil, err), "%s: %v", path, err)
	}
	require.Zero(t, e.sim.Count())
}

func TestAValueOfAnyBytesIsStoredAsItIs(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{MaxValueBytes: 700_000}})
	for name, value := range map[string]string{
		"nul": "hidden\x00-1", "only_nul": "\x00", "invalid_utf8": "hidden\xff\xfe\xc0\xaf", "surrogate": "hidden\xed\xa0\x80", "bom": "\ufeffhidden",
		"lines": "hidden\r\n\u2028", "big": "hidden" + strings.Repeat("\x00", 690_000), "json": `{"a":{"b":[1]},"hidden":"\u0000"}`, "quotes": `hidden"'\<&>`,
	} {
		encoded := base64.StdEncoding.EncodeToString([]byte(value))
		e.write("secrets/"+name, fields{"value": encoded, "encoding": "base64"}).ok()
		stored, _ := e.sim.Secret(name)
		require.Equal(t, value, string(stored.Versions[0].Value), name)

		got := e.read("secrets/" + name).ok()
		text := got["value"].(string)
		if got["encoding"] == "base64" {
			raw, err := base64.StdEncoding.DecodeString(text)
			require.NoError(t, err)
			text = string(raw)
		}
		require.Equal(t, value, text, name)
		require.Equal(t, 1, e.write("secrets/"+name, fields{"value": encoded, "encoding": "base64"}).ok()["version"])

		kv, err := e.does(logical.ReadOperation, "data/"+name, nil)
		require.NoError(t, err)
		again, err := encodeMap(carry(t, kv.Data["data"].(map[string]any)))
		require.NoError(t, err)
		if got["encoding"] == nil {
			require.True(t, value == string(again), name)
		}
	}
}

func TestAValueTooBigForABEJAIsRefusedAndNothingOfItIsShown(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	before, _ := e.sim.Secret("one")
	large := "hidden" + strings.Repeat("x", maxValue-6)
	a := e.write("secrets/one", fields{"value": large}) // ABEJA itself refuses it
	a.refused(http.StatusBadRequest)
	require.NotContains(t, a.text, "1 MiB")
	require.Less(t, len(a.text), 1000)
	e.sim.ResetRequests()
	larger := large + "x"
	inBase64 := fields{"value": base64.StdEncoding.EncodeToString([]byte(larger)), "encoding": "base64"}
	bytesInBase64 := fields{"value": base64.StdEncoding.EncodeToString([]byte("\xff" + large)), "encoding": "base64"}
	for _, a := range []answer{
		e.write("secrets/one", fields{"value": larger}), e.write("secrets/two", fields{"value": larger}),
		e.patch("ids/"+id, fields{"value": larger}), e.write("secrets/one", inBase64),
		e.kvPut("data/one", fields{"data": fields{"value": larger}}), e.kvPut("data/two", fields{"data": fields{"a": larger[8:]}}),
		e.kvPut("data/one", fields{"data": bytesInBase64}),
	} {
		a.refused(http.StatusBadRequest, "the value must have at most 1048576 bytes (1 MiB)")
	}
	require.Zero(t, e.writes())
	e.kvPatch("data/one", fields{"data": fields{"value": large + "x"}}).refused(http.StatusBadRequest, "1 MiB")
	after, _ := e.sim.Secret("one")
	require.Equal(t, before, after)
}

func TestAnAnswerThatIsNotAboutWhatWasAskedIsNeverGivenOut(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	e.says(simulator.GetSecret, oneSecret)
	require.Equal(t, "hidden", e.read("secrets/one").ok()["value"])
	for what, body := range map[string]string{
		"another name":                   strings.Replace(oneSecret, `"one"`, `"two"`, 1),
		"another name last":              strings.Replace(oneSecret, `"name":"one"`, `"name":"one","NAME":"two"`, 1),
		"a name that looks alike":        strings.Replace(oneSecret, `"one"`, `"оne"`, 1),
		"another case":                   strings.Replace(oneSecret, `"one"`, `"One"`, 1),
		"a name with a space":            strings.Replace(oneSecret, `"one"`, `"one "`, 1),
		"another organization":           strings.Replace(oneSecret, `$ORG`, "1420000000000", 1),
		"no organization":                strings.Replace(oneSecret, `"organization_id":"$ORG",`, "", 1),
		"another id":                     strings.Replace(oneSecret, `$ID`, "8", 1),
		"an id that is a path":           strings.Replace(oneSecret, `$ID`, "../organizations/x", 1),
		"a version of another secret":    strings.Replace(oneSecret, `"id":"7"`, `"id":"7","secret_id":"8"`, 1),
		"one of another organization":    strings.Replace(oneSecret, `"id":"7"`, `"id":"7","organization_id":"1420000000000"`, 1),
		"a number twice":                 strings.Replace(oneSecret, `[{`, `[{"id":"8","version":1,"status":"active","value":"aGlkZGVu"},{`, 1),
		"a time that is a number":        strings.Replace(oneSecret, `"name"`, `"expired_at":1,"name"`, 1),
		"a list":                         "[" + oneSecret + "]",
		"two secrets":                    oneSecret + oneSecret,
		"nothing":                        "",
		"null":                           "null",
		"JSON that is nested too deep":   `{"properties":` + strings.Repeat("[", 1<<19),
		"a map in a map, and so on":      strings.Repeat(`{"a":`, 1<<17),
		"a string of 17 MB":              `{"id":"` + strings.Repeat("1", 17<<20),
		"a million versions":             strings.Replace(oneSecret, `[{`, `[`+strings.Repeat("{},", 1<<20)+`{`, 1),
		"a name that is a thousand maps": strings.Replace(oneSecret, `"one"`, strings.Repeat(`{"a":`, 1000)+"1"+strings.Repeat("}", 1000), 1),
	} {
		e.list("ids/").ok() // ABEJA is not down
		e.says(simulator.GetSecret, body)
		e.read("secrets/one").refused(http.StatusBadGateway, "api_url")
		if len(body) > 1<<20 {
			continue // is refused for its size, wherever it comes
		}
		for _, path := range []string{"secrets/one/versions/1", "ids/" + id, "data/one", "subkeys/one", "metadata/one"} {
			e.list("ids/").ok() // ABEJA is not down
			e.read(path).refused(http.StatusBadGateway, "api_url")
		}
		for _, a := range []answer{e.write("secrets/one", fields{"value": "hidden-2"}), e.write("data/one", fields{"data": fields{"a": "hidden-2"}}), e.patch("data/one", fields{"data": fields{"a": "hidden-2"}})} {
			a.refused(http.StatusBadGateway)
		}
		require.Zero(t, e.writes(), what)
	}
}

func TestAVersionThatCannotBeUnderstoodIsNeverGivenOutNorReplacedUnseen(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	e.says(simulator.GetSecret, oneSecret)
	require.Equal(t, "hidden", e.read("secrets/one").ok()["value"])
	for what, body := range map[string]string{
		"a negative number":          strings.Replace(oneSecret, `"version":1`, `"version":-1`, 1),
		"the number 0":               strings.Replace(oneSecret, `"version":1`, `"version":0`, 1),
		"a number beyond any":        strings.Replace(oneSecret, `"version":1`, `"version":9223372036854775808`, 1),
		"a number that is not whole": strings.Replace(oneSecret, `"version":1`, `"version":1.5`, 1),
		"no value":                   strings.Replace(oneSecret, `,"value":"aGlkZGVu"`, "", 1),
		"an empty value":             strings.Replace(oneSecret, `aGlkZGVu`, "", 1),
		"a value that is no base64":  strings.Replace(oneSecret, `aGlkZGVu`, "hidden-1", 1),
	} {
		e.says(simulator.GetSecret, body)
		for _, path := range []string{"secrets/one", "secrets/one/versions/1", "ids/" + id, "data/one", "subkeys/one"} {
			e.read(path).refused(http.StatusBadGateway, "cannot be understood", "version=N")
		}
		for _, a := range []answer{
			e.write("secrets/one", fields{"value": "hidden-2"}), e.write("data/one", fields{"data": fields{"a": "hidden-2"}}),
			e.patch("data/one", fields{"data": fields{"a": "hidden-2"}}), e.write("generate/one", nil),
		} {
			a.refused(http.StatusBadGateway, "cannot be understood")
		}
		require.Zero(t, e.writes(), what)
	}
}

func TestATimeThatCannotBeUnderstoodIsNullWithAWarning(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	for _, odd := range []string{`"10000-01-01T00:00:00Z"`, `"2024-01-02T03:04:05"`, `7`} {
		e.says(simulator.GetSecret, strings.Replace(oneSecret, `"name"`, `"created_at":`+odd+`,"name"`, 1))
		a := e.read("secrets/one")
		require.Equal(t, "hidden", a.ok()["value"])
		require.Nil(t, a.ok()["created_at"])
		require.Len(t, a.warnings, 1)
		require.Contains(t, a.warnings[0], "cannot be understood in full: 1.")
	}
}

func TestUnusualAnswersThatAreTrueAreGivenOut(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	version := func(n int, value string) string {
		return fmt.Sprintf(`{"id":"%d","version":%d,"status":"active","value":%q}`, n, n, base64.StdEncoding.EncodeToString([]byte(value)))
	}
	secret := `{"id":"$ID","organization_id":"$ORG","name":"one","versions":[`

	// Numbers with gaps, out of order.
	e.says(simulator.GetSecret, secret+version(9, "hidden-9")+","+version(2, "hidden-2")+"]}")
	require.Equal(t, "hidden-9", e.read("secrets/one").ok()["value"])
	require.Equal(t, "hidden-2", e.read("secrets/one", fields{"version": "2"}).ok()["value"])
	e.read("secrets/one", fields{"version": "3"}).refused(http.StatusNotFound)
	e.read("secrets/one", fields{"version": "10"}).refused(http.StatusNotFound)
	require.Len(t, e.read("metadata/one").ok()["versions"], 9)

	// The largest number that one would believe: the answer stays small.
	e.says(simulator.GetSecret, secret+version(1<<31-1, "hidden-9")+"]}")
	require.Equal(t, 1<<31-1, e.read("secrets/one").ok()["version"])
	require.Len(t, e.read("metadata/one").ok()["versions"], maxDestroyed)

	// 100 versions that have more bytes together than an answer with all values may have.
	var all []string
	for n := range 100 {
		all = append(all, version(n+1, "hidden"+strings.Repeat("x", 6_500)+strconv.Itoa(n+1)))
	}
	e.says(simulator.GetSecret, secret+strings.Join(all, ",")+"]}")
	require.True(t, strings.HasSuffix(e.read("secrets/one", fields{"version": "57"}).ok()["value"].(string), "x57"))

	// A time that is in the year 10000 only in UTC, and one of the year 0.
	e.says(simulator.GetSecret, strings.Replace(secret, `"name"`, `"expired_at":"9999-12-31T23:59:59-23:59","created_at":"0000-01-01T00:00:00Z","name"`, 1)+version(1, "hidden-1")+"]}")
	got := e.read("secrets/one").ok()
	require.Equal(t, "10000-01-01T23:58:59Z", got["expired_at"])
	_, err := json.Marshal(got)
	require.NoError(t, err)

	// A value that is JSON, nested deep: text for those who do not speak KV v2, a map for those who do,
	// as long as Vault would take it back.
	for _, levels := range []int{299, 300, 5000} {
		deep := strings.Repeat(`{"a":`, levels) + "1" + strings.Repeat("}", levels)
		e.says(simulator.GetSecret, secret+version(1, deep)+"]}")
		require.Equal(t, deep, e.read("secrets/one").ok()["value"])
		data := e.read("data/one").ok()["data"]
		if levels > 299 {
			require.Equal(t, map[string]any{"value": deep}, data)
			continue
		}
		wire, err := json.Marshal(data)
		require.NoError(t, err)
		require.Equal(t, deep, string(wire))
		e.read("subkeys/one").ok()
	}
}

func TestAListThatIsNotTheOrganizationsIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	const good = `{"organization_id":"$ORG","has_next":false,"secrets":[{"id":"8","organization_id":"$ORG","name":"one","versions":[]}]}`
	e.says(simulator.ListSecrets, good)
	require.Equal(t, []string{"one"}, e.list("secrets/").ok()["keys"])
	for what, body := range map[string]string{
		"another organization's":          strings.Replace(good, "$ORG", "1420000000000", 1),
		"a secret of another":             strings.Replace(good, `"8","organization_id":"$ORG"`, `"8","organization_id":"1420000000000"`, 1),
		"no secrets":                      `{"organization_id":"$ORG","has_next":false}`,
		"a million of nothing":            strings.Replace(good, `[{`, `[`+strings.Repeat("{},", 1<<20)+`{`, 1),
		"the list of a secret's versions": `{"pagination":{"has_next":false},"versions":[]}`,
	} {
		e.says(simulator.ListSecrets, body)
		for _, path := range []string{"secrets/", "ids/", "metadata/"} {
			e.read("secrets/one") // ABEJA is not down
			e.list(path).refused(http.StatusBadGateway, "api_url")
		}
		e.sim.ResetRequests()
		e.list("secrets/").refused(http.StatusBadGateway)
		require.Equal(t, 1, e.sim.Count(), what)
	}
}

func TestARecordOfAListThatCannotBeUnderstoodIsLeftOutWithAWarning(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	const good = `{"id":"$ID","organization_id":"$ORG","name":"one","versions":[]}`
	for what, odd := range map[string]string{
		"an id that is a path":    strings.Replace(good, `"$ID"`, `"../../organizations/x/secrets/8"`, 1),
		"a secret without a name": strings.NewReplacer(`"one"`, `""`, "$ID", "9").Replace(good),
		"null for a secret":       "null",
		"an expiry that is none":  strings.NewReplacer(`"one"`, `"two","expired_at":"soon"`, "$ID", "9").Replace(good),
	} {
		e.says(simulator.ListSecrets, `{"organization_id":"$ORG","has_next":false,"secrets":[`+odd+","+good+`]}`)
		for _, path := range []string{"secrets/", "ids/", "metadata/"} {
			a := e.list(path)
			require.Len(t, a.ok()["keys"], 1, what)
			require.Len(t, a.warnings, 1, what)
			require.Contains(t, a.warnings[0], "cannot be understood in full: 1.", what)
		}
	}
}

func TestOfSecretsWithOneNameTheNewestIsMeantAndNoOtherIsGivenOut(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	other := e.sim.Create("two", []byte("hidden-2"))
	item := `{"id":"%s","organization_id":"$ORG","name":"%s","created_at":"%s"}`
	list := func(items ...string) {
		e.says(simulator.ListSecrets, `{"organization_id":"$ORG","has_next":false,"secrets":[`+strings.Join(items, ",")+`]}`)
		e.list("secrets/")
	}
	list(fmt.Sprintf(item, other, "one", "2020-01-01T00:00:00Z"), fmt.Sprintf(item, id, "one", "2021-01-01T00:00:00Z"))
	require.Equal(t, []string{"one"}, e.list("secrets/").ok()["keys"])
	require.Equal(t, "hidden-1", e.read("secrets/one").ok()["value"])
	e.read("ids/" + other).refused(http.StatusNotFound)

	// The names are exchanged only in the list: the secret itself says that it is another.
	list(fmt.Sprintf(item, other, "one", "2020-01-01T00:00:00Z"), fmt.Sprintf(item, id, "two", "2021-01-01T00:00:00Z"))
	for _, path := range []string{"secrets/one", "secrets/two", "ids/" + id, "ids/" + other, "data/one"} {
		e.read(path).refused(http.StatusBadGateway, "another name")
	}

	// Names that break ABEJA's rule are not shown, and cannot be asked for.
	list(fmt.Sprintf(item, other, "../two", "2020-01-01T00:00:00Z"), fmt.Sprintf(item, id, "one", "2021-01-01T00:00:00Z"))
	a := e.list("secrets/")
	require.Equal(t, []string{"one"}, a.ok()["keys"])
	require.Len(t, a.warnings, 1)
	e.read("ids/" + other).refused(http.StatusNotFound)
}

func TestASecretThatIsMadeUnderAnotherIDIsNeverReadAsThisOne(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	const made = `{"id":"$ID","organization_id":"$ORG","name":"new","versions":[{"id":"7","version":1}]}`
	for _, body := range []string{
		strings.Replace(made, `"new"`, `"one"`, 1), strings.Replace(made, "$ORG", "1420000000000", 1), strings.Replace(made, "$ID", "../x", 1), strings.Replace(made, "$ID", "", 1),
	} {
		e.says(simulator.CreateSecret, body)
		e.write("secrets/new", fields{"value": "hidden-2"}).refused(http.StatusBadGateway)
	}
	e.says(simulator.CreateSecret, made) // the id of "one"
	e.write("secrets/new", fields{"value": "hidden-2"}).ok()
	e.read("secrets/new").refused(http.StatusNotFound)
	require.Equal(t, "hidden-1", e.read("secrets/one").ok()["value"])
	e.list("secrets/").ok() // tells the truth again
	require.Equal(t, "hidden-1", e.read("ids/" + id).ok()["value"])
	e.read("secrets/new").refused(http.StatusNotFound)
}

func TestAWriteIsNotBelievedToBeAboutAnotherSecret(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	for op, bodies := range map[simulator.Op][]string{
		simulator.CreateVersion: {`{"id":"7","version":2,"secret_id":"8"}`, `{"id":"7","version":2,"organization_id":"1420000000000"}`, `{"id":"7","version":-2}`, `{"version":2}`, `{}`},
		simulator.UpdateSecret:  {`{"id":"8","organization_id":"$ORG","name":"one"}`, `{"id":"$ID","organization_id":"1420000000000","name":"one"}`, `{}`},
	} {
		for i, body := range bodies {
			e.says(op, body)
			e.write("secrets/one", fields{"value": fmt.Sprint("hidden-", op, i), "description": "d"}).refused(http.StatusBadGateway)
		}
	}
	before, _ := e.sim.Secret("one")
	for _, body := range []string{`{"id":"7","version":1}`, `{"id":"$ID","version":1,"secret_id":"8"}`, `[]`} {
		e.says(simulator.UpdateVersion, body)
		e.write("secrets/one/versions/1", fields{"status": "inactive"}).refused(http.StatusBadGateway)
	}
	after, _ := e.sim.Secret("one")
	require.Equal(t, before, after)
}

// unending is an ABEJA whose lists have no end: page returns what stands at an offset.
func unending(t *testing.T, e *engine, page func(org string, offset int) string) *atomic.Int64 {
	org, user, _, _ := e.sim.Credentials()
	asked := new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		offset, _ := strconv.Atoi(r.URL.Query().Get("offset"))
		fmt.Fprintf(w, `{"organization_id":%q,"has_next":true,"pagination":{"has_next":true},%s}`, org, page(org, offset))
	}))
	t.Cleanup(server.Close)
	e.write("config", fields{"api_url": server.URL, "user_id": user, "personal_access_token": pat, "verify_connection": false}).ok()
	return asked
}

func TestEmptyPagesThatPromiseMoreEndTheListing(t *testing.T) {
	t.Parallel()
	for what, items := range map[string]int{"no page holds anything": 0, "only the first page holds something": 100} {
		e := newEngine(t, simulator.Options{})
		asked := unending(t, e, func(org string, offset int) string {
			var b bytes.Buffer
			for i := range items {
				if offset == 0 {
					fmt.Fprintf(&b, `,{"id":"%d","name":"n%d","organization_id":%q}`, i+1, i+1, org)
				}
			}
			return `"versions":[],"secrets":[` + strings.TrimPrefix(b.String(), ",") + `]`
		})
		a := e.list("secrets/")
		keys, _ := a.ok()["keys"].([]string)
		require.Len(t, keys, items, what)
		require.Contains(t, a.warnings[0], "others may be missing")
		// Five pages with something new, eight without, and what a whole window has asked for beyond.
		require.LessOrEqual(t, asked.Load(), int64(5+8+32), what)
	}
}

// What can be learnt from ABEJA's words must not depend on a part of the credential: a caller who
// can have ABEJA repeat a text could else guess it byte by byte.
func TestWhatABEJARepeatsDoesNotTellWhetherAGuessAtTheCredentialIsRight(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			e.sim.ServeHTTP(w, r)
			return
		}
		var sent struct {
			Description string `json:"description"`
		}
		json.NewDecoder(r.Body).Decode(&sent)
		w.WriteHeader(http.StatusBadRequest)
		json.NewEncoder(w).Encode(map[string]string{"error_description": "no such thing as " + sent.Description})
	}))
	defer server.Close()
	e.write("config", e.config(fields{"api_url": server.URL})).ok()
	credential := strings.TrimPrefix(e.config()["personal_access_token"].(string), hidden+"-")
	for n := 1; n < len(credential)-1; n++ {
		guess := credential[n:min(n+8, len(credential))]
		e.write("secrets/one", fields{"value": "x", "description": guess}).refused(http.StatusBadRequest, guess)
	}
}

func TestAListThatNeverAdvancesEndsSoon(t *testing.T) {
	t.Parallel()
	for what, shift := range map[string]int{"the offset is ignored": 0, "always a few new ones": 1} {
		e := newEngine(t, simulator.Options{})
		asked := unending(t, e, func(org string, offset int) string {
			var b bytes.Buffer
			for i := range 100 {
				n := 1 + (offset*shift+i)%400
				fmt.Fprintf(&b, `,{"id":"%d","name":"n%d","organization_id":%q}`, n, n, org)
			}
			return `"secrets":[` + b.String()[1:] + `]`
		})
		a := e.list("secrets/")
		a.ok()
		require.Contains(t, a.warnings[0], "others may be missing", what)
		// Five pages with something new, eight without, and what a whole window has asked for beyond.
		require.LessOrEqual(t, asked.Load(), int64(5+8+32), what)
	}
}

func TestAVersionNumberBeyondAnyIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.says(simulator.GetSecret, strings.Replace(oneSecret, `"version":1`, `"version":9223372036854775807`, 1))
	done := make(chan answer, 1)
	go func() { done <- e.read("metadata/one") }()
	select {
	case a := <-done:
		a.refused(http.StatusBadGateway)
	case <-time.After(5 * time.Second):
		panic("a read of metadata does not end, and takes all memory")
	}
}

func TestReadersOfASecretThatABEJAWithholdsCauseFewListings(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{ExpiredIs404: true, MaxValueBytes: 10}})
	e.sim.Create("one", []byte("hidden-1"))
	e.sim.SetExpiry("one", time.Now().Add(-time.Hour))
	begin := time.Now()
	for range 200 {
		e.read("secrets/one").refused(http.StatusNotFound, "expired at")
	}
	for range 200 {
		e.write("secrets/two", fields{"value": "longer than that"}).refused(http.StatusBadRequest)
	}
	require.Less(t, e.sim.Count(simulator.ListSecrets), 30+int(time.Since(begin)/(5*time.Second)), "a burst, and one in 5 s")
}

func TestVersionsThatAreNotThereCostNoRequestEach(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	var versions []int
	for n := range 10_000 {
		versions = append(versions, n+2, 1)
	}
	for _, path := range []string{"delete/one", "undelete/one", "destroy/one"} {
		e.sim.ResetRequests()
		e.write(path, fields{"versions": versions}).ok()
		require.LessOrEqual(t, e.sim.Count(), 5, path)
	}
}

func TestAListOfVersionsWithANumberTwiceIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.says(simulator.ListVersions, `{"pagination":{"has_next":false},"versions":[{"id":"7","version":1,"status":"active"},{"id":"8","version":1,"status":"active"}]}`)
	e.list("secrets/one/versions/").refused(http.StatusBadGateway)
	e.delete("secrets/one/versions/1").refused(http.StatusBadGateway)
	require.Zero(t, e.writes())
}
