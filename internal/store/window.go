package store

import "time"

const (
	// firstWindow and maxWindow are how many pages of a list are asked for at once to begin with and at the most.
	firstWindow, maxWindow = 4, 32
	// slower is how much longer than the best time a page must take, and slowerAtLeast the least such
	// difference, for ABEJA to be asked for fewer at once.
	slower, slowerAtLeast = 2, 50 * time.Millisecond
	// usualOf is how many of the last pages count for the time that one usually takes: a slow one among
	// many says nothing.
	usualOf = 8
)

// window is how many requests are under way at once: as many as ABEJA can answer without slowing down. Like
// TCP's window it grows by one with each good answer until something goes wrong, then by one with each round
// of them, and is halved for what fails or is slow.
type window struct {
	size, steady float64       // from steady on it grows slowly
	best, usual  time.Duration // how long an answer took, the wait for the limit of requests included
	halved       time.Time
}

func newWindow() *window { return &window{size: firstWindow, steady: maxWindow} }

// answered takes in how a request ended that was sent then.
func (w *window) answered(sent time.Time, failed bool) {
	if sent.Before(w.halved) {
		return // it suffered from the window that was larger
	}
	now := time.Now()
	switch took := now.Sub(sent); {
	case failed:
	case w.best == 0:
		w.best, w.usual = took, took
	default:
		w.best = min(w.best, took)
		w.usual += (took - w.usual) / usualOf
	}
	switch {
	case failed, w.usual > max(slower*w.best, w.best+slowerAtLeast):
		w.size = max(1, w.size/2)
		w.steady, w.usual, w.halved = w.size, w.best, now
	case w.size < w.steady:
		w.size++
	default:
		w.size += 1 / w.size
	}
	w.size = min(w.size, maxWindow)
}
