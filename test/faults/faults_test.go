// Package faults runs each operation under each fault of ABEJA and of the way there, with the engine in the
// test's process, and holds the answers, what ABEJA then has, and docs/reliability.md against each other. So it does
// with those who use mounts while the weather is bad.
package faults

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// fault is something that goes wrong on the way to ABEJA or there.
type fault struct {
	name string
	// strike makes a kind of call fail so many times; all calls when call is "", always when count
	// is 0.
	strike func(e *engine, call simulator.Op, count int)
	heal   func(e *engine)
	link   link
	// whole says that it strikes every call for as long as it lasts, whatever the call is.
	whole bool
	// acted says that it is about calls that change something: ABEJA does so, but nobody learns it.
	acted bool
	// waits says that it lasts longer than request_timeout, which is short then.
	waits bool
	// lasts says that it lasts for a time shorter than that.
	lasts bool
	// hurries says that the caller gives up first.
	hurries bool
	// alone says that it is heavy: it strikes one call, with nothing beside it.
	alone bool
}

// takesTime reports whether the fault is met in a bubble with fake time, where no machine is too slow for it.
func (f fault) takesTime() bool { return f.link == plain && (f.waits || f.lasts || f.hurries) }

const callerGone = "no answer by the caller's deadline"

func faults() []fault {
	all := []fault{}
	add := func(name string, f simulator.Fault) *fault {
		all = append(all, fault{
			name: name, link: plain, acted: strings.Contains(name, "ABEJA"),
			strike: func(e *engine, call simulator.Op, count int) {
				f := f
				f.Op, f.Count = call, count
				e.sim.AddFault(f)
			},
			waits: f.Delay > 0, alone: f.Kind == simulator.FaultHuge,
		})
		return &all[len(all)-1]
	}
	for _, status := range []int{400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 504} {
		add(fmt.Sprint(status), simulator.Fault{Kind: simulator.FaultStatus, Status: status})
	}
	add("429, Retry-After: 1", simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: "1"}).lasts = true
	add("429, Retry-After: 5", simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusTooManyRequests, RetryAfter: "5"}).waits = true
	add("503, ABEJA has acted", simulator.Fault{Kind: simulator.FaultStatus, Status: http.StatusServiceUnavailable, AfterActing: true})

	resetting := func(f *fault) {
		cut := f.strike
		f.strike = func(e *engine, call simulator.Op, count int) {
			e.abeja.resets.Store(true)
			cut(e, call, count)
		}
	}
	resetting(add("reset before the answer", simulator.Fault{Kind: simulator.FaultCut}))
	resetting(add("reset, ABEJA has acted", simulator.Fault{Kind: simulator.FaultCut, AfterActing: true}))
	add("closed before the answer", simulator.Fault{Kind: simulator.FaultCut})
	add("closed, ABEJA has acted", simulator.Fault{Kind: simulator.FaultCut, AfterActing: true})
	add("half of the answer", simulator.Fault{Kind: simulator.FaultTruncate})
	add("HTML with status 200", simulator.Fault{Kind: simulator.FaultHTML})
	add("half of the JSON", simulator.Fault{Kind: simulator.FaultBody, Body: `{"id":"3053595942757","na`, AfterActing: true})
	add("empty body", simulator.Fault{Kind: simulator.FaultEmpty})
	add("empty body, ABEJA has acted", simulator.Fault{Kind: simulator.FaultEmpty, AfterActing: true})
	add("a body of 1 GB", simulator.Fault{Kind: simulator.FaultHuge, AfterActing: true})
	add("a byte a second", simulator.Fault{Kind: simulator.FaultSlow, Delay: time.Second})
	add("redirect to another host", simulator.Fault{Kind: simulator.FaultRedirect, Body: "https://elsewhere.example/"})
	add("no answer in time", simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Hour})
	add("no answer in time, ABEJA has acted", simulator.Fault{Kind: simulator.FaultDelay, Delay: time.Hour, AfterActing: true})

	late := add("no answer in time, ABEJA acts later", simulator.Fault{Kind: simulator.FaultDelay, Delay: requestTimeout + time.Second})
	delay := late.strike
	late.strike = func(e *engine, call simulator.Op, count int) {
		e.abeja.detached.Store(true)
		delay(e, call, count)
	}
	hurry := add(callerGone, simulator.Fault{Kind: simulator.FaultDelay, Delay: callersDeadline + slack + time.Second})
	wait := hurry.strike
	hurry.strike = func(e *engine, call simulator.Op, count int) {
		e.deadline = callersDeadline
		wait(e, call, count)
	}
	hurry.hurries, hurry.waits = true, false
	hurry.heal = func(e *engine) { e.deadline = 0 }

	certificate := func(name string, end time.Duration, signed bool) {
		all = append(all, fault{
			name: name, link: secure, whole: true,
			strike: func(e *engine, _ simulator.Op, _ int) {
				ca := e.abeja.good
				if !signed {
					ca = nil
				}
				e.abeja.cert.Store(newCertificate(e.t, e.abeja.host(), time.Now().Add(end), ca))
			},
			heal: func(e *engine) { e.abeja.cert.Store(e.abeja.good) },
		})
	}
	certificate("expired certificate", -time.Hour, true)
	certificate("foreign certificate", time.Hour, false)
	return append(all,
		fault{
			name: "connection refused", whole: true,
			strike: func(e *engine, _ simulator.Op, _ int) { e.abeja.close() },
			heal:   func(e *engine) { e.abeja.reopen(e.t) },
		},
		fault{
			name: "DNS failure", link: lookedUp, whole: true,
			strike: func(e *engine, _ simulator.Op, _ int) { dns.remove(e.abeja.name) },
			heal:   func(e *engine) { dns.set(e.abeja.name, e.abeja.host()) },
		})
}
