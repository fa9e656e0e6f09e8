package simulator

import (
	"net/http"
	"sync"
	"time"
)

// Request is a call that arrived. It never holds values or credentials.
type Request struct {
	Op     Op // "" for what is none of the ten calls
	Method string
	Path   string
	Query  string
	Status int // 0 while nothing is answered, or if the connection was cut
	Time   time.Time
	Ended  bool // the call is over, whether it was answered or cut
}

// requestLog counts all calls and remembers the last ones.
type requestLog struct {
	mu     sync.Mutex
	counts map[Op]int
	total  int
	ring   []*Request
}

const maxRequests = 10_000

// add counts a call as it arrives. What is answered through the returned writer completes its entry.
func (l *requestLog) add(w http.ResponseWriter, r *http.Request, op Op) *loggedWriter {
	entry := &Request{Op: op, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Time: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ring) < maxRequests {
		l.ring = append(l.ring, entry)
	} else {
		l.ring[l.total%maxRequests] = entry
	}
	l.counts[op]++
	l.total++
	return &loggedWriter{ResponseWriter: w, log: l, entry: entry}
}

type loggedWriter struct {
	http.ResponseWriter
	log   *requestLog
	entry *Request
}

func (w *loggedWriter) WriteHeader(status int) {
	w.log.mu.Lock()
	w.entry.Status = status
	w.log.mu.Unlock()
	w.ResponseWriter.WriteHeader(status)
}

func (w *loggedWriter) end() {
	w.log.mu.Lock()
	defer w.log.mu.Unlock()
	w.entry.Ended = true
}

// Unwrap lets http.ResponseController flush.
func (w *loggedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Requests returns the last calls that arrived, at most 10,000, oldest first.
func (s *Simulator) Requests() []Request {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make([]Request, len(l.ring))
	for i := range out {
		out[i] = *l.ring[(l.total-len(l.ring)+i)%maxRequests]
	}
	return out
}

// Count tells how many calls of the given kinds have arrived; all calls if none is given.
func (s *Simulator) Count(ops ...Op) int {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(ops) == 0 {
		return l.total
	}
	sum := 0
	for _, op := range ops {
		sum += l.counts[op]
	}
	return sum
}

// ResetRequests forgets all calls and starts counting at zero.
func (s *Simulator) ResetRequests() {
	l := &s.requests
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts, l.total, l.ring = map[Op]int{}, 0, nil
}
