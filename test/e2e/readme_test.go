package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhatTheREADMEShowsIsHeldAgainstTheDemo(t *testing.T) {
	t.Parallel()
	blocksAreUsed(t, "README.md", "text", "says README.md '%s'\n")
}

// The scripts run the commands of README.md, and so those of README.ja.md.
func TestBothREADMEsHaveTheSameHeadingsAndCommands(t *testing.T) {
	t.Parallel()
	english, japanese := read(t, "README.md"), read(t, "README.ja.md")
	require.Contains(t, english, "(README.ja.md)")
	require.Contains(t, japanese, "(README.md)")
	require.Equal(t, skeleton(english), skeleton(japanese))
}

// skeleton is what a page and its translation share: the levels of the headings, the code blocks, where
// paragraphs with a title, list items and table rows begin, and the code and links in between. It has no
// labels of diagrams, and no links to a README, which lead to the other language.
func skeleton(text string) (lines []string) {
	between := map[string]bool{} // the languages may differ in the order
	add := func(line string) {
		lines = append(append(lines, slices.Sorted(maps.Keys(between))...), line)
		clear(between)
	}
	inBlock, language := false, ""
	for line := range strings.Lines(text) {
		match := fence.FindStringSubmatch(line)
		switch {
		case match != nil:
			inBlock, language = !inBlock, match[2]
			add(line)
		case inBlock && language == "mermaid":
			add(label.ReplaceAllString(line, `""`))
		case inBlock:
			add(line)
		default:
			if mark := beginning.FindString(line); mark != "" {
				add(mark)
			}
			for _, found := range codeOrLink.FindAllString(line, -1) {
				if !strings.HasPrefix(found, "](README") {
					between[found] = true
				}
			}
		}
	}
	add("")
	return lines
}

var (
	beginning  = regexp.MustCompile(`^(#+ |\*\*|- |\|)`)
	codeOrLink = regexp.MustCompile("`[^`]+`" + `|\]\([^)]+\)`)
	label      = regexp.MustCompile(`"[^"]*"`)
)

// read returns the text of a file, which is one of the repository unless its path is absolute.
func read(t *testing.T, file string) string {
	t.Helper()
	if !filepath.IsAbs(file) {
		file = filepath.Join(repository, file)
	}
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(text)
}
