package live

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

// abeja is the ABEJA Secret Manager that is looked at.
type abeja struct {
	*client.Client
	account   account
	transport *transport
	ctx       context.Context // ends when no more is to be sent, but to remove what was written
	prefix    string          // of the names of all secrets that are written
	made      []string        // the ids of the secrets that were written
	removed   map[string]bool // those of which ABEJA says that they are gone
}

// transport sends what the client and raw send.
type transport struct {
	http.RoundTripper
	limiter *rate.Limiter
	// What answers have said of a limit of ABEJA's own.
	limited, retryAfter atomic.Bool
}

func (s *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := s.limiter.Wait(req.Context()); err != nil {
		return nil, err
	}
	resp, err := s.RoundTripper.RoundTrip(req)
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		s.limited.Store(true)
		if resp.Header.Get("Retry-After") != "" {
			s.retryAfter.Store(true)
		}
	}
	return resp, err
}

func connect(t *testing.T, c account, perSecond float64) *abeja {
	pool := http.DefaultTransport.(*http.Transport).Clone()
	t.Cleanup(pool.CloseIdleConnections)
	a := &abeja{
		account:   c,
		transport: &transport{RoundTripper: pool, limiter: rate.NewLimiter(rate.Limit(perSecond), 1)},
		ctx:       t.Context(),
		removed:   map[string]bool{},
		prefix:    "vault_test_live_" + strings.ToLower(rand.Text()[:10]) + "_",
	}
	auth := client.Bearer(c.authToken)
	if c.personal() {
		auth = client.Basic(c.user, c.token)
	}
	a.Client = a.as(t, auth)
	return a
}

// as returns a client with a credential.
func (a *abeja) as(t *testing.T, auth client.Auth) *client.Client {
	c, err := client.New(client.Config{
		BaseURL: a.account.url, OrganizationID: a.account.organization, Auth: auth,
		MaxRetries: 5, Transport: a.transport, UserAgent: "vault-plugin-secrets-abeja-test-live",
	})
	require.NoError(t, err)
	return c
}

// raw sends what the client would not send, and returns the status and the JSON of the answer.
func (a *abeja) raw(t *testing.T, method, path string, in any) (status int, out map[string]any) {
	t.Helper()
	require.NoError(t, a.ctx.Err())
	body, err := json.Marshal(in)
	require.NoError(t, err)
	for deadline := time.Now().Add(client.DefaultTimeout); ; time.Sleep(250 * time.Millisecond) {
		status, out = a.sendRaw(t, method, path, body)
		if status != http.StatusTooManyRequests && status < 500 || time.Now().After(deadline) {
			return status, out
		}
	}
}

func (a *abeja) sendRaw(t *testing.T, method, path string, body []byte) (status int, out map[string]any) {
	t.Helper()
	base := strings.TrimRight(cmp.Or(a.account.url, client.DefaultBaseURL), "/")
	ctx := a.ctx
	if method == http.MethodPost {
		ctx = context.WithoutCancel(ctx) // as in tryToCreate
	}
	req, err := http.NewRequestWithContext(ctx, method, base+"/secret-manager/organizations/"+a.account.organization+path, nil)
	require.NoError(t, err)
	if string(body) != "null" {
		req.Header.Set("Content-Type", "application/json")
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	if a.account.personal() {
		req.SetBasicAuth("user-"+strings.TrimPrefix(a.account.user, "user-"), a.account.token)
	} else {
		req.Header.Set("Authorization", "Bearer "+a.account.authToken)
	}
	sender := http.Client{
		Transport: a.transport, Timeout: client.DefaultTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := sender.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	if resp.StatusCode < 300 {
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&out))
	}
	return resp.StatusCode, out
}

// part runs a part of the suite, unless the suite is to end.
func (a *abeja) part(t *testing.T, name string, f func(t *testing.T)) {
	if err := a.ctx.Err(); err != nil {
		t.Fatalf("ended early: %v", err)
	}
	t.Run(name, f)
}

// create makes a secret, of which the name is given without the prefix.
func (a *abeja) create(t *testing.T, s client.NewSecret) *client.Secret {
	t.Helper()
	made, err := a.tryToCreate(t, s)
	require.NoError(t, err)
	return made
}

func (a *abeja) tryToCreate(t *testing.T, s client.NewSecret) (*client.Secret, error) {
	t.Helper()
	require.NoError(t, a.ctx.Err())
	s.Name = a.prefix + s.Name
	// An interrupt must not cut this short: ABEJA could make the secret after all were removed.
	made, err := a.CreateSecret(context.WithoutCancel(a.ctx), s)
	if err == nil {
		a.made = append(a.made, made.ID)
	}
	return made, err
}

// DeleteSecret remembers what is gone: lists may still show it.
func (a *abeja) DeleteSecret(ctx context.Context, id string) error {
	err := a.Client.DeleteSecret(ctx, id)
	if err == nil || errors.Is(err, client.ErrNotFound) {
		a.removed[id] = true
	}
	return err
}

// number returns a version of a secret by its number.
func (a *abeja) number(t *testing.T, id string, number int) client.Version {
	t.Helper()
	page, err := a.ListVersions(a.ctx, id, client.ListOptions{})
	require.NoError(t, err)
	at := slices.IndexFunc(page.Versions, func(v client.Version) bool { return v.Number == number })
	require.NotEqual(t, -1, at, "there is no version %d", number)
	return page.Versions[at]
}

// mine lists the secrets under the prefix, in ABEJA's order. Others may create and delete theirs at the
// same time, which moves those behind: so pages overlap.
func (a *abeja) mine(ctx context.Context) ([]client.Secret, error) {
	const overlap = 20
	var mine []client.Secret
	seen := map[string]bool{}
	for offset := 0; ; offset += client.MaxPage - overlap {
		page, err := a.ListSecrets(ctx, client.ListOptions{Offset: offset})
		if err != nil {
			return nil, err
		}
		for _, s := range page.Secrets {
			if strings.HasPrefix(s.Name, a.prefix) && !seen[s.ID] {
				seen[s.ID] = true
				mine = append(mine, s)
			}
		}
		if !page.HasNext {
			return mine, nil
		}
	}
}

// listUntil lists the secrets under the prefix until what is wanted of a list is so: a list may lag, and
// what moves very fast may hide a secret for a moment.
func (a *abeja) listUntil(t *testing.T, want string, is func(mine []client.Secret) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		mine, err := a.mine(a.ctx)
		require.NoError(t, err)
		if is(mine) {
			return
		}
		require.True(t, time.Now().Before(deadline), "after 30 s still no list of all secrets has %s", want)
	}
}

// listed returns the listed secrets with these ids, in ABEJA's order.
func (a *abeja) listed(t *testing.T, ids ...string) (found []client.Secret) {
	t.Helper()
	a.listUntil(t, "all that are there", func(mine []client.Secret) bool {
		found = slices.DeleteFunc(mine, func(s client.Secret) bool { return !slices.Contains(ids, s.ID) })
		return len(found) == len(ids)
	})
	return found
}

// removeAll removes what the run has left, also what was made without an answer that said so.
func (a *abeja) removeAll(t *testing.T) {
	a.ctx = context.Background()
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Minute)
	defer cancel()
	for _, id := range a.made {
		a.DeleteSecret(ctx, id) // whether it worked is seen in the list
	}
	var failed error
	for round := 1; ; round++ {
		mine, err := a.mine(ctx)
		if err != nil {
			t.Errorf("please remove from ABEJA the secrets whose names begin with %s: %v", a.prefix, err)
			return
		}
		mine = slices.DeleteFunc(mine, func(s client.Secret) bool { return a.removed[s.ID] })
		for _, s := range mine {
			if round == 3 {
				t.Errorf("please remove from ABEJA the secret %s: %v", s.Name, failed)
			} else if err := a.DeleteSecret(ctx, s.ID); err != nil {
				failed = err
			}
		}
		if len(mine) == 0 || round == 3 {
			return
		}
	}
}
