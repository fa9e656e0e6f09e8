package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// prometheus starts Prometheus on a free port with the examples of docs, which it leaves in $WORK. It
// scrapes this Vault, every two seconds, with the token in the file vault-token. $PROMETHEUS_URL says where
// it is.
func prometheus(ts *testscript.TestScript, _ bool, _ []string) {
	config := ts.ReadFile(filepath.Join(repository, "docs", "prometheus.yml"))
	for _, replace := range [][2]string{
		{"_interval: 30s", "_interval: 2s"},
		{"scheme: https", "scheme: http"},
		{"vault.example.com:8200", strings.TrimPrefix(ts.Getenv("VAULT_ADDR"), "http://")},
	} {
		if !strings.Contains(config, replace[0]) {
			ts.Fatalf("docs/prometheus.yml has no %q", replace[0])
		}
		config = strings.ReplaceAll(config, replace[0], replace[1])
	}
	ts.Check(os.WriteFile(inWork(ts, "prometheus.yml"), []byte(config), 0o600))
	alerts := ts.ReadFile(filepath.Join(repository, "docs", "alerts.yml"))
	ts.Check(os.WriteFile(inWork(ts, "alerts.yml"), []byte(alerts), 0o600))

	p, err := programs.Start(ts.Getenv("WORK"), "prometheus.log", "prometheus", "--config.file=prometheus.yml",
		"--storage.tsdb.path="+inWork(ts, "prometheus"), "--web.listen-address=127.0.0.1:0")
	ts.Check(err)
	ts.Defer(p.Stop)
	listening := regexp.MustCompile(`msg="Listening on" address=(\S+)`)
	ts.Check(p.WaitUntil(context.Background(), func() bool {
		match := listening.FindStringSubmatch(p.Printed())
		if match == nil {
			return false
		}
		ts.Setenv("PROMETHEUS_URL", "http://"+match[1])
		status, _, _ := vaulttest.Send(context.Background(), http.MethodGet, ts.Getenv("PROMETHEUS_URL")+"/-/ready", "", nil)
		return status == http.StatusOK
	}))
}

// answers QUERY waits until Prometheus has an answer to a query.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	until(ts, func() error {
		if len(query(ts, args[0])) == 0 {
			return fmt.Errorf("no answer to %s", args[0])
		}
		return nil
	})
}

// dashboard FILE [METRIC...] asks Prometheus each query of a dashboard of Grafana, as Grafana would
// for all jobs, until each answer has a number above 0; 0 will do for queries of these metrics.
func dashboard(ts *testscript.TestScript, _ bool, args []string) {
	var file struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Templating struct {
			List []struct{ Name, Definition string }
		}
	}
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &file))
	variables := []string{"$__rate_interval", "10m", "$__range", "10m"}
	labelValues := regexp.MustCompile(`^label_values\((\w+), (\w+)\)$`)
	for _, v := range file.Templating.List {
		if match := labelValues.FindStringSubmatch(v.Definition); match != nil {
			var values []string
			ask(ts, "/api/v1/label/"+match[2]+"/values", url.Values{"match[]": {match[1]}}, &values)
			variables = append(variables, "$"+v.Name, "("+strings.Join(values, "|")+")")
		}
	}
	fill := strings.NewReplacer(variables...)
	asked := make(map[string]bool)
	for _, panel := range file.Panels {
		for _, target := range panel.Targets {
			expr := fill.Replace(target.Expr)
			mayBeZero := slices.ContainsFunc(args[1:], func(metric string) bool { return strings.Contains(expr, metric) })
			until(ts, func() error {
				values := query(ts, expr)
				// Neither comparison is true of NaN.
				if slices.ContainsFunc(values, func(v float64) bool { return v > 0 || mayBeZero && v == 0 }) {
					return nil
				}
				return fmt.Errorf("%s: %v is the answer to %s", panel.Title, values, expr)
			})
			asked[expr] = true
		}
	}
	fmt.Fprintf(ts.Stdout(), "%d queries of %d panels\n", len(asked), len(file.Panels))
}

// alerts checks that Prometheus can evaluate its rules, and has all series that they are about.
func alerts(ts *testscript.TestScript, _ bool, _ []string) {
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Query, Health, LastError string }
		}
	}
	selector := regexp.MustCompile(`\b(vault_abeja_|process_|go_|up\b)\w*(\{[^}]*\})?`)
	until(ts, func() error {
		ask(ts, "/api/v1/rules", nil, &rules)
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				if rule.Health != "ok" {
					return fmt.Errorf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
				}
				for _, series := range selector.FindAllString(rule.Query, -1) {
					if len(query(ts, series)) == 0 {
						return fmt.Errorf("%s: there is no %s", rule.Name, series)
					}
				}
			}
		}
		return nil
	})
	for _, group := range rules.Groups {
		fmt.Fprintf(ts.Stdout(), "%d alerts\n", len(group.Rules))
	}
}

// until waits for what Prometheus will know after a scrape or two.
func until(ts *testscript.TestScript, try func() error) {
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("after 2 minutes: %v", err)
		}
	}
}

// query asks for the values of an expression at this moment.
func query(ts *testscript.TestScript, expr string) []float64 {
	var vector struct {
		Result []struct{ Value [2]any }
	}
	ask(ts, "/api/v1/query", url.Values{"query": {expr}}, &vector)
	var values []float64
	for _, sample := range vector.Result {
		value, err := strconv.ParseFloat(sample.Value[1].(string), 64)
		ts.Check(err)
		values = append(values, value)
	}
	return values
}

// ask returns the data of an answer of Prometheus' API.
func ask(ts *testscript.TestScript, path string, parameters url.Values, data any) {
	resp, err := http.Get(ts.Getenv("PROMETHEUS_URL") + path + "?" + parameters.Encode())
	ts.Check(err)
	defer resp.Body.Close()
	answer := struct {
		Error string
		Data  any
	}{Data: data}
	ts.Check(json.NewDecoder(resp.Body).Decode(&answer))
	if answer.Error != "" {
		ts.Fatalf("%s: %s", parameters.Encode(), answer.Error)
	}
}
