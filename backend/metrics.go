package backend

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// metricPrefix begins the name of each of the engine's own metrics.
const metricPrefix = "vault_abeja_"

// metrics is what a mount has counted since the plugin's process took it on, whatever became of
// its config. Labels hold calls, statuses and outcomes, never the name of a secret.
type metrics struct {
	registry *prometheus.Registry
	began    time.Time
	stores   store.Stats

	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	retries   *prometheus.CounterVec
	panics    atomic.Uint64 // recovered in the handlers; the store counts its own

	sent, failed atomic.Uint64 // for status: requests to ABEJA
	lastError    atomic.Pointer[lastError]
}

// lastError is how the last call ended that ABEJA did not serve.
type lastError struct {
	text string
	at   time.Time
}

// ofProcess are the metrics of the plugin's process, the same for each of its mounts. To make them costs more
// than all the rest of a mount.
var ofProcess = sync.OnceValue(func() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})}
})

// newMetrics begins to count. state tells what the mount holds in memory at that moment.
func newMetrics(build Build, state func() store.State) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		began:    time.Now(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "requests_total",
			Help: "HTTP requests to ABEJA, retries included, by call and class of status; none where no answer came.",
		}, []string{"call", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    metricPrefix + "request_duration_seconds",
			Help:    "Time from an HTTP request to the head of ABEJA's answer, or until it failed.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 80},
		}, []string{"call"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: metricPrefix + "retries_total",
			Help: "HTTP requests to ABEJA that repeated one of the same call.",
		}, []string{"call"}),
	}
	m.registry.MustRegister(ofProcess()...)
	m.registry.MustRegister(m.requests, m.durations, m.retries)
	counters := []struct {
		name, help, label, value string
		count                    func() uint64
	}{
		{"cache_reads_total", cacheReadsHelp, "result", "hit", m.stores.CacheHits.Load},
		{"cache_reads_total", cacheReadsHelp, "result", "miss", m.stores.CacheMisses.Load},
		{"cache_reads_total", cacheReadsHelp, "result", "stale", m.stores.StaleAnswers.Load},
		{"cache_reads_total", cacheReadsHelp, "result", "revalidated", m.stores.Revalidations.Load},
		{"coalesced_calls_total", "Callers who shared the answer of a call that another had begun.", "", "", m.stores.Coalesced.Load},
		{"listings_total", listingsHelp, "result", "complete", m.stores.CompleteListings.Load},
		{"listings_total", listingsHelp, "result", "incomplete", m.stores.IncompleteListings.Load},
		{"listings_total", listingsHelp, "result", "failed", m.stores.FailedListings.Load},
		{"listing_seam_rereads_total", "Pages read again since two neighbours shared no secret.", "", "", m.stores.SeamRereads.Load},
		{"panics_recovered_total", "Panics of the plugin that were answered with an error. Each is a bug.", "", "",
			func() uint64 { return m.panics.Load() + m.stores.Panics.Load() }},
	}
	for _, c := range counters {
		opts := prometheus.CounterOpts{Name: metricPrefix + c.name, Help: c.help}
		if c.label != "" {
			opts.ConstLabels = prometheus.Labels{c.label: c.value}
		}
		m.registry.MustRegister(prometheus.NewCounterFunc(opts, func() float64 { return float64(c.count()) }))
	}
	gauges := []struct {
		name, help string
		value      func() float64
	}{
		{"directory_secrets", "Names of secrets in memory.", func() float64 { return float64(state().Secrets) }},
		{"directory_age_seconds", "Time since the listing began that they are from. NaN before the first.", func() float64 {
			return age(state().Listed)
		}},
		{"odd_records", "Secrets of which ABEJA told something that cannot be understood.", func() float64 { return float64(state().Odd) }},
		{"circuit_open", "1 while ABEJA is asked only now and then, since it has been failing, else 0.", func() float64 {
			return oneIf(state().Weather.Open)
		}},
		{"cache_entries", "Values in memory.", func() float64 { return float64(state().CacheEntries) }},
		{"cache_bytes", "Bytes of the values in memory, with their metadata.", func() float64 { return float64(state().CacheBytes) }},
		{"last_good_entries", "Values that keep_last_good has in Vault's storage.", func() float64 { return float64(state().LastGood) }},
		{"last_good_failing", "1 while keep_last_good cannot store, else 0.", func() float64 { return oneIf(state().LastGoodFails) }},
	}
	for _, g := range gauges {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: metricPrefix + g.name, Help: g.help}, g.value))
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: metricPrefix + "build_info", Help: "1, with what was built.",
		ConstLabels: prometheus.Labels{"version": build.Version, "commit": build.Commit},
	}, func() float64 { return 1 }))
	return m
}

const (
	cacheReadsHelp = "Reads with cache_ttl that needed no call or needed one, and reads given an older value by stale_if_error, or by stale_while_revalidate."
	listingsHelp   = "Listings of all secrets, by outcome."
)

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// attempt counts an HTTP request to ABEJA.
func (m *metrics) attempt(a client.Attempt) {
	call, class := string(a.Op), "none"
	if a.Status != 0 {
		class = fmt.Sprintf("%dxx", a.Status/100)
	}
	m.requests.WithLabelValues(call, class).Inc()
	m.durations.WithLabelValues(call).Observe(a.Duration.Seconds())
	if a.Number > 1 {
		m.retries.WithLabelValues(call).Inc()
	}
	m.sent.Add(1)
	switch a.Status {
	case 0, http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests:
		m.failed.Add(1)
	default:
		if a.Status >= 500 {
			m.failed.Add(1)
		}
	}
}

// callFailed keeps an error that is ABEJA's or the connection's, not the caller's. ABEJA's own
// words are left out: they may hold the name of a secret.
func (m *metrics) callFailed(e *client.Error) {
	if errors.Is(e, client.ErrNotFound) || errors.Is(e, client.ErrConflict) || errors.Is(e, client.ErrInvalid) ||
		errors.Is(e, client.ErrLarge) {
		return
	}
	told := client.Error{Op: e.Op, Status: e.Status, Err: e.Err}
	m.lastError.Store(&lastError{told.Error(), time.Now()})
}
