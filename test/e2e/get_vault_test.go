package e2e

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

func TestALongStepSaysTwiceAMinuteHowFarItIs(t *testing.T) {
	t.Parallel()
	out, seconds := progress(t, "", "until_second 100; echo second >&2; until_second 200; echo printed")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.GreaterOrEqual(t, len(lines), seconds/30, out)
	require.LessOrEqual(t, len(lines), seconds/20, out)
	require.Regexp(t, `^Cooking: [01] of 3 eggs, \d+ s$`, lines[0])
	require.Contains(t, lines, "printed")
	require.Regexp(t, `(?m)^Cooking: 2 of 3 eggs, \d+ s$`, out)
	require.NotContains(t, out, "first")
}

func TestALongStepTakesOneLineOnATerminal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("there is no program 'script' to make a terminal")
	}
	out, _ := progress(t, "terminal", "until_second 20")
	require.Regexp(t, `^(\x1b\[KCooking: [01] of 3 eggs, \d+ s\r){10,}\x1b\[K$`, out)
	require.Contains(t, out, "1 of 3 eggs")
}

func TestALongStepThatFailsShowsWhy(t *testing.T) {
	t.Parallel()
	out, _ := progress(t, "", "echo second >&2; exit 7")
	require.Regexp(t, `(^|\n)first\nsecond\nexit status 7$`, out)

	out, _ = progress(t, "", "echo It is burnt. >&2; seq 1000 >&2; exit 7")
	require.Regexp(t, `(^|\n)It is burnt.\nexit status 7$`, out)
}

// progress runs scripts/progress.sh with a command that prints a first line, and then goes on as given. A
// second is then over at once, and the command can wait for one with until_second. It returns what was
// printed, and how many seconds were over.
func progress(t *testing.T, terminal, command string) (printed string, seconds int) {
	t.Helper()
	dir := t.TempDir()
	over := filepath.Join(dir, "over")
	write(t, over, "")
	write(t, filepath.Join(dir, "sleep"), "#!/bin/sh\nPATH=${PATH#*:}\necho >>'"+over+"'\nexec sleep 0.01\n")
	write(t, filepath.Join(dir, "cook"), `#!/bin/bash
PATH=${PATH#*:}
until_second() { while (($(wc -l <'`+over+`') < $1)); do sleep 0.01; done; }
echo first >&2
`+command+"\n")
	args := []string{filepath.Join(repository, "scripts", "progress.sh"), "Cooking", "eggs", "3", filepath.Join(dir, "cook")}
	if terminal != "" {
		args = []string{"script", "-qec", "'" + strings.Join(args, "' '") + "'", "/dev/null"}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "SHELL=/bin/sh")
	out, err := cmd.CombinedOutput()
	if err != nil {
		out = append(out, err.Error()...)
	}
	text, readErr := os.ReadFile(over)
	require.NoError(t, readErr)
	return string(out), len(text)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
}

// A stand-in for go, which tells what the scripts ask for, and builds a program that says that it is built.
const goStandIn = `#!/bin/sh
case "$1 $2 $3" in
"env GOHOSTOS ") echo plan9 ;;
"env GOHOSTARCH ") echo mips ;;
"list -m "*) echo v9.9.9 ;;
"list -deps "*) echo one package ;;
"build "*) while [ "$1" != -o ]; do shift; done && echo built >"$2" ;;
*) echo "go $*?" >&2 && exit 1 ;;
esac
`

const release = "vault_9.9.9_plan9_mips.zip"

// aRelease is the archive of a release whose program has this text.
func aRelease(t *testing.T, text string) []byte {
	t.Helper()
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for name, text := range map[string]string{"LICENSE.txt": "some rights", "vault": text} {
		file, err := w.Create(name)
		require.NoError(t, err)
		_, err = file.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return archive.Bytes()
}

// vaultScript runs scripts/vault.sh in a tree of its own, on a machine that has no vault. The tree pins the
// release with the archive's checksum. What it prints is the path in the tree.
func vaultScript(t *testing.T, archive []byte, releases string, args ...string) (tree, stdout, stderr string, err error) {
	t.Helper()
	tree, err = filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, script := range []string{"vault.sh", "build.sh", "progress.sh"} {
		text, err := os.ReadFile(filepath.Join(repository, "scripts", script))
		require.NoError(t, err)
		write(t, filepath.Join(tree, "scripts", script), string(text))
	}
	write(t, filepath.Join(tree, "tools/vault/SHA256SUMS"), fmt.Sprintf("%x  another.zip\n%x  %s\n", sha256.Sum256(nil), sha256.Sum256(archive), release))
	write(t, filepath.Join(tree, "programs/go"), goStandIn)
	for _, name := range []string{"awk", "basename", "bash", "cat", "chmod", "curl", "dirname", "flock", "grep", "mkdir", "mktemp",
		"mv", "realpath", "rm", "sh", "sha256sum", "shasum", "sleep", "tail", "touch", "wc"} {
		if program, err := exec.LookPath(name); err == nil {
			require.NoError(t, os.Symlink(program, filepath.Join(tree, "programs", name)))
		}
	}
	unzip, err := exec.LookPath("unzip")
	require.NoError(t, err)
	write(t, filepath.Join(tree, "programs/unzip"), "#!/bin/sh\ntouch '"+filepath.Join(tree, "unpacked")+"'\nexec "+unzip+" \"$@\"\n")
	cmd := exec.CommandContext(t.Context(), filepath.Join(tree, "scripts/vault.sh"), args...)
	cmd.Env = []string{"PATH=" + filepath.Join(tree, "programs"), "HOME=" + tree, "TMPDIR=" + programs.TempDir, "VAULT_RELEASES=" + releases}
	var out, errors bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errors
	err = cmd.Run()
	return tree, strings.TrimSpace(out.String()), errors.String(), err
}

func TestTheReleaseOfVaultIsTakenWhereItCanBeHad(t *testing.T) {
	t.Parallel()
	archive := aRelease(t, "released\n")
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string // what bin/vault-9.9.9 is
		says   string
		hangs  bool
	}{
		"right": {
			answer: func(w http.ResponseWriter, r *http.Request) { w.Write(archive) },
			want:   "released\n",
		},
		"another checksum": {
			answer: func(w http.ResponseWriter, r *http.Request) { w.Write(aRelease(t, "forged\n")) },
			want:   "built\n",
			says:   `is not the release: its checksum is [0-9a-f]{64}, not [0-9a-f]{64}. It is discarded.`,
		},
		"not found": {
			answer: http.NotFound,
			want:   "built\n",
			says:   `404`,
		},
		"cut": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(archive)))
				w.Write(archive[:len(archive)/2])
			},
			want: "built\n",
			says: `curl: \(18\)`,
		},
		"hanging": {
			answer: func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			want:   "built\n",
			says:   `curl: \(28\)`,
			hangs:  true,
		},
		"hanging half-way": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Length", fmt.Sprint(len(archive)))
				w.Write(archive[:len(archive)/2])
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			want:  "built\n",
			says:  `curl: \(28\)`,
			hangs: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			var took time.Duration
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked = append(asked, r.URL.Path)
				began := time.Now()
				c.answer(w, r)
				took = time.Since(began)
			}))
			defer server.Close()
			tree, stdout, stderr, err := vaultScript(t, archive, server.URL)
			server.Close()
			require.NoError(t, err, stderr)
			require.Equal(t, filepath.Join(tree, "bin/vault-9.9.9"), stdout)
			got, err := os.ReadFile(stdout)
			require.NoError(t, err)
			require.Equal(t, c.want, string(got))
			require.Equal(t, []string{"/vault/9.9.9/" + release}, asked)
			require.Regexp(t, c.says, stderr)
			if c.want == "built\n" {
				require.Contains(t, stderr, "Building Vault 9.9.9")
				require.NoFileExists(t, filepath.Join(tree, "unpacked"))
			} else {
				require.NotContains(t, stderr, "Building")
				require.FileExists(t, filepath.Join(tree, "unpacked"))
			}
			if c.hangs {
				require.Less(t, took, 5*time.Second)
			}
			left, err := filepath.Glob(filepath.Join(tree, "bin/vault*"))
			require.NoError(t, err)
			require.Equal(t, []string{stdout}, left)
		})
	}
}

func TestWithoutANetworkVaultIsBuilt(t *testing.T) {
	t.Parallel()
	_, stdout, stderr, err := vaultScript(t, aRelease(t, "released\n"), "http://"+refusing(t))
	require.NoError(t, err, stderr)
	require.Equal(t, 1, strings.Count(stderr, "curl: (7)"), stderr)
	got, err := os.ReadFile(stdout)
	require.NoError(t, err)
	require.Equal(t, "built\n", string(got))
}

func TestVaultIsOnlyLookedFor(t *testing.T) {
	t.Parallel()
	tree, stdout, stderr, err := vaultScript(t, nil, "http://"+refusing(t), "-n")
	require.Error(t, err)
	require.Empty(t, stdout+stderr)
	require.NoDirExists(t, filepath.Join(tree, "bin"))
}

// refusing is an address that nobody listens at.
func refusing(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(nil)
	server.Close()
	return server.Listener.Addr().String()
}

func TestTheReleasesThatArePinnedAreOfTheVersionThatIsBuilt(t *testing.T) {
	t.Parallel()
	version, err := vaulttest.Output(t.Context(), repository, "go", "list", "-C", "tools/vault", "-m", "-f", "{{.Version}}", "github.com/hashicorp/vault")
	require.NoError(t, err)
	sums, err := os.ReadFile(filepath.Join(repository, "tools/vault/SHA256SUMS"))
	require.NoError(t, err)
	for line := range strings.Lines(string(sums)) {
		require.Regexp(t, `^[0-9a-f]{64}  vault_`+regexp.QuoteMeta(version[1:])+`_(linux|darwin)_(amd64|arm64)\.zip\n$`, line)
	}
}
