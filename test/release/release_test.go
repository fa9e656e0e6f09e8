// Package release tests 'make release', the Dockerfile and the workflow that publishes a release.
package release

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var all = flag.Bool("all", false, "build for all platforms, the second time with empty caches; takes long")

const (
	pluginName = "vault-plugin-secrets-abeja"
	version    = "v1.2.3-rc.1"
)

// What a release is built for.
var platforms = []string{
	"darwin_amd64", "darwin_arm64", "freebsd_amd64", "linux_amd64", "linux_arm", "linux_arm64",
	"windows_amd64", "windows_arm64",
}

func TestSameCommitGivesSameBytes(t *testing.T) {
	first := commit(t)
	second := filepath.Join(t.TempDir(), "at another path", "with a longer name")
	git(t, first, "clone", "-q", ".", second)

	built := platforms
	args := []string{"VERSION=" + version}
	var elsewhere []string
	if *all {
		elsewhere = emptyCaches(t)
	} else {
		built = []string{runtime.GOOS + "_" + runtime.GOARCH}
		args = append(args, "TARGETS="+runtime.GOOS+"/"+runtime.GOARCH)
	}
	for _, build := range []struct {
		dir string
		env []string
	}{{first, nil}, {second, elsewhere}} {
		if out, err := release(build.dir, build.env, args...); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}

	var binaries, want []string
	for _, platform := range built {
		binary := binaryName(version, platform)
		binaries = append(binaries, binary)
		want = append(want, binary, binary+".cdx.json")
	}
	want = append(want, "SHA256SUMS")
	slices.Sort(want)
	if got := names(t, filepath.Join(first, "dist")); !slices.Equal(got, want) {
		t.Fatalf("dist has %q, not %q", got, want)
	}
	for _, name := range want {
		if !bytes.Equal(read(t, first, "dist", name), read(t, second, "dist", name)) {
			t.Errorf("%s is not the same twice", name)
		}
	}

	sums := read(t, first, "dist", "SHA256SUMS")
	var summed []string
	for line := range strings.Lines(string(sums)) {
		summed = append(summed, strings.Fields(line)[1])
	}
	if !slices.Equal(summed, binaries) {
		t.Errorf("SHA256SUMS has %q, not %q", summed, binaries)
	}
	if out, err := command(filepath.Join(first, "dist"), "sha256sum", "-c", "SHA256SUMS").CombinedOutput(); err != nil {
		t.Errorf("sha256sum -c: %v\n%s", err, out)
	}
	head := strings.TrimSpace(string(git(t, first, "rev-parse", "HEAD")))
	for _, binary := range binaries {
		t.Run(binary, func(t *testing.T) { checkBinary(t, filepath.Join(first, "dist"), binary, head, string(sums)) })
	}
}

// emptyCaches is the environment of a machine that has built nothing yet, and keeps modules elsewhere. It
// has them from this machine's cache.
func emptyCaches(t *testing.T) []string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOMODCACHE").Output()
	check(t, err)
	env := []string{
		"GOCACHE=" + t.TempDir(), "GOMODCACHE=" + t.TempDir(),
		"GOPROXY=file://" + filepath.Join(strings.TrimSpace(string(out)), "cache", "download"),
	}
	t.Cleanup(func() {
		clean := exec.Command("go", "clean", "-modcache") // what it holds is read-only
		clean.Env = append(os.Environ(), env...)
		if out, err := clean.CombinedOutput(); err != nil {
			t.Errorf("go clean -modcache: %v\n%s", err, out)
		}
	})
	return env
}

func binaryName(version, platform string) string {
	name := pluginName + "_" + version + "_" + platform
	if strings.HasPrefix(platform, "windows") {
		name += ".exe"
	}
	return name
}

// checkBinary looks into a binary and its SBOM.
func checkBinary(t *testing.T, dist, binary, head, sums string) {
	if !bytes.Contains(read(t, dist, binary), []byte(head)) {
		t.Error("does not hold the commit that it was built from")
	}
	if strings.Contains(binary, "_linux_") {
		file, err := elf.Open(filepath.Join(dist, binary))
		check(t, err)
		defer file.Close()
		for _, p := range file.Progs {
			if p.Type == elf.PT_INTERP {
				t.Error("is linked dynamically")
			}
		}
		if file.Section(".symtab") != nil || file.Section(".debug_info") != nil || file.Section(".zdebug_info") != nil {
			t.Error("still has its symbols")
		}
	}
	if strings.Contains(binary, "_"+runtime.GOOS+"_"+runtime.GOARCH) {
		out, err := exec.Command(filepath.Join(dist, binary), "-version").Output()
		if err != nil || string(out) != version+"\n" {
			t.Errorf("-version prints %q, %v", out, err)
		}
	}

	var sbom struct {
		Format   string `json:"bomFormat"`
		Serial   string `json:"serialNumber"`
		Metadata struct {
			Time       string     `json:"timestamp"`
			Component  component  `json:"component"`
			Properties []property `json:"properties"`
		} `json:"metadata"`
		Components []component `json:"components"`
	}
	check(t, json.Unmarshal(read(t, dist, binary+".cdx.json"), &sbom))
	if sbom.Format != "CycloneDX" || sbom.Serial != "" || sbom.Metadata.Time != "" || sbom.Metadata.Component.Version != version {
		t.Errorf("the SBOM begins with %+v", sbom.Metadata)
	}
	if !slices.ContainsFunc(sbom.Metadata.Properties, func(p property) bool {
		return strings.HasSuffix(p.Name, ":SHA-256") && strings.Contains(sums, p.Value+"  "+binary+"\n")
	}) {
		t.Error("the SBOM is of another binary")
	}
	for _, name := range []string{"std", "github.com/hashicorp/vault/sdk"} {
		if !slices.ContainsFunc(sbom.Components, func(c component) bool { return c.Name == name && c.Version != "" }) {
			t.Errorf("the SBOM does not have %s", name)
		}
	}
}

type component struct{ Name, Version string }

type property struct{ Name, Value string }

func TestReleaseIsRefused(t *testing.T) {
	dir := commit(t)
	check(t, os.Mkdir(filepath.Join(dir, "dist"), 0o755))
	write(t, "of an earlier release", dir, "dist", "SHA256SUMS")
	refused := func(t *testing.T, version, want string) {
		t.Helper()
		out, err := release(dir, nil, "VERSION="+version)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%v\n%s", err, out)
		}
		if got := names(t, filepath.Join(dir, "dist")); !slices.Equal(got, []string{"SHA256SUMS"}) {
			t.Errorf("dist has changed: %q", got)
		}
	}
	for _, version := range []string{
		"", "latest", "1.2.3", "v1.2", "v1.2.3.4", "v01.2.3", "v1.2.3-", "v1.2.3-01", "v1.2.3-a..b", "v1.2.3+", "v1.2.3 ", "v1.2.3/../x",
	} {
		t.Run("version "+version, func(t *testing.T) { refused(t, version, "is not a version") })
	}
	t.Run("a file that is not committed", func(t *testing.T) {
		write(t, "package main", dir, "cmd", pluginName, "more.go")
		refused(t, version, "cmd/"+pluginName+"/more.go")
		check(t, os.Remove(filepath.Join(dir, "cmd", pluginName, "more.go")))
	})
	t.Run("a change that is not committed", func(t *testing.T) {
		write(t, "changed", dir, "README.md")
		refused(t, version, "README.md")
	})
}

// root is the repository that is tested.
const root = "../.."

// commit copies the work tree, as it is, into a repository of its own, and commits it there: a
// release is not built from what is not committed, and tests are run before a commit.
func commit(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	check(t, os.CopyFS(dir, workTree{os.DirFS(root)}))
	git(t, dir, "init", "-q")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-q", "-m", "as tested")
	return dir
}

// workTree hides what is in the repository's directory and not in the repository.
type workTree struct{ fs.FS }

func (w workTree) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(w.FS, name)
	if name == "." {
		entries = slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
			return slices.Contains([]string{".git", "bin", "dist"}, e.Name())
		})
	}
	return entries, err
}

func release(dir string, env []string, args ...string) (string, error) {
	cmd := command(dir, "make", append([]string{"-s", "release"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func git(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	out, err := command(dir, "git", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return out
}

// command is a program as a caller would run it who has not set anything, and calls himself nobody.
func command(dir, name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "GIT_") && !strings.HasPrefix(name, "MAKE") && !slices.Contains([]string{"MFLAGS", "VERSION", "COMMIT", "TARGETS"}, name) {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=nobody", "GIT_AUTHOR_EMAIL=nobody@example.com",
		"GIT_COMMITTER_NAME=nobody", "GIT_COMMITTER_EMAIL=nobody@example.com")
	return cmd
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// check ends the test if there is an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(path...))
	check(t, err)
	return content
}

func write(t *testing.T, content string, path ...string) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(path...), []byte(content), 0o644))
}
