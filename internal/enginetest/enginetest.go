// Package enginetest mounts the engine in the test's own process, for an ABEJA that is a simulator, and asks
// it as Vault does: numbers come as float64, the existence check decides between create and update, and a
// response or an error becomes an HTTP status.
//
// It is given the engine's factory and imports no package of the engine, so that their own tests can use it.
package enginetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// Start makes a backend on a storage, as each of Vault's nodes does. It logs all to
// log, if there is one.
func Start(t testing.TB, factory logical.Factory, storage logical.Storage, view logical.SystemView, log io.Writer) logical.Backend {
	t.Helper()
	logger := hclog.NewNullLogger()
	if log != nil {
		logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: log, JSONFormat: true})
	}
	b, err := factory(t.Context(), &logical.BackendConfig{
		Logger:      logger,
		System:      view,
		StorageView: storage,
		Config:      map[string]string{},
	})
	require.NoError(t, err)
	return b
}

// Config is a config for a simulator at that URL. It tries nothing again, so that a test can count; what is
// given in over goes over it.
func Config(sim *simulator.Simulator, url string, over ...map[string]any) map[string]any {
	org, user, token, _ := sim.Credentials()
	c := map[string]any{"organization_id": org, "user_id": user, "personal_access_token": token, "api_url": url, "max_retries": 0}
	for _, o := range over {
		maps.Copy(c, o)
	}
	return c
}

// Request is one to the mount at abeja/.
func Request(t testing.TB, storage logical.Storage, op logical.Operation, path string, data map[string]any) *logical.Request {
	t.Helper()
	req := &logical.Request{Operation: op, Path: path, MountPoint: "abeja/", Storage: storage}
	if data != nil {
		wire, err := json.Marshal(data)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(wire, &req.Data))
	}
	return req
}

// Check asks the existence check whether an update is a create, and makes it one. Its errors have no code:
// all are 500 to Vault, but for an unsupported path, which the request itself finds out.
func Check(ctx context.Context, b logical.Backend, req *logical.Request) error {
	if req.Operation != logical.UpdateOperation {
		return nil
	}
	checked, exists, err := b.HandleExistenceCheck(ctx, req)
	if err != nil && err != logical.ErrUnsupportedPath {
		return errors.New(err.Error())
	}
	if checked && !exists {
		req.Operation = logical.CreateOperation
	}
	return nil
}

// Do makes a request, a write after its existence check.
func Do(ctx context.Context, b logical.Backend, req *logical.Request) (*logical.Response, error) {
	if err := Check(ctx, b, req); err != nil {
		return nil, err
	}
	return b.HandleRequest(ctx, req)
}

// Answer is what Vault's API answers.
type Answer struct {
	Status   int
	Data     map[string]any
	Warnings []string
	Text     string // of the error
}

// AnswerTo makes of a response or an error what Vault does.
func AnswerTo(op logical.Operation, resp *logical.Response, err error) Answer {
	switch coded, ok := err.(logical.HTTPCodedError); { // a code that is wrapped is lost
	case ok:
		return Answer{Status: coded.Code(), Text: err.Error()}
	case err == logical.ErrUnsupportedOperation:
		return Answer{Status: http.StatusMethodNotAllowed, Text: err.Error()}
	case err == logical.ErrUnsupportedPath:
		return Answer{Status: http.StatusNotFound, Text: err.Error()}
	case err != nil:
		return Answer{Status: http.StatusInternalServerError, Text: err.Error()}
	case resp == nil && (op == logical.ReadOperation || op == logical.ListOperation):
		return Answer{Status: http.StatusNotFound}
	case resp == nil:
		return Answer{Status: http.StatusNoContent}
	}
	a := Answer{Status: http.StatusOK, Data: resp.Data, Warnings: resp.Warnings}
	if status, raw := resp.Data[logical.HTTPStatusCode].(int); raw {
		switch body := resp.Data[logical.HTTPRawBody].(type) {
		case string: // JSON, with data beside warnings
			a = Answer{}
			json.Unmarshal([]byte(body), &a)
		case nil:
			a = Answer{}
		}
		a.Status = status
	}
	return a
}

var hidden = vaulttest.Forms("hidden")

// Shows reports whether a text shows what begins with "hidden", in any form. In tests with these secrets no
// error, warning or log may.
func Shows(text string) bool {
	for _, form := range hidden {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

// Log keeps what is logged.
type Log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
