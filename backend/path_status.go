package backend

import (
	"context"
	"errors"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/singleflight"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const (
	// probeInterval is how often at most status asks ABEJA, however many read it.
	probeInterval = 10 * time.Second
	// probeTimeout bounds the wait for that answer: who reads status wants to know now.
	probeTimeout = 10 * time.Second
)

const (
	statusSynopsis    = "Whether the mount works, and what is wrong if not."
	statusDescription = `
Says whether ABEJA answers, how fast, and in "problem" what is wrong and what to do.
It asks ABEJA with one light call, at most every 10 seconds. While ABEJA fails and is
left alone, it says at once since when, how, and when the next try is. It is answered
too when the mount is not configured, ABEJA is down or the credential is refused.

Figures are those since the plugin's process took the mount on. Age, uptime and
latency are of this moment.`
)

func (b *backend) pathStatus() *framework.Path {
	return &framework.Path{
		Pattern:         "status",
		DisplayAttrs:    &framework.DisplayAttributes{OperationPrefix: operationPrefix, OperationVerb: "read", OperationSuffix: "status"},
		HelpSynopsis:    statusSynopsis,
		HelpDescription: strings.TrimSpace(statusDescription),
		Operations: map[logical.Operation]framework.OperationHandler{
			logical.ReadOperation: &framework.PathOperation{
				Callback: b.readStatus, Summary: statusSynopsis,
				Responses: map[int][]framework.Response{http.StatusOK: {{Description: "How the mount is.", Fields: statusAnswer}}},
			},
		},
	}
}

var statusAnswer = map[string]*framework.FieldSchema{
	"problem":               {Type: framework.TypeString, Description: "What is wrong now and what to do; null if nothing is."},
	"configured":            {Type: framework.TypeBool, Description: "Whether there is a config, and it can be used."},
	"organization_id":       {Type: framework.TypeString, Description: "The organization at ABEJA; null if there is no config, as the next four."},
	"api_url":               {Type: framework.TypeString, Description: "Where ABEJA's API is."},
	"abeja_answers":         {Type: framework.TypeBool, Description: "Whether ABEJA answered the mount as it should, at checked_at."},
	"abeja_latency_ms":      {Type: framework.TypeFloat, Description: "How long that took, in milliseconds, whatever the answer."},
	"checked_at":            {Type: framework.TypeTime, Description: "When ABEJA was asked: now, or up to 10 seconds ago."},
	"last_error":            {Type: framework.TypeString, Description: "How the last call ended that ABEJA failed or refused to serve; null if none did."},
	"last_error_at":         {Type: framework.TypeTime, Description: "When that was."},
	"directory_size":        {Type: framework.TypeInt, Description: "How many names of secrets are in memory."},
	"odd_records":           {Type: framework.TypeInt, Description: "How many secrets had something that cannot be understood when they were last listed or read."},
	"directory_age_seconds": {Type: framework.TypeFloat, Description: "How long ago they were listed; null before the first listing."},
	"cache_entries":         {Type: framework.TypeInt, Description: "How many values are in memory."},
	"cache_bytes":           {Type: framework.TypeInt, Description: "How many bytes they take, with their metadata."},
	"last_good_entries":     {Type: framework.TypeInt, Description: "How many values keep_last_good has in Vault's storage."},
	"cache_hit_ratio":       {Type: framework.TypeFloat, Description: "The part of reads, 0 to 1, that cache_ttl spared a call; null if there were none with cache_ttl."},
	"requests":              {Type: framework.TypeInt, Description: "Requests sent to ABEJA, retries included."},
	"failed_requests":       {Type: framework.TypeInt, Description: "Those of them without an answer, or with 401, 403, 429 or 5xx."},
	"version":               {Type: framework.TypeString, Description: "The plugin's version."},
	"commit":                {Type: framework.TypeString, Description: "The commit that it was built from."},
	"uptime_seconds":        {Type: framework.TypeInt, Description: "How long ago the plugin's process took on the mount."},
}

// readStatus answers whatever is wrong: it is the first thing that an operator reads.
func (b *backend) readStatus(ctx context.Context, req *logical.Request, _ *framework.FieldData) (*logical.Response, error) {
	m, problem := b.mount(ctx, req)
	answer := new(probed)
	if problem == nil {
		answer, problem = b.ask(ctx, m)
	}
	hits, misses := float64(b.metrics.stores.CacheHits.Load()), float64(b.metrics.stores.CacheMisses.Load())
	state := b.state()
	status := map[string]any{
		"configured": false, "organization_id": nil, "api_url": nil,
		"problem": nil, "abeja_answers": nil, "abeja_latency_ms": nil, "checked_at": nil,
		"last_error": nil, "last_error_at": nil,
		"directory_size": state.Secrets, "directory_age_seconds": orNil(age(state.Listed)),
		"odd_records":   state.Odd,
		"cache_entries": state.CacheEntries, "cache_bytes": state.CacheBytes, "last_good_entries": state.LastGood, "cache_hit_ratio": orNil(hits / (hits + misses)),
		"requests": b.metrics.sent.Load(), "failed_requests": b.metrics.failed.Load(),
		"version": b.build.Version, "commit": b.build.Commit,
		"uptime_seconds": int(age(b.metrics.began)),
	}
	if m != nil {
		status["configured"], status["organization_id"], status["api_url"] = true, m.config.OrganizationID, m.config.APIURL
		status["abeja_answers"], status["abeja_latency_ms"] = problem == nil, float64(answer.took.Microseconds())/1000
		status["checked_at"] = timeOrNil(answer.at)
	}
	var problems []string
	if problem != nil {
		problems = append(problems, coded(problem).Error())
	}
	// Vault refuses to delete a relative path, so nothing is changed. But before that it reports whether the
	// mount may store anything.
	if err := req.Storage.Delete(ctx, ".."); err != nil && err.Error() == logical.ErrSetupReadOnly.Error() {
		problems = append(problems, coded(err).Error())
	}
	if len(problems) > 0 {
		status["problem"] = strings.Join(problems, "; ")
	}
	if last := b.metrics.lastError.Load(); last != nil {
		status["last_error"], status["last_error_at"] = last.text, timeOrNil(last.at)
	}
	return &logical.Response{Data: status}, nil
}

// state is what the mount holds in memory; nothing before its config was used.
func (b *backend) state() store.State {
	if m := b.mounted.Load(); m != nil {
		return m.store.State()
	}
	return store.State{}
}

// age is the time since then in seconds, to the millisecond; NaN if it never was.
func age(then time.Time) float64 {
	if then.IsZero() {
		return math.NaN()
	}
	return float64(time.Since(then).Milliseconds()) / 1000
}

// orNil spares JSON what it cannot hold.
func orNil(x float64) any {
	if math.IsNaN(x) {
		return nil
	}
	return x
}

// ask returns how ABEJA answers. While it is left alone, nobody waits for what is known: if it is time for
// the next try, the light call makes it in the background.
func (b *backend) ask(ctx context.Context, m *mount) (*probed, error) {
	w := m.store.State().Weather
	if w.Next.IsZero() {
		answer := m.probe.ask(ctx, m.store)
		return answer, answer.err
	}
	if !w.Next.After(time.Now()) {
		b.background(func() { m.probe.ask(ctx, m.store) })
	}
	answer := m.probe.last.Load()
	if answer == nil {
		answer = new(probed)
	}
	return answer, &client.Error{Op: client.OpListSecrets, Err: &client.NotAskedError{Since: w.Since, Next: w.Next, Why: w.Why}}
}

// probe is the light call that status makes.
type probe struct {
	calls singleflight.Group
	last  atomic.Pointer[probed]
}

// probed is how a probe ended.
type probed struct {
	at   time.Time
	took time.Duration
	err  error
}

// ask calls ABEJA, unless it has been called within probeInterval; then what came then is told.
// A caller who gives up does not make the call fail for those who share it.
func (p *probe) ask(ctx context.Context, s *store.Store) *probed {
	p.calls.Do("", func() (any, error) {
		if last := p.last.Load(); last != nil && time.Since(last.at) < probeInterval {
			return nil, nil
		}
		ctx, cancel := context.WithTimeout(client.Once(context.WithoutCancel(ctx)), probeTimeout)
		defer cancel()
		begin := time.Now()
		err := s.Verify(ctx)
		if errors.Is(err, client.ErrNotFound) { // ABEJA's other way to refuse the organization
			err = client.ErrUnauthorized
		}
		p.last.Store(&probed{time.Now(), time.Since(begin), err})
		return nil, nil
	})
	return p.last.Load()
}
