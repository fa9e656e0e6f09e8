package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// together FILE sends all requests of a file to Vault at once. Each is a line: method, path and body, if
// it has one. It prints the statuses of the answers, one a line and sorted, since any of them may come first.
func together(ts *testscript.TestScript, _ bool, args []string) {
	var statuses []string
	var mu sync.Mutex
	var all sync.WaitGroup
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		method, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		path, body, _ := strings.Cut(rest, " ")
		url, token := ts.Getenv("VAULT_ADDR")+"/v1/"+path, ts.Getenv("VAULT_TOKEN")
		all.Go(func() {
			status, _, err := vaulttest.Send(context.Background(), method, url, token, []byte(body))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				statuses = append(statuses, err.Error())
				return
			}
			statuses = append(statuses, fmt.Sprint(status, " ", http.StatusText(status)))
		})
	}
	all.Wait()
	slices.Sort(statuses)
	fmt.Fprintln(ts.Stdout(), strings.Join(statuses, "\n"))
}
