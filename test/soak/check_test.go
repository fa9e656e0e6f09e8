package soak

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// promises are what a history is held against, beside what always must hold.
type promises struct {
	// vaultRepeats: Vault sends a request to the plugin again when the plugin dies under it. So a
	// write can be stored twice, if another came between, and a create or a cas write can meet itself.
	vaultRepeats bool
	// deaths are when the plugin was being ended. Of a write that was under way then the answer may be that
	// of the repetition, which can be any refusal.
	deaths []span
	// either: a read may come from before a write that is not acknowledged yet, even when another
	// read has shown that write already. So it is with a cache, and through mounts that share no
	// calls, as those of different ABEJA users. The reads are then held only against acknowledged writes.
	either bool
}

// span is a part of a run, since its load began.
type span struct{ from, to time.Duration }

// deathTime is how long a process may go on after the call that ended it.
const deathTime = 200 * time.Millisecond

// ended does something that ends the plugin, and returns when that was.
func (l *load) ended(do func()) span {
	from := time.Since(l.start)
	do()
	return span{from, time.Since(l.start) + deathTime}
}

func (p promises) diedUnder(o operation) bool {
	return slices.ContainsFunc(p.deaths, func(s span) bool { return o.begin <= s.to && s.from <= o.end })
}

// figures are what a run came to.
type figures struct {
	reads, absent, failedReads, writes, mismatches, refused, unknown, unknownStored, repeated, metItself int
}

func (f figures) String() string {
	return fmt.Sprintf("reads: %d good, %d of no secret yet, %d failed; writes: %d acknowledged, %d cas mismatches, %d refused, %d of unknown outcome (%d of them stored); repeated by Vault: %d stored twice, %d creates or cas writes that met themselves",
		f.reads, f.absent, f.failedReads, f.writes, f.mismatches, f.refused, f.unknown, f.unknownStored, f.repeated, f.metItself)
}

// never is when a write ends of which nobody was told.
const never = time.Duration(math.MaxInt64)

// count takes in an operation by its answer.
func (f *figures) count(o operation) {
	switch {
	case o.outcome == mismatch:
		f.mismatches++
	case o.outcome == unknown:
		f.unknown++
	case o.write && o.outcome == done:
		f.writes++
	case o.write:
		f.refused++
	case o.outcome == done:
		f.reads++
	case o.outcome == absent:
		f.absent++
	default:
		f.failedReads++
	}
}

// check holds a history against what ABEJA has in the end.
func check(t *testing.T, ops []operation, at held, p promises) figures {
	t.Helper()
	var f figures
	failures := 0
	fail := func(of []operation, what string, about ...operation) {
		if failures++; failures <= 3 {
			t.Errorf("%s:\n%s", what, excerpt(of, about...))
		}
	}
	for name, of := range byName(ops) {
		of = settle(of, at[name], p, &f, fail)
		readsAreTrue(of, at[name], fail)
		readsAreFresh(of, fail)
		linearizable(of, p, fail)
	}
	if failures > 3 {
		t.Errorf("and %d more", failures-3)
	}
	t.Log(f)
	return f
}

type failure func(of []operation, what string, about ...operation)

// settle finds out by ABEJA's versions what became of each write: those that ABEJA has are done, with
// an end that is not known if the answer was an error; the others never were.
func settle(of []operation, versions []string, p promises, f *figures, fail failure) (settled []operation) {
	stored := map[string][]int{}
	for i, value := range versions {
		stored[value] = append(stored[value], i+1)
	}
	asked := map[string]bool{}
	for _, o := range of {
		f.count(o)
		if !o.write {
			if o.outcome == done || o.outcome == absent {
				settled = append(settled, o)
			}
			continue
		}
		asked[o.value] = true
		in := stored[o.value]
		switch o.outcome {
		case done:
			if !slices.Contains(in, o.version) {
				fail(of, fmt.Sprintf("an acknowledged write is not at ABEJA: version %d, where the value has versions %v", o.version, in), o)
			}
			if o.cas != noCAS && o.version != o.cas+1 {
				fail(of, "a cas write has won against another", winners(of, o)...)
			}
			settled = append(settled, o)
		case mismatch:
			if len(in) == 0 {
				settled = append(settled, o)
			} else if f.metItself++; !p.vaultRepeats {
				fail(of, "a cas write was refused, and is stored", o)
			}
		case refused:
			if len(in) > 0 && p.vaultRepeats && (strings.HasPrefix(o.said, "409") || p.diedUnder(o)) {
				f.metItself++
			} else if len(in) > 0 {
				fail(of, "the error does not say that the outcome is unknown, and the value is stored", o)
			}
		case unknown:
			if len(in) > 0 {
				f.unknownStored++
			}
		}
		for i, version := range in {
			if o.outcome == done && version == o.version {
				continue
			}
			if i > 0 {
				f.repeated++
				if !p.vaultRepeats || version == in[i-1]+1 {
					fail(of, fmt.Sprintf("the value of one write is stored as versions %v", in), o)
				}
			}
			effect := o
			effect.outcome, effect.version, effect.end = done, version, never
			if p.vaultRepeats {
				effect.cas = noCAS
			}
			settled = append(settled, effect)
		}
	}
	for _, value := range versions {
		if !asked[value] {
			fail(of, "ABEJA has a value that nobody wrote: "+value, of[0])
		}
	}
	return settled
}

// winners are the writes that are said to have made the versions from o.cas+1 to o's.
func winners(of []operation, o operation) []operation {
	about := []operation{o}
	for _, other := range of {
		if other.write && other.outcome == done && other.version > o.cas && other.version < o.version {
			about = append(about, other)
		}
	}
	return about
}

// readsAreTrue wants every value that was read to be that version's.
func readsAreTrue(of []operation, versions []string, fail failure) {
	for _, o := range of {
		if !o.write && o.outcome == done && (o.version < 1 || o.version > len(versions) || versions[o.version-1] != o.value) {
			fail(of, "a wrong answer: ABEJA has another value in this version, or no such version", o)
		}
	}
}

// readsAreFresh wants no read to give less than a write that was acknowledged before it began, nor
// what was written after it ended.
func readsAreFresh(of []operation, fail failure) {
	for _, r := range of {
		if r.write || r.outcome != done && r.outcome != absent {
			continue
		}
		for _, w := range of {
			if !w.write || w.outcome != done {
				continue
			}
			if w.end < r.begin && w.version > r.version {
				fail(of, "a read gives less than a write that was acknowledged before", w, r)
				return
			}
			if w.begin > r.end && w.version == r.version {
				fail(of, "a read gives what was written later", w, r)
				return
			}
		}
	}
}

// register is one secret: its state is the number of its newest version, 0 when there is none. The
// values go by their version, which readsAreTrue makes sure of.
var register = porcupine.Model{
	Init: func() any { return 0 },
	Step: func(state, input, _ any) (bool, any) {
		newest, o := state.(int), input.(operation)
		switch {
		case o.outcome == mismatch:
			return newest != o.cas && (o.version == -1 || o.version == newest), newest
		case o.write:
			return newest == o.version-1 && (o.cas == noCAS || o.cas == newest), o.version
		case o.outcome == absent:
			return newest == 0, newest
		}
		return newest == o.version, newest
	},
}

// linearizable wants the operations to have happened one after the other, each between its request
// and its answer.
func linearizable(of []operation, p promises, fail failure) {
	if p.either {
		of = slices.DeleteFunc(slices.Clone(of), func(o operation) bool { return !o.write })
	}
	inSomeOrder(of, fail)
}

func inSomeOrder(of []operation, fail failure) {
	ops := make([]porcupine.Operation, len(of))
	for i, o := range of {
		ops[i] = porcupine.Operation{ClientId: o.client, Input: o, Call: int64(o.begin), Return: int64(o.end)}
	}
	result, info := porcupine.CheckOperationsVerbose(register, ops, 10*time.Minute)
	switch result {
	case porcupine.Ok:
		return
	case porcupine.Unknown:
		fail(of, "whether this history is linearizable could not be found out in 10 minutes", of[0])
		return
	}
	// What ends first of that for which there is no room in the longest order that was found.
	var longest []porcupine.Operation
	for _, order := range info.PartialLinearizationsOperations()[0] {
		if len(order) > len(longest) {
			longest = order
		}
	}
	misfit := operation{end: never}
	for _, o := range of {
		fits := slices.ContainsFunc(longest, func(l porcupine.Operation) bool { return l.Input.(operation) == o })
		if !fits && o.end < misfit.end {
			misfit = o
		}
	}
	fail(of, "not linearizable: there is no order in which this one fits", misfit)
}
