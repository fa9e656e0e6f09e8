package live

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// found is what is found out of a simulator with its default switches.
var found = []string{
	"whether a new version makes the older ones inactive: no (new_version_deactivates_older=false)",
	"whether a name that exists is refused with 409 or 400: 409 (duplicate_name_is_400=false)",
	"whether an unknown id is 404 or 403: 404 (unknown_id_is_403=false)",
	"the order of lists: oldest first (order=created)",
	"whether an expired secret can be read: yes (expired_is_404=false)",
	"whether null or an empty text clears `description` and `expired_at`: either clears both (clear=both)",
	"whether a list without values has versions: yes (list_omits_versions=false)",
	"whether there is a rate limit: not tried, since it would take a burst; none has shown in this run",
	"whether the last version may be deleted or made inactive: both (last_version_protected=false)",
	"the largest value, and the most versions: 65536 bytes (max_value_bytes=65536); 100 versions (max_versions=100)",
}

// row gives the place among found of the row that a line is about.
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
		{`{"expired_is_404":true}`, []string{"whether an expired secret can be read: no: 404 (expired_is_404=true)"}},
		{`{"clear":"null"}`, []string{
			"whether null or an empty text clears `description` and `expired_at`: only null does (clear=null)",
		}},
		{`{"clear":"empty"}`, []string{
			"whether null or an empty text clears `description` and `expired_at`: only an empty text does (clear=empty)",
		}},
		{`{"list_omits_versions":true}`, []string{"whether a list without values has versions: no (list_omits_versions=true)"}},
		{`{"rate_limit":60}`, []string{
			"whether there is a rate limit: yes, and it comes without Retry-After (rate_limit_retry_after=false); how many calls a second: not tried",
		}},
		{`{"rate_limit":60,"rate_limit_retry_after":true}`, []string{
			"whether there is a rate limit: yes, and it comes with Retry-After (rate_limit_retry_after=true); how many calls a second: not tried",
		}},
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
			sim := simulate(t, c.switches)
			want := append([]string{}, found...)
			for _, line := range c.found {
				want[row(t, line)] = line
			}
			before := sim.Len()
			require.Equal(t, want, sim.findOut(t))
			require.Equal(t, before, sim.Len(), "what was written must be removed")
		})
	}
}

func TestItRunsWhileOthersCreateAndDeleteSecrets(t *testing.T) {
	t.Parallel()
	sim := simulate(t, `{}`)
	sim.Fill(150)
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
	before := sim.Len()
	got := sim.findOut(t)
	close(ended)
	others.Wait()
	require.Equal(t, found, got)
	require.Equal(t, before, sim.Len(), "what was written must be removed")
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

// simulated is a simulator of ABEJA, with secrets of others in it.
type simulated struct {
	*simulator.Simulator
	account account
}

func simulate(t *testing.T, switches string) simulated {
	var behavior simulator.Behavior
	require.NoError(t, json.Unmarshal([]byte(switches), &behavior))
	sim := simulator.New(simulator.Options{Behavior: behavior})
	sim.Fill(3)
	server := httptest.NewServer(sim)
	t.Cleanup(server.Close)
	c := account{url: server.URL}
	c.organization, c.user, c.token, c.authToken = sim.Credentials()
	return simulated{sim, c}
}

// findOut runs the whole suite against the simulator.
func (s simulated) findOut(t *testing.T) (lines []string) {
	t.Run("suite", func(t *testing.T) {
		holdAndFindOut(t, connect(t, s.account, math.MaxFloat64), true, func(line string) { lines = append(lines, line) })
	})
	return lines
}
