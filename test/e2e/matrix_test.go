package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestTheMatrixWritesARowAndKeepsTheOthers has a go that only prints what the real one would of three scripts.
func TestTheMatrixWritesARowAndKeepsTheOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "scripts"), os.DirFS(filepath.Join(repository, "scripts"))))
	page, server := filepath.Join(dir, "docs", "compatibility.md"), filepath.Join(dir, "bin", "server")
	write(t, page, `before
<!-- begin -->
| Server | From | Run on | Scripts that pass | Scripts about something else | Scripts that fail |
|---|---|---|---|---|---|
| Vault 1.9.0 | somewhere | 2020-01-01 | 3 | none | none |
| OpenBao 2.6.2 | by hand | 2020-01-01 | 3 | none | none |
<!-- end -->
| after |
`)
	write(t, server, "#!/bin/sh\necho 'OpenBao v2.6.2, built today'\n")
	write(t, filepath.Join(dir, "bin", "go"), `#!/bin/sh
[ "$VAULT" = '`+server+`' ] || exit 9
echo '=== CONT  TestScripts/list'
echo '    --- PASS: TestScripts/list (1.00s)'
echo '    --- SKIP: TestScripts/pins (0.00s)'
echo '    --- FAIL: TestScripts/status (1.00s)'
exit 1
`)
	cmd := exec.Command(filepath.Join(dir, "scripts", "matrix.sh"))
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"), "VAULT="+server)
	today := time.Now().Format(time.DateOnly)
	out, err := cmd.CombinedOutput()
	require.Error(t, err, "a script has failed")
	require.Contains(t, string(out), "=== CONT  TestScripts/list", "what failed is shown")

	require.Equal(t, `before
<!-- begin -->
| Server | From | Run on | Scripts that pass | Scripts about something else | Scripts that fail |
|---|---|---|---|---|---|
| OpenBao 2.6.2 | by hand | `+today+" | 1 | `pins` | `status` |"+`
| Vault 1.9.0 | somewhere | 2020-01-01 | 3 | none | none |
<!-- end -->
| after |
`, read(t, page))
}
