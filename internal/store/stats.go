package store

import (
	"sync/atomic"
	"time"
)

// Stats counts what stores do. One may serve several, such as those that follow each other as the
// config of a mount changes. It is safe for concurrent use.
type Stats struct {
	// CacheHits and CacheMisses are reads that Freshness.TTL was, or was not, of use for.
	CacheHits, CacheMisses atomic.Uint64
	// StaleAnswers are reads that were given an older value since ABEJA failed.
	StaleAnswers atomic.Uint64
	// Revalidations are reads that were given an older value while a newer one was asked for.
	Revalidations atomic.Uint64
	// Coalesced are callers who shared the answer of a call or a listing that another had begun.
	Coalesced atomic.Uint64
	// CompleteListings, IncompleteListings and FailedListings are how listings of all secrets ended.
	CompleteListings, IncompleteListings, FailedListings atomic.Uint64
	// SeamRereads are pages that were read since two neighbouring ones shared no item.
	SeamRereads atomic.Uint64
	// Panics are those that were recovered.
	Panics atomic.Uint64
}

// State is what is held in memory for a store and those that share its ABEJA user.
type State struct {
	// Secrets is how many names are known, whatever the store's prefix.
	Secrets int
	// Listed is when the complete listing began that they are from; zero before the first.
	Listed time.Time
	// Odd is of how many of all secrets ABEJA has told something that cannot be understood, when they
	// were last listed or read.
	Odd int
	// Weather is how ABEJA answers.
	Weather Weather
	// CacheEntries is how many secrets are kept with their values, CacheBytes how many bytes they have, and
	// LastGood how many of them outlive the process.
	CacheEntries, CacheBytes, LastGood int
	// LastGoodFails says that what is to outlive the process could not be stored when it was last tried.
	LastGoodFails bool
}

// State says what is held. It calls nothing.
func (s *Store) State() State {
	var state State
	state.CacheEntries, state.CacheBytes = s.identity.values.size()
	s.organization.breaker.mu.Lock()
	state.Weather = s.organization.breaker.weather()
	s.organization.breaker.mu.Unlock()
	if s.lastGood != nil {
		state.LastGood, state.LastGoodFails = s.lastGood.values(), s.lastGood.failing.Load()
	}
	names := &s.identity.names
	names.mu.Lock()
	defer names.mu.Unlock()
	state.Secrets, state.Listed = len(names.ids), names.listed
	state.Odd = names.lost + len(names.odd)
	for id := range names.oddRead {
		if !names.odd[id] {
			state.Odd++
		}
	}
	return state
}
