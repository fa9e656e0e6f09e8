package client

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWhoWaitsAsLongAsTheErrorSaysIsNotTooEarly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for wait, says := range map[time.Duration]string{
			-time.Second: "0s", 0: "0s", time.Millisecond: "1s", time.Second: "1s", 1400 * time.Millisecond: "2s", time.Minute: "1m0s",
		} {
			err := &NotAskedError{Since: time.Now(), Next: time.Now().Add(wait), Why: &Error{Status: 503}}
			require.Regexp(t, "goes out in "+says+"$", err.Error())
		}
	})
}
