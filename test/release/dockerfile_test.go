package release

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

func TestDockerfilePinsWhatIsTested(t *testing.T) {
	build, final := stages(t)
	if want := "golang:" + match(t, `(?m)^toolchain go(\S+)$`, "tools/release/go.mod"); build.BaseName != want {
		t.Errorf("builds with %s, and releases are built with %s", build.BaseName, want)
	}
	if want := "hashicorp/vault:" + match(t, `(?m)^\tgithub.com/hashicorp/vault v(\S+)`, "tools/vault/go.mod"); final.BaseName != want {
		t.Errorf("starts from %s, and tests are run with %s", final.BaseName, want)
	}
}

func TestDockerfilePutsThePluginBesideVault(t *testing.T) {
	build, final := stages(t)

	// What the build stage runs is run here, in a copy of the work tree in place of /src.
	dir := commit(t)
	cmd := command(dir, "sh", "-c", only[*instructions.RunCommand](t, build).CmdLine[0])
	cmd.Env = append(cmd.Env, "VERSION="+version, "TARGETOS=linux", "TARGETARCH="+runtime.GOARCH)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	expand := strings.NewReplacer("${VERSION}", version, "${TARGETOS}", "linux", "${TARGETARCH}", runtime.GOARCH)
	plugin := only[*instructions.CopyCommand](t, final)
	source := expand.Replace(plugin.SourcePaths[0])
	if built, ok := strings.CutPrefix(source, "/src/"); !ok || plugin.From != build.Name {
		t.Errorf("copies %s from %q", source, plugin.From)
	} else if _, err := os.Stat(filepath.Join(dir, built)); err != nil {
		t.Error(err)
	}
	if got, want := path.Base(expand.Replace(plugin.DestPath)), pluginName+"_"+version; got != want {
		t.Errorf("calls the plugin %s, not %s as scripts/register.sh does", got, want)
	}
	if plugin.Chown != "root:root" || plugin.Chmod != "0755" {
		t.Errorf("the plugin belongs to %q with mode %q", plugin.Chown, plugin.Chmod)
	}
	directory := `plugin_directory = "` + path.Dir(plugin.DestPath) + `"`
	if run := only[*instructions.RunCommand](t, final).CmdLine[0]; !strings.Contains(run, directory) {
		t.Errorf("does not configure Vault with %s", directory)
	}
}

// only returns the one command of a kind that a stage has.
func only[C instructions.Command](t *testing.T, stage instructions.Stage) C {
	t.Helper()
	var found []C
	for _, command := range stage.Commands {
		if c, ok := command.(C); ok {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%s: %d commands of type %T", stage.BaseName, len(found), found)
	}
	return found[0]
}

// stages parses the Dockerfile as Docker does, warnings included.
func stages(t *testing.T) (build, final instructions.Stage) {
	t.Helper()
	file, err := os.Open(root + "/Dockerfile")
	check(t, err)
	defer file.Close()
	parsed, err := parser.Parse(file)
	check(t, err)
	for _, warning := range parsed.Warnings {
		t.Error(warning.Short)
	}
	stages, _, err := instructions.Parse(parsed.AST, linter.New(&linter.Config{
		Warn: func(rule, _, _, message string, _ []parser.Range) { t.Errorf("%s: %s", rule, message) },
	}))
	check(t, err)
	if len(stages) != 2 {
		t.Fatalf("%d stages", len(stages))
	}
	return stages[0], stages[1]
}

// match returns what the group of a regular expression matches in a file of the repository.
func match(t *testing.T, expression, file string) string {
	t.Helper()
	found := regexp.MustCompile(expression).FindSubmatch(read(t, root, file))
	if found == nil {
		t.Fatalf("%s has no %s", file, expression)
	}
	return string(found[1])
}
