package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

const (
	// patience is the request_timeout of a mount under faults that end before it.
	patience = 20 * time.Second
	// requestTimeout is that under faults which do not.
	requestTimeout = 3 * time.Second
	// callersDeadline is that of a caller who is in a hurry.
	callersDeadline = 3 * time.Second
	// slack is what a busy machine takes beyond a deadline.
	slack = 3 * time.Second

	token = "hidden-personal-access-token"
)

type fields = map[string]any

// engine is a mount and an ABEJA that talk over TCP, each with an address of its own.
type engine struct {
	t       testing.TB
	sim     *simulator.Simulator
	abeja   *abeja
	storage *logical.InmemStorage
	backend logical.Backend
	log     *enginetest.Log
	timeout time.Duration
	// deadline is the caller's, when not 0.
	deadline time.Duration
	// existing is the id of the secret of that name.
	existing string
}

// newEngine makes a mount that works, as it is before the operation: configured, and with the names
// known unless it has just started.
func newEngine(t testing.TB, f fault, o operation) *engine {
	t.Helper()
	e := &engine{
		t: t, timeout: patience, storage: &logical.InmemStorage{}, log: &enginetest.Log{},
		sim: simulator.New(simulator.Options{Token: token, AuthToken: "hidden-auth-token"}),
	}
	if f.waits {
		e.timeout = requestTimeout
	}
	e.existing = e.sim.Create("existing", []byte(`{"user":"hidden-1"}`))
	e.sim.AddVersion("existing", []byte(`{"user":"hidden-2"}`))
	e.sim.AddVersion("existing", []byte(`{"user":"hidden-3"}`))
	e.sim.SetStatus("existing", 2, "inactive")
	e.sim.Create("bystander", []byte("hidden-bystander"))
	build := backend.Build{}
	if f.takesTime() {
		e.abeja = &abeja{handler: e.sim, url: "http://127.0.0.1"}
		build.Transport = simulator.TransportTo(e.abeja)
	} else {
		e.abeja = listen(t, f.link, e.sim)
	}

	e.backend = enginetest.Start(t, backend.Factory(build), e.storage, logical.TestSystemView(), e.log)
	if f.takesTime() {
		t.Cleanup(func() { e.backend.Cleanup(t.Context()) }) // in the bubble nothing may be left
	}
	e.configure(e.abeja.url, o.config)
	if !o.cold {
		e.prepare(func(e *engine) answer { return e.list("secrets/") })
	}
	if o.first != nil {
		e.prepare(o.first)
	}
	e.sim.ResetRequests()
	return e
}

// prepare repeats what a busy machine may be too slow for.
func (e *engine) prepare(do func(*engine) answer) {
	e.t.Helper()
	a := do(e)
	for began := time.Now(); a.status == http.StatusGatewayTimeout && time.Since(began) < patience; {
		a = do(e)
	}
	a.ok(e.t)
}

// configure stores a config without asking ABEJA.
func (e *engine) configure(url string, over fields) {
	e.t.Helper()
	config := e.config(url)
	config["verify_connection"] = false
	maps.Copy(config, over)
	e.write("config", config).ok(e.t)
}

func (e *engine) config(url string) fields {
	return enginetest.Config(e.sim, url, fields{
		"ca_cert": e.abeja.ca, "request_timeout": int(e.timeout / time.Second), "max_retries": 1,
	})
}

func (e *engine) read(path string) answer   { return e.call(logical.ReadOperation, path, nil) }
func (e *engine) list(path string) answer   { return e.call(logical.ListOperation, path, nil) }
func (e *engine) delete(path string) answer { return e.call(logical.DeleteOperation, path, nil) }
func (e *engine) patch(path string, data fields) answer {
	return e.call(logical.PatchOperation, path, data)
}

func (e *engine) write(path string, data fields) answer {
	return e.call(logical.UpdateOperation, path, data)
}

// context is that of one request to Vault.
func (e *engine) context() (context.Context, context.CancelFunc) {
	if e.deadline > 0 {
		return context.WithTimeout(e.t.Context(), e.deadline)
	}
	return context.WithCancel(e.t.Context())
}

// call asks the existence check first, as Vault does.
func (e *engine) call(op logical.Operation, path string, data fields) answer {
	ctx, cancel := e.context()
	defer cancel()
	req := enginetest.Request(e.t, e.storage, op, path, data)
	resp, err := enginetest.Do(ctx, e.backend, req)
	got := enginetest.AnswerTo(req.Operation, resp, err)
	a := answer{status: got.Status, warnings: got.Warnings, text: got.Text}
	if resp != nil {
		shown, err := json.Marshal(got.Data)
		require.NoError(e.t, err)
		a.data = unsteady.Replace(string(shown))
	}
	return a
}

// answer is what the caller gets. Of its data, times and ids are masked.
type answer struct {
	status   int
	data     string
	warnings []string
	text     string
}

func (a answer) acknowledged() bool { return a.status < 300 }

func (a answer) ok(t testing.TB) {
	t.Helper()
	require.True(t, a.acknowledged(), "%d %s", a.status, a.text)
}

// unsteady masks what differs from run to run, or with what was made before.
var unsteady = replacer{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+(Z|[+-]\d\d:\d\d)`), "TIME"},
	{regexp.MustCompile(`\b\d{13}\b`), "ID"},
	{regexp.MustCompile(`127(\.\d+){3}(:\d+)?`), "HOST"},
	{regexp.MustCompile(`(answer|one) is \d+s old`), "$1 is Ns old"},
}

type replacer []struct {
	form *regexp.Regexp
	by   string
}

func (r replacer) Replace(text string) string {
	for _, each := range r {
		text = each.form.ReplaceAllString(text, each.by)
	}
	return text
}

// held is all that ABEJA holds, and what the test of config changes in Vault's storage, in a form to
// compare. Ids are left out; values too when they are random.
func (e *engine) held(random bool) string {
	var all []any
	for _, name := range []string{"existing", "bystander", "new"} {
		secret, exists := e.sim.Secret(name)
		secret.ID = ""
		for i := range secret.Versions {
			secret.Versions[i].ID = ""
			if random {
				secret.Versions[i].Value = nil
			}
		}
		all = append(all, exists, secret)
	}
	entry, err := e.storage.Get(context.Background(), "config")
	require.NoError(e.t, err)
	var config struct {
		CacheSize int `json:"cache_size"`
	}
	require.NoError(e.t, entry.DecodeJSON(&config))
	text, err := json.Marshal(append(all, config))
	require.NoError(e.t, err)
	return string(text)
}

// link is how a mount reaches ABEJA.
type link int

const (
	// plain is HTTP with a connection for each request, so that their number is always the same. Where a fault
	// takes time, both sides are in memory.
	plain link = iota
	// kept is HTTP with connections that are used again.
	kept
	// secure is HTTPS, with a connection for each request.
	secure
	// lookedUp is secure by a name that is looked up for each request.
	lookedUp
	// multiplexed is HTTP/2, with one connection for all requests.
	multiplexed
)

// abeja is the simulator behind a socket.
type abeja struct {
	url, ca string
	handler http.Handler
	link    link
	address string
	name    string // by which a mount looks it up, if it does
	cert    atomic.Pointer[tls.Certificate]
	good    *tls.Certificate

	between  http.HandlerFunc // answers in place of handler, when set
	resets   atomic.Bool      // cuts become RST
	detached atomic.Bool      // calls go on when the caller has hung up
	busy     atomic.Int32
	nat      *nat // between a mount and a multiplexed link
	server   *http.Server
}

var hosts atomic.Uint32

// listen serves on an address that nobody else uses, so that a port stays free while it is closed.
// Where a machine has one loopback address alone, the port is as unlikely to be taken.
func listen(t testing.TB, link link, handler http.Handler) *abeja {
	t.Helper()
	a := &abeja{handler: handler, link: link}
	n := hosts.Add(1)
	l, err := net.Listen("tcp", fmt.Sprintf("127.77.%d.%d:0", n>>8&0xff, n&0xff))
	if err != nil {
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	require.NoError(t, err)
	a.address = l.Addr().String()
	a.url = "http://" + a.address
	if link >= secure {
		host, port, err := net.SplitHostPort(a.address)
		require.NoError(t, err)
		if link == lookedUp {
			a.name = fmt.Sprintf("abeja-%d.example", n)
			dns.set(a.name, host)
			host = a.name
		}
		a.url = "https://" + net.JoinHostPort(host, port)
		a.good = newCertificate(t, host, time.Now().Add(time.Hour), nil)
		a.cert.Store(a.good)
		a.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.good.Certificate[0]}))
	}
	a.serve(l)
	t.Cleanup(a.close)
	return a
}

func (a *abeja) serve(l net.Listener) {
	if a.link == multiplexed {
		a.nat = &nat{Listener: l}
		l = a.nat
	}
	a.server = &http.Server{Handler: a, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	a.server.SetKeepAlivesEnabled(a.link == kept || a.link == multiplexed)
	a.server.Protocols.SetHTTP1(a.link != multiplexed)
	a.server.Protocols.SetHTTP2(a.link == multiplexed)
	if a.link < secure {
		go a.server.Serve(l)
		return
	}
	a.server.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return a.cert.Load(), nil
	}}
	go a.server.ServeTLS(l, "", "")
}

func (a *abeja) host() string {
	host, _, _ := net.SplitHostPort(a.address)
	return host
}

func (a *abeja) close() { a.server.Close() }

func (a *abeja) reopen(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", a.address)
	require.NoError(t, err)
	a.serve(l)
}

// ServeHTTP implements http.Handler.
func (a *abeja) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.busy.Add(1)
	defer a.busy.Add(-1)
	if a.detached.Load() {
		r = r.WithContext(context.WithoutCancel(r.Context()))
	}
	if a.resets.Load() {
		defer func() {
			if recover() == nil {
				return
			}
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}()
	}
	if a.between != nil {
		a.between(w, r)
		return
	}
	a.handler.ServeHTTP(w, r)
}

// settle waits until ABEJA has ended whatever it was asked.
func (a *abeja) settle() {
	for a.busy.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
}

// newCertificate makes a certificate that is its own CA, or that of another one.
func newCertificate(t testing.TB, host string, end time.Time, ca *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: rand.Text()},
		NotBefore: end.Add(-24 * time.Hour), NotAfter: end,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.Leaf, ca.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}
