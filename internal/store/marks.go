package store

import (
	"sync"
	"time"
)

// markLife is how long a mark is kept: longer than any call that may have begun before it can take
// (callTimeout). Values that were kept earlier are dropped when the mark is set.
const markLife = 10 * time.Minute

// marks say of names since when older answers must not be used. A name has a record of its own, so
// that none ends the use of another's answers. The zero value is ready.
type marks struct {
	mu    sync.Mutex
	last  map[string]mark
	swept time.Time
}

type mark struct {
	seq uint64
	at  time.Time
}

// of returns the number of the name's last mark, 0 if it has none.
func (m *marks) of(name string) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last[name].seq
}

func (m *marks) set(name string, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.last == nil {
		m.last, m.swept = make(map[string]mark), now
	}
	m.last[name] = mark{max(seq, m.last[name].seq), now}
	if now.Sub(m.swept) < markLife {
		return
	}
	m.swept = now
	for other, each := range m.last {
		if now.Sub(each.at) > markLife {
			delete(m.last, other)
		}
	}
}
