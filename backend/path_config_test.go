package backend

import (
	"encoding/json"
	"encoding/pem"
	"io"
	stdlog "log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func badCredentials(t *testing.T, e *engine) {
	before := e.read("config").ok()
	for _, wrong := range []fields{
		{"personal_access_token": "hidden-other"},
		{"user_id": "1999999999999", "personal_access_token": pat},
		{"organization_id": "1999999999999"},
		{"auth_token": "hidden-other"},
	} {
		e.write("config", wrong).refused(http.StatusBadRequest, "does not accept the credential", "organization_id, user_id", "nothing is stored")
	}
	require.Equal(t, before, e.read("config").ok())
	e.write("secrets/one", fields{"value": "hidden-1"}).ok()

	// A credential that was good once: it is the mount's, and no fault of who asks.
	e.write("config", fields{"personal_access_token": "hidden-other", "verify_connection": false}).ok()
	e.read("secrets/one").refused(http.StatusBadGateway, "the mount's credential, not your token", "personal_access_token", "config")
}

// ofAuthToken is a config with the other kind of credential.
func (e *engine) ofAuthToken() fields {
	org, _, _, _ := e.sim.Credentials()
	return fields{"organization_id": org, "auth_token": authToken, "api_url": e.url, "max_retries": 0}
}

func TestAConfigShowsEveryFieldButTheCredential(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	e.read("config").refused(http.StatusNotFound)
	e.write("config", fields{"organization_id": "1", "user_id": "2", "personal_access_token": pat, "verify_connection": false}).ok()
	want := map[string]any{
		"organization_id": "1", "user_id": "2", "credential": "personal_access_token", "api_url": "https://api.abeja.io",
		"ca_cert": "", "request_timeout": 30, "max_retries": 3, "max_requests_per_second": 0.0,
		"cache_ttl": 0, "stale_while_revalidate": 0, "stale_if_error": 0, "keep_last_good": false, "cache_size": 10_000, "cache_bytes": 64 << 20, "expired_secrets": "warn", "name_prefix": "", "standby_max_age": 0,
	}
	require.Equal(t, want, e.read("config").ok())

	// A partial write keeps the rest.
	for _, c := range []struct {
		field        string
		given, shown any
	}{
		{"organization_id", "11", "11"},
		{"request_timeout", "1m", 60},
		{"request_timeout", 1, 1},
		{"request_timeout", "80", 80},
		{"max_retries", 0, 0},
		{"max_retries", "10", 10},
		{"max_requests_per_second", 0.5, 0.5},
		{"cache_ttl", "1m", 60},
		{"stale_if_error", "720h", 2_592_000},
		{"cache_size", 1, 1},
		{"cache_bytes", 1 << 20, 1 << 20},
		{"expired_secrets", "deny", "deny"},
		{"name_prefix", "team-a_", "team-a_"},
		{"user_id", "user-2", "user-2"},
		{"api_url", "https://api.abeja.io/", "https://api.abeja.io"},
		{"organization_id", 1410000000000, "1410000000000"},
	} {
		e.write("config", fields{c.field: c.given, "verify_connection": false}).ok()
		want[c.field] = c.shown
		require.Equal(t, want, e.read("config").ok(), "after %s=%v", c.field, c.given)
	}
	e.write("config", fields{"verify_connection": false}).ok()
	require.Equal(t, want, e.read("config").ok())
	require.Equal(t, pat, e.stored().PersonalAccessToken)

	// null sets a field to its default; what is required has none.
	e.patch("config", fields{
		"api_url": nil, "ca_cert": nil, "request_timeout": nil, "max_retries": nil, "max_requests_per_second": nil,
		"cache_ttl": nil, "stale_if_error": nil, "cache_size": nil, "cache_bytes": nil, "expired_secrets": nil, "name_prefix": nil, "verify_connection": false,
	}).ok()
	want["request_timeout"], want["max_retries"], want["max_requests_per_second"] = 30, 3, 0.0
	want["cache_ttl"], want["stale_if_error"], want["cache_size"], want["cache_bytes"] = 0, 0, 10_000, 64<<20
	want["expired_secrets"], want["name_prefix"] = "warn", ""
	require.Equal(t, want, e.read("config").ok())
	for field, says := range map[string]string{"organization_id": "organization_id", "user_id": "user_id", "personal_access_token": "a credential is required"} {
		e.patch("config", fields{field: nil, "verify_connection": false}).refused(http.StatusBadRequest, says)
	}
	require.Equal(t, want, e.read("config").ok())
	require.Zero(t, e.sim.Count())
}

// stored is the config in storage, credential included.
func (e *engine) stored() config {
	e.t.Helper()
	entry, err := e.storage.InmemStorage.Get(e.t.Context(), "config")
	require.NoError(e.t, err)
	require.NotNil(e.t, entry)
	var c config
	require.NoError(e.t, json.Unmarshal(entry.Value, &c))
	return c
}

func TestAFieldThatTheStoredConfigDoesNotHaveHasItsDefault(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	required := fields{"organization_id": "1", "user_id": "2", "personal_access_token": pat, "verify_connection": false}
	e.write("config", required).ok()
	want := e.read("config").ok()
	entry, err := e.storage.InmemStorage.Get(t.Context(), "config")
	require.NoError(t, err)
	var all map[string]any
	require.NoError(t, json.Unmarshal(entry.Value, &all))
	require.Greater(t, len(all), len(required))
	for field := range all {
		if required[field] != nil {
			continue // no plugin has stored a config without it
		}
		e.write("config", required).ok()
		e.storedWithout(field)
		require.Equal(t, want, e.read("config").ok(), "without %s", field)
		e.write("config", fields{"organization_id": "2", "verify_connection": false}).ok()
		require.Equal(t, "2", e.read("config").ok()["organization_id"], "a later write, without %s", field)
	}
}

// storedWithout makes the stored config one of an older plugin, which does not know a field.
func (e *engine) storedWithout(field string) {
	e.t.Helper()
	entry, err := e.storage.InmemStorage.Get(e.t.Context(), "config")
	require.NoError(e.t, err)
	var stored map[string]any
	require.NoError(e.t, json.Unmarshal(entry.Value, &stored))
	require.Contains(e.t, stored, field)
	delete(stored, field)
	older, err := logical.StorageEntryJSON("config", stored)
	require.NoError(e.t, err)
	require.NoError(e.t, e.storage.Put(e.t.Context(), older))
}

func TestBothKindsOfCredentialWork(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	_, user, _, _ := e.sim.Credentials()
	works := func(credential, shownUser string) {
		t.Helper()
		e.list("secrets/").ok()
		data := e.read("config").ok()
		require.Equal(t, credential, data["credential"])
		require.Equal(t, shownUser, data["user_id"])
	}
	e.write("config", e.ofAuthToken()).ok()
	works("auth_token", "")

	// One kind takes the other's place, and nothing of the other stays.
	e.write("config", fields{"user_id": user, "personal_access_token": pat}).ok()
	works("personal_access_token", user)
	require.Empty(t, e.stored().AuthToken)
	e.write("config", fields{"auth_token": authToken}).ok()
	works("auth_token", "")
	require.Empty(t, e.stored().PersonalAccessToken)

	e.write("config", fields{"user_id": user}).refused(http.StatusBadRequest, "an auth_token is stored", "together")
	e.write("config", fields{"personal_access_token": pat}).refused(http.StatusBadRequest, "user_id and personal_access_token")
	works("auth_token", "")

	// The prefix of the user id may be left out, and the id be a number.
	bare := strings.TrimPrefix(user, "user-")
	e.write("config", fields{"user_id": json.Number(bare), "personal_access_token": pat}).ok()
	works("personal_access_token", bare)

	// A file's newline is no part of what it holds.
	e.write("config", fields{"personal_access_token": "\n" + pat + "\n"}).ok()
	works("personal_access_token", bare)
}

func TestAConfigThatCannotWorkIsNotStored(t *testing.T) {
	t.Parallel()
	fresh := newUnconfigured(t, simulator.Options{})
	configured := newEngine(t, simulator.Options{})
	before := configured.stored()
	for _, c := range []struct {
		over fields
		says string
	}{
		{fields{"organisation_id": "1"}, "'write config' takes no fields but api_url, auth_token,"},
		{fields{"organization_id": ""}, "organization_id is required"},
		{fields{"organization_id": "a/b"}, "organization_id"},
		{fields{"organization_id": "../1"}, "organization_id"},
		{fields{"user_id": "a:b"}, "user_id must have"},
		{fields{"user_id": ""}, "a credential is required"},
		{fields{"personal_access_token": ""}, "a credential is required: user_id and personal_access_token, or auth_token"},
		{fields{"personal_access_token": " "}, "a credential is required"},
		{fields{"personal_access_token": "hidden token"}, "printable ASCII"},
		{fields{"personal_access_token": "hidden\x00"}, "printable ASCII"},
		{fields{"personal_access_token": "hidden-é"}, "printable ASCII"},
		{fields{"auth_token": authToken}, "only one kind of credential"},
		{fields{"auth_token": 123456}, "only one kind of credential"},
		{fields{"auth_token": authToken, "personal_access_token": ""}, "only one kind of credential"}, // the user id belongs to the other kind
		{fields{"request_timeout": "0"}, "1s to 80s"},
		{fields{"request_timeout": "500ms"}, "1s to 80s"},
		{fields{"request_timeout": 81}, "1s to 80s"},
		{fields{"max_retries": -1}, "0 to 10"},
		{fields{"max_retries": 11}, "0 to 10"},
		{fields{"max_requests_per_second": -1}, "0.1 to 10000"},
		{fields{"max_requests_per_second": 0.01}, "0.1 to 10000"},
		{fields{"max_requests_per_second": 10001}, "0.1 to 10000"},
		{fields{"max_requests_per_second": "NaN"}, "0.1 to 10000"},
		{fields{"cache_ttl": "721h"}, "at most 720h"},
		{fields{"stale_if_error": "721h"}, "at most 720h"},
		{fields{"cache_size": 0}, "1 to 1000000"},
		{fields{"cache_size": 1_000_001}, "1 to 1000000"},
		{fields{"cache_bytes": 1<<20 - 1}, "1 MiB"},
		{fields{"cache_bytes": 1<<30 + 1}, "1 GiB"},
		{fields{"expired_secrets": "perhaps"}, "'warn' or 'deny'"},
		{fields{"expired_secrets": ""}, "'warn' or 'deny'"},
		{fields{"name_prefix": "a/"}, "name_prefix"},
		{fields{"name_prefix": strings.Repeat("x", 201)}, "at most 200"},
		{fields{"ca_cert": "none"}, "no PEM certificate"},
		{fields{"ca_cert": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"}, "no PEM certificate"},
		{fields{"api_url": "http://abeja.example"}, "https://"},
		{fields{"api_url": "http://10.0.0.1:8080"}, "https://"},
		{fields{"api_url": "http://localhost.example"}, "https://"},
		{fields{"api_url": "http://127.0.0.1.example"}, "https://"},
		{fields{"api_url": "http://[::ffff:10.0.0.1]"}, "https://"},
		{fields{"api_url": "ftp://127.0.0.1"}, "https://"},
		{fields{"api_url": "api.abeja.io"}, "https://"},
		{fields{"api_url": ""}, "https://"},
		{fields{"api_url": "https://"}, "https://"},
		{fields{"api_url": "https://:8443"}, "https://"},
		{fields{"api_url": "https://user@abeja.example"}, "without user"},
		{fields{"api_url": "https://abeja.example?a=b"}, "without user, query"},
		{fields{"api_url": "https://abeja.example#a"}, "without user, query or fragment"},
		{fields{"api_url": "https://abeja.example:port"}, "https://"},
	} {
		for _, e := range []*engine{fresh, configured} {
			e.write("config", e.config(c.over)).refused(http.StatusBadRequest, c.says)
			c.over["verify_connection"] = false
			e.write("config", e.config(c.over)).refused(http.StatusBadRequest, c.says)
			delete(c.over, "verify_connection")
		}
	}
	// What is missing, on a mount without a config.
	for missing, says := range map[string]string{"organization_id": "organization_id is required", "user_id": "a credential", "personal_access_token": "a credential"} {
		c := fresh.config()
		delete(c, missing)
		fresh.write("config", c).refused(http.StatusBadRequest, says)
	}
	fresh.patch("config", fresh.config()).refused(http.StatusNotFound, "not configured", "write the whole config first")

	require.Zero(t, fresh.sim.Count())
	require.Zero(t, configured.sim.Count())
	fresh.read("config").refused(http.StatusNotFound)
	require.Equal(t, before, configured.stored())
}

func TestHTTPIsForLoopbackAlone(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	for _, url := range []string{"http://127.0.0.1:1", "http://127.9.9.9:1", "http://[::1]:1", "http://localhost:1", "https://abeja.example", "https://10.0.0.1:8443/proxy"} {
		e.write("config", e.config(fields{"api_url": url, "verify_connection": false})).ok()
		require.Equal(t, url, e.read("config").ok()["api_url"])
	}
}

// Whoever may write the config must not be able to have the stored credential sent elsewhere.
func TestTheCredentialIsNeededAgainToChangeWhereOrAsWhomItIsSent(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	thief := 0
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { thief++ }))
	t.Cleanup(other.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: newTLSServer(t).Certificate().Raw}))

	for kind, stored := range map[string]fields{"personal_access_token": e.config(), "auth_token": e.ofAuthToken()} {
		e.delete("config").ok()
		e.write("config", stored).ok()
		before := e.stored()
		for field, value := range map[string]any{"api_url": other.URL, "ca_cert": ca, "user_id": "user-1999999999999"} {
			if field == "user_id" && kind == "auth_token" {
				continue // goes with no user
			}
			for _, verify := range []bool{true, false} {
				for _, c := range []fields{
					{field: value, "verify_connection": verify},
					{field: value, "verify_connection": verify, kind: ""},
					{field: value, "verify_connection": verify, kind: " "},
					{field: value, "verify_connection": verify, kind: nil},
				} {
					for _, send := range []func(string, fields) answer{e.write, e.patch} {
						send("config", c).refused(http.StatusBadRequest, "credential")
						require.Equal(t, before, e.stored())
					}
				}
			}
			e.write("config", fields{field: value, kind: stored[kind], "verify_connection": false}).ok()
			require.NotEqual(t, before, e.stored())
			e.write("config", fields{field: stored[field], kind: stored[kind]}).ok()
		}
		if kind == "personal_access_token" {
			e.write("config", fields{"api_url": other.URL, "verify_connection": false}).refused(http.StatusBadRequest, "personal_access_token or auth_token in the same write")
			// The same user, with or without the prefix, is not a change.
			e.write("config", fields{"user_id": strings.TrimPrefix(before.UserID, "user-")}).ok()
			e.write("config", fields{"user_id": before.UserID}).ok()
		}
		e.write("config", fields{"api_url": before.APIURL + "/"}).ok()

		// Nor is the way back to a default, from another address, free.
		e.patch("config", fields{"api_url": nil, "verify_connection": false}).refused(http.StatusBadRequest, "credential again")
	}
	require.Zero(t, thief, "the other host was called")
}

func newTLSServer(t *testing.T, handler ...http.Handler) *httptest.Server {
	server := httptest.NewUnstartedServer(append(handler, http.NotFoundHandler())[0])
	server.Config.ErrorLog = stdlog.New(io.Discard, "", 0) // a client that refuses it is no news
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestTheCACertIsTrustedInPlaceOfTheHosts(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	server := newTLSServer(t, e.sim)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	e.write("config", e.config(fields{"api_url": server.URL})).refused(http.StatusBadGateway, "certificate", "ca_cert", "nothing is stored")
	require.Zero(t, e.sim.Count(), "the credential went to a host that is not trusted")
	e.read("config").refused(http.StatusNotFound)
	e.write("config", e.config(fields{"api_url": server.URL, "ca_cert": ca + "\n"})).ok()
	e.list("secrets/").ok()
	require.Equal(t, strings.TrimSpace(ca), e.read("config").ok()["ca_cert"])
}

func TestAConnectionIsStoredUnaskedOnlyOnRequest(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	e.write("config", e.config(fields{"api_url": down.URL})).refused(http.StatusBadGateway, "nothing is stored", "verify_connection=false")
	e.read("config").refused(http.StatusNotFound)
	e.write("config", e.config(fields{"personal_access_token": "hidden-other"})).refused(http.StatusBadRequest, "nothing is stored")
	e.read("config").refused(http.StatusNotFound)
	require.Equal(t, 1, e.sim.Count())

	e.write("config", e.config(fields{"personal_access_token": "hidden-other", "verify_connection": false})).ok()
	require.Equal(t, 1, e.sim.Count())
	require.NotContains(t, e.read("config").ok(), "verify_connection", "it belongs to one write")
	e.write("config", fields{"max_retries": 1}).refused(http.StatusBadRequest, "does not accept")

	e.write("config", e.config()).ok()
	require.Equal(t, 3, e.sim.Count(), "to verify is one request")
}

func TestAConfigWriteSaysWhyABEJACouldNotBeAsked(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]int{500: 502, 503: 502, 429: 429} {
		e := newUnconfigured(t, simulator.Options{})
		e.sim.AddFault(simulator.Fault{Kind: simulator.FaultStatus, Status: status})
		e.write("config", e.config()).refused(want, "nothing is stored", "verify_connection=false")
		e.read("config").refused(http.StatusNotFound)
	}
}

func TestANewConfigIsUsedByTheNextRequest(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()
	other := newUnconfigured(t, simulator.Options{OrganizationID: "1999999999999", UserID: "7"})
	other.sim.Create("one", []byte("hidden-2"))
	e.write("config", other.config()).ok()
	require.Equal(t, "hidden-2", e.read("secrets/one").ok()["value"])
	e.patch("config", fields{"name_prefix": "x"}).ok()
	e.read("secrets/one").refused(http.StatusNotFound)
}

func TestADeletedConfigIsForgotten(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.list("secrets/").ok()
	e.delete("config").ok()
	e.read("config").refused(http.StatusNotFound)
	e.list("secrets/").refused(http.StatusBadRequest, "not configured")
	keys, err := e.storage.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, keys)

	// Nothing of it comes back.
	e.write("config", fields{"organization_id": "1"}).refused(http.StatusBadRequest, "a credential is required")
	e.delete("config").ok()
}

func TestAConfigThatAnotherChangesAtTheSameTimeIsNotOverwritten(t *testing.T) {
	t.Parallel()
	for name, meanwhile := range map[string]func(*engine){
		"changed": func(e *engine) { e.write("config", fields{"max_retries": 5, "verify_connection": false}).ok() },
		"deleted": func(e *engine) { e.delete("config").ok() },
	} {
		e := newEngine(t, simulator.Options{})
		e.meanwhile(func() { meanwhile(e) })
		e.write("config", fields{"max_retries": 7}).refused(http.StatusConflict, "changed by another", "write again")
		if name == "changed" {
			require.Equal(t, 5, e.read("config").ok()["max_retries"])
			e.write("config", fields{"max_retries": 7}).ok()
		} else {
			e.read("config").refused(http.StatusNotFound)
		}
	}
	e := newUnconfigured(t, simulator.Options{})
	e.meanwhile(func() { e.write("config", e.config(fields{"max_retries": 5, "verify_connection": false})).ok() })
	e.write("config", e.config(fields{"max_retries": 7})).refused(http.StatusConflict)
	require.Equal(t, 5, e.read("config").ok()["max_retries"])
}

// meanwhile does something while ABEJA is being asked, once.
func (e *engine) meanwhile(do func()) {
	once := func() {
		e.before.Store(nil)
		do()
	}
	e.before.Store(&once)
}

func TestAStorageThatFailsChangesNothing(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.sim.Create("one", []byte("hidden-1"))
	e.read("secrets/one").ok()

	e.storage.FailPut(true)
	e.write("config", fields{"name_prefix": "x"}).refused(http.StatusInternalServerError)
	e.storage.FailPut(false)
	require.Equal(t, "", e.read("config").ok()["name_prefix"])
	e.read("secrets/one").ok() // under the config that is still stored

	e.storage.FailDelete(true)
	e.delete("config").refused(http.StatusInternalServerError)
	e.storage.FailDelete(false)
	e.read("secrets/one").ok()

	e.storage.FailGet(true)
	e.read("config").refused(http.StatusInternalServerError)
	e.write("config", fields{"name_prefix": "x"}).refused(http.StatusInternalServerError)
	e.call(logical.UpdateOperation, "config", fields{"name_prefix": "x"}).refused(http.StatusInternalServerError)
	e.read("secrets/one").ok() // needs no storage
	e.backend.InvalidateKey(t.Context(), "config")
	e.read("secrets/one").refused(http.StatusInternalServerError)
	e.storage.FailGet(false)
	e.meanwhile(func() { e.storage.FailGet(true) })
	e.write("config", fields{"name_prefix": "x"}).refused(http.StatusInternalServerError)
	e.storage.FailGet(false)
	e.read("secrets/one").ok()
}

func TestAStoredConfigThatCannotBeReadSaysHowToReplaceIt(t *testing.T) {
	t.Parallel()
	e := newUnconfigured(t, simulator.Options{})
	require.NoError(t, e.storage.Put(t.Context(), &logical.StorageEntry{Key: "config", Value: []byte(`{"auth_token":"hidden-1`)}))
	for _, a := range []answer{e.read("config"), e.read("secrets/one"), e.write("config", e.config())} {
		a.refused(http.StatusInternalServerError, "cannot be read", "delete it, then write it again")
	}
	e.delete("config").ok()
	e.write("config", e.config()).ok()
}
