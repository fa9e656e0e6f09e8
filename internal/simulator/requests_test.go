package simulator

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRequestsAreRecordedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Latency: time.Second})
		c.must("POST", "", `{"name":"one","value":"YQ=="}`)
		c.must("GET", "?limit=3", "")
		c.refused(404, "GET", "/x", "")
		c.refused(405, "PUT", "", "{}")

		path := "/secret-manager/organizations/1410000000000/secrets"
		start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		got := c.sim.Requests()
		for i := range got {
			got[i].Time = got[i].Time.UTC()
		}
		require.Equal(t, []Request{
			{CreateSecret, "POST", path, "", 201, start, true},
			{ListSecrets, "GET", path, "limit=3", 200, start.Add(time.Second), true},
			{GetSecret, "GET", path + "/x", "", 404, start.Add(2 * time.Second), true},
			{"", "PUT", path, "", 405, start.Add(3 * time.Second), true},
		}, got)
		require.Equal(t, 4, c.sim.Count())
		require.Equal(t, 2, c.sim.Count(ListSecrets, GetSecret))
		require.Zero(t, c.sim.Count(DeleteSecret))

		c.sim.ResetRequests()
		require.Empty(t, c.sim.Requests())
		require.Zero(t, c.sim.Count())
		require.Zero(t, c.sim.Count(ListSecrets))
	})
}

func TestACallIsCountedWhenItArrives(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Latency: time.Hour})
		go c.must("GET", "", "")
		synctest.Wait()
		require.Equal(t, 1, c.sim.Count(ListSecrets))
		require.Zero(t, c.sim.Requests()[0].Status)
		require.False(t, c.sim.Requests()[0].Ended)
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 200, c.sim.Requests()[0].Status)
		require.True(t, c.sim.Requests()[0].Ended)
	})
}

func TestTheLastRequestsAreRememberedAndAllAreCounted(t *testing.T) {
	t.Parallel()
	sim := New(Options{})
	for i := range maxRequests + 5 {
		method := http.MethodGet
		if i == maxRequests+4 {
			method = http.MethodPut
		}
		sim.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(method, "/", nil))
	}
	require.Equal(t, maxRequests+5, sim.Count())
	requests := sim.Requests()
	require.Len(t, requests, maxRequests)
	require.Equal(t, http.MethodPut, requests[maxRequests-1].Method)
	require.Equal(t, http.MethodGet, requests[4].Method)
}
