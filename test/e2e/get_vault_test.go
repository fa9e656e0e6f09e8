package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestALongStepSaysTwiceAMinuteHowFarItIs(t *testing.T) {
	t.Parallel()
	out := progress(t, "", `for i in $(seq 100); do sleep 1; done; echo second >&2; for i in $(seq 100); do sleep 1; done; echo printed`)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	// A second is longer than what is counted as one by as much as it takes to start a program.
	require.GreaterOrEqual(t, len(lines), 200/30, out)
	require.LessOrEqual(t, len(lines), 200/20, out)
	require.Regexp(t, `^Cooking: 1 of 3 eggs, \d+ s$`, lines[0])
	require.Contains(t, lines, "printed")
	require.Regexp(t, `(?m)^Cooking: 2 of 3 eggs, \d+ s$`, out)
	require.NotContains(t, out, "first")
}

func TestALongStepTakesOneLineOnATerminal(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("script"); err != nil {
		t.Skip("there is no program 'script' to make a terminal")
	}
	out := progress(t, "terminal", `for i in $(seq 20); do sleep 1; done`)
	require.Regexp(t, `^(\x1b\[KCooking: 1 of 3 eggs, \d+ s\r){10,}\x1b\[K$`, out)
}

func TestALongStepThatFailsShowsWhy(t *testing.T) {
	t.Parallel()
	out := progress(t, "", "echo second >&2; exit 7")
	require.Regexp(t, `(^|\n)first\nsecond\nexit status 7$`, out)
}

// progress runs scripts/progress.sh with a command that prints a first line, and then goes on as given. A
// second is then over at once.
func progress(t *testing.T, terminal, command string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sleep"), "#!/bin/sh\nPATH=${PATH#*:}\nexec sleep 0.01\n")
	write(t, filepath.Join(dir, "cook"), "#!/bin/bash\necho first >&2\n"+command+"\n")
	args := []string{filepath.Join(repository, "scripts", "progress.sh"), "Cooking", "eggs", "3", filepath.Join(dir, "cook")}
	if terminal != "" {
		args = []string{"script", "-qec", "'" + strings.Join(args, "' '") + "'", "/dev/null"}
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"), "SHELL=/bin/sh")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out) + err.Error()
	}
	return string(out)
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o755))
}
