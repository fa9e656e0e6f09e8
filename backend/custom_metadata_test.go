package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

var mark = fields{"managed-by": "external-secrets"}

// marks are the storage keys of custom metadata.
func (e *engine) marks() []string {
	keys, err := logical.CollectKeys(e.t.Context(), logical.NewStorageView(e.storage, customPrefix))
	require.NoError(e.t, err)
	return keys
}

// entries counts what is stored, without the salt.
func (e *engine) entries() int {
	n := 0
	for _, key := range e.marks() {
		if key != saltKey {
			n++
		}
	}
	return n
}

// minutely is what Vault does each minute.
func (e *engine) minutely() {
	e.t.Helper()
	_, err := e.backend.HandleRequest(e.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: e.storage})
	require.NoError(e.t, err)
}

// custom is what KV version 2 shows of a name.
func (e *engine) custom(name string) any {
	e.t.Helper()
	return e.kvGet("metadata/" + name).ok()["custom_metadata"]
}

func TestMetadataWaitForAnHourAndForAThousandNamesAtTheMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := inMemory(t)
		e.list("secrets/")
		put := func(i int) answer {
			time.Sleep(5 * time.Second) // names that are not known are listed for as often
			return e.kvPut(fmt.Sprint("metadata/name_", i), fields{"custom_metadata": mark})
		}
		for i := range 700 {
			put(i).ok()
		}
		e.minutely()
		require.Equal(t, 700, e.entries())
		time.Sleep(pendingAge - 700*5*time.Second)
		e.kvGet("metadata/name_699").ok()
		e.kvGet("metadata/name_0").ok()
		time.Sleep(6 * time.Second)
		e.kvGet("metadata/name_0").refused(http.StatusNotFound, "no such secret")
		e.write("secrets/name_0", fields{"value": "hidden-1"}).ok()
		require.Nil(t, e.custom("name_0"), "it was too late")
		e.minutely()
		require.Less(t, e.entries(), 700)
		time.Sleep(pendingAge)
		e.minutely()
		require.Zero(t, e.entries())

		b := e.backend.(*backend)
		m := b.mounted.Load()
		for i := range maxPending {
			require.NoError(t, b.custom.wait(t.Context(), m.config.owner(fmt.Sprint("full_", i)), nil))
		}
		put(0).ok() // is a secret
		put(1).refused(http.StatusTooManyRequests, "1000 names without a value have metadata already", "wait an hour")
		e.kvPut("metadata/full_7", fields{"custom_metadata": mark}).ok()
		e.kvDelete("metadata/full_8").ok()
		put(1).ok()
		put(2).refused(http.StatusTooManyRequests)
	})
}

func TestWhatMarksASecretGoesWithIt(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"secrets/one", "ids/ID", "metadata/one"} {
		e := newEngine(t, simulator.Options{})
		id := e.write("secrets/one", fields{"value": "hidden-1", "custom_metadata": mark}).ok()["id"].(string)
		e.write("secrets/two", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
		e.delete(strings.Replace(path, "ID", id, 1)).ok()
		require.Equal(t, 1, e.entries(), path)
		e.delete(strings.Replace(path, "ID", id, 1)).ok()
		e.write("secrets/one", fields{"value": "hidden-1"}).ok()
		require.Nil(t, e.custom("one"))
		require.Equal(t, map[string]any(mark), e.custom("two"))
		e.kvDelete("data/two").ok()
		require.Equal(t, 1, e.entries(), "the secret is still there")
	}
}

func TestWhatMarksASecretThatWasDeletedElsewhereGoesOnlyWhenCompleteListingsLackIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := inMemory(t)
		for _, name := range []string{"one", "two"} {
			e.write("secrets/"+name, fields{"value": "hidden-1", "custom_metadata": mark}).ok()
		}
		e.sim.Delete("one")
		after := func(wait time.Duration, list bool, want int) {
			t.Helper()
			time.Sleep(wait)
			if list {
				e.list("secrets/")
			}
			e.minutely()
			require.Equal(t, want, e.entries())
		}
		after(time.Hour, false, 2) // nobody has listed
		e.sim.AddFault(simulator.Fault{Op: simulator.ListSecrets, Kind: simulator.FaultStatus, Status: http.StatusServiceUnavailable})
		after(time.Hour, true, 2)
		e.sim.ClearFaults()
		org, _, _, _ := e.sim.Credentials()
		e.sim.AddFault(simulator.Fault{Op: simulator.ListSecrets, Kind: simulator.FaultBody, Body: fmt.Sprintf(
			`{"organization_id":%q,"has_next":false,"secrets":[null]}`, org)})
		after(time.Hour, true, 2) // a record without an id may be either
		after(time.Hour, true, 2)
		e.sim.ClearFaults()
		after(time.Hour, true, 2) // a list may lag
		after(goneFor-time.Second, true, 2)
		after(2*time.Second, false, 2)
		after(0, true, 1)
		require.Equal(t, map[string]any(mark), e.custom("two"))
	})
}

func TestWhatMarksSecretsGoesWithTheOrganizationAndTheConfig(t *testing.T) {
	t.Parallel()
	gone := func(e *engine) {
		require.Eventually(t, func() bool { return len(e.marks()) == 0 }, time.Minute, 10*time.Millisecond)
	}
	for what, act := range map[string]func(e *engine){
		"config": func(e *engine) {
			e.delete("config").ok()
			gone(e)
			e.write("config", e.config()).ok()
		},
		"organization": func(e *engine) {
			e.write("config", fields{"organization_id": "7", "verify_connection": false}).ok()
			gone(e)
			e.write("config", e.config()).ok()
		},
		"URL": func(e *engine) {
			e.write("config", e.config(fields{"api_url": e.url + "/other", "verify_connection": false})).ok()
			gone(e)
			e.write("config", e.config()).ok()
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, simulator.Options{})
			e.write("secrets/one", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
			e.kvPut("metadata/two", fields{"custom_metadata": mark}).ok()
			act(e)
			require.Nil(t, e.custom("one"))
			e.write("secrets/two", fields{"value": "hidden-1"}).ok()
			require.Nil(t, e.custom("two"))
			e.write("secrets/one", fields{"custom_metadata": mark}).ok()
			e.minutely()
			require.Equal(t, map[string]any(mark), e.custom("one"), "it begins anew")
		})
	}
	e := newEngine(t, simulator.Options{})
	e.write("secrets/one", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
	e.write("config", e.ofAuthToken()).ok()
	e.write("config", fields{"name_prefix": "o"}).ok()
	e.minutely()
	require.Equal(t, map[string]any(mark), e.custom("ne"), "another user or prefix changes nothing")
}

func TestTwoMountsKeepWhatMarksASecretApart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	other := &engine{t: t, sim: e.sim, url: e.url, storage: &storage{}, log: e.log}
	other.backend = other.start()
	other.write("config", other.config()).ok()
	e.write("secrets/one", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
	require.Nil(t, other.custom("one"))
	other.write("secrets/one", fields{"custom_metadata": fields{"other": "x"}}).ok()
	require.Equal(t, map[string]any(mark), e.custom("one"))
	salts := map[string]bool{}
	for _, at := range []*engine{e, other} {
		entry, err := at.storage.Get(t.Context(), customPrefix+saltKey)
		require.NoError(t, err)
		salts[string(entry.Value)] = true
	}
	require.Len(t, salts, 2)
}

func TestAStandbyShowsWhatTheActiveNodeHasStored(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"standby_max_age": "5s"})
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	standby := e.standby()
	told := func() {
		for _, key := range append(e.marks(), saltKey) {
			standby.backend.InvalidateKey(t.Context(), customPrefix+key)
		}
	}
	require.Nil(t, standby.custom("one"))
	e.write("secrets/one", fields{"custom_metadata": mark}).ok()
	told()
	require.Equal(t, map[string]any(mark), standby.custom("one"))
	e.delete("config").ok()
	e.write("config", e.config(fields{"standby_max_age": "5s"})).ok()
	standby.backend.InvalidateKey(t.Context(), configKey)
	told()
	require.Nil(t, standby.custom("one"))
	e.write("secrets/one", fields{"custom_metadata": mark}).ok()
	told()
	require.Equal(t, map[string]any(mark), standby.custom("one"), "also under another salt")
	standby.minutely()
	require.Equal(t, 1, e.entries())
}
