package backend

import (
	"bytes"
	"math"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// scrape reads metrics as Prometheus does.
func (e *engine) scrape() map[string]*dto.MetricFamily {
	e.t.Helper()
	resp, err := e.backend.HandleRequest(e.t.Context(), e.request(logical.ReadOperation, "metrics", nil))
	require.NoError(e.t, err)
	require.Equal(e.t, http.StatusOK, resp.Data[logical.HTTPStatusCode])
	require.Contains(e.t, resp.Data[logical.HTTPContentType], "text/plain; version=0.0.4")
	body := resp.Data[logical.HTTPRawBody].([]byte)
	noneShown(e.t, string(body))
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	require.NoError(e.t, err)
	return families
}

// metric returns the value of the metric whose labels have these values; NaN if there is none.
func metric(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	for _, m := range families[metricPrefix+name].GetMetric() {
		var got []string
		for _, l := range m.GetLabel() {
			got = append(got, l.GetValue())
		}
		if strings.Join(got, " ") == strings.Join(labels, " ") {
			return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return math.NaN()
}

func TestMetricsCountWhatTheMountDoes(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"cache_ttl": "1h", "stale_if_error": "1h", "max_retries": 1})
	e.sim.Create("name_of_a_secret", []byte("hidden-1"))
	e.sim.Create("name_of_another", []byte("hidden-1"))
	e.list("secrets/").ok() // to its end
	e.read("secrets/name_of_a_secret").ok()
	e.read("secrets/name_of_a_secret").ok()
	e.sim.AddFault(simulator.Fault{Op: simulator.GetSecret, Kind: simulator.FaultStatus, Status: 503, Count: 1})
	e.read("secrets/name_of_another").ok() // the second try succeeds
	e.write("config", fields{"cache_ttl": "0s"}).ok()
	e.read("secrets/name_of_a_secret").ok()
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
	e.read("secrets/name_of_a_secret").ok() // stale
	e.list("secrets/").refused(http.StatusBadGateway)
	e.sim.ResetRequests()

	got := e.scrape()
	for _, want := range []struct {
		count  float64
		name   string
		labels []string
	}{
		{1, "build_info", []string{"0123456789abcdef", "v1.2.3"}},
		{3, "requests_total", []string{"list_secrets", "2xx"}}, // two configs, one directory
		{2, "requests_total", []string{"list_secrets", "none"}},
		{3, "requests_total", []string{"get_secret", "2xx"}},
		{1, "requests_total", []string{"get_secret", "5xx"}},
		{1, "requests_total", []string{"get_secret", "none"}},
		{5, "request_duration_seconds", []string{"get_secret"}},
		{1, "retries_total", []string{"get_secret"}},
		{1, "retries_total", []string{"list_secrets"}},
		{1, "cache_reads_total", []string{"hit"}},
		{2, "cache_reads_total", []string{"miss"}},
		{1, "cache_reads_total", []string{"stale"}},
		{1, "listings_total", []string{"complete"}},
		{0, "listings_total", []string{"incomplete"}},
		{1, "listings_total", []string{"failed"}},
		{0, "listing_seam_rereads_total", nil},
		{0, "coalesced_calls_total", nil},
		{0, "panics_recovered_total", nil},
		{2, "directory_secrets", nil},
		{2, "cache_entries", nil},
		{2*1024 + 2*8, "cache_bytes", nil},
	} {
		require.Equal(t, want.count, metric(got, want.name, want.labels...), "%s %v", want.name, want.labels)
	}
	require.Less(t, metric(got, "directory_age_seconds"), 60.0)
	require.Contains(t, got, "go_goroutines")
	require.Contains(t, got, "process_start_time_seconds")
	for name, family := range got {
		require.NotContains(t, family.String(), "name_of_a", name)
	}
	require.Zero(t, e.sim.Count(), "a scrape calls nothing")
}

func TestThePageOfPathsTellsEveryMetricAndEveryFieldOfStatus(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/paths.md")
	require.NoError(t, err)
	for field := range statusAnswer {
		require.Contains(t, string(page), "`"+field+"`")
	}
	for name := range newEngine(t, simulator.Options{}).scrape() {
		if own, ok := strings.CutPrefix(name, metricPrefix); ok {
			require.Contains(t, string(page), "`"+own+"`")
		}
	}
}

func TestMetricsAreThereBeforeTheConfig(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	got := e.scrape()
	require.Zero(t, metric(got, "directory_secrets"))
	require.True(t, math.IsNaN(got[metricPrefix+"directory_age_seconds"].GetMetric()[0].GetGauge().GetValue()))
}

func TestMetricsCountPanics(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	e.storage.panics.Store(new("hidden-1"))
	e.read("config").refused(http.StatusInternalServerError)
	require.Equal(t, 1.0, metric(e.scrape(), "panics_recovered_total"))
}

func TestMetricsFollowPrometheusConventions(t *testing.T) {
	t.Parallel()
	problems, err := testutil.GatherAndLint(newMetrics(Build{}, func() store.State { return store.State{} }).registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}
