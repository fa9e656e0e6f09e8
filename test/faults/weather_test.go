package faults

import (
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// weather is how ABEJA is for a while, whatever it is asked.
type weather struct {
	// row is that of docs/reliability.md: how ABEJA is, what a reader gets of whom the value is kept, another
	// reader and a writer, and what ABEJA is sent.
	row string
	// come makes it so for badFor.
	come func(o *outdoors)
	// The longest waits of a reader of what is kept, of another reader and of a writer.
	kept, read, write time.Duration
	// opens is how soon ABEJA is left alone, until it is back; steady says that it never is.
	opens  time.Duration
	steady bool
	// holds is how much longer than it lasts ABEJA has asked to be left alone.
	holds time.Duration
}

func weathers() []weather {
	lasting := func(f simulator.Fault) func(*outdoors) {
		return func(o *outdoors) {
			o.sim.AddFault(f)
			time.Sleep(badFor)
			o.sim.ClearFaults()
		}
	}
	limping := func(f simulator.Fault) func(*outdoors) {
		return func(o *outdoors) {
			f.Count = 1
			o.wire.limp.Store(&f)
			time.Sleep(badFor)
			o.wire.limp.Store(nil)
			o.sim.ClearFaults()
		}
	}
	flapping := func(f simulator.Fault) func(*outdoors) {
		return func(o *outdoors) {
			for range badFor / (2 * time.Second) {
				o.sim.AddFault(f)
				time.Sleep(time.Second)
				o.sim.ClearFaults()
				time.Sleep(time.Second)
			}
		}
	}
	const tries = 10 * time.Second // with the waits between them
	// Whatever ABEJA does not answer it has done.
	unavailable := simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusServiceUnavailable, AfterActing: true}
	cut, hang := simulator.Fault{Kind: simulator.FaultCut, AfterActing: true}, simulator.Fault{Kind: simulator.FaultHang, AfterActing: true}
	wait := simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: "35"}
	refuse := func(o *outdoors) {
		o.wire.refuses.Store(true)
		time.Sleep(badFor)
		o.wire.refuses.Store(false)
	}
	return []weather{
		{
			row: "hangs | the kept value: after a second if asked in the first second, then at once | 504 or 503 within 30 s if asked in the first 15 s, " +
				"then 503 at once | the same, 504 within 60 s | what is asked for, for 15 s; then at most 10 requests a second",
			come: lasting(hang), kept: keptWait, read: readWait, write: writeWait, opens: readWait/2 + time.Second,
		},
		{
			row: "cuts connections or answers 5xx | the kept value, at once | 502 after its tries; after ten of them 503 at once " +
				"| the same | one request every 2 s",
			come: lasting(cut), read: tries, write: tries, opens: time.Second,
		},
		{
			row:  "refuses connections | the same | the same | the same | the same",
			come: refuse, read: tries, write: tries, opens: time.Second,
		},
		{
			row:  "says 429 with Retry-After | the kept value, at once | 429 at once, with the time | the same | nothing until then",
			come: lasting(wait), steady: true, holds: 10 * time.Second,
		},
		{
			row: "fails one call in three | a fresh value or the kept one, at once | a good answer after its tries; one of 81 calls is 502 " +
				"| the same | all calls, with their tries",
			come: limping(cut), read: tries, write: tries, steady: true,
		},
		{
			row: "hangs with one call in three | a fresh value at once, or the kept one after a second | a good answer after its tries, or 504 after 30 s; " +
				"a list, of several calls, may take twice as long | the same, 504 within 60 s; longer behind another writer of the name | all calls, with their tries",
			come: limping(hang), kept: keptWait, read: 2 * readWait, write: 2 * writeWait, steady: true,
		},
		{
			row: "fails for a second, answers for a second | a fresh value or the kept one, at once | a good answer, 502, or 503 at once " +
				"| the same | what is asked for until ten requests in a row have failed, then one request every 2 s",
			come: flapping(unavailable), read: tries, write: tries,
		},
		{
			row: "hangs for a second, answers for a second | a fresh value, or the kept one after a second | a good answer after its tries, or 503 at once " +
				"| the same | the same",
			come: flapping(hang), kept: keptWait, read: readWait, write: writeWait,
		},
	}
}

func TestBadWeather(t *testing.T) {
	for _, w := range weathers() {
		name, _, _ := strings.Cut(w.row, " | ")
		t.Run(testName(name), func(t *testing.T) {
			t.Parallel()
			defer working.take()()
			synctest.Test(t, func(t *testing.T) {
				o := newOutdoors(t)
				o.everybody()
				time.Sleep(goodBefore)
				w.come(o)
				o.callers.Wait()
				time.Sleep(time.Hour) // whatever goes on in the background has ended
				o.check(w)
			})
		})
	}
}

func (o *outdoors) check(w weather) {
	bad, back := o.began.Add(goodBefore), o.good().Add(w.holds+freshness)
	o.wire.mu.Lock()
	defer o.wire.mu.Unlock()
	open := func(at time.Time) *spell {
		for i, s := range o.wire.spells {
			if !at.Before(s.from) && at.Before(s.to) {
				return &o.wire.spells[i]
			}
		}
		return nil
	}
	longest := map[caller]time.Duration{}
	ends := map[*spell]map[time.Time]bool{} // of the visits that waited while ABEJA was left alone
	for _, v := range o.visits {
		longest[v.caller] = max(longest[v.caller], v.took)
		s := open(v.began)
		switch {
		case v.began.Before(bad):
			assert.True(o.t, v.answer.acknowledged() || v.what == "check-and-set", "in good weather: %+v", v)
		case !v.began.Before(back):
			assert.True(o.t, v.answer.acknowledged() || v.what == "check-and-set", "%v after ABEJA was back: %+v", v.began.Sub(o.good()), v)
			assert.Empty(o.t, v.answer.warnings, "%v after ABEJA was back: %+v", v.began.Sub(o.good()), v)
		case v.caller == keptReader:
			assert.True(o.t, v.answer.acknowledged(), "%+v", v)
		}
		if w.opens > 0 && v.caller == keptReader && v.began.After(bad.Add(2*time.Second)) && v.began.Before(o.good()) {
			assert.Zero(o.t, v.took, "%v after the weather has become bad: %+v", v.began.Sub(bad), v)
		}
		if s != nil && v.took > 0 {
			assert.NotEqual(o.t, keptReader, v.caller, "waits while ABEJA is left alone: %+v", v)
			if ends[s] == nil {
				ends[s] = map[time.Time]bool{}
			}
			ends[s][v.began.Add(v.took)] = true
		}
	}
	assert.LessOrEqual(o.t, longest[keptReader], w.kept, "a reader of what is kept")
	assert.LessOrEqual(o.t, max(longest[reader], longest[briefReader]), w.read, "another reader")
	assert.LessOrEqual(o.t, longest[writer], w.write, "a writer")

	for i, s := range o.wire.spells {
		if !assert.False(o.t, s.to.IsZero(), "ABEJA is asked again") {
			continue
		}
		sent := o.wire.sent[s.first:s.last]
		most, first := 0, 0
		for last := range sent {
			for sent[last].Sub(sent[first]) >= time.Second {
				first++
			}
			most = max(most, last-first+1)
		}
		assert.LessOrEqual(o.t, most, openRate, "requests in a second, while ABEJA was left alone")
		// Who joins a call that is under way ends with it.
		assert.LessOrEqual(o.t, len(ends[&o.wire.spells[i]]), len(sent), "calls that were waited for while ABEJA was left alone")
	}
	if w.holds > 0 {
		sent := 0
		for _, at := range o.wire.sent {
			if at.After(bad) && at.Before(o.good()) {
				sent++
			}
		}
		assert.LessOrEqual(o.t, sent, 2, "one request, and one when the time is over that ABEJA has named")
	}
	switch spells := o.wire.spells; {
	case w.steady:
		assert.Empty(o.t, spells, "ABEJA is never left alone")
	case w.opens > 0:
		if assert.NotEmpty(o.t, spells, "ABEJA is left alone") {
			assert.LessOrEqual(o.t, spells[0].from.Sub(bad), w.opens)
			assert.True(o.t, !spells[0].to.Before(o.good()), "until it is back")
			assert.Len(o.t, spells, 1)
		}
	}

	for _, each := range o.writes {
		stored, unknown := each.stored(), strings.Contains(each.answer.text, "is not known")
		switch {
		case each.answer.acknowledged():
			assert.Equal(o.t, 1, stored, "acknowledged: %+v", each)
		case strings.Contains(each.answer.text, "was not asked") && !unknown:
			assert.Zero(o.t, stored, "said not to be sent: %+v", each)
		case !unknown:
			assert.Zero(o.t, stored, "refused: %+v", each)
		default:
			assert.LessOrEqual(o.t, stored, 1, "stored more than once: %+v", each)
		}
	}
}

func TestThePageTellsOfTheBadWeather(t *testing.T) {
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	rows := []string{silentlyDead}
	for _, w := range weathers() {
		rows = append(rows, w.row)
	}
	for _, row := range rows {
		require.Contains(t, string(text), "\n| "+row+" |\n")
	}
}
