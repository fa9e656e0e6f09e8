package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// report is what is written in the end.
type report struct {
	short   bool
	machine string
	groups  []group
	tables  []table
	figures []figure
	weather []figure
	memory  []growth
	notes   []string
}

// group is contenders that were measured in turns.
type group struct {
	title, note, unit string
	rows              []row
}

// table is figures of several kinds beside each other.
type table struct {
	title, note string
	columns     []string
	rows        [][]string
}

// figure is what was seen beside what was wanted.
type figure struct {
	what, wanted, seen string
	met                bool
	reason             string // why it may fall short
}

// growth is memory in MB: at start, and what came on top of it, settled and at the most.
type growth struct {
	what                 string
	start, settled, peak float64
}

type bound string

const (
	atLeast bound = "at least"
	atMost  bound = "at most"
)

func (r *report) add(g group) { r.groups = append(r.groups, g) }

// expect adds a figure whose median over the rounds is to keep a bound.
func (r *report) expect(what string, rounds []float64, b bound, limit float64, reason string) {
	seen := median(rounds)
	r.figures = append(r.figures, figure{
		what:   what,
		wanted: string(b) + " " + strconv.FormatFloat(limit, 'g', -1, 64),
		seen:   spread(rounds),
		met:    b == atLeast && seen >= limit || b == atMost && seen <= limit,
		reason: reason,
	})
}

// sees adds a figure of bad weather that is to be at most so much.
func (r *report) sees(what string, seen, limit float64) {
	r.weather = append(r.weather, figure{
		what: what, wanted: string(atMost) + " " + strconv.FormatFloat(limit, 'g', -1, 64), seen: strconv.FormatFloat(seen, 'f', 3, 64), met: seen <= limit,
	})
}

// count adds a number that is to be exactly what is wanted.
func (r *report) count(what string, seen, want int) {
	r.figures = append(r.figures, figure{what: what, wanted: number(want), seen: number(seen), met: seen == want})
}

func (r *report) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "performance.md"), r.page(), 0o644); err != nil {
		return err
	}
	return plotGroups(r.groups, filepath.Join(dir, "performance.svg"))
}

// spread is the median over the rounds, with the least and the most.
func spread(rounds []float64) string {
	if len(rounds) == 1 {
		return short(rounds[0])
	}
	return fmt.Sprintf("%s (%s..%s)", short(median(rounds)), short(slices.Min(rounds)), short(slices.Max(rounds)))
}

// short writes as many digits as mean something.
func short(f float64) string {
	switch {
	case f >= 100:
		return number(int(f + 0.5))
	case f >= 10:
		return strconv.FormatFloat(f, 'f', 1, 64)
	}
	return strconv.FormatFloat(f, 'f', 2, 64)
}

// number writes 1234567 as 1,234,567.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
