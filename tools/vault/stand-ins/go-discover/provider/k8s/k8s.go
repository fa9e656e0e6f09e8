// Package k8s stands in for go-discover's provider of the same name, as package discover does for all others.
package k8s

import (
	"errors"
	"log"
)

// Provider is Kubernetes.
type Provider struct{}

// Addrs always fails.
func (*Provider) Addrs(map[string]string, *log.Logger) ([]string, error) {
	return nil, errors.New("this build of Vault has no auto-join")
}

// Help has nothing to say.
func (*Provider) Help() string {
	return ""
}
