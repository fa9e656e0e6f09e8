package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// caller makes calls with the simulator's personal access token.
type caller struct {
	t      *testing.T
	sim    *Simulator
	client *http.Client
	base   string // the URL of the secrets
}

func newCaller(t *testing.T, o Options) caller {
	sim := New(o)
	return caller{t, sim, &http.Client{Transport: sim.Transport()}, "http://abeja.test/secret-manager/organizations/" + sim.organization + "/secrets"}
}

func (c caller) request(method, path, body string) *http.Request {
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	require.NoError(c.t, err)
	req.SetBasicAuth(c.sim.user, c.sim.token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// do sends a request and returns the answer, read to its end.
func (c caller) do(req *http.Request) (*http.Response, string) {
	resp, err := c.client.Do(req)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return resp, string(body)
}

func (c caller) call(method, path, body string) (status int, answer string) {
	resp, answer := c.do(c.request(method, path, body))
	return resp.StatusCode, answer
}

// must makes a call that has to succeed and returns the decoded answer.
func (c caller) must(method, path, body string) map[string]any {
	c.t.Helper()
	status, answer := c.call(method, path, body)
	require.Less(c.t, status, 300, answer)
	var decoded map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(answer), &decoded))
	return decoded
}

// refused makes a call that has to be refused with the status and an error as ABEJA words them.
func (c caller) refused(status int, method, path, body string) (description string) {
	c.t.Helper()
	got, answer := c.call(method, path, body)
	require.Equal(c.t, status, got, answer)
	var decoded map[string]any
	require.NoError(c.t, json.Unmarshal([]byte(answer), &decoded))
	require.NotEmpty(c.t, decoded["error"])
	require.NotEmpty(c.t, decoded["error_description"])
	require.Contains(c.t, decoded, "error_detail")
	return decoded["error_description"].(string)
}

func b64(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

func names(list map[string]any) []string {
	var out []string
	for _, sec := range list["secrets"].([]any) {
		out = append(out, sec.(map[string]any)["name"].(string))
	}
	return out
}

// Ids and, in a bubble, times are the same in each run, so that the wire form can be compared whole.
func TestAnswersHaveTheDocumentedShape(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		const (
			secret  = `"id":"3718281828459","organization_id":"1410000000000","user_id":"1410000000001","name":"DB_PASSWORD","properties":null,"provider":"aws-secret-manager","rotation":false,"created_at":"2000-01-01T00:00:00.000000Z"`
			version = `"id":"6436563656918","organization_id":"1410000000000","secret_id":"3718281828459","version":1,"provider":"aws-secret-manager","created_at":"2000-01-01T00:00:00.000000Z"`
			old     = `"updated_at":"2000-01-01T00:00:00.000000Z"`
			now     = `"updated_at":"2000-01-01T00:00:01.000000Z"`
			id      = "/3718281828459"
		)
		check := func(method, path, body string, wantStatus int, want string) {
			t.Helper()
			status, answer := c.call(method, path, body)
			require.Equal(t, wantStatus, status, answer)
			require.JSONEq(t, want, answer)
		}

		check("POST", "", `{"name":"DB_PASSWORD","value":"aGVsbG8=","description":"first","expired_at":"2030-01-02T03:04:05+09:00","integration_service_type":"abeja-platform-labs","integration_service_ids":["9909389711171"]}`,
			201, `{`+secret+`,"description":"first","expired_at":"2030-01-01T18:04:05.000000Z","integration_service_type":"abeja-platform-labs","integration_service_ids":["9909389711171"],`+old+`,"versions":[{`+version+`,"status":"active",`+old+`}]}`)

		time.Sleep(time.Second)
		updated := `{` + secret + `,"description":null,"expired_at":null,` + now + `,"versions":[{` + version + `,"status":"active",` + old
		check("PATCH", id, `{"description":null,"expired_at":null,"integration_service_type":null,"integration_service_ids":null}`, 200, updated+`}]}`)
		check("GET", id, "", 200, updated+`}]}`)
		check("GET", id+"?return_secret_value=True", "", 200, updated+`,"value":"aGVsbG8="}]}`)
		check("GET", "", "", 200, `{"organization_id":"1410000000000","secrets":[`+updated+`}]}],"offset":0,"limit":50,"has_next":false}`)
		check("GET", "?offset=0&limit=7&return_secret_value=True", "", 200, `{"organization_id":"1410000000000","secrets":[`+updated+`,"value":"aGVsbG8="}]}],"offset":0,"limit":7,"has_next":false}`)

		versionPath := id + "/versions/6436563656918"
		check("PATCH", versionPath, `{"status":"inactive"}`, 200, `{`+version+`,"status":"inactive",`+now+`}`)
		check("GET", versionPath, "", 200, `{`+version+`,"status":"inactive",`+now+`}`)
		check("GET", versionPath+"?return_secret_value=True", "", 200, `{`+version+`,"status":"inactive",`+now+`,"value":"aGVsbG8="}`)
		check("GET", id+"/versions?limit=1", "", 200, `{"pagination":{"count":1,"has_next":false,"limit":1,"offset":0},"versions":[{`+version+`,"status":"inactive",`+now+`}]}`)
		check("GET", id+"/versions?return_secret_value=True", "", 200, `{"pagination":{"count":1,"has_next":false,"limit":50,"offset":0},"versions":[{`+version+`,"status":"inactive",`+now+`,"value":"aGVsbG8="}]}`)

		second := `"id":"9154845485377","organization_id":"1410000000000","secret_id":"3718281828459","version":2,"status":"active","provider":"aws-secret-manager","created_at":"2000-01-01T00:00:01.000000Z",` + now
		check("POST", id+"/versions", `{"value":"aGVsbG8="}`, 201, `{`+second+`}`)
		check("DELETE", id+"/versions/9154845485377", "", 200, `{"message":"secret_version_id 9154845485377 successfully deleted"}`)
		check("DELETE", id, "", 200, `{"message":"secret_id 3718281828459 successfully deleted"}`)
		check("GET", "", "", 200, `{"organization_id":"1410000000000","secrets":[],"offset":0,"limit":50,"has_next":false}`)
	})
}

func TestANewVersionCarriesItsValueIfAsked(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	require.Equal(t, b64("two"), c.must("POST", "/"+id+"/versions?return_secret_value=True", `{"value":"`+b64("two")+`"}`)["value"])
}

func TestValuesAreGivenOnlyForTheExactQuery(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	for _, query := range []string{"?return_secret_value=true", "?return_secret_value=1", "?return_secret_value"} {
		_, answer := c.call("GET", "/"+id+query, "")
		require.NotContains(t, answer, `"value"`, query)
	}
}

func TestIDsHave13DigitsAndDoNotRepeat(t *testing.T) {
	t.Parallel()
	sim := New(Options{})
	sim.Fill(1000)
	seen := map[string]bool{}
	for i := range 1000 {
		sec, ok := sim.Secret(fmt.Sprintf("demo_%05d", i+1))
		require.True(t, ok)
		for _, id := range []string{sec.ID, sec.Versions[0].ID} {
			require.Regexp(t, `^[1-9][0-9]{12}$`, id)
			require.False(t, seen[id])
			seen[id] = true
		}
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{UserID: "1111111111111", Token: "pat", AuthToken: "auth"})
	org, user, token, authToken := c.sim.Credentials()
	require.Equal(t, []string{"1410000000000", "user-1111111111111", "pat", "auth"}, []string{org, user, token, authToken})

	basic := func(user, token string) string { return "Basic " + b64(user+":"+token) }
	for header, want := range map[string]int{
		basic("user-1111111111111", "pat"):      200,
		"Bearer auth":                           200,
		basic("1111111111111", "pat"):           401, // without the prefix
		basic("user-user-1111111111111", "pat"): 401,
		basic("user-1111111111111", "auth"):     401,
		basic("user-1111111111111", ""):         401,
		"Bearer pat":                            401,
		"Bearer ":                               401,
		"auth":                                  401,
		"":                                      401,
	} {
		req := c.request("GET", "", "")
		req.Header.Set("Authorization", header)
		resp, answer := c.do(req)
		require.Equal(t, want, resp.StatusCode, header)
		require.NotContains(t, answer, "pat")
	}
}

func TestPathsAndMethodsThatABEJADoesNotHaveAreRefused(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	for _, path := range []string{"/", "/" + id + "/", "/" + id + "/x", "/" + id + "/versions/", "/" + id + "/versions/1/x", "/no-such-id"} {
		c.refused(404, "GET", path, "")
	}
	c.refused(405, "PUT", "", "")
	c.refused(405, "POST", "/"+id, "")
	c.refused(405, "PATCH", "/"+id+"/versions", "")
	c.refused(405, "POST", "/"+id+"/versions/1", "")

	c.base = "http://abeja.test"
	c.refused(404, "GET", "/", "")
	c.refused(404, "GET", "/secret-manager/organizations/"+c.sim.organization, "")
	c.refused(404, "GET", "/secret-manager/organizations/"+c.sim.organization+"/users", "")
}

func TestListsArePaged(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	c.sim.Fill(5)
	for range 4 {
		c.sim.AddVersion("demo_00001", []byte("new"))
	}
	sec, _ := c.sim.Secret("demo_00001")

	for _, page := range []struct {
		query       string
		first, last int
		hasNext     bool
	}{
		{"", 1, 5, false},
		{"?limit=2", 1, 2, true},
		{"?offset=2&limit=2", 3, 4, true},
		{"?offset=3&limit=2", 4, 5, false},
		{"?offset=4&limit=100", 5, 5, false},
		{"?offset=5", 1, 0, false},
		{"?offset=9223372036854775807&limit=100", 1, 0, false},
	} {
		var want []string
		var wantNumbers []any
		for n := page.first; n <= page.last; n++ {
			want = append(want, fmt.Sprintf("demo_%05d", n))
			wantNumbers = append(wantNumbers, float64(n))
		}
		list := c.must("GET", page.query, "")
		require.Equal(t, want, names(list), page.query)
		require.Equal(t, page.hasNext, list["has_next"], page.query)

		versions := c.must("GET", "/"+sec.ID+"/versions"+page.query, "")
		var numbers []any
		for _, v := range versions["versions"].([]any) {
			numbers = append(numbers, v.(map[string]any)["version"])
		}
		require.Equal(t, wantNumbers, numbers, page.query)
		require.Equal(t, page.hasNext, versions["pagination"].(map[string]any)["has_next"], page.query)
		require.EqualValues(t, len(numbers), versions["pagination"].(map[string]any)["count"], page.query)
	}

	for _, query := range []string{"?limit=0", "?limit=101", "?limit=-1", "?limit=", "?limit=x", "?offset=-1", "?offset=1.5", "?offset="} {
		c.refused(400, "GET", query, "")
		c.refused(400, "GET", "/"+sec.ID+"/versions"+query, "")
	}
}

// Not parallel: it counts allocations.
func TestAPageCostsTheSameHoweverManySecretsThereAre(t *testing.T) {
	sim := New(Options{Behavior: Behavior{Order: "hash"}})
	page := func() {
		sim.mu.Lock()
		defer sim.mu.Unlock()
		_, err := sim.listSecrets(call{offset: 100, limit: 100})
		require.Nil(t, err)
	}
	sim.Fill(1000)
	few := testing.AllocsPerRun(5, page)
	sim.Fill(20_000)
	require.Equal(t, few, testing.AllocsPerRun(5, page))
}

func TestInvalidBodiesAreRefused(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("taken", []byte("1"))
	before, _ := c.sim.Secret("taken")

	create := func(name, value, more string) string {
		return fmt.Sprintf(`{"name":%q,"value":%q%s}`, name, value, more)
	}
	secretPath, versionPath := "/"+id, "/"+id+"/versions/"+before.Versions[0].ID
	for _, bad := range []struct{ method, path, body string }{
		{"POST", "", ``},
		{"POST", "", `null`},
		{"POST", "", `[]`},
		{"POST", "", `name=a&value=b`},
		{"POST", "", create("a", b64("b"), "") + "x"},
		{"POST", "", `{"value":"` + b64("b") + `"}`},
		{"POST", "", `{"name":"a"}`},
		{"POST", "", `{"name":null,"value":"` + b64("b") + `"}`},
		{"POST", "", `{"name":1,"value":"` + b64("b") + `"}`},
		{"POST", "", create("a", b64("b"), `,"colour":"red"`)},
		{"POST", "", create("", b64("b"), "")},
		{"POST", "", create("a b", b64("b"), "")},
		{"POST", "", create("a/b", b64("b"), "")},
		{"POST", "", create("é", b64("b"), "")},
		{"POST", "", create("a-123456", b64("b"), "")},
		{"POST", "", create("a-a-b-cd", b64("b"), "")},
		{"POST", "", create("a", "", "")},
		{"POST", "", create("a", "not base64", "")},
		{"POST", "", create("a", "YQ", "")},   // no padding
		{"POST", "", create("a", "_-_-", "")}, // URL alphabet
		{"POST", "", create("a", "YWJj\nYWJj", "")},
		{"POST", "", create("a", "YR==", "")}, // bits beyond the last byte
		{"POST", "", create("a", b64("b"), `,"description":1`)},
		{"POST", "", create("a", b64("b"), `,"expired_at":"tomorrow"`)},
		{"POST", "", create("a", b64("b"), `,"expired_at":"2030-01-02"`)},
		{"POST", "", create("a", b64("b"), `,"expired_at":5`)},
		{"POST", "", create("a", b64("b"), `,"integration_service_type":"other"`)},
		{"POST", "", create("a", b64("b"), `,"integration_service_type":""`)},
		{"POST", "", create("a", b64("b"), `,"integration_service_ids":"1"`)},
		{"POST", "", create("a", b64("b"), `,"integration_service_ids":[1]`)},
		{"PATCH", secretPath, `{"value":"` + b64("b") + `"}`},
		{"PATCH", secretPath, `{"name":"b"}`},
		{"PATCH", secretPath, `{"description":"changed","expired_at":"x"}`},
		{"POST", secretPath + "/versions", `{}`},
		{"POST", secretPath + "/versions", `{"value":""}`},
		{"POST", secretPath + "/versions", `{"value":"?"}`},
		{"POST", secretPath + "/versions", `{"value":"` + b64("b") + `","status":"inactive"}`},
		{"PATCH", versionPath, `{}`},
		{"PATCH", versionPath, `{"status":"ACTIVE"}`},
		{"PATCH", versionPath, `{"value":"` + b64("b") + `"}`},
		{"POST", "", `{"name":"` + strings.Repeat("a", maxBody) + `"}`},
	} {
		c.refused(400, bad.method, bad.path, bad.body)
	}

	form := c.request("POST", "", create("a", b64("b"), ""))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, _ := c.do(form)
	require.Equal(t, 400, resp.StatusCode)

	require.Equal(t, 1, c.sim.Len())
	after, _ := c.sim.Secret("taken")
	require.Equal(t, before, after)
}

func TestNamesThatABEJATakes(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	for _, name := range []string{"a", "A_b-9", "-", "a-12345", "a-1234567", "abc_123456"} {
		c.must("POST", "", `{"name":"`+name+`","value":"YQ=="}`)
	}
}

func TestANameIsFreeAgainAfterDelete(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	first := c.sim.Create("one", []byte("1"))
	c.must("DELETE", "/"+first, "")
	c.refused(404, "DELETE", "/"+first, "")
	second := c.must("POST", "", `{"name":"one","value":"YQ=="}`)["id"]
	require.NotEqual(t, first, second)
}

func TestVersionNumbersAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	v := c.must("POST", "/"+id+"/versions", `{"value":"YQ=="}`)
	c.must("DELETE", "/"+id+"/versions/"+v["id"].(string), "")
	require.EqualValues(t, 3, c.must("POST", "/"+id+"/versions", `{"value":"YQ=="}`)["version"])
	c.refused(404, "GET", "/"+id+"/versions/"+v["id"].(string), "")
}

func TestAVersionIsFoundOnlyUnderItsOwnSecret(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	c.sim.Create("one", []byte("1"))
	other := c.sim.Create("other", []byte("2"))
	one, _ := c.sim.Secret("one")
	for _, method := range []string{"GET", "DELETE"} {
		c.refused(404, method, "/"+other+"/versions/"+one.Versions[0].ID, "")
	}
}

func TestAnUpdateChangesOnlyWhatIsGiven(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.must("POST", "", `{"name":"one","value":"YQ==","description":"d","expired_at":"2030-01-02T03:04:05Z","integration_service_type":"abeja-platform-labs","integration_service_ids":["1"]}`)["id"].(string)
	before, _ := c.sim.Secret("one")
	c.must("PATCH", "/"+id, `{"description":"e"}`)
	before.Description = "e"
	after, _ := c.sim.Secret("one")
	require.Equal(t, before, after)
}

func TestEditsBehindTheBack(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	require.Equal(t, 2, c.sim.AddVersion("one", []byte("2")))
	c.sim.SetStatus("one", 1, "inactive")
	expiry := time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)
	c.sim.SetExpiry("one", expiry)

	sec, ok := c.sim.Secret("one")
	require.True(t, ok)
	require.Equal(t, id, sec.ID)
	require.Equal(t, expiry, sec.ExpiredAt)
	require.Equal(t, []VersionSnapshot{
		{sec.Versions[0].ID, 1, "inactive", []byte("1")},
		{sec.Versions[1].ID, 2, "active", []byte("2")},
	}, sec.Versions)
	require.Equal(t, "2040-01-02T03:04:05.000000Z", c.must("GET", "/"+id, "")["expired_at"])
	require.Equal(t, 1, c.sim.Count(), "edits are no calls")

	require.Panics(t, func() { c.sim.Create("one", []byte("1")) })
	require.Panics(t, func() { c.sim.AddVersion("none", []byte("1")) })
	require.Panics(t, func() { c.sim.SetStatus("one", 3, "active") })
	require.Panics(t, func() { c.sim.SetStatus("one", 1, "on") })
	require.Panics(t, func() { c.sim.Delete("none") })

	c.sim.Delete("one")
	_, ok = c.sim.Secret("one")
	require.False(t, ok)
	c.refused(404, "GET", "/"+id, "")
}

func TestFillGoesOnWhereItEnded(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	c.sim.Fill(1)
	c.sim.Fill(2)
	require.Equal(t, []string{"demo_00001", "demo_00002", "demo_00003"}, names(c.must("GET", "", "")))
}
