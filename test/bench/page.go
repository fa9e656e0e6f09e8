package main

import (
	"bytes"
	"fmt"
	"strings"
)

const introduction = `# Performance

` + "`make bench`" + ` writes this page. It takes about 10 minutes and needs Linux, Go, make, and the ` + "`vault`" + ` on your
PATH; if there is none, it builds one, once. ` + "`make bench BENCHFLAGS=-short`" + ` takes about a minute and only
shows that everything still runs.

The load generator, Vault, the plugins and the simulator of ABEJA run on one machine and share its
cores: compare the figures with each other, and not with those of another machine or run. Contenders take
turns in short rounds. A figure is the median of the rounds, with the least and the most in parentheses;
a ratio is formed in each round.

`

// page is docs/performance.md.
func (r *report) page() []byte {
	var b bytes.Buffer
	b.WriteString(introduction)
	if r.short {
		b.WriteString("**These are the figures of a smoke run (`-short`). They mean nothing.**\n\n")
	}
	fmt.Fprintf(&b, "Measured on: %s.\n\n", r.machine)
	b.WriteString("![Each measurement's medians as bars, with a line from the least to the most](performance.svg)\n\n")
	b.WriteString("## What is wanted, and what was seen\n\n")
	writeFigures(&b, r.figures)
	for _, g := range r.groups {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| | %s | rounds |\n|---|---|---|\n", g.title, g.note, g.unit)
		for _, row := range g.rows {
			fmt.Fprintf(&b, "| %s | %s | %d |\n", row.name, spread(row.rounds), len(row.rounds))
		}
	}
	for _, t := range r.tables {
		fmt.Fprintf(&b, "\n## %s\n\n%s\n\n| %s |\n%s|\n", t.title, t.note, strings.Join(t.columns, " | "), strings.Repeat("|---", len(t.columns)))
		for _, cells := range t.rows {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
	}
	b.WriteString("\n## Bad weather\n\nWhat one waits while ABEJA fails, with the default timeouts, one read or write after the other.\n\n")
	writeFigures(&b, r.weather)
	r.writeMemory(&b)
	if len(r.notes) > 0 {
		b.WriteString("\n## Notes\n\n")
	}
	for _, note := range r.notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	return b.Bytes()
}

func writeFigures(b *bytes.Buffer, figures []figure) {
	b.WriteString("| | wanted | seen | |\n|---|---|---|---|\n")
	for _, f := range figures {
		verdict := "yes"
		if !f.met {
			verdict = "**no**"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", f.what, f.wanted, f.seen, verdict)
	}
	first := true
	for _, f := range figures {
		if f.met {
			continue
		}
		if first {
			b.WriteString("\nWhat falls short:\n\n")
			first = false
		}
		fmt.Fprintf(b, "- %s. %s\n", f.what, f.reason)
	}
}

func (r *report) writeMemory(b *bytes.Buffer) {
	if len(r.memory) == 0 {
		return
	}
	b.WriteString("\n## Memory\n\nResident memory of the plugin's process in MB: when it starts to be used, and what comes on top of it, " +
		"after some reads and a rest, and at the most.\n\n| | at start | settled | at the most |\n|---|---|---|---|\n")
	for _, m := range r.memory {
		fmt.Fprintf(b, "| %s | %s | + %s | + %s |\n", m.what, short(m.start), short(m.settled), short(m.peak))
	}
}
