// Package gcputil stands in for that of github.com/hashicorp/go-gcp-common in the build of Vault. That one
// brings in the whole of Google's Compute Engine API, and Vault uses a single function of it, in
// command/agentproxyshared/auth/gcp. What fails is an agent or proxy that logs in at Vault with the
// auto_auth method gcp of type iam.
package gcputil

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// GcpCredentials is what FindCredentials would return.
type GcpCredentials struct {
	ClientEmail string
}

// FindCredentials always fails.
func FindCredentials(string, context.Context, ...string) (*GcpCredentials, oauth2.TokenSource, error) {
	return nil, nil, errors.New("this build of Vault has no login with Google's IAM")
}
