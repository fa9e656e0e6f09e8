package backend

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
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

func TestWhatMarksASecretIsOnEachOfItsPathsAlsoAfterARestart(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.write("secrets/marked_name", fields{"value": "hidden-1", "description": "some", "custom_metadata": mark}).ok()["id"].(string)
	e.write("secrets/plain", fields{"value": "hidden-1"}).ok()
	check := func() {
		t.Helper()
		for _, path := range []string{"secrets/marked_name", "ids/" + id, "secrets/marked_name/versions/1"} {
			require.Equal(t, map[string]any(mark), e.read(path).ok()["custom_metadata"], path)
		}
		with := map[string]any{"managed-by": "external-secrets", "description": "some"}
		require.Equal(t, with, about(e.kvGet("data/marked_name").ok())["custom_metadata"])
		require.Equal(t, with, about(e.kvGet("subkeys/marked_name").ok())["custom_metadata"])
		require.Equal(t, with, e.custom("marked_name"))
		require.NotContains(t, e.read("secrets/plain").ok(), "custom_metadata", "no new field where there is nothing to show")
		require.Nil(t, e.custom("plain"))
	}
	check()
	require.Equal(t, map[string]any{"managed-by": "external-secrets", "description": "some"},
		e.kvPut("data/marked_name", fields{"data": fields{"value": "hidden-1"}}).ok()["custom_metadata"])
	e.backend.Cleanup(t.Context())
	e.backend = e.start()
	check()
	require.Equal(t, 1, e.entries())
	for _, key := range e.marks() {
		require.Regexp(t, "^(salt|[0-9a-f]{16}/secrets/[0-9a-f]{64})$", key, "neither a name nor an id is in it")
	}
}

func TestAWriteReplacesWhatMarksASecretAndAPatchMerges(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.write("secrets/one", fields{"value": "hidden-1", "description": "stays", "custom_metadata": fields{"a": "1", "b": "2"}}).ok()["id"].(string)
	for _, path := range []string{"secrets/one", "ids/" + id} {
		for _, c := range []struct {
			send   func(string, fields) answer
			custom any
			want   any
		}{
			{e.write, fields{"a": "1", "b": "2"}, map[string]any{"a": "1", "b": "2"}},
			{e.patch, fields{"b": nil, "c": 3, "none": nil}, map[string]any{"a": "1", "c": "3"}},
			{e.patch, fields{}, map[string]any{"a": "1", "c": "3"}},
			{e.write, fields{"d": "4"}, map[string]any{"d": "4"}},
			{e.patch, nil, nil},
			{e.write, fields{"d": "4"}, map[string]any{"d": "4"}},
			{e.write, fields{}, nil},
		} {
			a := c.send(path, fields{"custom_metadata": c.custom})
			a.ok()
			got := e.read(path).ok()
			require.Equal(t, c.want, got["custom_metadata"], a.what)
			require.Equal(t, "stays", got["description"], "which has a field of its own here")
			require.Equal(t, 1, got["version"])
		}
		e.write(path, fields{"custom_metadata": fields{"d": "4"}}).ok()
		e.write(path, fields{"expired_at": "2999-01-01T00:00:00Z"}).ok()
		require.Equal(t, map[string]any{"d": "4"}, e.read(path).ok()["custom_metadata"], "what is not given stays")
		before := e.writes()
		for _, send := range []func(string, fields) answer{e.write, e.patch} {
			send(path, fields{"value": "hidden-2", "custom_metadata": fields{"description": "x"}}).refused(http.StatusBadRequest, "in the field of that name")
			send(path, fields{"value": "hidden-2", "custom_metadata": fields{"x": "\n"}}).refused(http.StatusBadRequest, "printable")
			send(path, fields{"value": "hidden-2", "custom_metadata": "x"}).refused(http.StatusBadRequest, "must be a map")
		}
		e.write(path, fields{"cas": 7, "custom_metadata": fields{"e": "5"}}).refused(http.StatusBadRequest, casMismatch)
		require.Equal(t, before, e.writes())
		require.Equal(t, map[string]any{"d": "4"}, e.read(path).ok()["custom_metadata"], "what is refused changes nothing")
	}
}

func TestMetadataOfANameWaitForItsFirstValue(t *testing.T) {
	t.Parallel()
	for path, value := range map[string]fields{
		"data/one": {"data": fields{"value": "hidden-1"}}, "secrets/one": {"value": "hidden-1"}, "generate/one": {},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			e := newEngine(t, simulator.Options{}, fields{"name_prefix": "team_"})
			e.kvPatch("metadata/one", fields{"custom_metadata": mark}).refused(http.StatusNotFound, "no such secret")
			e.kvPut("metadata/one", fields{"custom_metadata": fields{"managed-by": "external-secrets", "description": "some"}}).ok()
			e.kvPatch("metadata/one", fields{"custom_metadata": fields{"team": "orders"}}).ok()
			want := map[string]any{"managed-by": "external-secrets", "description": "some", "team": "orders"}
			waiting := e.kvGet("metadata/one").ok()
			isTime(t, waiting["created_time"])
			require.Equal(t, map[string]any{
				"versions": map[string]any{}, "current_version": 0.0, "oldest_version": 0.0,
				"created_time": waiting["created_time"], "updated_time": waiting["created_time"],
				"max_versions": 0.0, "cas_required": false, "delete_version_after": "0s", "custom_metadata": want, "last_updated_by": nil,
			}, waiting)
			require.Equal(t, http.StatusNotFound, e.kvGet("data/one").status)
			require.Empty(t, e.kv(logical.ListOperation, "metadata/").ok()["keys"], "ABEJA has no such secret")
			require.Zero(t, e.sim.Len())
			for _, key := range e.marks() {
				require.Regexp(t, "^(salt|[0-9a-f]{16}/pending/[0-9a-f]{64})$", key)
			}

			e.backend.Cleanup(t.Context())
			e.backend = e.start()
			created := e.write(path, value).ok()
			if path == "data/one" {
				require.Equal(t, want, created["custom_metadata"])
			}
			require.Equal(t, want, e.custom("one"))
			require.Equal(t, "some", e.read("secrets/one").ok()["description"])
			require.Equal(t, 1, e.sim.Count(simulator.CreateSecret))
			require.Zero(t, e.sim.Count(simulator.UpdateSecret), "the description goes with the value")
			require.Equal(t, 1, e.entries(), "it waits no longer")

			e.kvPut("metadata/one", fields{"custom_metadata": fields{"later": "x"}}).ok()
			e.write(path, value).ok()
			require.Equal(t, map[string]any{"later": "x"}, e.custom("one"), "the second value finds nothing that waits")
		})
	}
}

func TestWhatAFirstWriteGivesGoesBeforeWhatWaits(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.kvPut("metadata/one", fields{"custom_metadata": fields{"a": "1", "description": "waits"}}).ok()
	e.write("secrets/one", fields{"value": "hidden-1", "description": "given", "custom_metadata": fields{"b": "2"}}).ok()
	require.Equal(t, map[string]any{"b": "2", "description": "given"}, e.custom("one"))
	require.Equal(t, 1, e.entries())

	e.kvPut("metadata/two", fields{"custom_metadata": mark}).ok()
	e.kvDelete("metadata/two").ok()
	e.write("secrets/two", fields{"value": "hidden-1"}).ok()
	require.Nil(t, e.custom("two"), "what was deleted waits no longer")

	e.kvPut("metadata/three", fields{}).ok()
	e.kvGet("metadata/three").refused(http.StatusNotFound, "no such secret") // as in Vault's KV
	e.kvPut("metadata/three", fields{"cas_required": false}).ok()
	require.Nil(t, e.custom("three"))
	e.kvPut("metadata/a-hyphen-and5", fields{"custom_metadata": mark}).ok()
	e.kvPut("metadata/a-hyphen", fields{"custom_metadata": mark}).refused(http.StatusBadRequest, "ABEJA refuses names that end in")
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

func TestWhatMarksOtherSecretsCostsAReadNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, name := range []string{"plain", "marked"} {
		e.write("secrets/"+name, fields{"value": "hidden-1"}).ok()
	}
	reads := func(path string) int64 {
		before := e.storage.reads.Load()
		e.kvGet(path).ok()
		return e.storage.reads.Load() - before
	}
	require.Zero(t, reads("secrets/plain"))
	require.Empty(t, e.marks(), "not even a salt is made for what nobody uses")
	e.kvPut("metadata/marked", fields{"custom_metadata": mark}).ok()
	e.kvPut("metadata/waiting", fields{"custom_metadata": mark}).ok()
	for _, path := range []string{"secrets/plain", "data/plain", "metadata/plain", "subkeys/plain"} {
		require.Zero(t, reads(path), path)
	}
	require.EqualValues(t, 1, reads("data/marked"))
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

// failingStorage fails to store custom metadata, with err, while it is set.
type failingStorage struct {
	*storage
	err atomic.Pointer[error]
}

func (s *failingStorage) fails(err error) { s.err.Store(&err) }

func (s *failingStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if err := s.err.Load(); err != nil && *err != nil {
		return *err
	}
	return s.storage.Put(ctx, entry)
}

func (s *failingStorage) Delete(ctx context.Context, key string) error {
	if err := s.err.Load(); err != nil && *err != nil {
		return *err
	}
	return s.storage.Delete(ctx, key)
}

func TestWhereStorageFailsTheCallerLearnsWhatHappenedAndARepeatedWriteMendsIt(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	failing := &failingStorage{storage: e.storage}
	e.backend.(*backend).custom.shelf.storage = failing
	e.write("secrets/other", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
	body := fields{"value": "hidden-1", "custom_metadata": mark}
	const half = "the rest is stored, but its custom_metadata is not, since Vault's storage failed: the disk is full: do the same again"

	failing.fails(errors.New("the disk is full"))
	e.write("secrets/one", body).refused(http.StatusInternalServerError, half)
	require.Equal(t, 2, e.sim.Len())
	failing.fails(nil)
	require.Equal(t, 1, e.write("secrets/one", body).ok()["version"])
	require.Equal(t, map[string]any(mark), e.custom("one"))

	e.kvPut("metadata/two", fields{"custom_metadata": mark}).ok()
	failing.fails(errors.New("the disk is full"))
	e.kvPut("data/two", fields{"data": fields{"value": "hidden-1"}}).refused(http.StatusInternalServerError, half)
	failing.fails(nil)
	e.kvPut("data/two", fields{"data": fields{"value": "hidden-1"}}).ok()
	require.Equal(t, map[string]any(mark), e.custom("two"), "what has waited is not lost")
	require.Equal(t, 3, e.entries())

	failing.fails(errors.New("the disk is full"))
	e.delete("secrets/two").refused(http.StatusInternalServerError, "the secret is deleted, but its custom_metadata is not")
	failing.fails(nil)
	e.delete("secrets/two").ok()

	// Where only another cluster may write, the server has it do so for this very error.
	failing.fails(errors.New("rpc error: " + logical.ErrReadOnly.Error()))
	_, err := e.backend.HandleRequest(t.Context(), e.request(logical.UpdateOperation, "secrets/one", fields{"custom_metadata": fields{"a": "1"}}))
	require.True(t, err == logical.ErrReadOnly, "%v", err)
	_, err = e.backend.HandleRequest(t.Context(), e.request(logical.CreateOperation, "metadata/three", fields{"custom_metadata": fields{"a": "1"}}))
	require.True(t, err == logical.ErrReadOnly, "%v", err)
	e.minutely()
}

func TestWhatIsStoredAndCannotBeUnderstoodIsAsNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.write("secrets/one", fields{"value": "hidden-1", "custom_metadata": mark}).ok()
	e.kvPut("metadata/two", fields{"custom_metadata": mark}).ok()
	for _, key := range e.marks() {
		if key != saltKey {
			require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: customPrefix + key, Value: []byte("{")}))
		}
	}
	require.Nil(t, e.custom("one"))
	e.kvGet("metadata/two").refused(http.StatusNotFound)
	e.minutely()
	require.Equal(t, 1, e.entries())
	e.patch("secrets/one", fields{"custom_metadata": mark}).ok()
	require.Equal(t, map[string]any(mark), e.custom("one"))
}

func TestWritersAtOnceLoseNoKeyOfEachOther(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()
	want := map[string]any{}
	var all sync.WaitGroup
	for i := range 20 {
		key := fmt.Sprint("key_", i)
		want[key] = "x"
		send := e.request(logical.PatchOperation, []string{"secrets/one", "metadata/one"}[i%2], fields{"custom_metadata": fields{key: "x"}})
		all.Go(func() {
			_, err := e.backend.HandleRequest(context.Background(), send)
			assert.NoError(t, err)
		})
		if i%5 == 0 {
			all.Go(func() { e.minutely() })
		}
	}
	all.Wait()
	require.Equal(t, want, e.custom("one"))
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
	require.Eventually(t, func() bool { return len(e.marks()) == 0 }, time.Minute, 10*time.Millisecond)
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
