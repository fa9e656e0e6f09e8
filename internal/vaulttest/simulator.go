package vaulttest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
)

// Simulator is the process of an ABEJA with one organization.
type Simulator struct {
	*Process
	// Env has where it is and its credentials, in the variables of ABEJA's SDK.
	Env map[string]string
}

// Simulator starts one with more flags of cmd/abeja-simulator. It logs to simulator.log.
func (p *Programs) Simulator(ctx context.Context, dir string, flags ...string) (*Simulator, error) {
	process, err := p.Start(dir, "simulator.log", "abeja-simulator", append([]string{"-listen", "127.0.0.1:0"}, flags...)...)
	if err != nil {
		return nil, err
	}
	s := &Simulator{process, map[string]string{}}
	err = s.WaitUntil(ctx, func() bool {
		_, last, found := strings.Cut(s.Printed(), "PLATFORM_AUTH_TOKEN=")
		return found && strings.Contains(last, "\n")
	})
	if err != nil {
		s.Kill()
		return nil, err
	}
	for line := range strings.Lines(s.Printed()) {
		if assignment, ok := strings.CutPrefix(line, "export "); ok {
			name, word, _ := strings.Cut(strings.TrimSpace(assignment), "=")
			if quoted, ok := strings.CutPrefix(word, "'"); ok { // as for a shell
				word = strings.ReplaceAll(strings.TrimSuffix(quoted, "'"), `'\''`, "'")
			}
			s.Env[name] = word
		}
	}
	return s, nil
}

// URL is where ABEJA's API is.
func (s *Simulator) URL() string { return s.Env["ABEJA_API_URL"] }

// Credentials are all that no log may show.
func (s *Simulator) Credentials() []string {
	token := s.Env["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"]
	return []string{token, s.Env["ABEJA_PLATFORM_USER_ID"] + ":" + token, s.Env["PLATFORM_AUTH_TOKEN"]}
}

// Config is that of a mount of this organization; more goes over it.
func (s *Simulator) Config(more map[string]any) map[string]any {
	config := map[string]any{
		"organization_id": s.Env["ABEJA_ORGANIZATION_ID"], "user_id": s.Env["ABEJA_PLATFORM_USER_ID"],
		"personal_access_token": s.Env["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"], "api_url": s.URL(),
	}
	maps.Copy(config, more)
	return config
}

// Get makes a call below the organization as its user, past the plugin.
func (s *Simulator) Get(ctx context.Context, path string) ([]byte, error) {
	url := s.URL() + "/secret-manager/organizations/" + s.Env["ABEJA_ORGANIZATION_ID"] + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(s.Env["ABEJA_PLATFORM_USER_ID"], s.Env["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"])
	return succeed(req)
}

// Control uses the simulator's own API, of which package simulator tells.
func (s *Simulator) Control(ctx context.Context, method, path string, in any) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL()+"/_simulator/"+path, strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	return succeed(req)
}

func succeed(req *http.Request) ([]byte, error) {
	status, answer, err := do(req)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("%s %s: %d %.500s", req.Method, req.URL.Path, status, answer)
	}
	return answer, err
}
