package main

import (
	"math"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheEnvironmentGoesOverWhatThePluginSetsOfItsMemory(t *testing.T) {
	for _, c := range []struct {
		gogc, gomemlimit string
		spare            int
		limit            int64
	}{
		{"", "", spareMemory, memoryLimit},
		{"50", "", 0, memoryLimit},
		{"", "100MiB", spareMemory, math.MaxInt64},
		{"50", "100MiB", 0, math.MaxInt64},
	} {
		t.Setenv("GOGC", c.gogc)
		t.Setenv("GOMEMLIMIT", c.gomemlimit)
		before := debug.SetMemoryLimit(math.MaxInt64) // in place of what Go itself reads at the start
		spare := tuneMemory()
		limit := debug.SetMemoryLimit(before)
		require.Equal(t, c.spare, len(spare), c)
		require.Equal(t, c.limit, limit, c)
	}
}
