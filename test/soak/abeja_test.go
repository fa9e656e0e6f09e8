package soak

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// abeja is a simulated ABEJA Secret Manager with one organization.
type abeja struct {
	*process
	url string
}

const (
	organization = "1410000000000"
	user         = "user-1410000000001"
)

func startABEJA(t *testing.T, token, authToken string, args ...string) *abeja {
	t.Helper()
	args = append([]string{"-listen", "127.0.0.1:0", "-organization", organization, "-user", user, "-token", token, "-auth-token", authToken}, args...)
	a := &abeja{process: start(t, tempDir(t), "abeja.log", simulatorBin, args...)}
	eventually(t, 30*time.Second, "the simulator serves", func() bool {
		log, _ := os.ReadFile(a.log)
		_, after, found := strings.Cut(string(log), "ABEJA_API_URL=")
		a.url, _, _ = strings.Cut(after, "\n")
		return found && strings.Contains(string(log), "PLATFORM_AUTH_TOKEN=")
	})
	return a
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
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, a.url+"/_simulator/"+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("the simulator: %v", err)
		return
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode >= 300 {
		t.Errorf("the simulator: %s %s: %s", method, path, answer)
	}
}

func (a *abeja) strike(t *testing.T, f fault) { a.control(t, http.MethodPost, "faults", f) }
func (a *abeja) heal(t *testing.T)            { a.control(t, http.MethodDelete, "faults", nil) }

// held is what ABEJA has: by name the values of versions 1, 2, 3 and so on.
type held map[string][]string

// held asks ABEJA itself, past the plugin.
func (a *abeja) held(t *testing.T, token string) held {
	t.Helper()
	all := held{}
	for offset, more := 0, true; more; offset += 50 {
		req, err := http.NewRequest(http.MethodGet, fmt.Sprintf(
			"%s/secret-manager/organizations/%s/secrets?return_secret_value=True&limit=50&offset=%d", a.url, organization, offset), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.SetBasicAuth(user, token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
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
		if err := json.NewDecoder(resp.Body).Decode(&page); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("ABEJA's list: %s, %v", resp.Status, err)
		}
		for _, s := range page.Secrets {
			slices.SortFunc(s.Versions, func(a, b struct {
				Version int
				Value   []byte
			}) int {
				return cmp.Compare(a.Version, b.Version)
			})
			for i, v := range s.Versions {
				if v.Version != i+1 {
					t.Errorf("%s has no version %d at ABEJA, though none was deleted", s.Name, i+1)
				}
				all[s.Name] = append(all[s.Name], string(v.Value))
			}
		}
		more = page.HasNext
	}
	return all
}
