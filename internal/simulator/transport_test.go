package simulator

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTransportWorksForHTTPSAndAnyHost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		c.base = "https://api.abeja.io/secret-manager/organizations/" + c.sim.organization + "/secrets"
		c.must("GET", "", "")
	})
}

func TestLatencyIsWaitedForEachCallAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Latency: time.Minute})
		c.sim.SetLatency(20 * time.Millisecond)
		start := time.Now()
		var calls sync.WaitGroup
		for range 10 {
			calls.Go(func() { c.must("GET", "", "") })
		}
		calls.Wait()
		require.Equal(t, 20*time.Millisecond, time.Since(start))
	})
}

func TestACallThatIsGivenUpIsNotPerformed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Latency: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.client.Do(c.request("POST", "", `{"name":"one","value":"YQ=="}`).WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		require.Zero(t, c.sim.Len())
	})
}

func TestGivingUpWhileReadingEndsTheRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		c.sim.AddFault(Fault{Kind: FaultSlow, Delay: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		resp, err := c.client.Do(c.request("GET", "", "").WithContext(ctx))
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestCallsAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Behavior: Behavior{Order: "hash"}})
	var calls sync.WaitGroup
	for i := range 8 {
		calls.Go(func() {
			name := fmt.Sprintf("secret_%d", i)
			id := c.must("POST", "", `{"name":"`+name+`","value":"YQ=="}`)["id"].(string)
			c.must("POST", "/"+id+"/versions", `{"value":"Yg=="}`)
			c.must("GET", "?return_secret_value=True", "")
			c.must("PATCH", "/"+id, `{"description":"d"}`)
			c.sim.SetBehavior(Behavior{Order: []string{"name", "hash", "newest"}[i%3]})
			c.sim.Requests()
			if i%2 == 0 {
				c.must("DELETE", "/"+id, "")
			}
		})
	}
	calls.Wait()
	require.Equal(t, 4, c.sim.Len())
	require.Len(t, names(c.must("GET", "", "")), 4)
}
