package simulator

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// FaultKind says what goes wrong.
type FaultKind string

// The kinds of faults.
const (
	FaultStatus   FaultKind = "status"   // an ABEJA error with Status (default 500), RetryAfter, and Body as its description
	FaultCut      FaultKind = "cut"      // the connection is closed without an answer
	FaultTruncate FaultKind = "truncate" // half of the answer, then the connection is closed
	FaultHTML     FaultKind = "html"     // a proxy's HTML with Status (default 200)
	FaultEmpty    FaultKind = "empty"    // no body, with Status (default 200)
	FaultSlow     FaultKind = "slow"     // the answer, one byte each Delay until faults are cleared
	FaultDelay    FaultKind = "delay"    // the answer, after Delay or when faults are cleared
	FaultHang     FaultKind = "hang"     // no answer, until the caller gives up, faults are cleared, or 10 minutes are over
	FaultHuge     FaultKind = "huge"     // 1 GiB of JSON that never closes
	FaultRedirect FaultKind = "redirect" // 302 to Body
	FaultBody     FaultKind = "body"     // Body as it is, as JSON, with Status (default 200)
)

var faultKinds = []FaultKind{FaultStatus, FaultCut, FaultTruncate, FaultHTML, FaultEmpty, FaultSlow, FaultDelay, FaultHang, FaultHuge, FaultRedirect, FaultBody}

// Fault is something that goes wrong with a call.
type Fault struct {
	Op         Op            `json:"op"`    // "" is any call
	Count      int           `json:"count"` // how many calls it strikes; 0 is all until it is cleared
	Kind       FaultKind     `json:"kind"`
	Status     int           `json:"status"`
	RetryAfter string        `json:"retry_after"`
	Delay      time.Duration `json:"-"`
	Body       string        `json:"body"`

	// AfterActing performs the call before the fault strikes, so that ABEJA has acted although the
	// caller does not learn of it. Truncate and slow need an answer to send, so they always do.
	AfterActing bool `json:"after_acting"`
}

func (f Fault) check() error {
	if !slices.Contains(faultKinds, f.Kind) {
		return fmt.Errorf("kind %q must be one of %v", f.Kind, faultKinds)
	}
	if f.Op != "" && !slices.Contains(ops, f.Op) {
		return fmt.Errorf("op %q must be one of %v", f.Op, ops)
	}
	if f.Status != 0 && (f.Status < 200 || f.Status > 599) {
		return fmt.Errorf("status %d must be from 200 to 599", f.Status)
	}
	if f.Count < 0 || f.Delay < 0 {
		return fmt.Errorf("count and delay must be 0 or more")
	}
	return nil
}

type faultList struct {
	mu      sync.Mutex
	list    []Fault
	cleared chan struct{} // closed when the faults are cleared; nil until a fault strikes
}

// AddFault makes calls fail. Where several faults fit a call, the one that was added first strikes
// until its count is used up. It panics if f is not valid.
func (s *Simulator) AddFault(f Fault) {
	if err := s.faults.add(f); err != nil {
		panic(err)
	}
}

// ClearFaults removes all faults. Calls that hang end without an answer.
func (s *Simulator) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = nil
	if s.faults.cleared != nil {
		close(s.faults.cleared)
		s.faults.cleared = nil
	}
}

func (l *faultList) add(f Fault) error {
	if err := f.check(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, f)
	return nil
}

// take returns the fault that strikes a call of this kind, if any, and what is closed when it is cleared.
func (l *faultList) take(op Op) (f Fault, cleared <-chan struct{}, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.list, func(f Fault) bool { return f.Op == "" || f.Op == op })
	if i < 0 {
		return Fault{}, nil, false
	}
	if l.cleared == nil {
		l.cleared = make(chan struct{})
	}
	f = l.list[i]
	switch f.Count {
	case 0:
	case 1:
		l.list = slices.Delete(l.list, i, i+1)
	default:
		l.list[i].Count--
	}
	return f, l.cleared, true
}

const longestHang = 10 * time.Minute

const proxyPage = "<html><head><title>Gateway</title></head><body><h1>Please come back later</h1></body></html>\n"

// serve answers with the fault. What act returns is ABEJA's own answer.
func (f Fault) serve(w http.ResponseWriter, r *http.Request, cleared <-chan struct{}, act func() answer) {
	var own answer
	if f.AfterActing || f.Kind == FaultTruncate || f.Kind == FaultSlow {
		own = act()
	}
	switch f.Kind {
	case FaultStatus:
		status := cmp.Or(f.Status, http.StatusInternalServerError)
		send(w, (&apiError{
			status:      status,
			code:        "simulated",
			description: cmp.Or(f.Body, fmt.Sprintf("simulated %d", status)),
			retryAfter:  f.RetryAfter,
		}).answer())
	case FaultCut:
		panic(http.ErrAbortHandler)
	case FaultTruncate:
		sendHeader(w, own)
		w.Write(own.body[:len(own.body)/2])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case FaultHTML:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		io.WriteString(w, proxyPage)
	case FaultEmpty:
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
	case FaultSlow:
		sendHeader(w, own)
		for _, b := range own.body {
			http.NewResponseController(w).Flush()
			wait(r.Context(), f.Delay, cleared)
			w.Write([]byte{b})
		}
	case FaultDelay:
		wait(r.Context(), f.Delay, cleared)
		if !f.AfterActing {
			own = act()
		}
		send(w, own)
	case FaultHang:
		ctx, cancel := context.WithTimeout(r.Context(), longestHang)
		defer cancel()
		select {
		case <-ctx.Done():
		case <-cleared:
		}
		panic(http.ErrAbortHandler)
	case FaultHuge:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
		chunk := bytes.Repeat([]byte("A"), 64<<10)
		_, err := io.WriteString(w, `{"id":"`)
		for n := 0; err == nil && n < 1<<30; n += len(chunk) {
			_, err = w.Write(chunk)
		}
	case FaultRedirect:
		w.Header().Set("Location", f.Body)
		w.WriteHeader(http.StatusFound)
	case FaultBody:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(cmp.Or(f.Status, http.StatusOK))
		io.WriteString(w, f.Body)
	}
}
