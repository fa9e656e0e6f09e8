package simulator

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A fault must look the same over the network and in memory.
func eachWay(t *testing.T, test func(t *testing.T, c caller)) {
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		c := newCaller(t, Options{})
		server := httptest.NewServer(c.sim)
		t.Cleanup(server.Close) // blocks until every answer has ended
		c.client = server.Client()
		c.client.CheckRedirect = noRedirect
		c.base = strings.Replace(c.base, "http://abeja.test", server.URL, 1)
		test(t, c)
	})
	t.Run("transport", func(t *testing.T) {
		t.Parallel()
		c := newCaller(t, Options{})
		c.client.CheckRedirect = noRedirect
		test(t, c)
	})
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func TestFaultStatus(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultStatus, Count: 1, Status: 503, RetryAfter: "7", Body: "maintenance"})
		resp, body := c.do(c.request("GET", "", ""))
		require.Equal(t, 503, resp.StatusCode)
		require.Equal(t, "7", resp.Header.Get("Retry-After"))
		require.JSONEq(t, `{"error":"simulated","error_description":"maintenance","error_detail":null}`, body)

		c.sim.AddFault(Fault{Kind: FaultStatus, Count: 1})
		require.Equal(t, "simulated 500", c.refused(500, "GET", "", ""))
		c.must("GET", "", "")
	})
}

func TestFaultCut(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultCut, Op: CreateSecret, Count: 1})
		_, err := c.client.Do(c.request("POST", "", `{"name":"one","value":"YQ=="}`))
		require.ErrorIs(t, err, io.EOF)
		require.Zero(t, c.sim.Len())
		require.Equal(t, 1, c.sim.Count(CreateSecret), "the call was not sent again")
		require.Zero(t, c.sim.Requests()[0].Status)
		require.EventuallyWithT(t, func(e *assert.CollectT) { require.True(e, c.sim.Requests()[0].Ended) }, 10*time.Second, time.Millisecond)
	})
}

func TestFaultAfterActing(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultCut, Op: CreateSecret, Count: 1, AfterActing: true})
		_, err := c.client.Do(c.request("POST", "", `{"name":"one","value":"YQ=="}`))
		require.ErrorIs(t, err, io.EOF)
		c.refused(409, "POST", "", `{"name":"one","value":"YQ=="}`)

		c.sim.AddFault(Fault{Kind: FaultStatus, Op: CreateSecret, Count: 1, Status: 504, AfterActing: true})
		c.refused(504, "POST", "", `{"name":"two","value":"YQ=="}`)
		require.Equal(t, 2, c.sim.Len())

		c.sim.AddFault(Fault{Kind: FaultStatus, Op: CreateSecret, Count: 1, Status: 504})
		c.refused(504, "POST", "", `{"name":"three","value":"YQ=="}`)
		require.Equal(t, 2, c.sim.Len())
	})
}

func TestFaultTruncate(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		_, whole := c.call("GET", "", "")
		c.sim.AddFault(Fault{Kind: FaultTruncate, Count: 1})
		resp, err := c.client.Do(c.request("GET", "", ""))
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		body, err := io.ReadAll(resp.Body)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.Equal(t, whole[:len(whole)/2], string(body))
	})
}

func TestFaultsThatAnswerSomethingElse(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		for _, example := range []struct {
			fault             Fault
			status            int
			contentType, body string
		}{
			{Fault{Kind: FaultHTML}, 200, "text/html", proxyPage},
			{Fault{Kind: FaultHTML, Status: 502}, 502, "text/html", proxyPage},
			{Fault{Kind: FaultEmpty}, 200, "", ""},
			{Fault{Kind: FaultEmpty, Status: 500}, 500, "", ""},
			{Fault{Kind: FaultBody, Body: `{"secrets":`}, 200, "application/json", `{"secrets":`},
			{Fault{Kind: FaultBody, Body: `[]`, Status: 418}, 418, "application/json", `[]`},
		} {
			example.fault.Count = 1
			c.sim.AddFault(example.fault)
			resp, body := c.do(c.request("GET", "", ""))
			require.Equal(t, example.status, resp.StatusCode)
			require.Equal(t, example.contentType, resp.Header.Get("Content-Type"))
			require.Equal(t, example.body, body)
		}
	})
}

func TestFaultRedirect(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultRedirect, Count: 1, Body: "https://elsewhere.test/x"})
		resp, _ := c.do(c.request("GET", "", ""))
		require.Equal(t, 302, resp.StatusCode)
		require.Equal(t, "https://elsewhere.test/x", resp.Header.Get("Location"))
	})
}

func TestFaultHugeGoesOnUntilTheCallerHasEnough(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultHuge, Count: 1})
		resp, err := c.client.Do(c.request("GET", "", ""))
		require.NoError(t, err)
		n, err := io.CopyN(io.Discard, resp.Body, 3<<20)
		require.NoError(t, err)
		require.EqualValues(t, 3<<20, n)
		require.NoError(t, resp.Body.Close())
	})
}

func TestFaultSlowAndDelayEndWithTheWholeAnswer(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		_, whole := c.call("GET", "", "")
		for _, kind := range []FaultKind{FaultSlow, FaultDelay} {
			c.sim.AddFault(Fault{Kind: kind, Count: 1, Delay: time.Microsecond})
			_, body := c.call("GET", "", "")
			require.Equal(t, whole, body)
		}
	})
}

func TestFaultSlowSendsOneByteEachDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		c.sim.AddFault(Fault{Kind: FaultSlow, Delay: time.Second})
		start := time.Now()
		resp, err := c.client.Do(c.request("GET", "", ""))
		require.NoError(t, err)
		require.Zero(t, time.Since(start), "the header comes at once")
		body := bufio.NewReader(resp.Body)
		for n := range 3 {
			_, err = body.ReadByte()
			require.NoError(t, err)
			require.Equal(t, time.Duration(n+1)*time.Second, time.Since(start))
		}
		require.NoError(t, resp.Body.Close())
	})
}

func TestFaultDelayEndsWithTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		post := func(name string, timeout time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			defer cancel()
			resp, err := c.client.Do(c.request("POST", "", `{"name":"`+name+`","value":"YQ=="}`).WithContext(ctx))
			if err == nil {
				err = resp.Body.Close()
			}
			return err
		}
		c.sim.AddFault(Fault{Kind: FaultDelay, Delay: time.Minute, Count: 1})
		require.ErrorIs(t, post("one", time.Second), context.DeadlineExceeded)
		synctest.Wait()
		time.Sleep(time.Hour)
		require.Zero(t, c.sim.Len(), "a call that was given up is not performed")

		c.sim.AddFault(Fault{Kind: FaultDelay, Delay: time.Minute, Count: 1, AfterActing: true})
		require.ErrorIs(t, post("one", time.Second), context.DeadlineExceeded)
		require.Equal(t, 1, c.sim.Len())

		start := time.Now()
		c.sim.AddFault(Fault{Kind: FaultDelay, Delay: time.Minute, Count: 1})
		require.NoError(t, post("two", time.Hour))
		require.Equal(t, time.Minute, time.Since(start))

		start = time.Now()
		c.sim.AddFault(Fault{Kind: FaultDelay, Delay: time.Minute, Count: 1})
		time.AfterFunc(time.Second, c.sim.ClearFaults)
		require.NoError(t, post("three", time.Hour))
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestFaultHangEndsWithTheCall(t *testing.T) {
	t.Parallel()
	eachWay(t, func(t *testing.T, c caller) {
		c.sim.AddFault(Fault{Kind: FaultHang})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := c.client.Do(c.request("POST", "", `{"name":"one","value":"YQ=="}`).WithContext(ctx))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Zero(t, c.sim.Len())
	})
}

func TestFaultHangIsEndedByClearingOrTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{})
		start := time.Now()
		hang := func(name string) chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := c.client.Do(c.request("POST", "", `{"name":"`+name+`","value":"YQ=="}`))
				ended <- err
			}()
			return ended
		}
		c.sim.AddFault(Fault{Kind: FaultHang, Count: 2})
		first, second := hang("one"), hang("two")
		time.Sleep(10*time.Minute - 1)
		require.Empty(t, first)
		c.sim.ClearFaults()
		require.ErrorIs(t, <-first, io.EOF)
		require.ErrorIs(t, <-second, io.EOF)
		require.Equal(t, 10*time.Minute-1, time.Since(start))
		require.Zero(t, c.sim.Len())

		start = time.Now()
		c.sim.AddFault(Fault{Kind: FaultHang, AfterActing: true})
		require.ErrorIs(t, <-hang("one"), io.EOF)
		require.Equal(t, 10*time.Minute, time.Since(start))
		require.Equal(t, 1, c.sim.Len())
		require.Zero(t, c.sim.Requests()[2].Status)
	})
}

func TestFaultsStrikeByOperationAndCountInTheOrderAdded(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	c.sim.AddFault(Fault{Op: GetSecret, Kind: FaultStatus, Status: 501, Count: 2})
	c.sim.AddFault(Fault{Kind: FaultStatus, Status: 502, Count: 1})
	c.sim.AddFault(Fault{Op: ListSecrets, Kind: FaultStatus, Status: 503})

	c.refused(501, "GET", "/"+id, "")
	c.refused(502, "GET", "", "")
	c.refused(501, "GET", "/"+id, "")
	c.must("GET", "/"+id, "")
	for range 3 {
		c.refused(503, "GET", "", "")
	}
	c.sim.ClearFaults()
	c.must("GET", "", "")
}

func TestInvalidFaultsAreRefused(t *testing.T) {
	t.Parallel()
	for _, f := range []Fault{
		{},
		{Kind: "explode"},
		{Kind: FaultCut, Op: "get"},
		{Kind: FaultCut, Count: -1},
		{Kind: FaultDelay, Delay: -1},
		{Kind: FaultStatus, Status: 100},
		{Kind: FaultStatus, Status: 600},
	} {
		require.Panics(t, func() { New(Options{}).AddFault(f) }, f)
	}
}
