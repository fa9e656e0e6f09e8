package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs the simulator until the test ends and returns what it printed to export.
func start(t *testing.T, args ...string) map[string]string {
	ctx, cancel := context.WithCancel(t.Context())
	stdout, printed := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, append([]string{"-listen", "127.0.0.1:0"}, args...), printed)
		printed.CloseWithError(err)
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})

	exports := map[string]string{}
	for lines := bufio.NewScanner(stdout); len(exports) < 5; {
		require.True(t, lines.Scan(), lines.Err())
		name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "=")
		require.True(t, ok, lines.Text())
		exports[name] = value
	}
	return exports
}

// get calls the simulator with what it printed.
func get(t *testing.T, exports map[string]string, roots *x509.CertPool) (status int, body string) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots}}}
	url := exports["ABEJA_API_URL"] + "/secret-manager/organizations/" + exports["ABEJA_ORGANIZATION_ID"] + "/secrets"
	req, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	req.SetBasicAuth(exports["ABEJA_PLATFORM_USER_ID"], exports["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"])
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(read)
}

func TestItServesWhatItPrints(t *testing.T) {
	t.Parallel()
	exports := start(t, "-secrets", "3", "-behavior", `{"order":"newest"}`)
	require.Regexp(t, `^http://127\.0\.0\.1:[0-9]+$`, exports["ABEJA_API_URL"])
	require.NotEmpty(t, exports["PLATFORM_AUTH_TOKEN"])
	status, body := get(t, exports, nil)
	require.Equal(t, 200, status, body)
	require.Regexp(t, "demo_00003.*demo_00002.*demo_00001", body)
}

func TestTheIdentityCanBeFixed(t *testing.T) {
	t.Parallel()
	exports := start(t, "-organization", "1", "-user", "2", "-token", "it's", "-auth-token", "a.b_c-d")
	require.Equal(t, "1", exports["ABEJA_ORGANIZATION_ID"])
	require.Equal(t, "user-2", exports["ABEJA_PLATFORM_USER_ID"])
	require.Equal(t, `'it'\''s'`, exports["ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN"])
	require.Equal(t, "a.b_c-d", exports["PLATFORM_AUTH_TOKEN"])
}

func TestTLSIsTrustedWithTheWrittenCA(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ca.pem")
	exports := start(t, "-tls", "-tls-ca", file)
	ca, err := os.ReadFile(file)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(ca))

	_, port, err := net.SplitHostPort(strings.TrimPrefix(exports["ABEJA_API_URL"], "https://"))
	require.NoError(t, err)
	for _, host := range []string{"127.0.0.1", "localhost"} {
		exports["ABEJA_API_URL"] = "https://" + net.JoinHostPort(host, port)
		status, body := get(t, exports, roots)
		require.Equal(t, 200, status, body)
	}
}

func TestBadFlagsAreRefused(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		args []string
		want string
	}{
		{[]string{"-listen", "0.0.0.0:8700"}, "not a loopback address"},
		{[]string{"-listen", ":8700"}, "not a loopback address"},
		{[]string{"-listen", "[::]:0"}, "not a loopback address"},
		{[]string{"-listen", "example.com:0"}, "not a loopback address"},
		{[]string{"-listen", "127.0.0.1"}, "missing port"},
		{[]string{"-tls-ca", "ca.pem"}, "-tls-ca needs -tls"},
		{[]string{"-behavior", `{"order":"x"}`}, "order"},
		{[]string{"-behavior", `{"colour":"red"}`}, "colour"},
		{[]string{"extra"}, "extra"},
	} {
		var stdout bytes.Buffer
		require.ErrorContains(t, run(t.Context(), example.args, &stdout), example.want)
		require.Empty(t, stdout.String())
	}
}
