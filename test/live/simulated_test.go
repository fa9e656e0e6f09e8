package live

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// found is what is found out of a simulator with its default switches.
var found = []string{
	"whether a new version makes the older ones inactive: no (new_version_deactivates_older=false)",
	"whether a name that exists is refused with 409 or 400: 409 (duplicate_name_is_400=false)",
	"whether an unknown id is 404 or 403: 404 (unknown_id_is_403=false)",
	"the order of lists: oldest first (order=created)",
	"whether a list shows at once that a secret was created or deleted: yes (list_lag=0s)",
	"whether an expired secret can be read: yes (expired_is_404=false)",
	"whether null or an empty text clears `description` and `expired_at`: either clears both (clear=both)",
	"whether a list without values has versions: yes (list_omits_versions=false)",
	"whether a secret that is got without values has versions: yes (get_omits_versions=false)",
	"whether every record of a list is well formed: yes",
	"whether there is a rate limit: not tried, since it would take a burst; none has shown in this run",
	"whether the last version may be deleted or made inactive: both (last_version_protected=false)",
	"the largest value, and the most versions: 65536 bytes (max_value_bytes=65536); 100 versions (max_versions=100)",
}

// row returns the place among found of the row that a line is about.
func row(t *testing.T, line string) int {
	t.Helper()
	for i, known := range found {
		if subject, _, _ := strings.Cut(known, ": "); strings.HasPrefix(line, subject+": ") {
			return i
		}
	}
	t.Fatalf("no row for %q", line)
	return 0
}

func TestItFindsOutHowEachSwitchIsSet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		switches string
		found    []string // where it differs from the default
	}{
		{`{}`, nil},
		{`{"new_version_deactivates_older":true}`, []string{
			"whether a new version makes the older ones inactive: yes (new_version_deactivates_older=true)",
		}},
		{`{"duplicate_name_is_400":true}`, []string{
			"whether a name that exists is refused with 409 or 400: 400 (duplicate_name_is_400=true)",
		}},
		{`{"unknown_id_is_403":true}`, []string{
			"whether an unknown id is 404 or 403: 403 (unknown_id_is_403=true)",
		}},
		{`{"order":"newest"}`, []string{"the order of lists: newest first (order=newest)"}},
		{`{"order":"name"}`, []string{"the order of lists: by name (order=name)"}},
		{`{"order":"hash"}`, []string{"the order of lists: neither by age nor by name (order=hash)"}},
		{`{"order":"shuffled"}`, []string{"the order of lists: another one in each list (order=shuffled)"}},
		{`{"list_lag":"1s"}`, []string{
			"whether a list shows at once that a secret was created or deleted: no, but within 10s (list_lag=10s)",
		}},
		{`{"expired_is_404":true}`, []string{"whether an expired secret can be read: no: 404 (expired_is_404=true)"}},
		{`{"clear":"null"}`, []string{
			"whether null or an empty text clears `description` and `expired_at`: only null does (clear=null)",
		}},
		{`{"clear":"empty"}`, []string{
			"whether null or an empty text clears `description` and `expired_at`: only an empty text does (clear=empty)",
		}},
		{`{"list_omits_versions":true}`, []string{"whether a list without values has versions: no (list_omits_versions=true)"}},
		{`{"get_omits_versions":true}`, []string{"whether a secret that is got without values has versions: no (get_omits_versions=true)"}},
		{`{"last_version_protected":true}`, []string{
			"whether the last version may be deleted or made inactive: neither: 400 (last_version_protected=true)",
		}},
		{`{"max_value_bytes":49152,"max_versions":8}`, []string{
			"the largest value, and the most versions: 49152 bytes (max_value_bytes=49152); 8 versions (max_versions=8)",
		}},
		{`{"max_value_bytes":70000,"max_versions":200}`, []string{
			"the largest value, and the most versions: more than 65536 bytes; more than 100 versions",
		}},
		{`{"times_with_offset":true,"version_times_drift":true}`, nil},
	} {
		t.Run(c.switches, func(t *testing.T) {
			t.Parallel()
			want := slices.Clone(found)
			for _, line := range c.found {
				want[row(t, line)] = line
			}
			require.Equal(t, want, run(t, newSimulator(t, c.switches)))
		})
	}
}

func TestItFindsOutThatThereIsARateLimit(t *testing.T) {
	t.Parallel()
	for switches, want := range map[string]string{
		`{"rate_limit":5}`: "yes, and it comes without Retry-After (rate_limit_retry_after=false); how many calls a second: not tried",
		`{"rate_limit":5,"rate_limit_retry_after":true}`: "yes, and it comes with Retry-After (rate_limit_retry_after=true); how many calls a second: not tried",
	} {
		t.Run(switches, func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, switches)
			a := connect(t, serve(t, sim, sim.ServeHTTP), math.MaxFloat64)
			t.Cleanup(func() { a.removeAll(t) })
			names(t, a) // all goes well, only slower
			require.Equal(t, want, rateLimit(t, a))
		})
	}
}

func TestItFindsOddRecords(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	sim.Fill(150)
	a := connect(t, serve(t, sim, sim.ServeHTTP), math.MaxFloat64)
	sim.MakeOdd("demo_00001", simulator.OddVersionWithoutNumber, 1)
	require.Equal(t, "no: odd are version", wellFormed(t, a))
	sim.MakeOdd("demo_00140", simulator.OddTimeWithoutZone, 0)
	sim.MakeOdd("demo_00140", simulator.OddNullName, 0)
	require.Equal(t, "no: odd are created_at, name, version", wellFormed(t, a))
}

func TestItTellsWhatNoSwitchDoes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		switches string
		findOut  func(t *testing.T, a *abeja) string
		// refuses returns the status with which a request is refused, or 0. It is the nth of its method and path.
		refuses func(method, path string, body map[string]any, nth int) int
		found   string
	}{
		"a name that exists is refused with another status": {
			`{}`, duplicateName,
			func(method, _ string, _ map[string]any, nth int) int { return when(method == "POST" && nth == 2, 422) },
			"422",
		},
		"unknown ids have several statuses": {
			`{}`, unknownID,
			func(method, _ string, _ map[string]any, nth int) int {
				return when(method == "DELETE" && nth == 2, 403)
			},
			"get version 404, get secret 404, update secret 404, delete secret 403, list versions 404, create version 404",
		},
		"an expiry in the past is refused, and an expired secret is read": {
			`{}`, expired, refusesThePast, "yes (expired_is_404=false)",
		},
		"an expiry in the past is refused, and an expired secret is not read": {
			`{"expired_is_404":true}`, expired, refusesThePast, "no: 404 (expired_is_404=true)",
		},
		"null clears the description alone": {
			`{"clear":"null"}`, clearing,
			func(_, _ string, body map[string]any, _ int) int {
				at, given := body["expired_at"]
				return when(given && at == nil, 400)
			},
			`null clears ["description"], an empty text []`,
		},
		"the last version is protected from deletion alone": {
			`{}`, lastVersion,
			func(method, path string, _ map[string]any, _ int) int {
				return when(method == "DELETE" && strings.Contains(path, "/versions/"), 409)
			},
			"deleted: no: 409, made inactive: yes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, c.switches)
			seen := map[string]int{}
			account := serve(t, sim, func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				r.Body = io.NopCloser(bytes.NewReader(text))
				var body map[string]any
				json.Unmarshal(text, &body)
				seen[r.Method+r.URL.Path]++ // the suite sends one request at a time
				if status := c.refuses(r.Method, r.URL.Path, body, seen[r.Method+r.URL.Path]); status != 0 {
					w.WriteHeader(status)
					return
				}
				sim.ServeHTTP(w, r)
			})
			a := connect(t, account, math.MaxFloat64)
			t.Cleanup(func() { a.removeAll(t) })
			require.Equal(t, c.found, c.findOut(t, a))
		})
	}
}

func when(is bool, status int) int {
	if is {
		return status
	}
	return 0
}

func refusesThePast(_, _ string, body map[string]any, _ int) int {
	text, _ := body["expired_at"].(string)
	at, err := time.Parse(time.RFC3339, text)
	return when(err == nil && at.Before(time.Now()), 400)
}

func TestItRunsWhileOthersCreateAndDeleteSecrets(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	sim.Fill(147) // with those that are there: 150, which is two pages
	ended := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-ended:
				return
			default:
				sim.Create(fmt.Sprintf("another_%d", i), []byte("v"))
				sim.Delete(fmt.Sprintf("demo_%05d", (i-1)%150+1))
				sim.Create(fmt.Sprintf("demo_%05d", (i-1)%150+1), []byte("v"))
				sim.Delete(fmt.Sprintf("another_%d", i))
			}
		}
	})
	t.Cleanup(func() {
		close(ended)
		others.Wait()
	})
	require.Equal(t, found, run(t, sim))
}

func TestEachUnknownIsARowOfTheDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/abeja-api.md")
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## What is not known\n")
	section, _, _ = strings.Cut(section, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| (.*?) \| .* \| (.*) \|$`).FindAllStringSubmatch(section, -1)[1:]
	require.Len(t, rows, len(found))
	for i, u := range unknowns(true) {
		require.Equal(t, rows[i][1], u.row)
		for _, setting := range regexp.MustCompile(`(\w+)=\w+\)`).FindAllStringSubmatch(found[i], -1) {
			require.Contains(t, rows[i][2], "`"+setting[1]+"`")
		}
	}
}

// newSimulator makes a simulator with secrets of others in it.
func newSimulator(t *testing.T, switches string) *simulator.Simulator {
	var behavior simulator.Behavior
	require.NoError(t, json.Unmarshal([]byte(switches), &behavior))
	sim := simulator.New(simulator.Options{Behavior: behavior})
	sim.Fill(3)
	return sim
}

// serve makes a simulator reachable through a handler, and says how.
func serve(t *testing.T, sim *simulator.Simulator, handler http.HandlerFunc) account {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c := account{url: server.URL}
	c.organization, c.user, c.token, c.authToken = sim.Credentials()
	return c
}

// run runs the whole suite against a simulator, and returns what it finds out.
func run(t *testing.T, sim *simulator.Simulator) (lines []string) {
	account := serve(t, sim, sim.ServeHTTP)
	t.Run("suite", func(t *testing.T) {
		holdAndFindOut(t, connect(t, account, math.MaxFloat64), true, func(line string) { lines = append(lines, line) })
	})
	require.Empty(t, left(sim), "what was written must be removed")
	return lines
}

// left returns the names of the secrets that the suite has written and not removed.
func left(sim *simulator.Simulator) []string {
	answer := httptest.NewRecorder()
	sim.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/_simulator/secrets", nil))
	return regexp.MustCompile(`vault_test_live_[\w-]+`).FindAllString(answer.Body.String(), -1)
}
