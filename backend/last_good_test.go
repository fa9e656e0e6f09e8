package backend

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// newKeepingEngine makes a mount with keep_last_good that has read the secret db, which is stored.
func newKeepingEngine(t *testing.T) *engine {
	t.Helper()
	e := newEngine(t, simulator.Options{}, fields{"keep_last_good": true, "stale_if_error": "1h"})
	e.sim.Create("db", []byte("hidden-1"))
	e.read("secrets/db").ok()
	e.eventually(func(kept []string) bool { return len(kept) == 3 }) // the salt, the value, and its name
	require.Equal(t, 1, e.read("status").ok()["last_good_entries"])
	return e
}

// kept are the storage keys of what is kept.
func (e *engine) kept() []string {
	keys, err := logical.CollectKeys(e.t.Context(), logical.NewStorageView(e.storage, shelfPrefix))
	require.NoError(e.t, err)
	return keys
}

func (e *engine) eventually(is func(kept []string) bool) {
	e.t.Helper()
	require.Eventually(e.t, func() bool { return is(e.kept()) }, time.Minute, 10*time.Millisecond)
}

// outage restarts the mount while ABEJA cuts each connection.
func (e *engine) outage() {
	e.sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
	e.backend.Cleanup(e.t.Context())
	e.backend = e.start()
}

func TestALastGoodValueIsGivenAfterARestartWithAWarning(t *testing.T) {
	t.Parallel()
	e := newKeepingEngine(t)
	for _, key := range e.kept() {
		require.Regexp(t, "^(salt|[0-9a-f]{16}/[0-9a-f]{64})$", key, "no name is in it")
	}
	e.outage()
	a := e.read("secrets/db")
	require.Equal(t, "hidden-1", a.ok()["value"])
	require.Contains(t, strings.Join(a.warnings, " "), "ABEJA could not be asked")
	require.NotEqual(t, http.StatusOK, e.read("secrets/other").status)
}

func TestWhatIsKeptGoesWithTheConfigTheSettingTheSecretAndTheUser(t *testing.T) {
	t.Parallel()
	none := func(kept []string) bool { return len(kept) == 0 }
	for what, act := range map[string]func(e *engine) (gone func([]string) bool){
		"config": func(e *engine) func([]string) bool { e.delete("config").ok(); return none },
		"setting": func(e *engine) func([]string) bool {
			e.write("config", fields{"keep_last_good": false}).ok()
			return none
		},
		"user": func(e *engine) func([]string) bool {
			e.write("config", e.ofAuthToken()).ok()
			return func([]string) bool { return true }
		},
		"unverified credential": func(e *engine) func([]string) bool {
			e.write("config", fields{"personal_access_token": "hidden-other", "verify_connection": false}).ok()
			return func([]string) bool { return true }
		},
		"organization": func(e *engine) func([]string) bool {
			e.write("config", fields{"organization_id": "7", "verify_connection": false}).ok()
			return func([]string) bool { return true }
		},
		"secret": func(e *engine) func([]string) bool {
			e.delete("secrets/db").ok()
			return func([]string) bool { return true }
		},
		"revoked credential": func(e *engine) func([]string) bool {
			e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusUnauthorized})
			e.list("secrets/").refused(http.StatusBadGateway)
			e.sim.ClearFaults()
			return func([]string) bool { return true }
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newKeepingEngine(t)
			e.eventually(act(e))
			e.outage()
			require.NotEqual(t, http.StatusOK, e.read("secrets/db").status)
		})
	}
}

func TestWhatWaitsToBeKeptIsNotKeptWhileTheConfigIsChanged(t *testing.T) {
	t.Parallel()
	other := fields{"personal_access_token": "hidden-other", "keep_last_good": true, "stale_if_error": "1h", "verify_connection": false}
	for name, change := range map[string]func(e *engine){
		"written": func(e *engine) { e.write("config", other).ok() },
		"deleted": func(e *engine) {
			e.delete("config").ok()
			e.write("config", e.config(other)).ok()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := inMemory(t)
				defer time.Sleep(10 * time.Minute) // until what is out of use is deleted
				e.write("config", fields{"keep_last_good": true, "stale_if_error": "1h"}).ok()
				e.sim.Create("db", []byte("hidden-1"))
				e.read("secrets/db").ok()
				e.storage.slow.Store(int64(30 * time.Second))
				change(e)
				e.sim.AddFault(simulator.Fault{Kind: simulator.FaultCut})
				require.NotEqual(t, http.StatusOK, e.read("secrets/db").status)
			})
		})
	}
}

func TestANewCredentialOfTheSameUserLeavesWhatIsKept(t *testing.T) {
	t.Parallel()
	e := newKeepingEngine(t)
	e.write("config", fields{"personal_access_token": pat, "cache_ttl": 0}).ok()
	e.outage()
	e.read("secrets/db").ok()
}

func TestAnExpiredValueThatIsKeptIsRefusedUnderDeny(t *testing.T) {
	t.Parallel()
	e := newKeepingEngine(t)
	e.sim.Create("expired", []byte("hidden-2"))
	e.sim.SetExpiry("expired", time.Now().Add(-time.Hour))
	require.Equal(t, "hidden-2", e.read("secrets/expired").ok()["value"])
	e.eventually(func(kept []string) bool { return len(kept) == 5 })
	e.write("config", fields{"expired_secrets": "deny"}).ok()
	e.outage()
	e.read("secrets/expired").refused(http.StatusForbidden, "expired")
	e.read("secrets/db").ok()
}

func TestKeepLastGoodNeedsStaleIfError(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.write("config", fields{"keep_last_good": true}).refused(http.StatusBadRequest, "needs stale_if_error")
}

func TestWhatNobodyCanFindAnyMoreIsDeletedPeriodically(t *testing.T) {
	t.Parallel()
	e := newKeepingEngine(t)
	left := &logical.StorageEntry{Key: shelfPrefix + "0123456789abcdef/left", Value: []byte("x")}
	require.NoError(t, e.storage.Put(t.Context(), left))
	require.Len(t, e.kept(), 4)
	_, err := e.backend.HandleRequest(t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.storage})
	require.NoError(t, err)
	require.Len(t, e.kept(), 3)
}

// readOnlyStorage refuses to store what is kept.
type readOnlyStorage struct{ *storage }

func (s readOnlyStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if strings.HasPrefix(entry.Key, shelfPrefix) {
		return errors.New(logical.ErrSetupReadOnly.Error())
	}
	return s.storage.Put(ctx, entry)
}

func TestWhereStorageIsReadOnlyNothingIsKeptAndTheMountServes(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("db", []byte("hidden-1"))
	b := e.backend.(*backend)
	b.shelf.storage = readOnlyStorage{e.storage}
	e.write("config", fields{"keep_last_good": true, "stale_if_error": "1h"}).ok()
	require.Equal(t, "hidden-1", e.read("secrets/db").ok()["value"])
	require.Empty(t, e.kept())
}
