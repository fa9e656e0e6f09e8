package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// simulator is an organization at ABEJA.
type simulator struct{ *vaulttest.Simulator }

func startSimulator(ctx context.Context, t *tools, secrets int, latency time.Duration) (*simulator, error) {
	dir, err := os.MkdirTemp(t.Dir, "simulator")
	if err != nil {
		return nil, err
	}
	s, err := t.Simulator(ctx, dir, "-secrets", strconv.Itoa(secrets), "-latency", latency.String())
	return &simulator{s}, err
}

// listed is what is used of a secret in a list.
type listed struct{ ID, Name string }

// list lists page after page, as ABEJA's SDK does.
func (s *simulator) list(ctx context.Context, limit int) ([]listed, error) {
	var all []listed
	for {
		body, err := s.Get(ctx, fmt.Sprintf("/secrets?offset=%d&limit=%d", len(all), limit))
		if err != nil {
			return nil, err
		}
		var page struct {
			Secrets []listed
			HasNext bool `json:"has_next"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Secrets...)
		if !page.HasNext {
			return all, nil
		}
	}
}

func (s *simulator) setLatency(ctx context.Context, d time.Duration) error {
	_, err := s.Control(ctx, http.MethodPut, "latency", map[string]string{"latency": d.String()})
	return err
}

func (s *simulator) put(ctx context.Context, name, value string) error {
	return s.putVersions(ctx, name, value, 1)
}

// putVersions adds so many versions with the same value.
func (s *simulator) putVersions(ctx context.Context, name, value string, n int) error {
	_, err := s.Control(ctx, http.MethodPut, "secrets/"+name, map[string]any{"value": value, "versions": n})
	return err
}

// counted tells how many requests for secrets came while f ran.
func (s *simulator) counted(ctx context.Context, f func() error) (int, error) {
	if _, err := s.Control(ctx, http.MethodDelete, "requests", nil); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	body, err := s.Control(ctx, http.MethodGet, "requests", nil)
	if err != nil {
		return 0, err
	}
	var answer struct{ Total int }
	err = json.Unmarshal(body, &answer)
	return answer.Total, err
}

// demoName is a name that the simulator makes up, for i from 0.
func demoName(i int) string { return fmt.Sprintf("demo_%05d", i+1) }
