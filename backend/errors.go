package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// casMismatch is the wording of KV v2, on which clients rely.
const casMismatch = "check-and-set parameter did not match the current version"

// errGone says that there is nothing to change: only a create makes a secret.
var errGone = errors.New("there is no such secret")

// deniedError is a secret that has expired, in a mount that refuses those.
type deniedError struct{ *store.WithheldError }

// Error implements error.
func (e *deniedError) Error() string {
	return "the secret has " + e.WithheldError.Error() + ", and the mount's config has expired_secrets=deny"
}

func badRequest(format string, args ...any) error {
	return logical.CodedError(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// wording is what becomes of one kind of error.
type wording struct {
	kind   func(error) bool
	status int
	fact   string // in place of the error's own words
	advice string
}

const nothingSent = "nothing was sent, so "

// wordings is what becomes of each kind of error: the first that fits. All advice about what is below
// this package is here, and the errors below state only facts, so no message advises twice.
var wordings = []wording{
	{setupReadOnly, http.StatusInternalServerError, "",
		"Vault could not start the plugin when it set up its mounts; run 'vault operator step-down', or seal and unseal this node"},
	{is[*customError], http.StatusInternalServerError, "", "do the same again, which is safe"},
	{is[*deniedError], http.StatusForbidden, "", "set a later expired_at"},
	{of(errGone), http.StatusNotFound, "", "write it again by its name, with a value, to create it"},
	{is[*store.WithheldError], http.StatusNotFound, "", "ABEJA no longer returns it: set a later expired_at"},
	{of(store.ErrIncomplete), http.StatusBadGateway, "", "secrets come and go too fast at ABEJA: try again"},
	{of(store.ErrUnnamed), http.StatusBadGateway, "", "correct its record at ABEJA, and see odd_records in status"},
	{of(store.ErrOdd), http.StatusBadGateway, "", "read another version with version=N, or replace this one: write a value with cas=N"},
	{of(store.ErrNotFound), http.StatusNotFound, "", "list the secrets to see what exists"},
	{withoutVersion, http.StatusNotFound, "the secret has no version", "write a value to give it one"},
	{is[*store.NoVersionError], http.StatusNotFound, "", "list its versions to see what exists"},
	{of(store.ErrNoActive), http.StatusNotFound, "",
		"make one active with 'secrets/NAME/versions/N status=active', write a new value, or read one with version=N"},
	{of(store.ErrExists), http.StatusConflict, "", "write again to update it"},
	{of(client.ErrUnauthorized), http.StatusBadGateway, "ABEJA refused the mount's credential, not your token",
		"write a valid personal_access_token with its user_id, or an auth_token, to config, and check that it may use organization_id"},
	{of(client.ErrInvalid), http.StatusBadRequest, "", "correct the request"},
	{of(client.ErrNotFound), http.StatusNotFound, "", "list to see what there is"},
	{of(client.ErrConflict), http.StatusConflict, "", "read its state and decide again"},
	{askedToWait, http.StatusTooManyRequests, "", nothingSent + "wait a little, then try again"},
	{of(client.ErrNotAsked), http.StatusServiceUnavailable, "", nothingSent + "wait a little, then try again"},
	{of(client.ErrRateLimited), http.StatusTooManyRequests, "", "wait a little, then try again"},
	{of(client.ErrTimeout, context.DeadlineExceeded, context.Canceled), http.StatusGatewayTimeout, "",
		"try again, or raise request_timeout in config"},
	{of(client.ErrBadAnswer), http.StatusBadGateway, "", "check that api_url in config is ABEJA's API and that no proxy answers instead"},
	{is[*tls.CertificateVerificationError], http.StatusBadGateway, "",
		"check that api_url in config is right, and set ca_cert if its certificate is signed by a CA of your own"},
	{of(client.ErrUnavailable), http.StatusBadGateway, "", "try again; if it persists, check that Vault's host can reach api_url"},
}

func of(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
}

func is[T error](err error) bool { return errors.As(err, new(T)) }

// setupReadOnly knows the error by its text, which is all that comes through the plugin's boundary.
func setupReadOnly(err error) bool { return err.Error() == logical.ErrSetupReadOnly.Error() }

// askedToWait knows a request that was not sent since ABEJA has named a time with Retry-After.
func askedToWait(err error) bool {
	return errors.Is(err, client.ErrNotAsked) && errors.Is(err, client.ErrRateLimited)
}

func withoutVersion(err error) bool {
	var missing *store.NoVersionError
	return errors.As(err, &missing) && missing.Newest == 0
}

// coded gives every error its status and a sentence on what to do. The result is returned bare:
// over the plugin's gRPC boundary a wrapped one would arrive as 500.
func coded(err error) error {
	if _, ok := err.(logical.HTTPCodedError); ok {
		return err
	}
	if cas := (*store.CASError)(nil); errors.As(err, &cas) {
		return badRequest("%s (it is %d: read the secret and decide again)", casMismatch, cas.Current)
	}
	i := slices.IndexFunc(wordings, func(w wording) bool { return w.kind(err) })
	if i < 0 {
		return err // Vault's own, such as ErrUnsupportedPath, or 500
	}
	status, fact, advice := wordings[i].status, err.Error(), wordings[i].advice
	if wordings[i].fact != "" {
		fact = wordings[i].fact
		var partial *store.PartialError
		if errors.As(err, &partial) {
			fact = fmt.Sprintf("the value is stored as version %d, but the rest is not: %s", partial.Version, fact)
		}
	}
	if is[*store.UnknownOutcomeError](err) || is[*store.PartialError](err) {
		advice = strings.TrimPrefix(advice, nothingSent) // this try was not, but others were
	}
	if is[*store.UnknownOutcomeError](err) {
		var call *client.Error
		if errors.As(err, &call) && (call.Op == client.OpCreateSecret || call.Op == client.OpCreateVersion) {
			advice = "repeat the write; nothing is stored twice"
		} else {
			advice += "; it is safe to repeat"
		}
	}
	return logical.CodedError(status, fact+": "+advice)
}
