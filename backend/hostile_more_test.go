package backend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

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
		require.LessOrEqual(t, asked.Load(), int64(20), what)
	}
}

func TestAVersionNumberBeyondAnyIsRefused(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.says(simulator.GetSecret, `{"id":"$ID","organization_id":"$ORG","name":"one","versions":[{"id":"7","version":9223372036854775807,"status":"active","value":"aGlkZGVu"}]}`)
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
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{ExpiredIs404: true}})
	e.sim.Create("one", []byte("hidden-1"))
	e.sim.SetExpiry("one", time.Now().Add(-time.Hour))
	begin := time.Now()
	for range 200 {
		e.read("secrets/one").refused(http.StatusNotFound, "expired at")
	}
	for range 200 {
		e.write("secrets/two", fields{"value": strings.Repeat("x", 1<<16+1)}).refused(http.StatusBadRequest)
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
