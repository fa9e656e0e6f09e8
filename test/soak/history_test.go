package soak

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What an operation came to.
type outcome string

const (
	done     outcome = "done"
	absent   outcome = "no such secret"     // for a read
	mismatch outcome = "cas did not match"  // nothing was written
	refused  outcome = "error, not written" // for a read just an error
	unknown  outcome = "error, unknown"     // it may have been written
)

const noCAS = -1

// operation is one request to Vault and its answer.
type operation struct {
	client     int
	write      bool
	mount      string
	path, name string // secrets/ or data/, with the name
	value      string // written or read; every write has a value of its own
	cas        int    // or noCAS
	begin, end time.Duration

	outcome outcome
	version int    // of a write that is done, or of the value that was read; with mismatch the current one, or -1
	stale   bool   // a read was given what was kept, since ABEJA could not be asked
	said    string // the error
}

func (o operation) String() string {
	what := "read  " + o.mount + "/" + o.path + o.name
	if o.write {
		what = "write " + o.mount + "/" + o.path + o.name + " " + o.value
		if o.cas != noCAS {
			what += fmt.Sprintf(" cas=%d", o.cas)
		}
	}
	result := string(o.outcome)
	switch {
	case o.outcome == done && o.write:
		result = fmt.Sprintf("version %d", o.version)
	case o.outcome == done:
		result = fmt.Sprintf("version %d %s", o.version, o.value)
	case o.outcome == mismatch:
		result = fmt.Sprintf("%s: current is %d", o.outcome, o.version)
	}
	end := fmt.Sprintf("%9.3f", ms(o.end))
	if o.end == never {
		end = "        ?"
	}
	return strings.TrimSpace(fmt.Sprintf("%9.3f-%s ms  client %2d  %-50s %s  %s",
		ms(o.begin), end, o.client, what, result, o.said))
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// history collects operations while they happen.
type history struct {
	start time.Time
	mu    sync.Mutex
	ops   []operation
}

func newHistory() *history { return &history{start: time.Now()} }

// record makes a request and keeps it with what the answer means.
func (h *history) record(o operation, request func() answer, mean func(*operation, answer)) operation {
	o.begin = time.Since(h.start)
	a := request()
	o.end = time.Since(h.start)
	mean(&o, a)
	if o.outcome != done {
		o.said = strings.Join(strings.Fields(a.String()), " ")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, o)
	return o
}

// read says what the answer to a read means.
func read(o *operation, a answer) {
	switch {
	case a.Status == 200:
		o.outcome = done
		o.value, o.version = valueOf(a)
		o.stale = strings.Contains(strings.Join(a.Warnings, " "), "ABEJA could not be asked")
	case a.Status == 404:
		o.outcome = absent
	default:
		o.outcome = refused
	}
}

// valueOf reads a secret's value and version in either shape.
func valueOf(a answer) (value string, version int) {
	about := a.Data
	if inner, ok := a.Data["data"].(map[string]any); ok {
		value, _ = inner["value"].(string)
		about, _ = a.Data["metadata"].(map[string]any)
	} else {
		value, _ = a.Data["value"].(string)
	}
	number, _ := about["version"].(float64)
	return value, int(number)
}

var current = regexp.MustCompile(`did not match the current version \(it is (\d+)`)

// written says what the answer to a write means. An error that does not say that the outcome is
// unknown must be a refusal, unless Vault itself has lost the outcome.
func written(losing bool) func(*operation, answer) {
	return func(o *operation, a answer) {
		text := a.String()
		switch {
		case a.Status == 200:
			o.outcome = done
			number, _ := a.Data["version"].(float64)
			o.version = int(number)
		case a.Status == 400 && strings.Contains(text, "check-and-set parameter did not match"):
			o.outcome, o.version = mismatch, -1
			if m := current.FindStringSubmatch(text); m != nil {
				o.version, _ = strconv.Atoi(m[1])
			}
		case strings.Contains(text, "whether ABEJA stored it is not known"):
			o.outcome = unknown
		case losing && (a.Status == 0 || a.Status >= 500):
			o.outcome = unknown
		default:
			o.outcome = refused
		}
	}
}

// byName sorts the operations by name and time.
func byName(ops []operation) map[string][]operation {
	names := map[string][]operation{}
	for _, o := range ops {
		names[o.name] = append(names[o.name], o)
	}
	for _, of := range names {
		slices.SortFunc(of, func(a, b operation) int { return cmp.Compare(a.begin, b.begin) })
	}
	return names
}

// excerpt shows some operations of a name, what was under way meanwhile and what ended just before.
func excerpt(ops []operation, about ...operation) string {
	const most = 25
	first, last := about[0].begin, about[0].end
	for _, o := range about {
		first, last = min(first, o.begin), max(last, o.end)
	}
	var before, near []operation
	for _, o := range ops {
		switch {
		case o.outcome == refused && !slices.Contains(about, o):
		case o.end < first:
			before = append(before, o)
		case o.begin <= last:
			near = append(near, o)
		}
	}
	slices.SortFunc(before, func(a, b operation) int { return cmp.Compare(a.end, b.end) })
	before, near = before[max(0, len(before)-most):], near[:min(len(near), most)]
	var b strings.Builder
	for _, o := range append(before, near...) {
		mark := "  "
		if slices.Contains(about, o) {
			mark = "> "
		}
		b.WriteString(mark + o.String() + "\n")
	}
	return b.String()
}
