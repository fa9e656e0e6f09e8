package faults

import (
	"cmp"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of faults into docs/reliability.md")

const (
	page       = "../../docs/reliability.md"
	tableBegin = "<!-- go test ./test/faults -update writes from here -->\n"
	tableEnd   = "<!-- to here -->\n"
)

// checkPage holds the documentation against what has just been seen.
func checkPage(t *testing.T, cells []cell) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	head, rest, hasBegin := strings.Cut(string(text), tableBegin)
	old, tail, hasEnd := strings.Cut(rest, tableEnd)
	require.True(t, hasBegin && hasEnd, "%s lacks the lines between which the table belongs", page)
	table := "\n" + tables(cells) + "\n" + sentences(cells) + "\n" + knownDeviations()
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(head+tableBegin+table+tableEnd+tail), 0o644))
		return
	}
	require.Equal(t, old, table, "run 'go test ./test/faults -update', and look at what has changed")
}

func TestEveryTestThatThePageNamesExists(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	named := regexp.MustCompile(`\b(Test|Fuzz)[A-Z]\w+|\b\w+\.txtar`).FindAllString(string(text), -1)
	require.NotEmpty(t, named)
	found := map[string]bool{}
	require.NoError(t, filepath.WalkDir("../..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		found[entry.Name()] = true
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		code, err := os.ReadFile(path)
		for _, match := range regexp.MustCompile(`(?m)^func (\w+)\(`).FindAllSubmatch(code, -1) {
			found[string(match[1])] = true
		}
		return err
	}))
	for _, name := range named {
		require.True(t, found[name], name)
	}
}

// section is a part of the table: the cells whose fault meets the same kind of call.
type section struct {
	title string
	has   func(c cell) bool
}

var sections = []section{
	{"Every call to ABEJA fails", func(c cell) bool { return c.mode.call == "" }},
	{"Only the call that changes something fails, each time", func(c cell) bool { return changes(c.mode.call) && !c.mode.once }},
	{"Only the call that changes something fails, once", func(c cell) bool { return changes(c.mode.call) && c.mode.once }},
	{"Only a call that reads fails, each time", func(c cell) bool { return c.mode.call != "" && !changes(c.mode.call) && !c.mode.once }},
	{"Only a call that reads fails, once", func(c cell) bool { return c.mode.call != "" && !changes(c.mode.call) && c.mode.once }},
}

// column is an operation, with the call at which the faults strike.
func (c cell) column() string {
	if c.mode.call == "" {
		return c.operation.name
	}
	return c.operation.name + " (at " + callName(c.mode.call) + ")"
}

// entry is what the table shows for a cell, without the number of requests.
func (c cell) entry() string {
	outcome := map[string]string{"done": "done", "unchanged": "not done", "half done": "half done"}[c.outcome()]
	switch {
	case c.operation.reads && c.answer.acknowledged():
		outcome = "answered"
	case c.operation.reads:
		outcome = ""
	case !c.answer.acknowledged() && c.unknown():
		outcome += ", said to be unknown"
	}
	entry := class(c.answer.status)
	if outcome != "" {
		entry += " " + outcome
	}
	for _, violation := range c.violations() {
		if d := c.deviation(violation); d != nil {
			entry += fmt.Sprintf(" [%d]", 1+slices.IndexFunc(deviations, func(o deviation) bool { return o.rule == d.rule }))
		}
	}
	if c.repeated != nil && !c.repeated.acknowledged() {
		entry += fmt.Sprintf("; again: %d", c.repeated.status)
	}
	return entry
}

// class is a status; those of success are one.
func class(status int) string {
	if status < 300 {
		return "2xx"
	}
	return fmt.Sprint(status)
}

// tables returns a table for each section: a row for each group of faults, a column for each group
// of operations that the faults meet alike.
func tables(cells []cell) string {
	var b strings.Builder
	for _, s := range sections {
		byColumn := map[string]map[string]cell{}
		for _, c := range cells {
			if s.has(c) {
				if byColumn[c.column()] == nil {
					byColumn[c.column()] = map[string]cell{}
				}
				byColumn[c.column()][c.fault.name] = c
			}
		}
		columns := grouped(slices.Sorted(maps.Keys(byColumn)), func(column string) string {
			var all []string
			for _, f := range faults() {
				if c, struck := byColumn[column][f.name]; struck {
					all = append(all, c.entry())
				} else {
					all = append(all, "")
				}
			}
			return strings.Join(all, "|")
		})
		var names []string
		for _, f := range faults() {
			names = append(names, f.name)
		}
		entry := func(fault string, column []string) string {
			var entry string
			var totals []int
			for _, name := range column {
				if c, struck := byColumn[name][fault]; struck {
					entry = c.entry()
					totals = append(totals, c.total())
				}
			}
			if entry == "" || fault == callerGone {
				return entry // what goes on without the caller is not counted
			}
			least, most := slices.Min(totals), slices.Max(totals)
			if least == most {
				return fmt.Sprintf("%s (%d)", entry, most)
			}
			return fmt.Sprintf("%s (%d–%d)", entry, least, most)
		}
		rows := grouped(names, func(fault string) string {
			var all []string
			for _, column := range columns {
				all = append(all, entry(fault, column))
			}
			return strings.Join(all, " | ")
		})

		fmt.Fprintf(&b, "### %s\n\n", s.title)
		for i, column := range columns {
			fmt.Fprintf(&b, "- **%c**: %s\n", 'A'+i, strings.Join(column, "; "))
		}
		b.WriteString("\n| Fault |")
		for i := range columns {
			fmt.Fprintf(&b, " %c |", 'A'+i)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
		for _, row := range rows {
			entries := make([]string, len(columns))
			for i, column := range columns {
				entries[i] = entry(row[0], column)
			}
			if strings.Join(entries, "") != "" {
				fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(row, "; "), strings.Join(entries, " | "))
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

// grouped groups names by key, in the order in which the keys first appear.
func grouped(names []string, key func(string) string) [][]string {
	var groups [][]string
	at := map[string]int{}
	for _, name := range names {
		k := key(name)
		i, met := at[k]
		if !met {
			i = len(groups)
			at[k] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], name)
	}
	return groups
}

var particular = replacer{
	{regexp.MustCompile(`^the value is stored as version \d+, but the rest is not( known to be)?: `), ""},
	{regexp.MustCompile(`; nothing is stored \(verify_connection=false stores it without checking\)$`), ""},
	{regexp.MustCompile(`^abeja: [a-z ]+: `), "abeja: CALL: "},
	{regexp.MustCompile(`status \d+: simulated \d+`), "status N: WORDS"},
	{regexp.MustCompile(`lookup abeja-\d+\.example( on \S+)?:`), "lookup HOST:"},
}

// sentences returns the table of error messages, with the faults that cause each.
func sentences(cells []cell) string {
	faultsOf := map[string]map[string]bool{}
	for _, c := range cells {
		if c.answer.acknowledged() {
			continue
		}
		text := particular.Replace(unsteady.Replace(c.answer.text))
		line := fmt.Sprintf("%d | %s", c.answer.status, strings.ReplaceAll(text, "|", `\|`))
		if faultsOf[line] == nil {
			faultsOf[line] = map[string]bool{}
		}
		faultsOf[line][c.fault.name] = true
	}
	var b strings.Builder
	b.WriteString(`### What the caller reads

CALL is the call to ABEJA, N its status and WORDS what ABEJA says of it. A write of config adds "nothing
is stored"; where a value was stored before the rest failed, the sentence begins with its version.

| Status | Sentence | After |
|---|---|---|
`)
	for _, line := range slices.SortedFunc(maps.Keys(faultsOf), cmp.Compare[string]) {
		var after []string
		for _, f := range faults() {
			if faultsOf[line][f.name] {
				after = append(after, f.name)
			}
		}
		fmt.Fprintf(&b, "| %s | %s |\n", line, strings.Join(after, "; "))
	}
	return b.String()
}

func knownDeviations() string {
	var b strings.Builder
	b.WriteString("### Known deviations\n\n")
	if len(deviations) == 0 {
		b.WriteString("None.\n")
	}
	for i, d := range deviations {
		fmt.Fprintf(&b, "%d. Rule broken: %s. %s\n", i+1, d.rule, d.why)
	}
	return b.String()
}
