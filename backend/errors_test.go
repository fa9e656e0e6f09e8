package backend

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
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
			for op, do := range map[simulator.Op]func(e *engine) answer{
				simulator.ListSecrets:   func(e *engine) answer { return e.list("secrets/") },
				simulator.GetSecret:     func(e *engine) answer { return e.read("secrets/one") },
				simulator.UpdateSecret:  func(e *engine) answer { return e.write("secrets/one", fields{"description": "x"}) },
				simulator.ListVersions:  func(e *engine) answer { return e.list("secrets/one/versions/") },
				simulator.UpdateVersion: func(e *engine) answer { return e.write("secrets/one/versions/1", fields{"status": "inactive"}) },
			} {
				e := seen(t)
				fault := c.fault
				fault.Op = op
				e.sim.AddFault(fault)
				do(e).refused(c.status, c.says...)
			}
		})
	}
}

// advises finds what tells the reader to do something.
var advises = regexp.MustCompile(`\b(check|see|try|wait|set|list|make|write|read|correct|raise|give|look|run|repeat)\b`)

func TestAMessageGivesItsAdviceOnce(t *testing.T) {
	t.Parallel()
	for _, kind := range []simulator.FaultKind{
		simulator.FaultStatus, simulator.FaultCut, simulator.FaultTruncate, simulator.FaultHTML, simulator.FaultEmpty,
		simulator.FaultHuge, simulator.FaultRedirect, simulator.FaultBody,
	} {
		statuses := []int{200}
		if kind == simulator.FaultStatus {
			statuses = []int{400, 401, 403, 404, 405, 409, 422, 429, 500, 502, 503, 504}
		}
		for _, status := range statuses {
			e := seen(t)
			e.sim.AddFault(simulator.Fault{Kind: kind, Status: status, Body: "http://127.0.0.1:1/"})
			for _, a := range []answer{
				e.read("secrets/one"), e.list("secrets/"), e.delete("secrets/one"), e.write("secrets/one", fields{"value": "hidden-2"}),
				e.call(logical.CreateOperation, "secrets/new_one", fields{"value": "hidden-2"}),
				e.write("secrets/one", fields{"description": "x"}), e.write("secrets/one/versions/1", fields{"status": "inactive"}),
			} {
				// "abeja: get secret: status 503: words: try again; if it persists, check that …"
				text := strings.Replace(a.text, "again: what is stored", "again, what is stored", 1)
				call, rest, _ := strings.Cut(strings.TrimPrefix(text, "abeja: "), ": ")
				advice := strings.LastIndex(rest, ": ")
				if strings.HasPrefix(a.text, "ABEJA refused the mount's credential") {
					rest, advice = text, strings.LastIndex(text, ": ")
				}
				require.Positive(t, advice, a.text)
				require.NotRegexp(t, advises, rest[:advice], "%s: a fact, not an advice", call)
				require.Regexp(t, advises, rest[advice:], call)
			}
		}
	}
}

// The client and the store know neither Vault nor what a field of config is called.
func TestErrorsBelowStateFactsAlone(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, dir := range []string{"../client", "../internal/store"} {
		files, err := filepath.Glob(dir + "/*.go")
		require.NoError(t, err)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			require.NoError(t, err)
			ast.Inspect(parsed, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				made, ok := call.Fun.(*ast.SelectorExpr)
				if !ok || made.Sel.Name != "New" && made.Sel.Name != "Errorf" {
					return true
				}
				for _, arg := range call.Args {
					if text, ok := arg.(*ast.BasicLit); ok && text.Kind == token.STRING {
						seen++
						require.NotRegexp(t, `\b(check|see|try|wait|set|make|write|correct|raise|give|look|run|repeat|api_url|config)\b`, text.Value, file)
					}
				}
				return true
			})
		}
	}
	require.Greater(t, seen, 20)
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
	e := seen(t)
	e.write("config", fields{"request_timeout": 1, "verify_connection": false}).ok()
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
	e.write("secrets/three", fields{"value": "hidden-3"}).refused(http.StatusBadGateway, "not known", "repeat the write")
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

func TestNoErrorSaysThatNothingWasSentWhenOneTryWas(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := inMemory(t)
		e.write("config", fields{"max_retries": 10}).ok()
		e.sim.Create("one", []byte("hidden-1"))
		e.read("secrets/one").ok()
		e.sim.AddFault(simulator.Fault{Op: simulator.UpdateSecret, Kind: simulator.FaultCut, AfterActing: true})
		a := e.write("secrets/one", fields{"description": "x"})
		a.refused(http.StatusServiceUnavailable) // the last try was not let through
		require.Contains(t, a.text, "is not known: wait a little, then try again; it is safe to repeat")
		require.NotContains(t, a.text, "nothing was sent")
	})
}
