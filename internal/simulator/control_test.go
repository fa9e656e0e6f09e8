package simulator

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// control calls the control API, without a credential.
func (c caller) control(method, path, body string) (status int, answer string) {
	req, err := http.NewRequest(method, "http://abeja.test/_simulator/"+path, strings.NewReader(body))
	require.NoError(c.t, err)
	resp, answer := c.do(req)
	return resp.StatusCode, answer
}

func (c caller) accepted(method, path, body string) {
	c.t.Helper()
	status, answer := c.control(method, path, body)
	require.Equal(c.t, http.StatusNoContent, status, answer)
}

func TestControlRequests(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	_, answer := c.control("GET", "requests", "")
	require.JSONEq(t, `{"total":0,"counts":{}}`, answer)

	c.must("GET", "", "")
	c.must("GET", "", "")
	c.refused(404, "GET", "/x", "")
	c.refused(405, "PUT", "", "")
	_, answer = c.control("GET", "requests", "")
	require.JSONEq(t, `{"total":4,"counts":{"list_secrets":2,"get_secret":1}}`, answer)

	c.accepted("DELETE", "requests", "")
	require.Zero(t, c.sim.Count())
}

func TestControlFaults(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		c.accepted("POST", "faults", `{"op":"list_secrets","count":1,"kind":"status","status":503}`)
		c.accepted("POST", "faults", `{"kind":"delay","delay":"20s"}`)
		c.refused(503, "GET", "", "")
		start := time.Now()
		c.must("GET", "", "")
		require.Equal(t, 20*time.Second, time.Since(start))
		c.accepted("DELETE", "faults", "")
		c.must("GET", "", "")
		require.Equal(t, 20*time.Second, time.Since(start))

		for _, bad := range []string{``, `{}`, `{"kind":"none"}`, `{"kind":"cut","op":"x"}`, `{"kind":"delay","delay":5}`, `{"kind":"delay","delay":"5"}`, `{"kind":"cut","colour":"red"}`} {
			status, _ := c.control("POST", "faults", bad)
			require.Equal(t, 400, status, bad)
		}
		c.must("GET", "", "")
	})
}

func TestControlBehaviorChangesWhatIsGiven(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Behavior: Behavior{MaxVersions: 7}})
	c.sim.Fill(2)
	c.accepted("PUT", "behavior", `{"order":"newest"}`)
	c.accepted("PUT", "behavior", `{"clear":"null","list_lag":"2m"}`)
	c.accepted("PUT", "behavior", `{"clear":"null"}`)
	require.Equal(t, 2*time.Minute, c.sim.behavior.ListLag)
	c.accepted("PUT", "behavior", `{"list_lag":"0s"}`)
	_, answer := c.control("GET", "behavior", "")
	require.JSONEq(t, `{
		"new_version_deactivates_older": false,
		"duplicate_name_is_400": false,
		"unknown_id_is_403": false,
		"order": "newest",
		"list_lag": "0s",
		"expired_is_404": false,
		"clear": "null",
		"list_omits_versions": false,
		"get_omits_versions": false,
		"rate_limit": 0,
		"rate_limit_retry_after": false,
		"last_version_protected": false,
		"max_value_bytes": 0,
		"max_versions": 7,
		"times_with_offset": false,
		"version_times_drift": false
	}`, answer)
	require.Equal(t, []string{"demo_00002", "demo_00001"}, names(c.must("GET", "", "")))

	for _, bad := range []string{`{"order":"x"}`, `{"list_lag":"-1s"}`, `{"list_lag":2}`, `{"colour":"red"}`, `x`} {
		status, _ := c.control("PUT", "behavior", bad)
		require.Equal(t, 400, status, bad)
	}
	_, after := c.control("GET", "behavior", "")
	require.Equal(t, answer, after)
}

func TestControlLatency(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		c.accepted("PUT", "latency", `{"latency":"20s"}`)
		start := time.Now()
		c.must("GET", "", "")
		require.Equal(t, 20*time.Second, time.Since(start))
		for _, bad := range []string{`{"latency":"fast"}`, `{"delay":"20s"}`} {
			status, _ := c.control("PUT", "latency", bad)
			require.Equal(t, 400, status)
		}
	})
}

func TestControlSecrets(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	_, answer := c.control("GET", "secrets", "")
	require.JSONEq(t, `{"names":[]}`, answer)

	c.accepted("PUT", "secrets/two", `{"value":"first"}`)
	c.accepted("PUT", "secrets/two", `{"value":"second"}`)
	c.accepted("PUT", "secrets/one", `{"value":"x"}`)
	c.accepted("PUT", "secrets/many", `{"value":"x","versions":100}`)
	sec, _ := c.sim.Secret("two")
	require.Equal(t, "first", string(sec.Versions[0].Value))
	require.Equal(t, "second", string(sec.Versions[1].Value))
	_, answer = c.control("GET", "secrets", "")
	require.JSONEq(t, `{"names":["many","one","two"]}`, answer)
	sec, _ = c.sim.Secret("many")
	require.Len(t, sec.Versions, 100)
	require.Equal(t, "x", string(sec.Versions[99].Value))
	c.accepted("DELETE", "secrets/many", "")

	status, _ := c.control("PUT", "secrets/a.b", `{"value":"x"}`)
	require.Equal(t, 400, status)
	status, _ = c.control("PUT", "secrets/two", `{"value":""}`)
	require.Equal(t, 400, status)

	c.accepted("DELETE", "secrets/two", "")
	status, _ = c.control("DELETE", "secrets/two", "")
	require.Equal(t, 404, status)
	require.Equal(t, 1, c.sim.Len())
	require.Zero(t, c.sim.Count(), "edits are no calls")
}

func TestControlOdd(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	c.accepted("PUT", "odd/one", `{"kind":"bad_base64","version":1}`)
	c.accepted("PUT", "odd/one", `{"kind":"time_without_zone"}`)
	_, answer := c.call("GET", "/"+id+"?return_secret_value=True", "")
	require.Contains(t, answer, `"value":"this is no base64!"`)
	require.Contains(t, answer, `"created_at":"2024-01-02T03:04:05.678901"`)
	for _, bad := range []string{``, `{}`, `{"kind":"blue"}`, `{"kind":"bad_base64","version":2}`, `{"kind":"null_name","colour":"red"}`} {
		status, _ := c.control("PUT", "odd/one", bad)
		require.Equal(t, 400, status, bad)
	}
}

func TestControlTokens(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Token: "first"})
	call := func(token string) int {
		req := c.request("GET", "", "")
		req.SetBasicAuth(c.sim.user, token)
		resp, _ := c.do(req)
		return resp.StatusCode
	}
	require.Equal(t, 401, call("second"))
	c.accepted("PUT", "tokens/second", "")
	require.Equal(t, 200, call("first"))
	require.Equal(t, 200, call("second"))

	c.accepted("DELETE", "tokens/first", "")
	require.Equal(t, 401, call("first"))
	require.Equal(t, 200, call("second"))
	status, _ := c.control("DELETE", "tokens/first", "")
	require.Equal(t, 404, status)
}
