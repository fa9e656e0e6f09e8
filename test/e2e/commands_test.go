package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"simulator":    simulator,
	"vault-server": vaultServer,
	"mount":        mount,
	"eventually":   eventually,
	"http":         httpRequest,
	"capture":      capture,
	"page":         page,
	"says":         says,
	"readers":      readers,
	"reached":      reached,
	"together":     together,
	"prometheus":   prometheus,
	"answers":      answers,
	"dashboard":    dashboard,
	"alerts":       alerts,
}

// state is what the commands of one script share.
type state struct {
	vault       *process // the server that vault-server started last
	credentials []string // of the ABEJAs that simulator has started
	readers     *reading // those that readers has started
}

const stateKey = "state"

// Files in a script's $WORK.
const (
	tokenFile    = "abeja-token"
	simulatorLog = "simulator.log"
	vaultLog     = "vault.log"
)

// simulator [flag...] starts a stand-in for ABEJA on a free port. $ABEJA_API_URL and the other
// variables of ABEJA's SDK then say how to reach it; the personal access token is in the file
// abeja-token as well, since a command line is no place for it.
func simulator(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: simulator [flag...]")
	}
	args = append([]string{"-listen", "127.0.0.1:0"}, args...)
	p := start(ts, simulatorLog, "abeja-simulator", args...)
	log := inWork(ts, simulatorLog)
	ts.Check(p.waitUntil(func() bool { return strings.Contains(ts.ReadFile(log), "PLATFORM_AUTH_TOKEN=") }))

	for line := range strings.Lines(ts.ReadFile(log)) {
		if assignment, ok := strings.CutPrefix(line, "export "); ok {
			name, value, _ := strings.Cut(strings.TrimSpace(assignment), "=")
			ts.Setenv(name, strings.Trim(value, `'"`))
		}
	}
	token := ts.Getenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN")
	ts.Check(os.WriteFile(inWork(ts, tokenFile), []byte(token), 0o600))
	s := ts.Value(stateKey).(*state)
	s.credentials = append(s.credentials, token, ts.Getenv("ABEJA_PLATFORM_USER_ID")+":"+token, ts.Getenv("PLATFORM_AUTH_TOKEN"))
}

// vault-server starts Vault's dev server on a free port, with the plugin registered and the root
// token in $VAULT_TOKEN.
//
// vault-server DIR starts a real server instead, which keeps its storage in DIR and is sealed.
//
// Either sets $VAULT_ADDR, logs to vault.log, and stops the server that the script started before.
func vaultServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) > 1 {
		ts.Fatalf("usage: vault-server [DIR]")
	}
	script := ts.Value(stateKey).(*state)
	if script.vault != nil {
		script.vault.stop()
	}
	var err error
	// Between the choice of a free port and its use, somebody else may take it.
	for range 3 {
		addr := freeAddr(ts)
		ts.Setenv("VAULT_ADDR", "http://"+addr)
		health := "http://" + addr + "/v1/sys/health" // 200 as soon as it can be used
		var flags []string
		if len(args) == 0 {
			flags = devServer(ts, addr)
		} else {
			flags = sealedServer(ts, addr, args[0])
			health += "?uninitcode=200&sealedcode=200"
		}
		script.vault = start(ts, vaultLog, "vault", flags...)
		if err = script.vault.waitUntil(func() bool { return get(health) == http.StatusOK }); err == nil {
			return
		}
	}
	ts.Fatalf("%v: see its log:\n%s", err, ts.ReadFile(inWork(ts, vaultLog)))
}

func devServer(ts *testscript.TestScript, addr string) []string {
	ts.Setenv("VAULT_TOKEN", "root")
	return []string{
		"server", "-log-level=trace", "-dev", "-dev-root-token-id=root", "-dev-no-store-token",
		"-dev-plugin-dir=" + pluginDir, "-dev-listen-address=" + addr,
	}
}

func sealedServer(ts *testscript.TestScript, addr, storage string) []string {
	storage = ts.MkAbs(storage)
	ts.Check(os.MkdirAll(storage, 0o700))
	clusterAddr := freeAddr(ts)
	config := fmt.Sprintf(`
storage "raft" {
  path    = %q
  node_id = "one"
}
listener "tcp" {
  address         = %q
  cluster_address = %q
  tls_disable     = true
}
api_addr         = "http://%s"
cluster_addr     = "https://%s"
plugin_directory = %q
disable_mlock    = true
`, storage, addr, clusterAddr, addr, clusterAddr, ts.Getenv("PLUGIN_DIR"))
	ts.Check(os.WriteFile(inWork(ts, "vault.hcl"), []byte(config), 0o600))
	return []string{"server", "-log-level=trace", "-config=" + inWork(ts, "vault.hcl")}
}

// mount [-path=PATH] [field=value...] enables the plugin at abeja/, or at another path, and configures
// it for the simulator, with these fields beside those that it needs.
func mount(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: mount [-path=PATH] [field=value...]")
	}
	path := "abeja"
	if len(args) > 0 && strings.HasPrefix(args[0], "-path=") {
		path, args = strings.TrimPrefix(args[0], "-path="), args[1:]
	}
	ts.Check(ts.Exec("vault", "secrets", "enable", "-path="+path, pluginName))
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
func reached(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: reached OP")
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Get(ts.Getenv("ABEJA_API_URL") + "/_simulator/requests")
		ts.Check(err)
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
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
	if len(args) < 2 {
		ts.Fatalf("usage: [!] eventually DURATION program [arg...]")
	}
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
	if len(args) < 2 || len(args) > 3 {
		ts.Fatalf("usage: [!] http METHOD URL [BODY]")
	}
	req, err := http.NewRequest(args[0], args[1], strings.NewReader(strings.Join(args[2:], "")))
	ts.Check(err)
	req.Header.Set("X-Vault-Token", ts.Getenv("VAULT_TOKEN"))
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)

	failed := resp.StatusCode >= 300
	if failed {
		fmt.Fprintln(ts.Stdout(), resp.Status)
	}
	fmt.Fprintf(ts.Stdout(), "%s", body)
	if failed != neg {
		ts.Fatalf("unexpected status %s", resp.Status)
	}
}

// capture NAME REGEXP sets a variable to what the first group of the regular expression matches in
// what the last program printed.
func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	re, err := regexp.Compile("(?m)" + args[1])
	ts.Check(err)
	match := re.FindStringSubmatch(ts.ReadFile("stdout"))
	if len(match) < 2 {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], match[1])
}

// process is a program that runs until it is stopped, or the script ends.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// start starts a program, with what it prints going to a file in $WORK.
func start(ts *testscript.TestScript, log, name string, args ...string) *process {
	out, err := os.OpenFile(inWork(ts, log), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	defer out.Close()

	cmd := exec.Command(filepath.Join(binDir, name), args...)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR")}
	cmd.Stdout, cmd.Stderr = out, out
	ts.Check(cmd.Start())

	p := &process{cmd, make(chan struct{})}
	go func() {
		cmd.Wait()
		close(p.ended)
	}()
	ts.Defer(p.stop)
	return p
}

func (p *process) stop() {
	p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		p.cmd.Process.Signal(os.Kill)
		<-p.ended
	}
}

// waitUntil waits until the program has come so far. A busy machine may need long for it.
func (p *process) waitUntil(ready func() bool) error {
	deadline := time.After(time.Minute)
	for !ready() {
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at its start", p.cmd.Path)
		case <-deadline:
			return fmt.Errorf("%s was not ready after a minute", p.cmd.Path)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// get returns the status of the answer to a GET, or 0 when there was none.
func get(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// freeAddr gives an address that no other script has got: it would take that script's Vault for its
// own.
func freeAddr(ts *testscript.TestScript) string {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		addr := l.Addr().String()
		l.Close()
		if _, taken := givenAddrs.LoadOrStore(addr, true); !taken {
			return addr
		}
	}
}

var givenAddrs sync.Map

func inWork(ts *testscript.TestScript, file string) string {
	return filepath.Join(ts.Getenv("WORK"), file)
}
