package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

const (
	org       = "1410000000000"
	secretID  = "3053595942757"
	versionID = "4053595942757"
	token     = "made-up-personal-access-token"

	value       = "correct horse battery staple"
	valueBase64 = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ=="

	versionJSON = `{"id":"4053595942757","organization_id":"1410000000000","secret_id":"3053595942757",
		"version":1,"status":"active","provider":"aws-secret-manager",
		"created_at":"2024-05-01T00:00:00.123456Z","updated_at":"2024-05-01T09:05:00+09:00"}`
	secretJSON = `{"id":"3053595942757","organization_id":"1410000000000","user_id":"1410000000001",
		"name":"db_password","description":null,"properties":null,"provider":"aws-secret-manager",
		"rotation":false,"expired_at":null,"created_at":"2024-05-01T00:00:00Z",
		"updated_at":"2024-05-01T00:00:00Z","versions":[` + versionJSON + `]}`
	secretPageJSON  = `{"organization_id":"1410000000000","secrets":[` + secretJSON + `],"offset":0,"limit":100,"has_next":false}`
	versionPageJSON = `{"pagination":{"count":1,"has_next":false,"limit":100,"offset":0},"versions":[` + versionJSON + `]}`
	deletedJSON     = `{"message":"secret_id 3053595942757 successfully deleted"}`
)

// exchange is one of the ten calls with the answer that ABEJA documents for it.
type exchange struct {
	op     Op
	method string
	answer string
	call   func(context.Context, *Client) error
}

func exchanges() []exchange {
	return []exchange{
		{OpListSecrets, "GET", secretPageJSON, func(ctx context.Context, c *Client) error {
			_, err := c.ListSecrets(ctx, ListOptions{})
			return err
		}},
		{OpGetSecret, "GET", secretJSON, func(ctx context.Context, c *Client) error {
			_, err := c.GetSecret(ctx, secretID, ReadOptions{Values: true})
			return err
		}},
		{OpCreateSecret, "POST", secretJSON, func(ctx context.Context, c *Client) error {
			_, err := c.CreateSecret(ctx, NewSecret{Name: "db_password", Value: []byte(value)})
			return err
		}},
		{OpUpdateSecret, "PATCH", secretJSON, func(ctx context.Context, c *Client) error {
			_, err := c.UpdateSecret(ctx, secretID, SecretUpdate{Description: new("new")})
			return err
		}},
		{OpDeleteSecret, "DELETE", deletedJSON, func(ctx context.Context, c *Client) error {
			return c.DeleteSecret(ctx, secretID)
		}},
		{OpListVersions, "GET", versionPageJSON, func(ctx context.Context, c *Client) error {
			_, err := c.ListVersions(ctx, secretID, ListOptions{})
			return err
		}},
		{OpGetVersion, "GET", versionJSON, func(ctx context.Context, c *Client) error {
			_, err := c.GetVersion(ctx, secretID, versionID, ReadOptions{Values: true})
			return err
		}},
		{OpCreateVersion, "POST", versionJSON, func(ctx context.Context, c *Client) error {
			_, err := c.CreateVersion(ctx, secretID, []byte(value))
			return err
		}},
		{OpUpdateVersion, "PATCH", versionJSON, func(ctx context.Context, c *Client) error {
			_, err := c.UpdateVersion(ctx, secretID, versionID, Inactive)
			return err
		}},
		{OpDeleteVersion, "DELETE", deletedJSON, func(ctx context.Context, c *Client) error {
			return c.DeleteVersion(ctx, secretID, versionID)
		}},
	}
}

// callOf returns the call that stands for its kind in tests of what all have in common.
func callOf(op Op) func(context.Context, *Client) error {
	for _, x := range exchanges() {
		if x.op == op {
			return x.call
		}
	}
	panic(op)
}

// server is an http.RoundTripper that answers in memory and remembers what it was sent.
type server struct {
	answer func(n int, r *http.Request) (*http.Response, error) // n counts the requests from 1

	mu       sync.Mutex
	requests []sent
}

type sent struct {
	*http.Request
	body string
	at   time.Time
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
		r.Body.Close()
	}
	s.mu.Lock()
	s.requests = append(s.requests, sent{r, string(body), time.Now()})
	n := len(s.requests)
	s.mu.Unlock()
	return s.answer(n, r)
}

// reply makes an answer; header holds names and values in turn.
func reply(status int, body string, header ...string) *http.Response {
	resp := &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
	for i := 0; i < len(header); i += 2 {
		resp.Header.Set(header[i], header[i+1])
	}
	return resp
}

// always answers every request alike.
func always(status int, body string, header ...string) *server {
	return &server{answer: func(int, *http.Request) (*http.Response, error) { return reply(status, body, header...), nil }}
}

// inTurn answers with the statuses in turn, each without a body, then with the answer.
func inTurn(answer string, statuses ...int) *server {
	return &server{answer: func(n int, _ *http.Request) (*http.Response, error) {
		if n <= len(statuses) {
			return reply(statuses[n-1], ""), nil
		}
		return reply(200, answer), nil
	}}
}

func failing(err error) *server {
	return &server{answer: func(int, *http.Request) (*http.Response, error) { return nil, err }}
}

// newClient makes a client without retries that reaches transport.
func newClient(t testing.TB, transport http.RoundTripper, change ...func(*Config)) *Client {
	cfg := Config{OrganizationID: org, Auth: Basic("1410000000001", token), Transport: transport}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	require.NoError(t, err)
	return c
}

func retries(n int) func(*Config) { return func(cfg *Config) { cfg.MaxRetries = n } }

func TestTheFingerprintTellsApartWhatABEJAMayShowDifferentThings(t *testing.T) {
	t.Parallel()
	ca := httptest.NewTLSServer(nil)
	defer ca.Close()
	pool := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate().Raw}))
	one := newClient(t, nil)
	for what, change := range map[string]func(*Config){
		"organization": func(cfg *Config) { cfg.OrganizationID = "2" },
		"host":         func(cfg *Config) { cfg.BaseURL = "https://abeja.example" },
		"user":         func(cfg *Config) { cfg.Auth = Basic("2", token) },
		"token":        func(cfg *Config) { cfg.Auth = Basic("1410000000001", token+"x") },
		"kind":         func(cfg *Config) { cfg.Auth = Bearer(token) },
		"certificates": func(cfg *Config) { cfg.CACert = pool },
	} {
		require.NotEqual(t, one.Fingerprint(), newClient(t, nil, change).Fingerprint(), what)
	}
	same := newClient(t, nil, retries(3), func(cfg *Config) {
		cfg.BaseURL, cfg.Auth, cfg.Timeout = DefaultBaseURL+"/", Basic("user-1410000000001", token), time.Minute
	})
	require.Equal(t, one.Fingerprint(), same.Fingerprint())
}

// asError returns the *Error that every failed call must come with.
func asError(t testing.TB, err error) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	return e
}

func TestTheCredentialGoesIntoTheAuthorizationHeader(t *testing.T) {
	t.Parallel()
	const basic = "Basic dXNlci0xNDEwMDAwMDAwMDAxOm1hZGUtdXAtcGVyc29uYWwtYWNjZXNzLXRva2Vu"
	for name, example := range map[string]struct {
		auth Auth
		want string
	}{
		"basic without the prefix": {Basic("1410000000001", token), basic},
		"basic with the prefix":    {Basic("user-1410000000001", token), basic},
		"bearer":                   {Bearer("made-up-auth-token"), "Bearer made-up-auth-token"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, x := range exchanges() {
				s := always(200, x.answer)
				c := newClient(t, s, func(cfg *Config) { cfg.Auth = example.auth })
				require.NoError(t, x.call(t.Context(), c))
				require.Equal(t, []string{example.want}, s.requests[0].Header["Authorization"], x.op)
			}
		})
	}
}

func TestTheSimulatorAcceptsBothKindsOfCredential(t *testing.T) {
	t.Parallel()
	sim := simulator.New(simulator.Options{})
	org, user, token, authToken := sim.Credentials()
	for _, auth := range []Auth{Basic(user, token), Basic(strings.TrimPrefix(user, "user-"), token), Bearer(authToken)} {
		c := newClient(t, sim.Transport(), func(cfg *Config) { cfg.OrganizationID, cfg.Auth = org, auth })
		_, err := c.ListSecrets(t.Context(), ListOptions{})
		require.NoError(t, err)
	}
	c := newClient(t, sim.Transport(), func(cfg *Config) { cfg.OrganizationID, cfg.Auth = org, Bearer("another") })
	_, err := c.ListSecrets(t.Context(), ListOptions{})
	require.ErrorIs(t, err, ErrUnauthorized)
}

func TestTheUserAgentIsSentWhenThereIsOne(t *testing.T) {
	t.Parallel()
	s := always(200, secretPageJSON)
	require.NoError(t, callOf(OpListSecrets)(t.Context(), newClient(t, s, func(cfg *Config) { cfg.UserAgent = "plugin/1.0" })))
	require.NoError(t, callOf(OpListSecrets)(t.Context(), newClient(t, s)))
	require.Equal(t, "plugin/1.0", s.requests[0].UserAgent())
	require.Empty(t, s.requests[1].UserAgent())
}

func TestTheBaseURLIsWhereRequestsGo(t *testing.T) {
	t.Parallel()
	for base, want := range map[string]string{
		"":                              "https://api.abeja.io",
		"https://api.abeja.io/":         "https://api.abeja.io",
		"http://127.0.0.1:8700":         "http://127.0.0.1:8700",
		"https://gateway.example/abeja": "https://gateway.example/abeja",
	} {
		s := always(200, secretJSON)
		c := newClient(t, s, func(cfg *Config) { cfg.BaseURL = base })
		_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
		require.NoError(t, err)
		require.Equal(t, want+"/secret-manager/organizations/"+org+"/secrets/"+secretID, s.requests[0].URL.String())
	}
}

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"no organization":            func(cfg *Config) { cfg.OrganizationID = "" },
		"organization with a slash":  func(cfg *Config) { cfg.OrganizationID = "1/2" },
		"no credential":              func(cfg *Config) { cfg.Auth = Auth{} },
		"empty access token":         func(cfg *Config) { cfg.Auth = Basic("1410000000001", "") },
		"empty auth token":           func(cfg *Config) { cfg.Auth = Bearer("") },
		"auth token with line break": func(cfg *Config) { cfg.Auth = Bearer("made-up-auth-token\n") },
		"base URL without scheme":    func(cfg *Config) { cfg.BaseURL = "api.abeja.io" },
		"base URL without host":      func(cfg *Config) { cfg.BaseURL = "https:///path" },
		"base URL of another scheme": func(cfg *Config) { cfg.BaseURL = "ftp://api.abeja.io" },
		"base URL with a user":       func(cfg *Config) { cfg.BaseURL = "https://who:" + token + "@api.abeja.io" },
		"base URL with a query":      func(cfg *Config) { cfg.BaseURL = "https://api.abeja.io?a=b" },
		"base URL with an empty query": func(cfg *Config) {
			cfg.BaseURL = "https://api.abeja.io?"
		},
		"base URL with a fragment": func(cfg *Config) { cfg.BaseURL = "https://api.abeja.io#a" },
		"base URL that is none":    func(cfg *Config) { cfg.BaseURL = "https://" + token + "\x7f" },
		"CA that is none":          func(cfg *Config) { cfg.CACert = "no PEM" },
	} {
		cfg := Config{OrganizationID: org, Auth: Bearer(token)}
		change(&cfg)
		c, err := New(cfg)
		require.Error(t, err, name)
		require.Nil(t, c, name)
		require.NotContains(t, err.Error(), token, name)
	}
}

func TestNoFormatRevealsTheCredential(t *testing.T) {
	t.Parallel()
	for _, auth := range []Auth{Basic("1410000000001", token), Bearer(token)} {
		c := newClient(t, always(200, secretJSON), func(cfg *Config) { cfg.Auth = auth })
		holder := struct {
			Public  Auth
			private Auth
		}{auth, auth}
		cfg := Config{OrganizationID: org, Auth: auth}
		var out bytes.Buffer
		for _, v := range []any{auth, &auth, holder, &holder, []Auth{auth}, cfg, &cfg, c, *c} {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb+"\n", v)
			}
		}
		encoded, err := json.Marshal(holder)
		require.NoError(t, err)
		out.Write(encoded)
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "auth", auth, "client", c)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "auth", auth, "holder", holder)
		log.New(&out, "", 0).Print(auth, c)

		requireNoTrace(t, out.String(), token, "bWFkZS11cC1w", fmt.Sprintf("%x", token), "QbWFkZS11cA", "dXNlci0x")
		require.Equal(t, "[credential] [credential] [credential]", fmt.Sprintf("%v %s %#v", auth, auth, auth))
	}
}

// requireNoTrace wants none of the secrets in text, nor eight bytes of them.
func requireNoTrace(t testing.TB, text string, secrets ...string) {
	t.Helper()
	for _, secret := range secrets {
		for i := 0; i+8 <= len(secret); i++ {
			require.NotContains(t, text, secret[i:i+8])
		}
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, x := range exchanges() {
			s := always(status, `{}`, "Location", "https://elsewhere.example/")
			err := x.call(t.Context(), newClient(t, s, retries(2)))
			require.ErrorIs(t, err, ErrBadAnswer)
			require.ErrorContains(t, err, "never redirects")
			require.Len(t, s.requests, 1, "the credential must not go to another host")
		}
	}
}

// listen serves over TLS on a free loopback port and counts the connections.
func listen(t *testing.T, h http.Handler, change func(*httptest.Server)) (s *httptest.Server, caCert string, connections *atomic.Int32) {
	connections = new(atomic.Int32)
	s = httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})), connections
}

func dialing(url, caCert string) func(*Config) {
	return func(cfg *Config) { cfg.BaseURL, cfg.CACert = url, caCert }
}

func TestOnlyTheGivenCAIsTrusted(t *testing.T) {
	t.Parallel()
	var served atomic.Int32
	s, caCert, connections := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		served.Add(1)
		io.WriteString(w, secretJSON)
	}), nil)

	c := newClient(t, nil, dialing(s.URL, caCert))
	defer c.CloseIdleConnections()
	_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
	require.NoError(t, err)
	require.EqualValues(t, 1, served.Load())

	connections.Store(0)
	foreign := newClient(t, nil, dialing(s.URL, ""), retries(3))
	for _, x := range exchanges() {
		err := x.call(t.Context(), foreign)
		require.ErrorIs(t, err, ErrUnavailable)
		var cert *tls.CertificateVerificationError
		require.ErrorAs(t, err, &cert)
		require.False(t, asError(t, err).OutcomeUnknown())
	}
	require.EqualValues(t, 1, served.Load(), "nothing may be sent to a server that is not trusted")
	require.EqualValues(t, 10, connections.Load(), "trying again cannot help")
}

func TestTLSOlderThan12IsRefused(t *testing.T) {
	t.Parallel()
	for version, accepted := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		s, caCert, _ := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, secretJSON)
		}), func(s *httptest.Server) {
			s.TLS = &tls.Config{MinVersion: version, MaxVersion: version}
		})
		c := newClient(t, nil, dialing(s.URL, caCert))
		_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
		c.CloseIdleConnections()
		if accepted {
			require.NoError(t, err, tls.VersionName(version))
		} else {
			require.ErrorIs(t, err, ErrUnavailable)
		}
	}
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	const width = 8
	var status atomic.Int32
	var arrived atomic.Pointer[sync.WaitGroup]
	s, caCert, connections := listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if together := arrived.Load(); together != nil {
			together.Done()
			together.Wait()
		}
		w.WriteHeader(int(status.Load()))
		io.WriteString(w, secretJSON)
	}), nil)
	c := newClient(t, nil, dialing(s.URL, caCert))
	defer c.CloseIdleConnections()
	burst := func() { // needs width connections at once
		status.Store(200)
		together := new(sync.WaitGroup)
		together.Add(width)
		arrived.Store(together)
		var callers sync.WaitGroup
		for range width {
			callers.Go(func() {
				_, err := c.GetSecret(t.Context(), secretID, ReadOptions{})
				require.NoError(t, err)
			})
		}
		callers.Wait()
		arrived.Store(nil)
	}

	burst()
	burst()
	require.EqualValues(t, width, connections.Load())
	for _, refusal := range []int32{404, 503} {
		status.Store(refusal)
		for _, x := range exchanges() {
			require.Error(t, x.call(t.Context(), c))
		}
		burst()
		require.EqualValues(t, width, connections.Load(), "a call that failed with %d must not cost the others their connections", refusal)
	}
}

func TestNoIDLeavesItsPathSegment(t *testing.T) {
	t.Parallel()
	s := always(200, secretJSON)
	c := newClient(t, s)
	ctx := t.Context()
	for _, id := range []string{"", ".", "..", "a/b", "a%2Fb", "a?b", "a b", "a\n", "é", strings.Repeat("1", 65)} {
		require.False(t, ValidID(id))
		_, getSecret := c.GetSecret(ctx, id, ReadOptions{})
		_, updateSecret := c.UpdateSecret(ctx, id, SecretUpdate{Description: new("")})
		_, listVersions := c.ListVersions(ctx, id, ListOptions{})
		_, createVersion := c.CreateVersion(ctx, id, []byte(value))
		_, getVersion := c.GetVersion(ctx, id, versionID, ReadOptions{})
		_, getOther := c.GetVersion(ctx, secretID, id, ReadOptions{})
		_, updateVersion := c.UpdateVersion(ctx, secretID, id, Active)
		for _, err := range []error{
			getSecret, updateSecret, c.DeleteSecret(ctx, id), listVersions, createVersion, getVersion, getOther,
			updateVersion, c.DeleteVersion(ctx, id, versionID), c.DeleteVersion(ctx, secretID, id),
		} {
			require.ErrorIs(t, err, ErrInvalid)
			require.False(t, asError(t, err).OutcomeUnknown())
		}
	}
	require.Empty(t, s.requests)
	require.True(t, ValidID(strings.Repeat("1", 64)))
	require.True(t, ValidID("user-A_1"))
}

func TestAPageBeyondTheLimitsIsNotAskedFor(t *testing.T) {
	t.Parallel()
	s := always(200, secretPageJSON)
	c := newClient(t, s)
	for _, o := range []ListOptions{{Offset: -1}, {Limit: -1}, {Limit: 101}} {
		_, secrets := c.ListSecrets(t.Context(), o)
		_, versions := c.ListVersions(t.Context(), secretID, o)
		require.ErrorIs(t, secrets, ErrInvalid)
		require.ErrorIs(t, versions, ErrInvalid)
	}
	require.Empty(t, s.requests)
}

func TestATimeThatJSONCannotHoldIsInvalid(t *testing.T) {
	t.Parallel()
	s := always(200, secretJSON)
	expiry := time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	_, err := newClient(t, s).CreateSecret(t.Context(), NewSecret{Name: "a", Value: []byte(value), SecretUpdate: SecretUpdate{ExpiredAt: &expiry}})
	require.ErrorIs(t, err, ErrInvalid)
	require.False(t, asError(t, err).OutcomeUnknown())
	require.Empty(t, s.requests)
}

func TestEachAttemptIsObserved(t *testing.T) {
	t.Parallel()
	var seen []Attempt
	s := &server{answer: func(n int, _ *http.Request) (*http.Response, error) {
		switch n {
		case 1:
			return nil, errors.New("cut")
		case 2:
			return reply(503, ""), nil
		}
		return reply(200, secretJSON), nil
	}}
	inBubble(t, func(t *testing.T) {
		slow := &server{answer: func(n int, r *http.Request) (*http.Response, error) {
			time.Sleep(time.Duration(n) * time.Millisecond)
			return s.RoundTrip(r)
		}}
		c := newClient(t, slow, retries(2), func(cfg *Config) { cfg.Observe = func(a Attempt) { seen = append(seen, a) } })
		require.NoError(t, callOf(OpGetSecret)(t.Context(), c))
	})
	require.Equal(t, []Attempt{
		{OpGetSecret, 1, 0, time.Millisecond}, {OpGetSecret, 2, 503, 2 * time.Millisecond}, {OpGetSecret, 3, 200, 3 * time.Millisecond},
	}, seen)
}

func TestACallThatFailsIsObservedOnceAndOneThatIsGivenUpIsNot(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T) {
		var seen []*Error
		observed := func(cfg *Config) { cfg.ObserveError = func(e *Error) { seen = append(seen, e) } }
		c := newClient(t, always(503, ""), retries(2), observed)
		err := callOf(OpGetSecret)(t.Context(), c)
		require.Equal(t, []*Error{asError(t, err)}, seen)

		given, up := context.WithCancel(t.Context())
		up()
		require.ErrorIs(t, callOf(OpGetSecret)(given, c), context.Canceled)
		require.NoError(t, callOf(OpGetSecret)(t.Context(), newClient(t, always(200, secretJSON), observed)))
		require.Len(t, seen, 1)
	})
}
