// Package discover stands in for github.com/hashicorp/go-discover in the build of Vault. By that module a
// node asks a cloud for the addresses of the rest of its cluster (auto_join). The Vault that is built here
// is for tests and needs none of it, and the clouds' libraries are half of all that would be compiled.
//
// It has only the names that Vault uses, in command/server/config.go and vault/raft.go. What fails is
// auto_join, in the configuration and in 'vault operator raft join'. A cluster whose nodes name each other
// (leader_api_addr) works.
package discover

import (
	"errors"
	"log"
)

var errNoAutoJoin = errors.New("this build of Vault has no auto-join")

// Config is what Parse would return.
type Config map[string]string

// Parse refuses each auto_join of a configuration.
func Parse(string) (Config, error) {
	return nil, errNoAutoJoin
}

func (Config) String() string {
	return ""
}

// Provider is a cloud.
type Provider interface {
	Addrs(map[string]string, *log.Logger) ([]string, error)
	Help() string
}

// Providers has none. Vault adds that of package k8s.
var Providers map[string]Provider

// Option is what WithProviders returns.
type Option func(*Discover) error

// WithProviders is an option without effect.
func WithProviders(map[string]Provider) Option {
	return nil
}

// Discover is what Vault makes whenever a node joins a cluster, by auto_join or not.
type Discover struct{}

// New always succeeds, so that a node can join without auto_join.
func New(...Option) (*Discover, error) {
	return &Discover{}, nil
}

// Addrs refuses the auto_join of a request.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errNoAutoJoin
}
