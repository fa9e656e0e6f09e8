// Package live holds ABEJA's API against what docs/abeja-api.md says of it. The file contract_test.go
// has what the client counts on, and unknowns_test.go finds out what no document says.
//
// With -live, as in 'make test-live', it runs against the ABEJA that the variables of ABEJA's SDK name.
// It sees and writes only secrets under a prefix of its own, and removes them however it ends. Without
// -live it runs against the simulator, with each switch each way, and must find out how it is set.
package live

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/client"
)

var (
	live      = flag.Bool("live", false, "run against the ABEJA that the environment names, not the simulator")
	perSecond = flag.Float64("rate", 5, "with -live: the most requests that are sent in a second")
	deep      = flag.Bool("deep", false, "with -live: find out how many versions a secret may have, which takes 101")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *live {
		if err := environment().check(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// account says which ABEJA is meant, and as whom.
type account struct {
	url, organization string
	user, token       string // a personal access token, or
	authToken         string // an auth token in place of both
}

func environment() account {
	return account{
		url:          os.Getenv("ABEJA_API_URL"),
		organization: os.Getenv("ABEJA_ORGANIZATION_ID"),
		user:         os.Getenv("ABEJA_PLATFORM_USER_ID"),
		token:        os.Getenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"),
		authToken:    os.Getenv("PLATFORM_AUTH_TOKEN"),
	}
}

func (c account) personal() bool { return c.user != "" && c.token != "" }

func (c account) check() error {
	if c.organization == "" || !c.personal() && c.authToken == "" {
		return errors.New(`To run against a real ABEJA, set
  ABEJA_ORGANIZATION_ID,
  ABEJA_PLATFORM_USER_ID and ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN, or PLATFORM_AUTH_TOKEN in place of the two,
  and ABEJA_API_URL if it is not ` + client.DefaultBaseURL)
	}
	return nil
}

func TestLive(t *testing.T) {
	if !*live {
		t.Skip("-live is not given: see 'make test-live'")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	t.Cleanup(stop)
	if deadline, ok := t.Deadline(); ok { // go test then ends the process: keep time to remove what was written
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-time.Until(deadline)/4))
		t.Cleanup(cancel)
	}
	a := connect(t, environment(), *perSecond)
	a.ctx = ctx
	fmt.Printf("Only secrets whose names begin with %s are written, and removed at the end.\n", a.prefix)
	holdAndFindOut(t, a, *deep, func(line string) { fmt.Println(line) })
}

// holdAndFindOut holds an ABEJA against the contract, and tells, in one line each, how what is not known
// of ABEJA turned out.
func holdAndFindOut(t *testing.T, a *abeja, deep bool, tell func(line string)) {
	t.Cleanup(func() { a.removeAll(t) })
	for _, part := range contract {
		a.part(t, part.says, func(t *testing.T) { part.check(t, a) })
	}
	for _, u := range unknowns(deep) {
		found := "not found out"
		a.part(t, u.row, func(t *testing.T) { found = u.findOut(t, a) })
		tell(u.row + ": " + found)
	}
}
