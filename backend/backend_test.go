package backend

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// What must never be seen begins with "hidden" in these tests: all values of secrets, and the
// tokens. The constructor's answers and log are searched for it.
const (
	hidden    = "hidden"
	pat       = "hidden-personal-access-token"
	authToken = "hidden-auth-token"
)

type fields = map[string]any

// engine is a mount whose ABEJA is a simulator.
type engine struct {
	t       *testing.T
	sim     *simulator.Simulator
	url     string
	storage *storage
	backend logical.Backend
	log     *enginetest.Log
	// transport is in place of the network, when set.
	transport http.RoundTripper

	// before, when set, runs before ABEJA answers a request.
	before atomic.Pointer[func()]
}

// newEngine makes a mount with a config for the simulator; what is given in config goes over it.
func newEngine(t *testing.T, o simulator.Options, config ...fields) *engine {
	t.Helper()
	e := newUnconfigured(t, o)
	e.write("config", e.config(config...)).ok()
	e.sim.ResetRequests()
	return e
}

// newUnconfigured makes a mount as it is after 'vault secrets enable'.
func newUnconfigured(t *testing.T, o simulator.Options) *engine {
	t.Helper()
	o.Token, o.AuthToken = pat, authToken
	e := &engine{t: t, sim: simulator.New(o), storage: &storage{}, log: &enginetest.Log{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before := e.before.Load(); before != nil {
			(*before)()
		}
		e.sim.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	e.backend = e.start()
	t.Cleanup(func() { noneShown(t, e.log.String()) })
	return e
}

// inMemory makes a configured mount that reaches ABEJA without a network, for a bubble with fake time. What is
// given stands between the two.
func inMemory(t *testing.T, between ...func(http.RoundTripper) http.RoundTripper) *engine {
	t.Helper()
	e := &engine{t: t, sim: simulator.New(simulator.Options{Token: pat, AuthToken: authToken}), storage: &storage{}, log: &enginetest.Log{}, url: "http://127.0.0.1"}
	e.transport = e.sim.Transport()
	for _, stands := range between {
		e.transport = stands(e.transport)
	}
	e.backend = e.start()
	t.Cleanup(func() { e.backend.Cleanup(t.Context()) })
	e.write("config", e.config()).ok()
	return e
}

// start makes a backend on the storage, as each of Vault's nodes does.
func (e *engine) start() logical.Backend {
	e.t.Helper()
	view := logical.TestSystemView()
	view.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "1.21.2"}
	return e.startWith(view)
}

func (e *engine) startWith(view logical.SystemView) logical.Backend {
	e.t.Helper()
	return enginetest.Start(e.t, Factory(Build{Version: "v1.2.3", Commit: "0123456789abcdef", Transport: e.transport}), e.storage, view, e.log)
}

// storeOf is all secrets that a client reaches, and nothing kept.
func storeOf(t *testing.T, c *client.Client) *store.Store {
	return new(store.Registry).Organization("", c.OrganizationID()).Open(t.Context(), store.Options{Client: c, Stats: new(store.Stats)})
}

// config is one that the simulator accepts.
func (e *engine) config(over ...fields) fields { return enginetest.Config(e.sim, e.url, over...) }

func (e *engine) read(path string, data ...fields) answer {
	e.t.Helper()
	return e.call(logical.ReadOperation, path, data...)
}

// write asks the existence check whether it is a create or an update, as Vault does.
func (e *engine) write(path string, data fields) answer {
	e.t.Helper()
	req := e.request(logical.UpdateOperation, path, data)
	if err := enginetest.Check(e.t.Context(), e.backend, req); err != nil {
		noneShown(e.t, err.Error())
		return answer{e: e, what: "write " + path, status: http.StatusInternalServerError, text: err.Error()}
	}
	return e.send(e.t.Context(), req)
}

func (e *engine) patch(path string, data fields) answer {
	e.t.Helper()
	return e.call(logical.PatchOperation, path, data)
}

func (e *engine) delete(path string) answer {
	e.t.Helper()
	return e.call(logical.DeleteOperation, path)
}

func (e *engine) list(path string, data ...fields) answer {
	e.t.Helper()
	return e.call(logical.ListOperation, path, data...)
}

func (e *engine) exists(path string, data fields) (checked, exists bool, err error) {
	return e.backend.HandleExistenceCheck(e.t.Context(), e.request(logical.UpdateOperation, path, data))
}

func (e *engine) request(op logical.Operation, path string, data fields) *logical.Request {
	e.t.Helper()
	return enginetest.Request(e.t, e.storage, op, path, data)
}

// call makes a request, and checks what holds for each answer: an error is bare, nothing is shown
// that must be hidden, no lease is attached, and the OpenAPI document describes what came.
func (e *engine) call(op logical.Operation, path string, data ...fields) answer {
	e.t.Helper()
	var given fields
	if len(data) > 0 {
		given = data[0]
	}
	return e.send(e.t.Context(), e.request(op, path, given))
}

func (e *engine) send(ctx context.Context, req *logical.Request) answer {
	e.t.Helper()
	resp, err := e.backend.HandleRequest(ctx, req)
	got := enginetest.AnswerTo(req.Operation, resp, err)
	a := answer{
		e: e, what: fmt.Sprintf("%s %s %v", req.Operation, req.Path, req.Data),
		status: got.Status, data: got.Data, warnings: got.Warnings, text: got.Text,
	}
	noneShown(e.t, a.text+strings.Join(a.warnings, "\n"))
	if err != nil {
		require.Nil(e.t, resp, a.what)
		var hasCode logical.HTTPCodedError
		_, bare := err.(logical.HTTPCodedError)
		require.True(e.t, bare || !errors.As(err, &hasCode), "%s: %T hides its status", a.what, err)
		return a
	}
	if resp != nil {
		require.False(e.t, resp.IsError(), "%s: an error must come as a coded error: %v", a.what, resp.Error())
		require.Nil(e.t, resp.Secret, "a lease is attached")
		shown := maps.Clone(a.data)
		if req.Operation == logical.ReadOperation { // these hold the value
			delete(shown, "value")
			delete(shown, "data")
		}
		text, err := json.Marshal(shown)
		require.NoError(e.t, err)
		noneShown(e.t, string(text))
		if _, raw := resp.Data[logical.HTTPStatusCode]; raw {
			return a
		}
	}
	if a.status == http.StatusNotFound {
		return a
	}
	status := a.status
	if resp != nil && resp.Data == nil {
		status = http.StatusNoContent // Vault makes it 200, for the warning
	}
	described := e.backend.(*backend).Route(req.Path).Operations[req.Operation].Properties().Responses[status]
	require.NotEmpty(e.t, described, "%s: status %d is not described", a.what, a.status)
	schema.ValidateResponse(e.t, &described[0], resp, true)
	return a
}

// answer is what Vault's API would give.
type answer struct {
	e        *engine
	what     string
	status   int
	data     map[string]any
	warnings []string
	text     string
}

func (a answer) ok() map[string]any {
	a.e.t.Helper()
	require.Contains(a.e.t, []int{http.StatusOK, http.StatusNoContent}, a.status, "%s: %s", a.what, a.text)
	return a.data
}

// refused wants the status, and an error that says all of says.
func (a answer) refused(status int, says ...string) {
	a.e.t.Helper()
	require.Equal(a.e.t, status, a.status, "%s: %s %v", a.what, a.text, a.data)
	for _, s := range says {
		require.Contains(a.e.t, a.text, s, a.what)
	}
}

func noneShown(t *testing.T, text string) {
	t.Helper()
	require.False(t, enginetest.Shows(text), "a value or a token is shown")
}

// storage is a mount's storage. It counts what is read, and can be made to panic.
type storage struct {
	logical.InmemStorage
	reads  atomic.Int64
	panics atomic.Pointer[string]
	// slow is how long it takes to change the config. A list takes twice as long.
	slow atomic.Int64
}

func (s *storage) List(ctx context.Context, prefix string) ([]string, error) {
	time.Sleep(2 * time.Duration(s.slow.Load()))
	return s.InmemStorage.List(ctx, prefix)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if key == configKey {
		time.Sleep(time.Duration(s.slow.Load()))
	}
	return s.InmemStorage.Delete(ctx, key)
}

func (s *storage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	if entry.Key == configKey {
		time.Sleep(time.Duration(s.slow.Load()))
	}
	return s.InmemStorage.Put(ctx, entry)
}

func (s *storage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	s.reads.Add(1)
	if p := s.panics.Load(); p != nil {
		panic(*p)
	}
	return s.InmemStorage.Get(ctx, key)
}

// writes tells how many requests have reached ABEJA that may have changed something.
func (e *engine) writes() int {
	return e.sim.Count(simulator.CreateSecret, simulator.UpdateSecret, simulator.DeleteSecret,
		simulator.CreateVersion, simulator.UpdateVersion, simulator.DeleteVersion)
}

// behaviors are the simulator's switches, each alone and all together.
var behaviors = map[string]simulator.Behavior{
	"none":                            {},
	"a new version deactivates":       {NewVersionDeactivatesOlder: true},
	"a duplicate name is 400":         {DuplicateNameIs400: true},
	"an unknown id is 403":            {UnknownIDIs403: true},
	"newest first":                    {Order: "newest"},
	"by name":                         {Order: "name"},
	"by hash":                         {Order: "hash"},
	"expired is 404":                  {ExpiredIs404: true},
	"null clears":                     {Clear: "null"},
	"empty clears":                    {Clear: "empty"},
	"the list omits versions":         {ListOmitsVersions: true},
	"a secret omits versions":         {GetOmitsVersions: true},
	"rate limit":                      {RateLimit: 20},
	"rate limit with retry-after":     {RateLimit: 20, RateLimitRetryAfter: true},
	"the last version is protected":   {LastVersionProtected: true},
	"small values and few versions":   {MaxValueBytes: 32, MaxVersions: 3},
	"times with an offset":            {TimesWithOffset: true},
	"the times of versions drift":     {VersionTimesDrift: true},
	"all, null clears, by hash":       allFlipped("null", "hash"),
	"all, empty clears, newest 1st":   allFlipped("empty", "newest"),
	"all, empty clears, in order":     allFlipped("empty", "name"),
	"all, with null or empty, newest": allFlipped("both", "newest"),
}

func allFlipped(clears, order string) simulator.Behavior {
	return simulator.Behavior{
		NewVersionDeactivatesOlder: true, DuplicateNameIs400: true, UnknownIDIs403: true, Order: order,
		ExpiredIs404: true, Clear: clears, ListOmitsVersions: true, GetOmitsVersions: true, RateLimit: 40, RateLimitRetryAfter: true,
		LastVersionProtected: true, MaxValueBytes: 32, MaxVersions: 3, TimesWithOffset: true, VersionTimesDrift: true,
	}
}

func TestEverySwitchOfABEJAIsTried(t *testing.T) {
	t.Parallel()
	all := reflect.ValueOf(allFlipped("null", "hash"))
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		if name == "ListLag" {
			continue // has tests of its own: the suite wants what it makes to be listed at once
		}
		require.False(t, all.Field(i).IsZero(), "%s is not among all", name)
		require.True(t, slices.ContainsFunc(slices.Collect(maps.Values(behaviors)), func(b simulator.Behavior) bool {
			return !reflect.ValueOf(b).Field(i).IsZero() && !b.TimesWithOffset || name == "TimesWithOffset"
		}), "%s is not tried alone", name)
	}
}

func TestTheEngineWorksHoweverABEJABehaves(t *testing.T) {
	t.Parallel()
	for name, behavior := range behaviors {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engineSuite(t, behavior)
		})
	}
}

// engineSuite is what the engine must do whatever ABEJA's undocumented behavior is.
func engineSuite(t *testing.T, behavior simulator.Behavior) {
	for name, test := range map[string]func(*testing.T, *engine){
		"a secret is created and read":                  createAndRead,
		"a new value is a new version":                  newValue,
		"a repeated write changes nothing":              repeatedWrite,
		"what goes with a secret is changed":            changeAttributes,
		"what goes with a secret is cleared":            clearAttributes,
		"check-and-set":                                 checkAndSet,
		"a deleted secret is gone":                      deletedSecret,
		"create never changes what was made elsewhere":  createBehindVault,
		"update never makes what was deleted elsewhere": updateBehindVault,
		"a secret made again is found":                  madeAgain,
		"the list is complete and in order":             listSecrets,
		"versions":                                      versions,
		"no active version":                             noActiveVersion,
		"an expired secret":                             expiredSecret,
		"ids":                                           ids,
		"a name prefix":                                 namePrefix,
		"bad credentials":                               badCredentials,
		"what only ABEJA knows":                         refusedByABEJA,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newEngine(t, simulator.Options{Behavior: behavior}, fields{"max_retries": 10}))
		})
	}
}

func TestTheVersionIsTheOneUnderWhichThePluginIsRegistered(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	require.Equal(t, "v1.2.3", e.backend.(logical.PluginVersioner).PluginVersion().Version)
	require.Equal(t, logical.TypeLogical, e.backend.Type())
}

func TestAllThatIsStoredIsSealWrapped(t *testing.T) {
	t.Parallel()
	e := newKeepingEngine(t)
	e.write("secrets/db", fields{"custom_metadata": fields{"owner": "me"}}).ok()
	stored, err := e.storage.List(t.Context(), "")
	require.NoError(t, err)
	require.Equal(t, e.backend.SpecialPaths().SealWrapStorage, stored)
}

func TestOnceConfiguredAReadCostsNoReadOfStorage(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.storage.reads.Store(0)
	e.read("secrets/one").ok()
	e.list("secrets/").ok()
	require.Zero(t, e.storage.reads.Load())
}

func TestInvalidateMakesTheNextRequestBeginFromTheStoredConfig(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("old", []byte("hidden-1"))
	e.sim.Create("new_one", []byte("hidden-2"))
	require.Equal(t, []string{"new_one", "old"}, e.list("secrets/").ok()["keys"])

	first := e.backend
	e.backend = e.start()
	e.write("config", fields{"name_prefix": "new_"}).ok()
	require.Equal(t, []string{"one"}, e.list("secrets/").ok()["keys"])

	e.backend = first
	e.backend.InvalidateKey(t.Context(), "another key")
	require.Equal(t, []string{"new_one", "old"}, e.list("secrets/").ok()["keys"], "nothing has told of the new config")
	e.backend.InvalidateKey(t.Context(), "config")
	require.Equal(t, []string{"one"}, e.list("secrets/").ok()["keys"])
}

func TestACheckAndSetHasOneWinnerThoughTheConfigIsInvalidatedBetween(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()
	e.sim.AddFault(simulator.Fault{Op: simulator.CreateVersion, Count: 1, Kind: simulator.FaultDelay, Delay: 300 * time.Millisecond})
	first := make(chan answer, 1)
	go func() { first <- e.write("secrets/one", fields{"value": "hidden-2", "cas": 1}) }()
	require.Eventually(t, func() bool { return e.sim.Count(simulator.CreateVersion) == 1 }, 10*time.Second, time.Millisecond)
	e.backend.InvalidateKey(t.Context(), configKey)
	e.write("secrets/one", fields{"value": "hidden-3", "cas": 1}).refused(http.StatusBadRequest, casMismatch)
	(<-first).ok()
	e.holds("one", "hidden-1", "hidden-2")
}

func TestAMountThatIsDisabledAsksABEJANothingMore(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Latency: time.Hour}, fields{"verify_connection": false})
	told := make(chan answer, 1)
	go func() { told <- e.list("secrets/") }()
	require.Eventually(t, func() bool { return e.sim.Count() == 1 }, 20*time.Second, time.Millisecond)
	e.backend.Cleanup(t.Context())
	select {
	case a := <-told:
		require.Equal(t, http.StatusGatewayTimeout, a.status)
	case <-time.After(20 * time.Second):
		t.Fatal("the listing goes on with the credential of a mount that is gone")
	}
	require.Equal(t, 1, e.sim.Count())
}

func TestTheNamesAreLoadedWhenVaultStarts(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.backend = e.start()
	start := &logical.InitializationRequest{Storage: e.storage}
	asked := make(chan struct{})
	e.meanwhile(func() { close(asked) })
	require.NoError(t, e.backend.Initialize(t.Context(), start))
	<-asked
	_, exists, err := e.exists("secrets/one", nil) // waits for what is under way
	require.NoError(t, err)
	require.True(t, exists)
	require.Equal(t, 1, e.sim.Count(), "no second listing")

	// What is wrong then is for the requests to tell: a mount must not fail for it.
	e.storage.FailGet(true)
	e.backend = e.start()
	require.NoError(t, e.backend.Initialize(t.Context(), start))
	require.NoError(t, newUnconfigured(t, simulator.Options{}).backend.Initialize(t.Context(), &logical.InitializationRequest{Storage: &storage{}}))
}

func TestAStandbyForwardsWhatChangesStorage(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		view := logical.TestSystemView()
		view.ReplicationStateVal = state
		view.LocalMountVal = false
		standby := e.startWith(view)
		for _, op := range []logical.Operation{logical.CreateOperation, logical.UpdateOperation, logical.PatchOperation, logical.DeleteOperation} {
			_, err := standby.HandleRequest(t.Context(), e.request(op, "config", nil))
			require.True(t, err == logical.ErrReadOnly, "%s: %v", op, err) // Vault forwards for this very error
		}
	}
	require.Zero(t, e.sim.Count())
	require.Equal(t, 0, e.read("config").ok()["max_retries"])
}

func TestWithoutAConfigEveryPathNamesTheCommandToRun(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	for _, a := range []answer{
		e.read("secrets/one"), e.write("secrets/one", fields{"value": "hidden-1"}), e.patch("secrets/one", fields{"value": "hidden-1"}),
		e.delete("secrets/one"), e.list("secrets/"), e.list("secrets/one/versions/"), e.read("secrets/one/versions/1"),
		e.write("secrets/one/versions/1", fields{"status": "active"}), e.delete("secrets/one/versions/1"),
		e.list("ids/"), e.read("ids/1"), e.write("ids/1", fields{"value": "hidden-1"}), e.patch("ids/1", nil), e.delete("ids/1"),
	} {
		a.refused(http.StatusBadRequest, "not configured", "vault write abeja/config organization_id=")
	}
	require.Zero(t, e.sim.Count())
}

func TestAPanicIsAnsweredAndShowsNoValue(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	e.storage.panics.Store(new("hidden-1"))
	e.read("config").refused(http.StatusInternalServerError, "internal error", "report")
	e.read("secrets/one").refused(http.StatusInternalServerError, "internal error")
	_, exists, err := e.exists("config", e.config())
	require.False(t, exists)
	require.ErrorContains(t, err, "internal error")
	logged := e.log.String()
	require.Contains(t, logged, "panic: please report")
	require.Contains(t, logged, "backend.readConfig:", "the log says where")

	e.storage.panics.Store(nil)
	e.write("config", e.config()).ok() // no lock is left held
}

func TestAWrongTypeIsRefusedWithoutItsValue(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()
	e.sim.ResetRequests()
	before, _ := e.sim.Secret("one")
	config := e.read("config").ok()

	wrong := map[string]any{"hidden-2": "hidden-3"}
	for _, c := range []struct {
		path  string
		field string
		value any
		says  string
	}{
		{"config", "personal_access_token", wrong, "text"},
		{"config", "auth_token", []any{"hidden-2"}, "text"},
		{"config", "organization_id", wrong, "text"},
		{"config", "personal_access_token", true, "text"},
		{"config", "request_timeout", "hidden-2", "30s"},
		{"config", "request_timeout", -1, "30s"},
		{"config", "max_retries", "hidden-2", "whole number"},
		{"config", "max_retries", 1.5, "whole number"},
		{"config", "max_requests_per_second", "hidden-2", "number"},
		{"config", "verify_connection", "hidden-2", "true or false"},
		{"secrets/one", "value", wrong, "text"},
		{"secrets/one", "value", []any{"hidden-2"}, "text"},
		{"secrets/one", "value", true, "text"}, // the framework would store "1"
		{"secrets/one", "value", 1.10, "text"}, // and "1.1"
		{"secrets/one", "value", 1 << 60, "text"},
		{"secrets/one", "description", wrong, "text"},
		{"secrets/one", "integration_service_ids", []any{wrong}, "list"},
		{"secrets/one", "cas", "hidden-2", "whole number"},
		{"secrets/one", "cas", true, "whole number"},
		{"secrets/one", "cas", 1.5, "whole number"},
		{"secrets/two", "value", wrong, "text"},
		{"secrets/one/versions/1", "status", wrong, "text"},
		{"ids/" + before.ID, "value", wrong, "text"},
	} {
		e.write(c.path, fields{c.field: c.value}).refused(http.StatusBadRequest, c.field, c.says)
		if c.path != "secrets/one/versions/1" {
			e.patch(c.path, fields{c.field: c.value}).refused(http.StatusBadRequest, c.field, c.says)
		}
	}
	e.list("secrets/", fields{"limit": "hidden-2"}).refused(http.StatusBadRequest, "limit", "whole number")
	require.Zero(t, e.sim.Count())
	after, _ := e.sim.Secret("one")
	require.Equal(t, before, after)
	require.Equal(t, config, e.read("config").ok())
}

func TestConcurrentRequestsSurviveChangesOfTheConfig(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	var group sync.WaitGroup
	failed := make(chan error, 100)
	for range 4 {
		group.Go(func() {
			for range 20 {
				resp, err := e.backend.HandleRequest(t.Context(), e.request(logical.ReadOperation, "secrets/one", nil))
				if err == nil && resp.Data["value"] != "hidden-1" {
					err = errors.New("another value")
				}
				if err != nil {
					failed <- err
				}
			}
		})
	}
	group.Go(func() {
		for i := range 10 {
			_, err := e.backend.HandleRequest(t.Context(), e.request(logical.UpdateOperation, "config", fields{"max_retries": i}))
			if err != nil {
				failed <- err
			}
			e.backend.InvalidateKey(t.Context(), "config")
		}
	})
	group.Wait()
	close(failed)
	for err := range failed {
		require.NoError(t, err)
	}
}

func TestEveryPathHasHelp(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	e.backend.(*backend).Route("config") // compiles the patterns
	for _, path := range e.backend.(*backend).Paths {
		require.NotEmpty(t, path.HelpSynopsis, path.Pattern)
		require.NotEmpty(t, path.HelpDescription, path.Pattern)
		for name, field := range path.Fields {
			require.NotEmpty(t, field.Description, "%s of %s", name, path.Pattern)
		}
	}
	for path, says := range map[string]string{
		"":                       "secrets of one organization",
		"config":                 "personal_access_token",
		"status":                 "what is wrong",
		"metrics":                "Prometheus",
		"secrets/":               "after=NAME",
		"secrets/one":            "cas=0",
		"secrets/one/versions/":  "numbers of the secret's versions",
		"secrets/one/versions/1": "status=inactive",
		"secrets/one/two/three":  "letters",
		"ids/":                   "SDK",
		"ids/1":                  "never created here",
	} {
		resp, err := e.backend.HandleRequest(t.Context(), e.request(logical.HelpOperation, path, nil))
		require.NoError(t, err)
		require.Contains(t, resp.Data["help"], says, path)
	}
}

func TestTheOpenAPIDocumentDescribesEveryOperation(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	resp, err := e.backend.HandleRequest(t.Context(), e.request(logical.HelpOperation, "", nil))
	require.NoError(t, err)
	doc := resp.Data["openapi"].(*framework.OASDocument)

	operations := map[string]string{} // of config, secrets and ids; the other paths have their own
	for path, item := range doc.Paths {
		for method, op := range map[string]*framework.OASOperation{"GET": item.Get, "POST": item.Post, "PATCH": item.Patch, "DELETE": item.Delete} {
			if op == nil {
				continue
			}
			switch strings.Split(path, "/")[1] {
			case "config", "status", "metrics", "secrets", "ids":
				operations[method+" "+path] = op.OperationID
			}
			require.NotEmpty(t, op.Summary, path)
			require.NotEmpty(t, op.Responses, path)
			for status, response := range op.Responses {
				require.NotEmpty(t, response.Description, path)
				if path == "/metrics" {
					continue // holds text, which the framework cannot describe
				}
				require.Equal(t, status == http.StatusOK, len(response.Content) > 0, "%s %s: what %d holds", method, path, status)
			}
		}
	}
	require.Equal(t, map[string]string{
		"GET /config":                               "abeja-read-configuration",
		"POST /config":                              "abeja-configure",
		"PATCH /config":                             "abeja-patch-configuration",
		"DELETE /config":                            "abeja-delete-configuration",
		"GET /status":                               "abeja-read-status",
		"GET /metrics":                              "abeja-read-metrics",
		"GET /secrets/":                             "abeja-list-secrets",
		"GET /secrets/{name}":                       "abeja-read-secret",
		"POST /secrets/{name}":                      "abeja-write-secret",
		"PATCH /secrets/{name}":                     "abeja-patch-secret",
		"DELETE /secrets/{name}":                    "abeja-delete-secret",
		"GET /secrets/{name}/versions/":             "abeja-list-secret-versions",
		"GET /secrets/{name}/versions/{version}":    "abeja-read-secret-version",
		"POST /secrets/{name}/versions/{version}":   "abeja-write-secret-version",
		"DELETE /secrets/{name}/versions/{version}": "abeja-delete-secret-version",
		"GET /ids/":                                 "abeja-list-secret-ids",
		"GET /ids/{id}":                             "abeja-read-secret-by-id",
		"POST /ids/{id}":                            "abeja-write-secret-by-id",
		"PATCH /ids/{id}":                           "abeja-patch-secret-by-id",
		"DELETE /ids/{id}":                          "abeja-delete-secret-by-id",
	}, operations)
	require.True(t, doc.Paths["/secrets/{name}"].CreateSupported)

	for schema, sensitive := range map[string][]string{
		"AbejaConfigureRequest":          {"auth_token", "personal_access_token"},
		"AbejaWriteSecretRequest":        {"value"},
		"AbejaReadSecretResponse":        {"value"},
		"AbejaReadSecretByIdResponse":    {"value"},
		"AbejaReadConfigurationResponse": nil,
	} {
		require.Contains(t, doc.Components.Schemas, schema)
		var got []string
		for name, property := range doc.Components.Schemas[schema].Properties {
			if property.DisplayAttrs != nil && property.DisplayAttrs.Sensitive {
				got = append(got, name)
			}
		}
		slices.Sort(got)
		require.Equal(t, sensitive, got, schema)
	}
}
