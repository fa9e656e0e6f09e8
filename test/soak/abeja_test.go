package soak

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// abeja is a simulated ABEJA Secret Manager with one organization.
type abeja struct{ *vaulttest.Simulator }

func startABEJA(t *testing.T, token, authToken string, args ...string) *abeja {
	t.Helper()
	s, err := programs.Simulator(context.Background(), tempDir(t), append([]string{"-token", token, "-auth-token", authToken}, args...)...)
	require.NoError(t, err)
	t.Cleanup(s.Stop)
	return &abeja{s}
}

// fault is one of internal/simulator's, as its control API takes it.
type fault struct {
	Op          string `json:"op,omitempty"`
	Kind        string `json:"kind"`
	Count       int    `json:"count"`
	Status      int    `json:"status,omitempty"`
	RetryAfter  string `json:"retry_after,omitempty"`
	Delay       string `json:"delay,omitempty"`
	Body        string `json:"body,omitempty"`
	AfterActing bool   `json:"after_acting,omitempty"`
}

// control uses the simulator's own API.
func (a *abeja) control(t *testing.T, method, path string, in any) {
	_, err := a.Control(context.Background(), method, path, in)
	assert.NoError(t, err)
}

func (a *abeja) strike(t *testing.T, f fault) { a.control(t, http.MethodPost, "faults", f) }
func (a *abeja) heal(t *testing.T)            { a.control(t, http.MethodDelete, "faults", nil) }

// held is what ABEJA has: by name the values of versions 1, 2, 3 and so on.
type held map[string][]string

// held asks ABEJA itself, past the plugin.
func (a *abeja) held(t *testing.T) held {
	t.Helper()
	all := held{}
	for offset, more := 0, true; more; offset += 50 {
		body, err := a.Get(t.Context(), fmt.Sprintf("/secrets?return_secret_value=True&limit=50&offset=%d", offset))
		require.NoError(t, err)
		var page struct {
			Secrets []struct {
				Name     string
				Versions []struct {
					Version int
					Value   []byte
				}
			}
			HasNext bool `json:"has_next"`
		}
		require.NoError(t, json.Unmarshal(body, &page))
		for _, s := range page.Secrets {
			slices.SortFunc(s.Versions, func(a, b struct {
				Version int
				Value   []byte
			}) int {
				return cmp.Compare(a.Version, b.Version)
			})
			for i, v := range s.Versions {
				assert.Equal(t, i+1, v.Version, "%s lacks a version at ABEJA, though none was deleted", s.Name)
				all[s.Name] = append(all[s.Name], string(v.Value))
			}
		}
		more = page.HasNext
	}
	return all
}
