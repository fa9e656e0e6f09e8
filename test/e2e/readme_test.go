package e2e

import "testing"

func TestWhatTheREADMEShowsIsHeldAgainstTheDemo(t *testing.T) {
	t.Parallel()
	blocksAreUsed(t, "README.md", "text", "says README.md '%s'\n")
}
