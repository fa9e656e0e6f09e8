package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/go-retryablehttp"
	"golang.org/x/time/rate"
)

const (
	// DefaultBaseURL is ABEJA's public endpoint, the default of ABEJA's SDK.
	DefaultBaseURL = "https://api.abeja.io"
	// DefaultTimeout bounds one call, its retries included; the SDK's bound for one attempt.
	DefaultTimeout = 30 * time.Second

	// maxConns bounds the connections, all of which are kept for reuse: the most that a busy Vault
	// has under way at once, without a TLS handshake for each request. A request beyond waits for one
	// within its try's time.
	maxConns = 128
	// An HTTP/2 connection on which nothing came for pingAfter is asked whether it lives, and left if
	// it does not say so within pingTimeout: a NAT that has forgotten it sends no reset, and the kernel
	// gives up after 15 minutes. Both together are the time of a first try with DefaultTimeout.
	pingAfter   = 10 * time.Second
	pingTimeout = 5 * time.Second
	// unread bounds how much of an answer over HTTP/2 may come before it is read, and waits in memory: by
	// default it is 4 MiB of each. At 20 ms to ABEJA it lets 12 MB/s through for each answer.
	unread = 256 << 10
)

// Config says which organization to reach, where, and as whom.
type Config struct {
	// BaseURL is where ABEJA answers, with scheme and host; DefaultBaseURL when empty.
	BaseURL string
	// OrganizationID is the organization whose secrets are meant. Required.
	OrganizationID string
	// Auth is the credential: Basic or Bearer. Required.
	Auth Auth
	// CACert holds PEM certificates to trust in place of the system's, when not empty.
	CACert string
	// Timeout bounds one call, its retries included; DefaultTimeout when zero.
	Timeout time.Duration
	// MaxRetries is how often a call is tried again; 0 never.
	MaxRetries int
	// Limiter, when set, lets each request through, retries included. Clients of one organization
	// may share one.
	Limiter *rate.Limiter
	// Room, when set, bounds the bytes of answers that are held at the same time. Clients may share one.
	Room *Room
	// Gate, when set, is asked before each request and told what came of it.
	Gate Gate
	// UserAgent is sent with each request when not empty.
	UserAgent string
	// Observe, when set, is told of each attempt once it has ended. It must be quick and safe
	// for concurrent use.
	Observe func(Attempt)
	// ObserveError, when set, is told of each call that ended with an Error. It must be quick and
	// safe for concurrent use.
	ObserveError func(*Error)
	// Transport replaces the pooled connections and so BaseURL's dialing and CACert. For tests.
	Transport http.RoundTripper
}

// Attempt is one HTTP request that was sent, or could not be.
type Attempt struct {
	Op       Op
	Number   int // among the attempts of its call: 1 for the first
	Status   int // 0: no answer came
	Duration time.Duration
}

// Auth is a credential for ABEJA. It prints as a placeholder, so that no log can hold it.
type Auth struct {
	// reveal is a func because fmt and the like print only its address, even of an
	// Auth in an unexported field, whose String they do not call.
	reveal func() credential
}

type credential struct {
	header string
	traces []string // what must not be repeated in an error
}

// Basic is a user's personal access token. ABEJA wants user ids with the prefix "user-" and its
// SDK adds one that is missing; so does Basic.
func Basic(userID, personalAccessToken string) Auth {
	if !strings.HasPrefix(userID, "user-") {
		userID = "user-" + userID
	}
	encoded := base64.StdEncoding.EncodeToString([]byte(userID + ":" + personalAccessToken))
	return newAuth(personalAccessToken, credential{"Basic " + encoded, []string{personalAccessToken, encoded}})
}

// Bearer is an ABEJA auth token.
func Bearer(authToken string) Auth {
	return newAuth(authToken, credential{"Bearer " + authToken, []string{authToken}})
}

// newAuth leaves out a credential that cannot be one, for New to refuse: a line break that came
// with a token from a file would else look like a failure of the network.
func newAuth(token string, c credential) Auth {
	if token == "" || strings.ContainsFunc(token, unicode.IsControl) {
		return Auth{}
	}
	return Auth{func() credential { return c }}
}

// String hides the credential.
func (Auth) String() string { return "[credential]" }

// GoString hides the credential.
func (Auth) GoString() string { return "[credential]" }

// Client makes the calls of one organization. It is safe for concurrent use.
type Client struct {
	organizationID string
	base           string
	auth           Auth
	userAgent      string
	timeout        time.Duration
	repeatable     *retryablehttp.Client // for GET, PATCH and DELETE
	post           *retryablehttp.Client
	limiter        *rate.Limiter
	room           *Room
	sent           *attempts
	transport      http.RoundTripper
	observeError   func(*Error)
	fingerprint    [sha256.Size]byte
}

// New checks cfg and makes a client. It sends nothing.
func New(cfg Config) (*Client, error) {
	base, err := baseURL(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if !ValidID(cfg.OrganizationID) {
		return nil, errors.New("the organization id must have 1 to 64 letters, digits, '_' or '-'")
	}
	if cfg.Auth.reveal == nil {
		return nil, errors.New("a credential is required: a user's personal access token or an auth token, without line breaks")
	}
	transport := cfg.Transport
	if transport == nil {
		if transport, err = newTransport(cfg.CACert); err != nil {
			return nil, err
		}
	}
	limiter := cfg.Limiter
	if limiter == nil {
		limiter = rate.NewLimiter(rate.Inf, 0)
	}
	sent := &attempts{next: transport, limiter: limiter, gate: cfg.Gate, observe: cfg.Observe}
	httpClient := &http.Client{
		Transport: sent,
		// ABEJA's API never redirects; following one could carry a secret to another host.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	timeout := cfg.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return &Client{
		organizationID: cfg.OrganizationID,
		base:           base + "/secret-manager/organizations/" + cfg.OrganizationID,
		auth:           cfg.Auth,
		userAgent:      cfg.UserAgent,
		timeout:        timeout,
		repeatable:     newRetrying(httpClient, cfg.MaxRetries, retryRepeatable),
		post:           newRetrying(httpClient, cfg.MaxRetries, retryPost),
		limiter:        limiter,
		room:           cfg.Room,
		sent:           sent,
		transport:      transport,
		observeError:   cfg.ObserveError,
		fingerprint:    sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", base, cfg.OrganizationID, cfg.CACert, cfg.Auth.reveal().header)),
	}, nil
}

// Fingerprint is the same for clients that are sure to be shown the same: that send the same
// credential for the same organization to the same host, and trust the same certificates.
func (c *Client) Fingerprint() [sha256.Size]byte { return c.fingerprint }

// OrganizationID is the organization whose secrets the client reaches.
func (c *Client) OrganizationID() string { return c.organizationID }

// Patience is how long one call may take, its retries included, and how often it is tried again.
func (c *Client) Patience() (timeout time.Duration, retries int) { return c.timeout, c.post.RetryMax }

// CloseIdleConnections ends the connections that no call uses.
func (c *Client) CloseIdleConnections() {
	(&http.Client{Transport: c.transport}).CloseIdleConnections()
}

func baseURL(raw string) (string, error) {
	if raw == "" {
		raw = DefaultBaseURL
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") ||
		u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("the base URL must be an http or https URL with a host, and without user, query or fragment")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

func newTransport(caCert string) (*http.Transport, error) {
	t := cleanhttp.DefaultPooledTransport()
	t.MaxIdleConns = maxConns
	t.MaxIdleConnsPerHost = maxConns
	t.MaxConnsPerHost = maxConns
	t.DisableCompression = true // the length of what is compressed is not told
	t.HTTP2 = &http.HTTP2Config{
		SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: pingAfter, MaxReceiveBufferPerStream: unread,
	}
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if caCert != "" {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM([]byte(caCert)) {
			return nil, errors.New("the CA certificate holds no PEM certificate")
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return t, nil
}

// call is one of the API's calls.
type call struct {
	op     Op
	method string
	path   string // below the organization, each part escaped
	query  url.Values
	body   any
	// submitted is the secret value in body, kept out of any error that ABEJA words.
	submitted []byte
	answer    reader
	options   ReadOptions // of a call that reads
}

// do makes a call. Every error it returns is an *Error, or the context's own when the caller gave up.
func (c *Client) do(ctx context.Context, k call) error {
	err := c.try(ctx, k)
	if failed, ok := err.(*Error); ok && c.observeError != nil {
		c.observeError(failed)
	}
	return err
}

func (c *Client) try(ctx context.Context, k call) (err error) {
	tries := &tries{op: k.op}
	defer func() {
		// An unusable answer in JSON concerns only what was asked; any other is not ABEJA's.
		unusable := errors.Is(err, errNotJSON) || errors.Is(err, errTooLarge)
		timedOut := errors.Is(err, ErrTimeout) && !errors.Is(err, errNoRoom)
		if unusable || timedOut || errors.Is(err, ErrUnavailable) || errors.Is(err, context.Canceled) {
			c.sent.leave(tries, err)
		} else {
			c.sent.leave(tries, nil)
		}
	}()
	if k.method != http.MethodPost && ctx.Value(onceKey{}) == nil {
		tries.left = c.repeatable.RetryMax
	}
	if ctx.Value(patientKey{}) != nil {
		if err := c.limiter.Wait(ctx); err != nil {
			return noAnswer(ctx, tries, errOverLimit)
		}
		tries.admitted = true
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, triesKey{}, tries), c.timeout)
	defer cancel()
	req, err := c.request(ctx, k)
	if err != nil {
		return err
	}
	body := body{room: c.room}
	defer body.close()
	req.SetResponseHandler(func(resp *http.Response) error {
		most := int64(maxAnswer)
		if k.options.MaxBytes > 0 && resp.StatusCode/100 == 2 {
			most = min(k.options.MaxBytes, maxAnswer)
		}
		err := body.read(resp, most)
		tries.turnedAway = errors.Is(err, errNoRoom)
		return err
	})
	retrying := c.repeatable
	if k.method == http.MethodPost {
		retrying = c.post
	}
	resp, err := retrying.Do(req)
	if resp != nil {
		defer resp.Body.Close()
	}
	switch {
	case tries.turnedAway: // though the call's time may be over too
		return noAnswer(ctx, tries, errNoRoom)
	case err != nil:
		return noAnswer(ctx, tries, err)
	}
	if resp.StatusCode/100 != 2 {
		if body.bytes == nil { // a status that was retried until the end is left unread
			_ = body.read(resp, maxAnswer)
		}
		return c.refused(k, tries, resp, body.bytes)
	}
	if resp.StatusCode == http.StatusNoContent {
		body.bytes = []byte("{}") // a DELETE's message may be missing; what else is, read finds
	}
	err = k.answer.read(body.bytes)
	accepted := k.answer.accept(&asked{c.organizationID, k.options})
	if err == nil || errors.As(accepted, new(foreignError)) {
		err = accepted
	}
	if err != nil {
		return &Error{Op: k.op, Status: resp.StatusCode, Err: err}
	}
	return nil
}

func (c *Client) request(ctx context.Context, k call) (*retryablehttp.Request, error) {
	var body any
	if k.body != nil {
		encoded, err := json.Marshal(k.body)
		if err != nil { // a time beyond the year 9999 is all that JSON cannot hold
			return nil, &Error{Op: k.op, Status: http.StatusBadRequest, Description: "a time must have a year of four digits"}
		}
		body = bytes.NewReader(encoded)
	}
	target := c.base + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := retryablehttp.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, &Error{Op: k.op, Err: err}
	}
	req.Header.Set("Authorization", c.auth.reveal().header)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.userAgent != "" {
		req.Header.Set("User-Agent", c.userAgent)
	}
	return req, nil
}

var idForm = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ValidID reports whether text can be an id. That is looser than the 13 digits that ABEJA assigns,
// and strict enough that an id is always one path segment.
func ValidID(id string) bool { return idForm.MatchString(id) }

// idPath joins fixed segments and ids to a path, or refuses an id before anything is sent.
func idPath(op Op, format string, ids ...any) (string, error) {
	for _, id := range ids {
		if !ValidID(id.(string)) {
			return "", &Error{Op: op, Status: http.StatusBadRequest, Description: "an id must have 1 to 64 letters, digits, '_' or '-'"}
		}
	}
	return fmt.Sprintf(format, ids...), nil
}
