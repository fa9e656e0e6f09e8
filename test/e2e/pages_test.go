package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"
)

// page FILE HEADING LANGUAGE OUT... writes the code blocks in a language under a heading of one of this
// repository's pages to files, one each; the last file gets all that are left.
func page(ts *testscript.TestScript, _ bool, args []string) {
	blocks := blocksOf(sections(ts.ReadFile(filepath.Join(repository, args[0])))[args[1]], args[2])
	files := args[3:]
	if len(blocks) < len(files) {
		ts.Fatalf("%s has %d such blocks under %q", args[0], len(blocks), args[1])
	}
	last := len(files) - 1
	blocks[last] = strings.Join(blocks[last:], "")
	for i, file := range files {
		ts.Check(os.WriteFile(ts.MkAbs(file), []byte(blocks[i]), 0o600))
	}
}

// says FILE HEADING checks that the last command has printed the message under a heading of a page, line
// by line. In the message … stands for any part of a line, and in a line of its own for any lines.
func says(ts *testscript.TestScript, _ bool, args []string) {
	messages := blocksOf(sections(ts.ReadFile(filepath.Join(repository, args[0])))[args[1]], "text")
	if len(messages) != 1 {
		ts.Fatalf("%s has %d messages under %q", args[0], len(messages), args[1])
	}
	printed := ts.ReadFile("stdout") + "\n" + ts.ReadFile("stderr")
	if !message(messages[0]).MatchString(printed) {
		ts.Fatalf("%s has under %q\n%s\nand the last command has printed\n%s", args[0], args[1], messages[0], printed)
	}
}

// message returns the expression for a message of a page. How lines are indented does not matter.
func message(text string) *regexp.Regexp {
	expr := `(?m)`
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "…" {
			expr += `(?:.*\n)*?`
			continue
		}
		expr += `^\s*` + strings.ReplaceAll(regexp.QuoteMeta(line), "…", `.*`) + `\s*$\n?`
	}
	return regexp.MustCompile(expr)
}

func TestMessage(t *testing.T) {
	t.Parallel()
	text := "Error reading …:\n…\n* no (such) thing\n"
	for printed, want := range map[string]bool{
		"Error reading a:\n* no (such) thing":                      true,
		"Error reading a:\n\nCode: 404\n\n\t* no (such) thing\n\n": true,
		"Error reading a:\n* no (such) thing: list":                false,
		"An Error reading a:\n* no (such) thing":                   false,
		"* no (such) thing\nError reading a:":                      false,
		"Error reading a:\n* no such thing":                        false,
	} {
		if got := message(text).MatchString(printed); got != want {
			t.Errorf("%q: %v", printed, got)
		}
	}
}

// sections returns what is under each heading of a page, up to the next heading of any level.
func sections(text string) map[string]string {
	under := map[string]string{}
	heading, inBlock := "", false
	for line := range strings.Lines(text) {
		if fence.MatchString(line) {
			inBlock = !inBlock
		}
		if match := headingLine.FindStringSubmatch(line); match != nil && !inBlock {
			heading = match[1]
			continue
		}
		under[heading] += line
	}
	return under
}

var (
	headingLine = regexp.MustCompile(`^##+ (.*)\n`)
	fence       = regexp.MustCompile("^( *)```(.*)\n")
)

// blocksOf returns the code blocks of a section that are in a language, without their indentation.
func blocksOf(section, language string) (blocks []string) {
	inBlock, wanted, indent := false, false, ""
	for line := range strings.Lines(section) {
		match := fence.FindStringSubmatch(line)
		switch {
		case match != nil && inBlock:
			inBlock = false
		case match != nil:
			inBlock, indent, wanted = true, match[1], match[2] == language
			if wanted {
				blocks = append(blocks, "")
			}
		case inBlock && wanted:
			blocks[len(blocks)-1] += strings.TrimPrefix(line, indent)
		}
	}
	return blocks
}

func TestEveryMessageOfTroubleshootingIsShown(t *testing.T) {
	t.Parallel()
	blocksAreUsed(t, "docs/troubleshooting.md", "text", "says docs/troubleshooting.md '%s'\n")
}

func TestEveryCommandOnAPageIsRun(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"README.md", "docs/operations.md", "docs/recipes.md", "docs/troubleshooting.md"} {
		for _, language := range []string{"sh", "hcl"} {
			blocksAreUsed(t, file, language, "page "+file+" '%s' "+language+" ")
		}
	}
}

// blocksAreUsed checks that under each heading of a page that has blocks in a language, some script
// has the line that uses them.
func blocksAreUsed(t *testing.T, file, language, line string) {
	t.Helper()
	scripts := strings.ReplaceAll(allScripts(t), "\n[!openbao] ", "\n")
	for heading, section := range sections(read(t, file)) {
		use := fmt.Sprintf(line, strings.ReplaceAll(heading, "'", "''"))
		if len(blocksOf(section, language)) > 0 && !strings.Contains(scripts, "\n"+use) {
			t.Errorf("no script has: %s", use)
		}
	}
}

func allScripts(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "test/e2e/testdata/*.txtar"))
	require.NoError(t, err)
	var scripts strings.Builder
	for _, file := range files {
		scripts.WriteString(read(t, file))
	}
	return scripts.String()
}
