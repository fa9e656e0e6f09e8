package release

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Dependabot takes the module of a tool for an indirect one, which it leaves alone unless it is named.
func TestEveryToolIsUpdated(t *testing.T) {
	config := string(read(t, root, ".github/dependabot.yml"))
	modules, err := filepath.Glob(filepath.Join(root, "tools/*/go.mod"))
	if err != nil || len(modules) == 0 {
		t.Fatal("no modules in tools", err)
	}
	for _, module := range modules {
		edit := exec.Command("go", "mod", "edit", "-json", module)
		edit.Stderr = os.Stderr
		out, err := edit.Output()
		check(t, err)
		var parsed struct {
			Tool    []struct{ Path string }
			Require []struct{ Path string }
		}
		check(t, json.Unmarshal(out, &parsed))
		for _, tool := range parsed.Tool {
			named := false
			for _, required := range parsed.Require {
				within := strings.HasPrefix(tool.Path+"/", required.Path+"/")
				named = named || within && strings.Contains(config, "dependency-name: "+required.Path+",")
			}
			if !named {
				t.Errorf("%s: the module of %s is not updated", module, tool.Path)
			}
		}
	}
}
