package backend

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestStatusTellsHowTheMountIs(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"cache_ttl": "1h"})
	e.sim.Create("one", []byte("hidden-1"))
	e.sim.Create("two", []byte("hidden-2"))
	e.list("secrets/").ok() // to its end: a read waits only for the page with its name
	for range 4 {
		e.read("secrets/one").ok()
	}

	got := e.read("status").ok()
	org, _, _, _ := e.sim.Credentials()
	for field, want := range map[string]any{
		"problem": nil, "configured": true, "organization_id": org, "api_url": e.url, "abeja_answers": true,
		"last_error": nil, "last_error_at": nil, "directory_size": 2, "odd_records": 0, "cache_entries": 1, "cache_bytes": 512 + 512 + len("hidden-1"), "last_good_entries": 0, "cache_hit_ratio": 0.75,
		"requests": uint64(4), "failed_requests": uint64(0), // the config's check, the list, the secret, this
		"version": "v1.2.3", "commit": "0123456789abcdef",
	} {
		require.Equal(t, want, got[field], field)
	}
	require.Positive(t, got["abeja_latency_ms"])
	require.GreaterOrEqual(t, got["directory_age_seconds"], 0.0)
	require.Less(t, got["directory_age_seconds"], 60.0)
	require.GreaterOrEqual(t, got["uptime_seconds"], 0)
	at, err := time.Parse(time.RFC3339, got["checked_at"].(string))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), at, time.Minute)
	require.Len(t, got, len(statusAnswer), "all that is documented")
}

func TestStatusIsAnsweredAndSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		breaks        func(e *engine)
		says          string
		lastErrorSays string
	}{
		"not configured":     {func(e *engine) { e.delete("config").ok() }, "vault write abeja/config organization_id=", ""},
		"unreadable config":  {func(e *engine) { e.spoilConfig() }, "delete it, then write it again", ""},
		"storage fails":      {func(e *engine) { e.backend = e.start(); e.storage.FailGet(true) }, "get operations disabled", ""},
		"credential refused": {fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 401, Body: "db_password"}), "ABEJA refused the mount's credential, not your token", "status 401 Unauthorized"},
		"forbidden":          {fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 403}), "write a valid personal_access_token", "status 403 Forbidden"},
		"no organization":    {fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 404}), "may use organization_id", ""},
		"ABEJA is down":      {fault(simulator.Fault{Kind: simulator.FaultCut}), "cut", "cut"},
		"ABEJA fails":        {fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503, Body: "db_password"}), "status 503", "status 503 Service Unavailable"},
		"over the limit":     {fault(simulator.Fault{Kind: simulator.FaultStatus, Status: 429}), "wait a little", "status 429"},
		"a proxy's page":     {fault(simulator.Fault{Kind: simulator.FaultHTML, Status: 200}), "no proxy answers instead", "not the documented JSON"},
		"a redirect":         {fault(simulator.Fault{Kind: simulator.FaultRedirect, Body: "https://example.com"}), "api_url", "never redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, simulator.Options{}, fields{"max_retries": 10}) // status has no time to use them
			c.breaks(e)
			got := e.read("status").ok()
			require.Contains(t, got["problem"], c.says)
			require.NotEqual(t, true, got["abeja_answers"])
			require.LessOrEqual(t, e.sim.Count(), 2) // Go's own client repeats a GET on a kept connection that is cut
			if c.lastErrorSays == "" {
				require.Nil(t, got["last_error"])
			} else {
				require.Contains(t, got["last_error"], c.lastErrorSays)
				require.NotContains(t, got["last_error"], "db_password", "ABEJA's words may name a secret")
			}
		})
	}
}

// settingUp is the storage of a mount whose plugin could not be started when Vault was unsealed.
type settingUp struct{ logical.Storage }

func (settingUp) Put(context.Context, *logical.StorageEntry) error {
	return errors.New("cannot write to storage during setup")
}

func (settingUp) Delete(context.Context, string) error {
	return errors.New("cannot write to storage during setup")
}

func TestAMountThatMayStoreNothingSaysSo(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	ask := func(op logical.Operation, path string, in fields) (*logical.Response, error) {
		req := e.request(op, path, in)
		req.Storage = settingUp{e.storage}
		return e.backend.HandleRequest(t.Context(), req)
	}
	for op, in := range map[logical.Operation]fields{logical.UpdateOperation: {"max_retries": 1}, logical.DeleteOperation: nil} {
		_, err := ask(op, "config", in)
		require.ErrorContains(t, err, "cannot write to storage during setup: Vault could not start the plugin")
		require.ErrorContains(t, err, "vault operator step-down")
		require.Equal(t, http.StatusInternalServerError, err.(logical.HTTPCodedError).Code())
	}
	resp, err := ask(logical.ReadOperation, "status", nil)
	require.NoError(t, err)
	require.Contains(t, resp.Data["problem"], "cannot write to storage during setup: Vault could not start the plugin")
	require.Equal(t, true, resp.Data["abeja_answers"])

	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 401})
	e.backend = e.start()
	resp, err = ask(logical.ReadOperation, "status", nil)
	require.NoError(t, err)
	require.Regexp(t, "^ABEJA refused the mount's credential.*; cannot write to storage", resp.Data["problem"])
}

// deletions is a storage as Vault makes it, and counts what is deleted in it.
type deletions struct {
	logical.Storage
	count int
}

func (s *deletions) Delete(ctx context.Context, key string) error {
	s.count++
	return s.Storage.Delete(ctx, key)
}

func TestStatusDeletesNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	below := &deletions{Storage: e.storage}
	req := e.request(logical.ReadOperation, "status", nil)
	req.Storage = logical.NewStorageView(below, "")
	resp, err := e.backend.HandleRequest(t.Context(), req)
	require.NoError(t, err)
	require.Nil(t, resp.Data["problem"])
	require.Zero(t, below.count)
}

func fault(f simulator.Fault) func(*engine) {
	return func(e *engine) { e.sim.AddFault(f) }
}

func (e *engine) spoilConfig() {
	entry, err := e.storage.InmemStorage.Get(e.t.Context(), configKey)
	require.NoError(e.t, err)
	entry.Value = []byte(`{"personal_access_token":"hidden`)
	require.NoError(e.t, e.storage.Put(e.t.Context(), entry))
	e.backend = e.start()
}

func TestStatusRemembersTheLastErrorAndCountsRequests(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 500, Count: 1})
	e.read("secrets/one").refused(http.StatusBadGateway)
	e.read("secrets/absent").refused(http.StatusNotFound)
	e.write("config", fields{"max_retries": 1}).ok()
	got := e.read("status").ok()
	require.Nil(t, got["problem"])
	require.Equal(t, "abeja: get secret: status 500 Internal Server Error", got["last_error"])
	require.NotNil(t, got["last_error_at"])
	require.Equal(t, uint64(1), got["failed_requests"], "also those from before the config was changed")
}

func TestStatusAndMetricsCountWhatCannotBeUnderstood(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"name_prefix": "team_"})
	for _, name := range []string{"team_one", "team_two", "foreign"} {
		e.sim.Create(name, []byte("hidden-1"))
	}
	e.sim.MakeOdd("foreign", simulator.OddNullName, 0)
	e.sim.MakeOdd("team_two", simulator.OddBadBase64, 1)
	e.list("secrets/").ok()
	require.Equal(t, 1, e.read("status").ok()["odd_records"], "a list has no values")
	e.read("secrets/two").refused(http.StatusBadGateway, "version 1 has no usable value")
	require.Equal(t, 2, e.read("status").ok()["odd_records"])
	require.Contains(t, string(e.read("metrics").ok()["http_raw_body"].([]byte)), "\nvault_abeja_odd_records 2\n")
	require.Empty(t, e.list("secrets/").warnings, "none of this mount")
}

func TestStatusAsksABEJAOnceInTenSecondsHoweverManyRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := simulator.New(simulator.Options{})
		org, user, token, _ := sim.Credentials()
		c, err := client.New(client.Config{OrganizationID: org, Auth: client.Basic(user, token), Transport: sim.Transport(), MaxRetries: 5})
		require.NoError(t, err)
		s := storeOf(t, c)
		var p probe
		sim.SetLatency(time.Second)
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				got := p.ask(t.Context(), s)
				if got.err != nil || got.took != time.Second {
					t.Error(got)
				}
			})
		}
		all.Wait()
		require.Equal(t, 1, sim.Count())
		time.Sleep(probeInterval - time.Nanosecond)
		p.ask(t.Context(), s)
		require.Equal(t, 1, sim.Count())
		time.Sleep(time.Nanosecond)
		sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		require.True(t, errors.Is(p.ask(t.Context(), s).err, client.ErrUnavailable))
		require.Equal(t, 2, sim.Count(), "tried once")
		sim.ClearFaults()
		time.Sleep(probeInterval)

		sim.SetLatency(time.Hour)
		begin := time.Now()
		require.ErrorIs(t, p.ask(t.Context(), s).err, client.ErrTimeout)
		require.Equal(t, probeTimeout, time.Since(begin))
	})
}

func TestStatusSaysAtOnceThatABEJAIsLeftAloneSinceWhenAndWhenTheNextTryIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := inMemory(t)
		e.sim.Create("one", []byte("hidden-1"))
		e.read("secrets/one").ok()
		require.Nil(t, e.read("status").ok()["problem"], "and so for 10 seconds, if nobody else asks")
		since := time.Now().UTC().Format(time.RFC3339)
		e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: 503})
		for range 10 {
			e.read("secrets/one").refused(http.StatusBadGateway)
		}
		e.sim.ClearFaults()
		e.sim.AddFault(simulator.Fault{Kind: simulator.FaultHang})
		e.sim.ResetRequests()
		begin := time.Now()
		status := func(next string) {
			t.Helper()
			got := e.read("status").ok()
			require.Contains(t, got["problem"], "ABEJA has been failing since "+since+" (status 503 Service Unavailable), and was not asked; the next request goes out in "+next)
			require.Equal(t, false, got["abeja_answers"])
			require.NotNil(t, got["checked_at"])
		}
		status("2s")
		time.Sleep(time.Second)
		status("1s")
		synctest.Wait()
		require.Zero(t, e.sim.Count())
		time.Sleep(9 * time.Second) // nobody has asked meanwhile
		status("0s")
		require.Equal(t, 10*time.Second, time.Since(begin), "nobody waits for the next try")
		synctest.Wait()
		require.Equal(t, 1, e.sim.Count(), "which status makes where nobody else does")
		status("3s")

		e.sim.ClearFaults()
		time.Sleep(probeInterval)
		require.NotNil(t, e.read("status").ok()["problem"])
		synctest.Wait()
		require.Nil(t, e.read("status").ok()["problem"])

		e.sim.AddFault(simulator.Fault{Count: 1, Kind: simulator.FaultStatus, Status: 429, RetryAfter: "60"})
		e.read("secrets/one").refused(http.StatusTooManyRequests)
		require.Contains(t, e.read("status").ok()["problem"], "(status 429 Too Many Requests), and was not asked; the next request goes out in 1m0s")
	})
}
