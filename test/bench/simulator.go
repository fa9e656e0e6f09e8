package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// simulator is an organization at ABEJA.
type simulator struct {
	*process
	http *http.Client
	env  map[string]string // as of ABEJA's SDK: where it is, and the credential
}

func startSimulator(ctx context.Context, t *tools, secrets int, latency time.Duration) (*simulator, error) {
	log, err := os.CreateTemp(t.dir, "simulator")
	if err != nil {
		return nil, err
	}
	p, err := start(t, log, t.simulator, "-listen", "127.0.0.1:0", "-secrets", strconv.Itoa(secrets), "-latency", latency.String())
	if err != nil {
		return nil, err
	}
	s := &simulator{process: p, http: newHTTP(), env: map[string]string{}}
	err = p.waitUntil(ctx, func() bool {
		printed, _ := os.ReadFile(p.log)
		return strings.Contains(string(printed), "PLATFORM_AUTH_TOKEN=")
	})
	if err != nil {
		p.stop()
		return nil, err
	}
	printed, err := os.ReadFile(p.log)
	for line := range strings.Lines(string(printed)) {
		name, value, _ := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		s.env[name] = strings.TrimSpace(value)
	}
	return s, err
}

// get makes one call as the organization's user.
func (s *simulator) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet,
		s.env["ABEJA_API_URL"]+"/secret-manager/organizations/"+s.env["ABEJA_ORGANIZATION_ID"]+path, nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth("user-"+strings.TrimPrefix(s.env["ABEJA_PLATFORM_USER_ID"], "user-"), s.env["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"])
	return send(s.http, req)
}

// listed is what is used of a secret in a list.
type listed struct{ ID, Name string }

// list lists page after page, as ABEJA's SDK does.
func (s *simulator) list(ctx context.Context, limit int) ([]listed, error) {
	var all []listed
	for {
		body, err := s.get(ctx, fmt.Sprintf("/secrets?offset=%d&limit=%d", len(all), limit))
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

// control uses the simulator's own API.
func (s *simulator) control(ctx context.Context, method, path string, in any) ([]byte, error) {
	req, err := newJSON(ctx, method, s.env["ABEJA_API_URL"]+"/_simulator/"+path, in)
	if err != nil {
		return nil, err
	}
	return send(s.http, req)
}

func (s *simulator) setLatency(ctx context.Context, d time.Duration) error {
	_, err := s.control(ctx, http.MethodPut, "latency", map[string]string{"latency": d.String()})
	return err
}

func (s *simulator) put(ctx context.Context, name, value string) error {
	_, err := s.control(ctx, http.MethodPut, "secrets/"+name, map[string]string{"value": value})
	return err
}

// counted tells how many requests for secrets came while f ran.
func (s *simulator) counted(ctx context.Context, f func() error) (int, error) {
	if _, err := s.control(ctx, http.MethodDelete, "requests", nil); err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	body, err := s.control(ctx, http.MethodGet, "requests", nil)
	if err != nil {
		return 0, err
	}
	var answer struct{ Total int }
	err = json.Unmarshal(body, &answer)
	return answer.Total, err
}

// demoName is a name that the simulator makes up, for i from 0.
func demoName(i int) string { return fmt.Sprintf("demo_%05d", i+1) }
