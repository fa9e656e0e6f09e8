package e2e

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
)

// together FILE sends all requests of a file to Vault at once. Each is a line: method, path and body, if
// it has one. It prints the statuses of the answers, one a line and sorted, since any of them may come first.
func together(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: together FILE")
	}
	var requests []*http.Request
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		method, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		path, body, _ := strings.Cut(rest, " ")
		req, err := http.NewRequest(method, ts.Getenv("VAULT_ADDR")+"/v1/"+path, strings.NewReader(body))
		ts.Check(err)
		req.Header.Set("X-Vault-Token", ts.Getenv("VAULT_TOKEN"))
		if method == http.MethodPatch {
			req.Header.Set("Content-Type", "application/merge-patch+json")
		}
		requests = append(requests, req)
	}

	answers := make([]string, len(requests))
	var all sync.WaitGroup
	for i, req := range requests {
		all.Go(func() { answers[i] = statusOf(req) })
	}
	all.Wait()
	slices.Sort(answers)
	fmt.Fprintln(ts.Stdout(), strings.Join(answers, "\n"))
}

func statusOf(req *http.Request) string {
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	return resp.Status
}
