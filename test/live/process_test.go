package live

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestALiveRunPrintsWhatItFoundOut(t *testing.T) {
	t.Parallel()
	for name, deep := range map[string]bool{"-deep=false": false, "-deep": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim := newSimulator(t, `{}`)
			account := serve(t, sim, sim.ServeHTTP)
			if deep {
				account.user, account.token = "", ""
			}
			out, status := liveRun(t, sim, account, name).wait()
			require.Zero(t, status, out)
			for _, line := range found {
				if !deep {
					line = strings.ReplaceAll(line, "100 versions (max_versions=100)", "the most versions: not tried, since it would take 101; -deep does")
				}
				require.Contains(t, out, line+"\n")
			}
			require.Empty(t, left(sim))
		})
	}
}

func TestALiveRunLeavesNothingWhenItFails(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	fault(sim, `{"op":"create_version","kind":"status","status":400,"body":"made-up-personal-access-token"}`)
	out, status := liveRun(t, sim, serve(t, sim, sim.ServeHTTP)).wait()
	require.Equal(t, 1, status, out)
	require.Contains(t, out, "abeja: create version: status 400")
	require.Contains(t, out, "whether a new version makes the older ones inactive: not found out\n")
	require.Contains(t, out, "the order of lists: oldest first (order=created)\n")
	require.Empty(t, left(sim))
}

func TestALiveRunLeavesNothingWhenItIsInterrupted(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	fault(sim, `{"op":"list_versions","kind":"delay","delay":"1h"}`)
	r := liveRun(t, sim, serve(t, sim, sim.ServeHTTP))
	require.Eventually(t, func() bool { return sim.Count(simulator.ListVersions) > 0 }, time.Minute, time.Millisecond)
	require.NotEmpty(t, left(sim))
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	out, status := r.wait()
	require.Equal(t, 1, status, out)
	require.Contains(t, out, "context canceled")
	require.Empty(t, left(sim))
}

func TestALiveRunLeavesNothingWhenItIsInterruptedAsASecretIsMade(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	begun, interrupted := make(chan struct{}, 100), make(chan struct{})
	account := serve(t, sim, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // takes its time, and does not notice that the caller is gone
			begun <- struct{}{}
			<-interrupted
			time.Sleep(300 * time.Millisecond)
			r = r.WithContext(context.WithoutCancel(r.Context()))
		}
		sim.ServeHTTP(w, r)
	})
	r := liveRun(t, sim, account)
	<-begun
	require.NoError(t, r.cmd.Process.Signal(os.Interrupt))
	close(interrupted)
	out, status := r.wait()
	require.Equal(t, 1, status, out)
	require.Equal(t, 1, sim.Count(simulator.CreateSecret))
	require.Empty(t, left(sim))
}

func TestALiveRunLeavesNothingWhenItsTimeIsUp(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	fault(sim, `{"op":"list_versions","kind":"delay","delay":"1h"}`)
	out, status := liveRun(t, sim, serve(t, sim, sim.ServeHTTP), "-test.timeout=20s").wait()
	require.Equal(t, 1, status, out)
	require.NotZero(t, sim.Count(simulator.ListVersions), out)
	require.Empty(t, left(sim))
}

func TestALiveRunSaysWhatItCouldNotRemove(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	fault(sim, `{"op":"delete_secret","kind":"status","status":400}`)
	out, status := liveRun(t, sim, serve(t, sim, sim.ServeHTTP)).wait()
	require.Equal(t, 1, status, out)
	names := left(sim)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.Contains(t, out, "please remove from ABEJA the secret "+name+": abeja: delete secret: status 400")
	}
}

func TestALiveRunWithoutCredentialsSaysWhatToSet(t *testing.T) {
	t.Parallel()
	sim := newSimulator(t, `{}`)
	whole := serve(t, sim, sim.ServeHTTP)
	for _, c := range []account{
		{},
		{organization: whole.organization},
		{organization: whole.organization, user: whole.user},
		{organization: whole.organization, token: whole.token},
		{user: whole.user, token: whole.token, authToken: whole.authToken},
	} {
		c.url = whole.url
		out, status := liveRun(t, sim, c).wait()
		require.Equal(t, 2, status, out)
		require.Contains(t, out, "ABEJA_ORGANIZATION_ID")
		require.NotContains(t, out, "vault_test_live_")
	}
	require.Zero(t, sim.Count())
}

// process is TestLive with -live, in a process of its own.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	out bytes.Buffer
}

func liveRun(t *testing.T, sim *simulator.Simulator, c account, flags ...string) *process {
	p := &process{t: t}
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], append([]string{"-test.run=^TestLive$", "-live", "-rate=100000"}, flags...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	p.cmd.Env = []string{
		"ABEJA_API_URL=" + c.url, "ABEJA_ORGANIZATION_ID=" + c.organization, "ABEJA_PLATFORM_USER_ID=" + c.user,
		"ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN=" + c.token, "PLATFORM_AUTH_TOKEN=" + c.authToken,
		"GORACE=atexit_sleep_ms=10", // not the second that a process with the race detector takes to end
	}
	require.NoError(t, p.cmd.Start())
	return p
}

// wait returns what the process printed, which must be no credential, and its status.
func (p *process) wait() (out string, status int) {
	p.cmd.Wait()
	_, _, token, authToken := simulator.New(simulator.Options{}).Credentials()
	require.Empty(p.t, vaulttest.Shows(p.out.String(), token, authToken))
	return p.out.String(), p.cmd.ProcessState.ExitCode()
}

func fault(sim *simulator.Simulator, fault string) {
	sim.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/_simulator/faults", strings.NewReader(fault)))
}
