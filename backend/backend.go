// Package backend is what Vault sees of the engine: its paths, fields, checks and errors. A mount
// shows the secrets of one organization at ABEJA Secret Manager, with one credential.
package backend

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

const help = `
The abeja secrets engine shows the secrets of one organization at ABEJA Secret
Manager. Vault's policies decide who may do what with them; only the mount holds
a credential for ABEJA.

Write to "config" first, then read, write, list and delete "secrets/NAME".
`

// Build says what was built.
type Build struct {
	// Version is semantic, with "v" in front: Vault wants the one under which the plugin is
	// registered.
	Version string
	// Commit is git's hash of the sources, with "-dirty" behind it if they were changed since.
	Commit string
	// Transport replaces the network, as client.Config's does. For tests.
	Transport http.RoundTripper
}

// Factory returns the function with which Vault makes a backend.
func Factory(build Build) logical.Factory {
	registry, long := new(store.Registry), newLongAnswers() // of all mounts that the process serves
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		b := &backend{build: build, registry: registry, long: long, shelf: &shelf{storage: conf.StorageView, prefix: shelfPrefix}}
		b.custom = &customMetadata{shelf: &shelf{storage: conf.StorageView, prefix: customPrefix}}
		b.ctx, b.end = context.WithCancel(context.Background())
		b.metrics = newMetrics(build, b.state)
		b.Backend = &framework.Backend{
			Help:           strings.TrimSpace(help),
			BackendType:    logical.TypeLogical,
			RunningVersion: build.Version,
			InitializeFunc: b.initialize,
			Invalidate:     b.invalidate,
			Clean:          b.clean,
			PeriodicFunc:   b.periodic,
			PathsSpecial: &logical.Paths{
				SealWrapStorage: []string{configKey, customPrefix, shelfPrefix},
				LocalStorage:    []string{shelfPrefix},
			},
			Paths: append([]*framework.Path{
				b.pathConfig(),
				b.pathStatus(),
				b.pathMetrics(),
			}, b.forwarding([]*framework.Path{
				b.pathSecretsList(),
				b.pathVersionsList(),
				b.pathVersion(),
				b.pathSecret(),
				b.pathIDsList(),
				b.pathID(),
				b.pathNoName(),
				b.pathGenerate(),
				b.pathKVData(),
				b.pathKVList(),
				b.pathKVMetadata(),
				b.pathKVDelete(),
				b.pathKVUndelete(),
				b.pathKVDestroy(),
				b.pathKVSubkeys(),
			})...),
		}
		if err := b.Setup(ctx, conf); err != nil {
			return nil, err
		}
		return b, nil
	}
}

type backend struct {
	*framework.Backend
	build    Build
	metrics  *metrics
	registry *store.Registry
	long     longAnswers
	shelf    *shelf
	custom   *customMetadata

	ctx context.Context // ends with the mount
	end context.CancelFunc

	// configMu is held while the stored config and mounted are brought in line, never over a
	// call to ABEJA.
	configMu sync.Mutex
	mounted  atomic.Pointer[mount] // nil: to be made from the stored config
}

// mount is a config with the store that it makes.
type mount struct {
	config   config
	store    *store.Store
	probe    probe
	custom   *customMetadata
	lastGood *store.LastGood // nil if the mount keeps none
}

// mount returns the store in use. Once made, it costs no read of Vault's storage.
func (b *backend) mount(ctx context.Context, req *logical.Request) (*mount, error) {
	if m := b.mounted.Load(); m != nil {
		return m, nil
	}
	b.configMu.Lock()
	defer b.configMu.Unlock()
	if m := b.mounted.Load(); m != nil {
		return m, nil
	}
	c, err := readConfig(ctx, req.Storage)
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, logical.CodedError(http.StatusBadRequest, fmt.Sprintf(
			"not configured: run 'vault write %sconfig organization_id=ID user_id=ID personal_access_token=-'", req.MountPoint))
	}
	m, err := b.newMount(*c)
	if err != nil {
		return nil, err
	}
	if err := b.keepLastGood(ctx, m); err != nil {
		m.store.Close()
		return nil, err
	}
	b.mounted.Store(m)
	return m, nil
}

func (b *backend) newMount(c config) (*mount, error) {
	organization := b.registry.Organization(c.APIURL, c.OrganizationID)
	m := &mount{config: c, custom: b.custom}
	cl, err := client.New(client.Config{
		BaseURL:        c.APIURL,
		OrganizationID: c.OrganizationID,
		Auth:           c.auth(),
		CACert:         c.CACert,
		Timeout:        c.RequestTimeout,
		MaxRetries:     c.MaxRetries,
		Limiter:        organization.Limiter(),
		Room:           organization.Room(),
		Gate:           organization.Gate(),
		UserAgent:      "vault-plugin-secrets-abeja/" + b.build.Version,
		Transport:      b.build.Transport,
		Observe: func(a client.Attempt) {
			b.metrics.attempt(a)
			b.Logger().Trace("request to ABEJA", "call", string(a.Op), "status", a.Status, "duration", a.Duration)
		},
		ObserveError: func(e *client.Error) {
			b.metrics.callFailed(e)
			if e.Status == http.StatusUnauthorized {
				m.store.Revoke()
			}
		},
	})
	if err != nil {
		return nil, logical.CodedError(http.StatusBadRequest, err.Error())
	}
	var fresh store.Freshness
	if !b.System().CachingDisabled() {
		fresh = c.freshness(c.StandbyMaxAge > 0 && b.standsBy())
	}
	m.store = organization.Open(b.ctx, store.Options{
		Client: cl, Prefix: c.NamePrefix, Freshness: fresh,
		RequestsPerSecond: c.MaxRequestsPerSecond, Stats: &b.metrics.stores, Watch: b.logWeather,
	})
	return m, nil
}

// logWeather says in Vault's log when ABEJA is left alone, and when it is asked again.
func (b *backend) logWeather(w store.Weather) {
	if w.Open {
		b.Logger().Warn("ABEJA fails, and is asked only now and then until it answers", "since", w.Since.UTC().Format(time.RFC3339), "why", w.Why)
	} else {
		b.Logger().Info("ABEJA answers again")
	}
}

// initialize loads the names in the background, so that the first request need not wait for them.
// It never delays or fails a mount or an unseal.
func (b *backend) initialize(ctx context.Context, req *logical.InitializationRequest) error {
	if m, err := b.mount(ctx, &logical.Request{Storage: req.Storage}); err == nil {
		m.store.Warm()
	}
	return nil
}

// forget makes the next request begin from the stored config; configMu is held.
func (b *backend) forget() {
	if m := b.mounted.Swap(nil); m != nil {
		m.store.Close()
	}
}

// clean is called when the mount is disabled or its plugin reloaded: nothing goes on with its
// credential.
func (b *backend) clean(context.Context) {
	b.configMu.Lock()
	defer b.configMu.Unlock()
	b.end()
	b.forget()
}

// invalidate is called on standbys and secondaries of Vault Enterprise when storage has changed.
func (b *backend) invalidate(_ context.Context, key string) {
	switch {
	case key == configKey:
		b.configMu.Lock()
		defer b.configMu.Unlock()
		b.forget()
	case strings.HasPrefix(key, customPrefix):
		b.custom.reload()
	}
}

// HandleRequest implements logical.Backend.
func (b *backend) HandleRequest(ctx context.Context, req *logical.Request) (resp *logical.Response, err error) {
	defer b.recover(req, &err)
	unread, err := b.leaveUnread(req)
	if err != nil {
		return nil, err
	}
	if err := b.checkTypes(req); err != nil {
		return nil, err
	}
	b.loadForStandby(ctx, req)
	resp, err = b.Backend.HandleRequest(ctx, req)
	if err != nil {
		return resp, coded(err)
	}
	if unread != "" && (resp != nil || !isRead(req.Operation)) { // a read without an answer is 404
		if resp == nil {
			resp = &logical.Response{}
		}
		resp.AddWarning(unread)
	}
	if req.Operation == logical.HelpOperation {
		if doc, ok := resp.Data["openapi"].(*framework.OASDocument); ok {
			narrow(doc)
		}
	}
	return resp, nil
}

// HandleExistenceCheck implements logical.Backend.
func (b *backend) HandleExistenceCheck(ctx context.Context, req *logical.Request) (checked, exists bool, err error) {
	defer b.recover(req, &err)
	if b.checkTypes(req) != nil {
		return false, false, nil // the handler says what is wrong, to those who may ask
	}
	if err := b.checkedElsewhere(ctx); err != nil {
		return false, false, err
	}
	return b.Backend.HandleExistenceCheck(ctx, req)
}

// recover answers a panic with 500: not recovered, it would end the process of every mount. It
// logs where it happened, without any value.
func (b *backend) recover(req *logical.Request, err *error) {
	r := recover()
	if r == nil {
		return
	}
	var pcs [32]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	var where []string
	for {
		f, more := frames.Next()
		where = append(where, fmt.Sprintf("%s:%d", f.Function, f.Line))
		if !more {
			break
		}
	}
	b.metrics.panics.Add(1)
	b.Logger().Error("panic: please report this bug", "operation", req.Operation, "type", fmt.Sprintf("%T", r), "stack", where)
	*err = logical.CodedError(http.StatusInternalServerError, "internal error of the plugin: its stack is in Vault's log, please report it")
}

// background runs f beside the requests. A panic of it is answered to nobody, and logged as theirs are.
func (b *backend) background(f func()) {
	go func() {
		var err error
		defer b.recover(&logical.Request{}, &err)
		f()
	}()
}

// checkTypes refuses fields of the wrong type. The framework would too, but it words the refusal
// with the value that it was given.
func (b *backend) checkTypes(req *logical.Request) error {
	path := b.Route(req.Path)
	if path == nil || req.Operation == logical.HelpOperation {
		return nil
	}
	d := framework.FieldData{Raw: req.Data, Schema: path.Fields}
	for field, schema := range path.Fields {
		raw := req.Data[field]
		if raw == nil {
			continue
		}
		if _, _, err := d.GetOkErr(field); err != nil || misread(raw, schema.Type) {
			return badRequest("%s must be %s", field, typeNames[schema.Type])
		}
	}
	return nil
}

// misread reports whether the framework takes raw for something else: true for the number or the text
// 1, and 1.5 for the whole number 1. Vault hands every number to a plugin as a float64.
func misread(raw any, as framework.FieldType) bool {
	switch raw := raw.(type) {
	case bool:
		return as != framework.TypeBool
	case float64:
		return (as == framework.TypeInt || as == framework.TypeCommaIntSlice) && raw != math.Trunc(raw)
	case []any:
		return slices.ContainsFunc(raw, func(each any) bool { return misread(each, as) })
	}
	return false
}

var typeNames = map[framework.FieldType]string{
	framework.TypeString:           "text",
	framework.TypeInt:              "a whole number",
	framework.TypeFloat:            "a number",
	framework.TypeBool:             "true or false",
	framework.TypeDurationSecond:   "a duration such as 30s, or a number of seconds",
	framework.TypeCommaStringSlice: "a list of texts, or one text with commas",
	framework.TypeCommaIntSlice:    "a list of whole numbers, or one text with commas",
	framework.TypeMap:              "a map",
}
