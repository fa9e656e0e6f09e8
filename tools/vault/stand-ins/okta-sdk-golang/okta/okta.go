// Package okta stands in for that of github.com/okta/okta-sdk-golang in the build of Vault, whose 12 MB are
// one package. Vault uses it in vault/login_mfa.go alone. What fails is a login that is to be confirmed with
// Okta: NewConfiguration refuses, and the rest is here only because Vault names it.
package okta

import (
	"context"
	"errors"
	"net/http"
)

var errNoOkta = errors.New("this build of Vault has no Okta")

// Configuration is what NewConfiguration would return.
type Configuration struct {
	Context context.Context
}

// ConfigSetter is an option of NewConfiguration.
type ConfigSetter func(*Configuration)

// NewConfiguration always fails. It is the first that Vault calls.
func NewConfiguration(...ConfigSetter) (*Configuration, error) {
	return nil, errNoOkta
}

// WithToken is an option without effect.
func WithToken(string) ConfigSetter { return nil }

// WithOrgUrl is an option without effect.
func WithOrgUrl(string) ConfigSetter { return nil }

// WithCache is an option without effect.
func WithCache(bool) ConfigSetter { return nil }

// APIClient has the two services that Vault calls.
type APIClient struct {
	UserAPI       users
	UserFactorAPI factors
}

// NewAPIClient needs a configuration, and so is not reached.
func NewAPIClient(*Configuration) *APIClient { return nil }

// GetConfig returns nothing.
func (*APIClient) GetConfig() *Configuration { return nil }

type users struct{}

func (users) ListUsers(context.Context) request[[]User] { return request[[]User]{} }

type factors struct{}

func (factors) ListFactors(context.Context, string) request[[]Factor] { return request[[]Factor]{} }

func (factors) VerifyFactor(context.Context, string, string) request[Verification] {
	return request[Verification]{}
}

func (factors) GetFactorTransactionStatus(context.Context, string, string, string) request[Transaction] {
	return request[Transaction]{}
}

// request is a call whose answer would be a T.
type request[T any] struct{}

func (r request[T]) Filter(string) request[T] { return r }

func (request[T]) Execute() (answer T, _ *http.Response, _ error) {
	return answer, nil, errNoOkta
}

// User is one of ListUsers.
type User struct{}

// GetId returns nothing.
func (User) GetId() string { return "" }

// Factor is one of ListFactors.
type Factor struct {
	UserFactorPush *UserFactorPush
}

// UserFactorPush is a factor that asks a telephone.
type UserFactorPush struct{}

// GetId returns nothing.
func (UserFactorPush) GetId() string { return "" }

// Verification is the answer of VerifyFactor.
type Verification struct {
	Links map[string]any
}

// GetFactorResult returns nothing.
func (Verification) GetFactorResult() string { return "" }

// Transaction is the answer of GetFactorTransactionStatus. Vault asks which of the fields is not nil.
type Transaction struct {
	UserFactorPushTransaction, UserFactorPushTransactionWaiting,
	UserFactorPushTransactionRejected, UserFactorPushTransactionTimeout *struct{}
}
