package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// commands are what a script can do, by how it is said: what is in brackets may be left out, and what has an
// ellipsis may be repeated. Only what begins with [!] may be expected to fail.
var commands = byName(map[string]command{
	"simulator [flag...]":                      simulator,
	"vault-server [DIR [FILE]]":                vaultServer,
	"mount [-path=PATH] [field=value...]":      mount,
	"[!] eventually DURATION program [arg...]": eventually,
	"[!] http METHOD URL [BODY]":               httpRequest,
	"capture NAME REGEXP":                      capture,
	"page FILE HEADING LANGUAGE OUT...":        page,
	"says FILE HEADING":                        says,
	"readers start|turn|stop [PATH]":           readers,
	"reached OP":                               reached,
	"together FILE":                            together,
	"prometheus":                               prometheus,
	"answers QUERY":                            answers,
	"dashboard FILE [METRIC...]":               dashboard,
	"alerts":                                   alerts,
})

type command = func(ts *testscript.TestScript, neg bool, args []string)

// byName returns the commands by their names. Each refuses to be used in another way than is said.
func byName(commands map[string]command) map[string]command {
	named := map[string]command{}
	for usage, do := range commands {
		said, mayFail := strings.CutPrefix(usage, "[!] ")
		words := strings.Fields(said)
		most := len(words) - 1
		least := most - strings.Count(said, " [")
		named[words[0]] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg && !mayFail || len(args) < least || len(args) > most && !strings.Contains(said, "...") {
				ts.Fatalf("usage: %s", usage)
			}
			do(ts, neg, args)
		}
	}
	return named
}

// state is what the commands of one script share.
type state struct {
	vault       *vaulttest.Vault // the server that vault-server started last
	credentials []string         // of the ABEJAs that simulator has started
	readers     *reading         // those that readers has started
}

const stateKey = "state"

// Files in a script's $WORK.
const (
	tokenFile = "abeja-token"
	vaultLog  = "vault.log"
)

// simulator [flag...] starts a stand-in for ABEJA on a free port. $ABEJA_API_URL and the other
// variables of ABEJA's SDK then say how to reach it; the personal access token is in the file
// abeja-token as well, since a command line is no place for it.
func simulator(ts *testscript.TestScript, _ bool, args []string) {
	sim, err := programs.Simulator(context.Background(), ts.Getenv("WORK"), args...)
	ts.Check(err)
	ts.Defer(sim.Stop)
	for name, value := range sim.Env {
		ts.Setenv(name, value)
	}
	ts.Check(os.WriteFile(inWork(ts, tokenFile), []byte(ts.Getenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN")), 0o600))
	s := ts.Value(stateKey).(*state)
	s.credentials = append(s.credentials, sim.Credentials()...)
}

// vault-server starts Vault's dev server on a free port, with the plugin registered and the root
// token in $VAULT_TOKEN.
//
// vault-server DIR [FILE] starts a real server instead, which keeps its storage in DIR and is sealed. FILE is
// added to its configuration.
//
// Either sets $VAULT_ADDR, logs to vault.log, and stops the server that the script started before.
func vaultServer(ts *testscript.TestScript, _ bool, args []string) {
	script := ts.Value(stateKey).(*state)
	if script.vault != nil {
		script.vault.Stop()
	}
	var err error
	if len(args) == 0 {
		ts.Setenv("VAULT_TOKEN", vaulttest.RootToken)
		script.vault, err = programs.Dev(context.Background(), ts.Getenv("WORK"), "trace")
	} else {
		script.vault, err = programs.Raft(context.Background(), ts.Getenv("WORK"), "trace", ts.MkAbs(args[0]), ts.Getenv("PLUGIN_DIR"), nil, args[1:]...)
	}
	ts.Check(err)
	ts.Defer(script.vault.Stop)
	ts.Setenv("VAULT_ADDR", script.vault.URL())
}

// mount [-path=PATH] [field=value...] enables the plugin at abeja/, or at another path, and configures
// it for the simulator, with these fields beside those that it needs.
func mount(ts *testscript.TestScript, _ bool, args []string) {
	path := "abeja"
	if len(args) > 0 && strings.HasPrefix(args[0], "-path=") {
		path, args = strings.TrimPrefix(args[0], "-path="), args[1:]
	}
	ts.Check(ts.Exec("vault", "secrets", "enable", "-path="+path, vaulttest.Plugin))
	ts.Check(ts.Exec("vault", append([]string{
		"write", path + "/config",
		"organization_id=" + ts.Getenv("ABEJA_ORGANIZATION_ID"),
		"user_id=" + ts.Getenv("ABEJA_PLATFORM_USER_ID"),
		"personal_access_token=@" + inWork(ts, tokenFile),
		"api_url=" + ts.Getenv("ABEJA_API_URL"),
	}, args...)...))
}

// reached OP waits until the simulator has got a call of this kind since its requests were last
// counted from zero. The call need not be answered.
func reached(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		_, body, err := vaulttest.Send(context.Background(), http.MethodGet, ts.Getenv("ABEJA_API_URL")+"/_simulator/requests", "", nil)
		ts.Check(err)
		if strings.Contains(string(body), `"`+args[0]+`":`) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("ABEJA has got no %s in a minute", args[0])
		}
	}
}

// [!] eventually DURATION program [arg...] runs a program again and again until it succeeds (or
// fails). The script fails when it has not after so long.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(limit); ; time.Sleep(250 * time.Millisecond) {
		if err := ts.Exec(args[1], args[2:]...); (err != nil) == neg {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("not after %v", limit)
		}
	}
}

// [!] http METHOD URL [BODY] sends a request and prints the answer, with its status if it is an error.
// It is for the simulator's control API, and for what the vault program does not show.
func httpRequest(ts *testscript.TestScript, neg bool, args []string) {
	status, body, err := vaulttest.Send(context.Background(), args[0], args[1], ts.Getenv("VAULT_TOKEN"), []byte(strings.Join(args[2:], "")))
	ts.Check(err)
	failed := status >= 300
	if failed {
		fmt.Fprintln(ts.Stdout(), status, http.StatusText(status))
	}
	fmt.Fprintf(ts.Stdout(), "%s", body)
	if failed != neg {
		ts.Fatalf("unexpected status %d", status)
	}
}

// capture NAME REGEXP sets a variable to what the first group of the regular expression matches in
// what the last program printed.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) < 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], match[1])
}

func inWork(ts *testscript.TestScript, file string) string {
	return filepath.Join(ts.Getenv("WORK"), file)
}
