package faults

import (
	"cmp"
	"flag"
	"net"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestMain(m *testing.M) {
	flag.Parse()
	flag.Set("test.parallel", "10000") // turns bound how many run at once
	debug.SetGCPercent(400)
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: dns.dial}
	os.Exit(m.Run())
}

// mode is which calls to ABEJA fail.
type mode struct {
	call simulator.Op // "" for all
	once bool
}

func (m mode) String() string {
	switch {
	case m.once:
		return "once at " + callName(m.call)
	case m.call != "":
		return "lasting at " + callName(m.call)
	}
	return "lasting"
}

func callName(call simulator.Op) string { return strings.ReplaceAll(string(call), "_", " ") }

func changes(call simulator.Op) bool {
	return call != "" && !strings.HasPrefix(string(call), "get") && !strings.HasPrefix(string(call), "list")
}

// course is an operation without a fault.
type course struct {
	answer        answer
	before, after string // what is held
	calls         []simulator.Op
}

// modes are all ways in which a fault can meet an operation: on every call, and on each of the
// calls that it makes when all is well.
func (c course) modes(f fault) []mode {
	if f.alone {
		heart := slices.IndexFunc(c.calls, changes)
		return []mode{{call: c.calls[max(0, heart)], once: true}}
	}
	var modes []mode
	if !f.acted || changes(c.calls[0]) {
		modes = append(modes, mode{})
	}
	if f.whole {
		return modes
	}
	distinct := slices.Compact(slices.Clone(c.calls))
	for _, call := range distinct {
		if f.acted && !changes(call) {
			continue
		}
		if len(distinct) > 1 || changes(call) {
			modes = append(modes, mode{call: call})
		}
		modes = append(modes, mode{call: call, once: true})
	}
	return modes
}

// cell is what came of an operation under a fault.
type cell struct {
	operation operation
	fault     fault
	mode      mode
	course    course

	answer   answer
	before   string
	held     string // once ABEJA has ended all that it was asked
	requests map[simulator.Op]int
	took     time.Duration
	// allocated is what was, in all, when nothing else ran.
	allocated uint64

	repeated      *answer // the same again without the fault, if it had failed
	heldAfterward string
	log           string
}

func TestEveryOperationUnderEveryFault(t *testing.T) {
	var all collection
	run := func(t *testing.T, o operation, f fault, m mode, course course) {
		t.Run(testName(o.name)+"/"+testName(f.name+" "+m.String()), func(t *testing.T) {
			switch {
			case f.alone:
			case o.cold && !f.takesTime():
				t.Parallel()
				defer waiting.take()()
			default:
				t.Parallel()
				defer working.take()()
			}
			if f.takesTime() {
				synctest.Test(t, func(t *testing.T) { all.add(t, strike(t, o, f, m, course)) })
				return
			}
			all.add(t, strike(t, o, f, m, course))
		})
	}
	t.Run("matrix", func(t *testing.T) {
		for _, o := range operations() {
			course := withoutFault(t, o)
			for _, f := range faults() {
				if f.hurries && o.cold && !o.reads {
					continue // it ends while Vault asks whether the secret exists
				}
				if f.alone && o.cold {
					continue // as without a start, and slow
				}
				for _, m := range course.modes(f) {
					all.want++
					run(t, o, f, m, course)
				}
			}
		}
	})
	if t.Failed() || len(all.cells) < all.want {
		return // a part was chosen with -run
	}
	for _, d := range deviations {
		require.True(t, slices.ContainsFunc(all.cells, func(c cell) bool {
			return slices.Contains(c.violations(), d.rule) && d.is(c)
		}), "the engine does this no more, take it from the list: %s", d.why)
	}
	checkPage(t, all.cells)
	most := slices.MaxFunc(all.cells, func(a, b cell) int { return cmp.Compare(a.allocated, b.allocated) })
	t.Logf("%d cells; an answer of 1 GB made the engine and ABEJA allocate %d MiB at the most", len(all.cells), most.allocated>>20)
}

// TestAKeptConnectionThatIsLostIsReplaced has no part in the page: how many requests net/http itself
// repeats is a matter of time.
func TestAKeptConnectionThatIsLostIsReplaced(t *testing.T) {
	for _, o := range operations() {
		course := withoutFault(t, o)
		for _, f := range faults() {
			if !strings.HasPrefix(f.name, "reset") && !strings.HasPrefix(f.name, "closed") {
				continue
			}
			f.link = kept
			for _, m := range course.modes(f) {
				if !m.once {
					continue
				}
				t.Run(testName(o.name)+"/"+testName(f.name+" "+m.String()), func(t *testing.T) {
					t.Parallel()
					defer working.take()()
					strike(t, o, f, m, course).check(t)
				})
			}
		}
	}
}

// turns bounds how many cells run at once: many of those that wait, few of those that work.
type turns chan struct{}

var working, waiting = make(turns, 24), make(turns, 128)

func (q turns) take() (leave func()) {
	q <- struct{}{}
	return func() { <-q }
}

type collection struct {
	want  int
	mu    sync.Mutex
	cells []cell
}

// add checks a cell and keeps it.
func (all *collection) add(t *testing.T, c cell) {
	t.Helper()
	c.check(t)
	all.mu.Lock()
	defer all.mu.Unlock()
	all.cells = append(all.cells, c)
}

func testName(text string) string {
	return regexp.MustCompile(`[^A-Za-z0-9=]+`).ReplaceAllString(text, "_")
}

func withoutFault(t *testing.T, o operation) course {
	e := newEngine(t, fault{}, o)
	c := course{before: e.held(o.random)}
	c.answer = o.do(e)
	c.answer.ok(t)
	c.after = e.held(o.random)
	require.Equal(t, o.reads, c.before == c.after, "a read changes nothing, a write something")
	for _, r := range e.sim.Requests() {
		c.calls = append(c.calls, r.Op)
	}
	return c
}

// strike runs an operation under a fault, then the same without it if it failed.
func strike(t *testing.T, o operation, f fault, m mode, course course) cell {
	c := cell{operation: o, fault: f, mode: m, course: course}
	e := newEngine(t, f, o)
	count := 0
	if m.once {
		count = 1
	}
	f.strike(e, m.call, count)
	c.before = e.held(o.random)

	var start, end runtime.MemStats
	if f.alone {
		runtime.ReadMemStats(&start)
	}
	began := time.Now()
	c.answer = o.do(e)
	c.took = time.Since(began)
	if f.alone {
		runtime.ReadMemStats(&end)
		c.allocated = end.TotalAlloc - start.TotalAlloc
	}
	e.abeja.settle()
	c.held = e.held(o.random)
	c.requests = map[simulator.Op]int{}
	for _, r := range e.sim.Requests() {
		c.requests[r.Op]++
	}

	e.sim.ClearFaults()
	if f.heal != nil {
		f.heal(e)
	}
	if !c.answer.acknowledged() {
		again := o.do(e)
		// The names are loaded at most every five seconds, and ABEJA is not asked for a while when it has
		// failed, as it may ask itself.
		for (o.cold || strings.Contains(again.text, "was not asked")) && !again.acknowledged() && !absent.MatchString(again.text) && time.Since(began) < patience {
			time.Sleep(50 * time.Millisecond)
			again = o.do(e)
		}
		c.repeated = &again
		c.heldAfterward = e.held(o.random)
	}
	c.log = e.log.String()
	return c
}

func (c cell) total() int {
	n := 0
	for _, count := range c.requests {
		n += count
	}
	return n
}

// outcome is what ABEJA holds, compared with what it held before and should hold after.
func (c cell) outcome() string {
	switch c.held {
	case c.before:
		return "unchanged"
	case c.course.after:
		return "done"
	}
	return "half done"
}

// unknown says that the answer leaves open what ABEJA has done.
func (c cell) unknown() bool { return strings.Contains(c.answer.text, "is not known") }

func (c cell) check(t *testing.T) {
	t.Helper()
	for _, violation := range c.violations() {
		if c.deviation(violation) == nil {
			t.Errorf("%s: %+v; %s, %d requests, %s; repeated: %+v", violation, c.answer, c.outcome(), c.total(), c.took, c.repeated)
		}
	}
}

// violations are the rules that the cell breaks.
func (c cell) violations() []string {
	var broken []string
	rule := func(holds bool, name string) {
		if !holds {
			broken = append(broken, name)
		}
	}
	done := c.held == c.course.after
	same := c.held == c.before
	if c.answer.acknowledged() {
		rule(done, "what is acknowledged is stored")
		rule(c.answer.data == c.course.answer.data, "an answer is the right one")
	} else {
		halfway := strings.HasPrefix(c.answer.text, "the value is stored as version ")
		rule(same || c.unknown() || halfway && !done, ruleRefused)
		if absent.MatchString(c.answer.text) {
			return append(broken, ruleAbsent) // and it does so again, as the deviation says
		}
		status := []int{400, 403, 404, 409, 429, 502, 504}
		rule(slices.Contains(status, c.answer.status), "a failure has a status of the design")
		rule(sentence.MatchString(c.answer.text), "a failure is worded in a sentence")
		rule(!enginetest.Shows(c.answer.text), "no failure shows a value or a token")

		again := c.repeated.status
		rule(c.repeated.acknowledged() || done && (again == 409 || again == 400 && strings.Contains(c.repeated.text, "check-and-set")),
			"what failed succeeds when it is repeated, or is refused since it is done")
		if !c.operation.random {
			rule(c.heldAfterward == c.course.after, "what is repeated is stored exactly once")
		}
	}
	rule(!enginetest.Shows(strings.Join(c.answer.warnings, "\n")+c.log), "no warning and no log shows a value or a token")
	limit := patience
	switch {
	case c.fault.waits && c.operation.reads:
		limit = requestTimeout + slack
	case c.fault.waits:
		limit = 2*requestTimeout + slack // a write that timed out looks what came of it
		if c.operation.cold {
			limit += requestTimeout // before Vault's policies the names are to be loaded
		}
	case c.fault.hurries:
		limit = callersDeadline + slack
	}
	rule(c.took < limit, "no call outlasts its deadline")
	// The race detector takes its part of this.
	rule(c.allocated < 128<<20, "no answer fills the memory")
	for call, n := range c.requests {
		most := 2 // one retry, or one more when it is known that nothing was done
		if !changes(call) {
			most = 8 // a call that looks, and one that net/http repeats, have a retry too
		}
		rule(n <= most, "no call is sent more often than its retries allow")
	}
	return broken
}

const (
	ruleRefused = "what is refused has not happened, unless the answer says that it is not known"
	ruleAbsent  = "no failure says that a secret is absent which is there"
)

var (
	sentence = regexp.MustCompile(`^[a-zA-Z][^\n]{20,600}[a-z0-9_)]$`)
	absent   = regexp.MustCompile(`no such secret|current version \(it is 0`)
)

// deviation is a rule that the engine is known to break.
type deviation struct {
	rule string
	why  string
	is   func(c cell) bool
}

var deviations []deviation

func (c cell) deviation(rule string) *deviation {
	for i := range deviations {
		if d := &deviations[i]; d.rule == rule && d.is(c) {
			return d
		}
	}
	return nil
}
