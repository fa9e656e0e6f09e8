package backend

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// seen makes a mount that knows its secrets one and two, so that what follows is what the test does.
func seen(t *testing.T, config ...fields) *engine {
	e := newEngine(t, simulator.Options{}, config...)
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.write("secrets/two", fields{"value": "hidden-2"}).ok()
	e.sim.ResetRequests()
	return e
}

func TestWhatABEJAAnswersBecomesAStatusAndASentence(t *testing.T) {
	t.Parallel()
	const again = "try again"
	for name, c := range map[string]struct {
		fault  simulator.Fault
		status int
		says   []string
	}{
		"400":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 400, Body: "too odd"}, 400, []string{"too odd", "correct the request"}},
		"422":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 422, Body: "too odd"}, 400, []string{"too odd"}},
		"405":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 405}, 400, []string{"correct the request"}},
		"401":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 401}, 502, []string{"not your token", "personal_access_token", "auth_token", "organization_id"}},
		"403":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 403}, 502, []string{"not your token", "personal_access_token", "auth_token", "organization_id"}},
		"404":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 404}, 404, []string{"list"}},
		"409":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 409}, 409, []string{"decide again"}},
		"429":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 429, RetryAfter: "3600"}, 429, []string{"wait a little"}},
		"500":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 500}, 502, []string{again}},
		"502":          {simulator.Fault{Kind: simulator.FaultHTML, Status: 502}, 502, []string{again}},
		"503":          {simulator.Fault{Kind: simulator.FaultEmpty, Status: 503}, 502, []string{again}},
		"504":          {simulator.Fault{Kind: simulator.FaultStatus, Status: 504}, 502, []string{again}},
		"cut":          {simulator.Fault{Kind: simulator.FaultCut}, 502, []string{again}},
		"truncated":    {simulator.Fault{Kind: simulator.FaultTruncate}, 502, []string{again}},
		"HTML":         {simulator.Fault{Kind: simulator.FaultHTML}, 502, []string{"not the documented JSON", "api_url"}},
		"empty":        {simulator.Fault{Kind: simulator.FaultEmpty}, 502, []string{"not the documented JSON"}},
		"huge":         {simulator.Fault{Kind: simulator.FaultHuge}, 502, []string{"larger than"}},
		"redirect":     {simulator.Fault{Kind: simulator.FaultRedirect, Body: "http://127.0.0.1:1/"}, 502, []string{"redirect"}},
		"empty object": {simulator.Fault{Kind: simulator.FaultBody, Body: "{}"}, 502, []string{"the answer"}},
		"null":         {simulator.Fault{Kind: simulator.FaultBody, Body: "null"}, 502, []string{"the answer"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := seen(t)
			for op, do := range map[simulator.Op]func() answer{
				simulator.ListSecrets:   func() answer { return e.list("secrets/") },
				simulator.GetSecret:     func() answer { return e.read("secrets/one") },
				simulator.UpdateSecret:  func() answer { return e.write("secrets/one", fields{"description": "x"}) },
				simulator.ListVersions:  func() answer { return e.list("secrets/one/versions/") },
				simulator.UpdateVersion: func() answer { return e.write("secrets/one/versions/1", fields{"status": "inactive"}) },
			} {
				fault := c.fault
				fault.Op = op
				e.sim.AddFault(fault)
				do().refused(c.status, c.says...)
				e.sim.ClearFaults()
			}
		})
	}
}

func TestAnAnswerAboutSomethingElseIsNotGivenOut(t *testing.T) {
	t.Parallel()
	e := seen(t)
	org, _, _, _ := e.sim.Credentials()
	sec, _ := e.sim.Secret("one")
	for what, body := range map[string]string{
		"another id":           `{"id":"1","organization_id":"` + org + `","name":"one","versions":[{"id":"2","version":1,"status":"active","value":"aGlkZGVuLTE="}]}`,
		"another name":         `{"id":"` + sec.ID + `","organization_id":"` + org + `","name":"two","versions":[{"id":"2","version":1,"status":"active","value":"aGlkZGVuLTE="}]}`,
		"another organization": `{"id":"` + sec.ID + `","organization_id":"1","name":"one","versions":[{"id":"2","version":1,"status":"active","value":"aGlkZGVuLTE="}]}`,
		"no value":             `{"id":"` + sec.ID + `","organization_id":"` + org + `","name":"one","versions":[{"id":"2","version":1,"status":"active"}]}`,
		"a bad value":          `{"id":"` + sec.ID + `","organization_id":"` + org + `","name":"one","versions":[{"id":"2","version":1,"status":"active","value":"hidden-1"}]}`,
	} {
		e.sim.AddFault(simulator.Fault{Op: simulator.GetSecret, Kind: simulator.FaultBody, Body: body})
		e.read("secrets/one").refused(http.StatusBadGateway)
		e.write("secrets/one", fields{"value": "hidden-3"}).refused(http.StatusBadGateway)
		e.sim.ClearFaults()
		require.Zero(t, e.writes(), what)
	}
}

func TestWhatABEJASaysOfAValueIsNotRepeated(t *testing.T) {
	t.Parallel()
	e := seen(t)
	for _, said := range []string{`value "hidden-3" is too short`, `bad base64 aGlkZGVuLTM=`, "hidden-3"} {
		for _, op := range []simulator.Op{simulator.CreateSecret, simulator.CreateVersion} {
			e.sim.AddFault(simulator.Fault{Op: op, Kind: simulator.FaultStatus, Status: 400, Body: said})
		}
		e.write("secrets/three", fields{"value": "hidden-3"}).refused(http.StatusBadRequest, "correct the request")
		e.write("secrets/one", fields{"value": "hidden-3"}).refused(http.StatusBadRequest, "correct the request")
		e.sim.ClearFaults()
	}
	e.holds("three")
	e.holds("one", "hidden-1")
}

func TestAValueThatABEJARefusesIsTheCallersToCorrect(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{MaxValueBytes: 10, MaxVersions: 1}})
	e.write("secrets/one", fields{"value": "hidden-too-long"}).refused(http.StatusBadRequest, "larger than 10 bytes")
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	e.write("secrets/one", fields{"value": "hidden-2"}).refused(http.StatusBadRequest, "more than 1 versions")
	e.holds("one", "hidden-1")
}

func TestATimeOutIs504(t *testing.T) {
	t.Parallel()
	e := seen(t, fields{"request_timeout": 1})
	e.sim.AddFault(simulator.Fault{Op: simulator.GetSecret, Kind: simulator.FaultDelay, Delay: time.Hour})
	e.read("secrets/one").refused(http.StatusGatewayTimeout, "request_timeout")

	// Vault's own deadline, and a client that hangs up.
	late, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	e.send(late, e.request(logical.ReadOperation, "secrets/one", nil)).refused(http.StatusGatewayTimeout)
	gone, hangUp := context.WithCancel(t.Context())
	hangUp()
	e.send(gone, e.request(logical.ReadOperation, "secrets/one", nil)).refused(http.StatusGatewayTimeout)
}

func TestAHostThatCannotBeReachedIs502(t *testing.T) {
	t.Parallel()
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	e := newEngine(t, simulator.Options{}, fields{"api_url": down.URL, "verify_connection": false})
	e.read("secrets/one").refused(http.StatusBadGateway, "api_url")
	e.list("secrets/").refused(http.StatusBadGateway, "api_url")
}

func TestAWriteWithoutAKnownOutcomeSaysToRepeatIt(t *testing.T) {
	t.Parallel()
	e := seen(t)
	// ABEJA has made it, the answer is lost, and then nothing can be found out.
	e.sim.AddFault(simulator.Fault{Op: simulator.CreateSecret, Kind: simulator.FaultCut, AfterActing: true, Count: 1})
	e.sim.AddFault(simulator.Fault{Op: simulator.ListSecrets, Kind: simulator.FaultCut})
	e.write("secrets/three", fields{"value": "hidden-3"}).refused(http.StatusBadGateway, "not known", "write the same again")
	e.sim.ClearFaults()

	// The same again: the name is taken by now, and its value is this one.
	e.write("secrets/three", fields{"value": "hidden-3"}).refused(http.StatusConflict, "write again")
	require.Equal(t, 1, e.write("secrets/three", fields{"value": "hidden-3"}).ok()["version"])
	e.holds("three", "hidden-3")
}

func TestAWriteThatStopsHalfwaySaysWhatIsStored(t *testing.T) {
	t.Parallel()
	e := seen(t)
	e.sim.AddFault(simulator.Fault{Op: simulator.UpdateSecret, Kind: simulator.FaultStatus, Status: 503})
	change := fields{"value": "hidden-3", "description": "new"}
	e.write("secrets/one", change).refused(http.StatusBadGateway, "the value is stored as version 2, but the rest is not", "try again")
	e.sim.ClearFaults()
	e.sim.AddFault(simulator.Fault{Op: simulator.UpdateSecret, Kind: simulator.FaultStatus, Status: 403})
	change["value"] = "hidden-4"
	e.write("secrets/one", change).refused(http.StatusBadGateway, "the value is stored as version 3, but the rest is not", "not your token")
	e.sim.ClearFaults()
	require.Equal(t, 3, e.write("secrets/one", change).ok()["version"])
	e.holds("one", "hidden-1", "hidden-3", "hidden-4")
	require.Equal(t, "new", e.read("secrets/one").ok()["description"])
}

func TestAWriteWhoseAnswerIsLostTakesEffectOnce(t *testing.T) {
	t.Parallel()
	e := seen(t)
	for _, acted := range []bool{true, false} {
		for _, op := range []simulator.Op{simulator.CreateSecret, simulator.CreateVersion} {
			e.sim.AddFault(simulator.Fault{Op: op, Kind: simulator.FaultCut, AfterActing: acted, Count: 1})
		}
		require.Equal(t, true, e.write("secrets/three", fields{"value": "hidden-3"}).ok()["created"])
		require.Equal(t, 2, e.write("secrets/three", fields{"value": "hidden-4"}).ok()["version"])
		e.holds("three", "hidden-3", "hidden-4")
		e.delete("secrets/three").ok()
	}
}
