package backend

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"

	"github.com/hashicorp/vault/sdk/logical"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/store"
)

// casMismatch is the wording of KV v2, on which clients rely.
const casMismatch = "check-and-set parameter did not match the current version"

func badRequest(format string, args ...any) error {
	return logical.CodedError(http.StatusBadRequest, fmt.Sprintf(format, args...))
}

// coded gives every error its status and a sentence on what to do. The result is returned bare:
// over the plugin's gRPC boundary a wrapped one would arrive as 500.
func coded(err error) error {
	if _, ok := err.(logical.HTTPCodedError); ok {
		return err
	}
	cause := err
	status, advice := http.StatusBadGateway, "try again; if it lasts, see whether Vault's host reaches api_url"
	var cas *store.CASError
	var withheld *store.WithheldError
	var noVersion *store.NoVersionError
	switch {
	case errors.Is(err, logical.ErrUnsupportedPath), errors.Is(err, logical.ErrUnsupportedOperation), errors.Is(err, logical.ErrReadOnly):
		return err // Vault knows what to do with these
	case err.Error() == logical.ErrSetupReadOnly.Error(): // only its text comes through the plugin's boundary
		status, advice = http.StatusInternalServerError, "Vault could not start the plugin when it set up its mounts; run 'vault operator step-down', or seal and unseal this node"
	case errors.As(err, &cas):
		return badRequest("%s (it is %d: read the secret and decide again)", casMismatch, cas.Current)
	case errors.As(err, &withheld):
		status, advice = http.StatusNotFound, "ABEJA gives it out no more: write a later expired_at"
	case errors.Is(err, store.ErrIncomplete):
		advice = "secrets come and go too fast at ABEJA: try again"
	case errors.Is(err, store.ErrNotFound):
		status, advice = http.StatusNotFound, "list the secrets to see which there are"
	case errors.As(err, &noVersion) && noVersion.Newest == 0:
		err = errors.New("the secret has no version")
		status, advice = http.StatusNotFound, "write a value to give it one"
	case errors.As(err, &noVersion):
		status, advice = http.StatusNotFound, "list its versions to see which there are"
	case errors.Is(err, store.ErrNoActive):
		status, advice = http.StatusNotFound, "make one active with 'secrets/NAME/versions/N status=active', write a new value, or read one with version=N"
	case errors.Is(err, store.ErrExists):
		status, advice = http.StatusConflict, "write again to update it"
	case errors.Is(err, client.ErrUnauthorized):
		err = errors.New("ABEJA refused the mount's credential, not your token")
		advice = "write a valid personal_access_token with its user_id, or an auth_token, to config, and see that it may use organization_id"
	case errors.Is(err, client.ErrInvalid):
		status, advice = http.StatusBadRequest, "correct the request"
	case errors.Is(err, client.ErrNotFound):
		status, advice = http.StatusNotFound, "list to see what there is"
	case errors.Is(err, client.ErrConflict):
		status, advice = http.StatusConflict, "read its state and decide again"
	case errors.Is(err, client.ErrRateLimited):
		status, advice = http.StatusTooManyRequests, "wait a little, then try again"
	case errors.Is(err, client.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		status, advice = http.StatusGatewayTimeout, "try again, or raise request_timeout in config"
	case errors.Is(err, client.ErrBadAnswer):
		advice = "see that api_url in config is ABEJA's API, and no proxy answers in its place"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		advice = "see that api_url in config is right, and set ca_cert if its certificate is signed by a CA of your own"
	case errors.Is(err, client.ErrUnavailable):
	default:
		return err
	}
	var partial *store.PartialError
	if errors.As(cause, &partial) && err != cause {
		err = fmt.Errorf("the value is stored as version %d, but the rest is not: %w", partial.Version, err)
	}
	var call *client.Error
	switch errors.As(cause, &call); {
	case !errors.As(cause, new(*store.UnknownOutcomeError)):
	case call.Op == client.OpCreateSecret || call.Op == client.OpCreateVersion:
		advice = "write the same again: what is stored already is not stored twice"
	default:
		advice += "; to repeat it is safe"
	}
	return logical.CodedError(status, err.Error()+": "+advice)
}
