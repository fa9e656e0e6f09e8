package simulator

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestANewVersionMayMakeTheOlderOnesInactive(t *testing.T) {
	t.Parallel()
	for on, want := range map[bool]string{false: active, true: inactive} {
		c := newCaller(t, Options{Behavior: Behavior{NewVersionDeactivatesOlder: on}})
		id := c.sim.Create("one", []byte("1"))
		c.must("POST", "/"+id+"/versions", `{"value":"YQ=="}`)
		sec, _ := c.sim.Secret("one")
		require.Equal(t, want, sec.Versions[0].Status)
		require.Equal(t, active, sec.Versions[1].Status)
	}
}

func TestADuplicateNameIs409Or400(t *testing.T) {
	t.Parallel()
	for on, want := range map[bool]int{false: 409, true: 400} {
		c := newCaller(t, Options{Behavior: Behavior{DuplicateNameIs400: on}})
		c.sim.Create("one", []byte("1"))
		c.refused(want, "POST", "", `{"name":"one","value":"YQ=="}`)
	}
}

func TestAnUnknownOrForeignIDIs404Or403(t *testing.T) {
	t.Parallel()
	for on, want := range map[bool]int{false: 404, true: 403} {
		c := newCaller(t, Options{Behavior: Behavior{UnknownIDIs403: on}})
		id := c.sim.Create("one", []byte("1"))
		c.refused(want, "GET", "/1234567890123", "")
		c.refused(want, "PATCH", "/1234567890123", `{"description":"d"}`)
		c.refused(want, "DELETE", "/1234567890123", "")
		c.refused(want, "POST", "/1234567890123/versions", `{"value":"YQ=="}`)
		c.refused(want, "GET", "/"+id+"/versions/1234567890123", "")

		c.base = strings.Replace(c.base, c.sim.organization, "1410000000009", 1)
		c.refused(want, "GET", "", "")
		c.refused(want, "GET", "/"+id, "")
	}
}

func TestListsComeInTheOrderThatIsSet(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	for _, name := range []string{"b", "d", "a", "c"} {
		c.sim.Create(name, []byte("1"))
	}
	for order, want := range map[string]string{"": "bdac", "created": "bdac", "newest": "cadb", "name": "abcd"} {
		c.sim.SetBehavior(Behavior{Order: order})
		require.Equal(t, want, strings.Join(names(c.must("GET", "", "")), ""), order)
	}
	c.sim.AddVersion("a", []byte("2"))
	sec, _ := c.sim.Secret("a")
	c.sim.SetBehavior(Behavior{Order: "newest"})
	versions := c.must("GET", "/"+sec.ID+"/versions", "")["versions"].([]any)
	require.EqualValues(t, 2, versions[0].(map[string]any)["version"])
}

func TestCreatingAndDeletingDoNotReorderTheOthers(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"created", "newest", "name", "hash"} {
		c := newCaller(t, Options{Behavior: Behavior{Order: order}})
		c.sim.Fill(30)
		before := names(c.must("GET", "", ""))
		for i := range 10 {
			c.sim.Create(fmt.Sprintf("demo_%05d_new", 3*i), []byte("1"))
			c.sim.Delete(fmt.Sprintf("demo_%05d", 3*i+1))
		}
		gone := func(list []string) func(string) bool {
			return func(name string) bool { return !slices.Contains(list, name) }
		}
		after := names(c.must("GET", "", ""))
		require.Len(t, after, 30)
		stayed := slices.DeleteFunc(slices.Clone(before), gone(after))
		require.Len(t, stayed, 20)
		require.Equal(t, stayed, slices.DeleteFunc(after, gone(before)), order)
		if order == "hash" {
			require.False(t, slices.IsSorted(before))
		}
	}
}

func TestTheOrderMayChangeWithEachCall(t *testing.T) {
	t.Parallel()
	orders := func() (orders []string) {
		c := newCaller(t, Options{Behavior: Behavior{Order: "shuffled"}})
		c.sim.Fill(30)
		for range 3 {
			got := names(c.must("GET", "", ""))
			orders = append(orders, strings.Join(got, ","))
			slices.Sort(got)
			require.Len(t, slices.Compact(got), 30)
		}
		c.sim.Delete("demo_00007")
		c.sim.SetBehavior(Behavior{})
		require.Len(t, names(c.must("GET", "", "")), 29)
		return orders
	}
	first := orders()
	require.NotEqual(t, first[0], first[1])
	require.NotEqual(t, first[1], first[2])
	require.Equal(t, first, orders(), "each run has the same orders")
}

func TestAListMayLag(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"created", "newest", "name", "hash"} {
		synctest.Test(t, func(t *testing.T) {
			c := newCaller(t, Options{Behavior: Behavior{Order: order, ListLag: 2 * time.Second}})
			listed := func() []string {
				got := names(c.must("GET", "", ""))
				slices.Sort(got)
				return got
			}
			stays, goes := c.sim.Create("stays", []byte("1")), c.sim.Create("goes", []byte("1"))
			require.Empty(t, listed())
			c.must("GET", "/"+stays, "") // only the list lags
			time.Sleep(2*time.Second - 1)
			require.Empty(t, listed())
			time.Sleep(time.Nanosecond)
			require.Equal(t, []string{"goes", "stays"}, listed())

			c.must("DELETE", "/"+goes, "")
			c.refused(404, "GET", "/"+goes, "")
			made := c.must("POST", "", `{"name":"made","value":"YQ=="}`)["id"].(string)
			c.refused(409, "POST", "", `{"name":"made","value":"YQ=="}`)
			time.Sleep(2*time.Second - 1)
			require.Equal(t, []string{"goes", "stays"}, listed())
			page := c.must("GET", "?limit=1&offset=1", "")
			require.Len(t, names(page), 1)
			require.Equal(t, false, page["has_next"])
			time.Sleep(time.Nanosecond)
			require.Equal(t, []string{"made", "stays"}, listed())

			c.sim.Create("at_once", []byte("1"))
			c.sim.Delete("made")
			c.sim.SetBehavior(Behavior{Order: order})
			require.Equal(t, []string{"at_once", "stays"}, listed())
			c.refused(404, "GET", "/"+made, "")
		})
	}
}

func TestAListThatLagsShowsANameThatCameBackOnlyOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Behavior: Behavior{ListLag: 2 * time.Second}})
		listed := func() string { return c.must("GET", "", "")["secrets"].([]any)[0].(map[string]any)["id"].(string) }
		first := c.sim.Create("one", []byte("1"))
		time.Sleep(time.Minute)
		c.sim.Delete("one")
		second := c.sim.Create("one", []byte("2"))
		require.Equal(t, first, listed())
		time.Sleep(2 * time.Second)
		require.Equal(t, []string{"one"}, names(c.must("GET", "", "")))
		require.Equal(t, second, listed())
	})
}

func TestAnExpiredSecretIsStillReadOr404(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	c.sim.SetExpiry("one", time.Now().Add(-time.Hour))
	sec, _ := c.sim.Secret("one")
	reads := []string{"/" + id, "/" + id + "/versions", "/" + id + "/versions/" + sec.Versions[0].ID}
	for _, path := range reads {
		_, answer := c.call("GET", path+"?return_secret_value=True", "")
		require.Contains(t, answer, b64("1"))
	}
	_, answer := c.call("GET", "?return_secret_value=True", "")
	require.Contains(t, answer, b64("1"))

	c.sim.SetBehavior(Behavior{ExpiredIs404: true})
	for _, path := range reads {
		c.refused(404, "GET", path, "")
	}
	_, answer = c.call("GET", "?return_secret_value=True", "")
	require.Contains(t, answer, `"one"`)
	require.NotContains(t, answer, `"value"`)
	c.refused(409, "POST", "", `{"name":"one","value":"YQ=="}`)

	c.must("PATCH", "/"+id, `{"expired_at":"2999-01-01T00:00:00Z"}`)
	c.must("GET", "/"+id, "")
}

func TestWhatClearsDescriptionAndExpiry(t *testing.T) {
	t.Parallel()
	for _, example := range []struct {
		clear, field, given string
		status              int
		cleared             bool
	}{
		{"", "description", `null`, 200, true},
		{"", "description", `""`, 200, true},
		{"", "expired_at", `null`, 200, true},
		{"", "expired_at", `""`, 200, true},
		{"both", "description", `""`, 200, true},
		{"both", "expired_at", `null`, 200, true},
		{"null", "description", `null`, 200, true},
		{"null", "description", `""`, 200, false},
		{"null", "expired_at", `null`, 200, true},
		{"null", "expired_at", `""`, 400, false},
		{"empty", "description", `null`, 200, false},
		{"empty", "description", `""`, 200, true},
		{"empty", "expired_at", `null`, 200, false},
		{"empty", "expired_at", `""`, 200, true},
	} {
		c := newCaller(t, Options{Behavior: Behavior{Clear: example.clear}})
		id := c.must("POST", "", `{"name":"one","value":"YQ==","description":"d","expired_at":"2030-01-02T03:04:05Z"}`)["id"].(string)
		status, _ := c.call("PATCH", "/"+id, `{"`+example.field+`":`+example.given+`}`)
		require.Equal(t, example.status, status, example)
		sec := c.must("GET", "/"+id, "")
		require.Equal(t, example.cleared, sec[example.field] == nil, example)
	}
}

func TestAListWithoutValuesMayOmitVersions(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Behavior: Behavior{ListOmitsVersions: true}})
	id := c.sim.Create("one", []byte("1"))
	first := func(query string) map[string]any {
		return c.must("GET", query, "")["secrets"].([]any)[0].(map[string]any)
	}
	require.NotContains(t, first(""), "versions")
	require.Len(t, first("?return_secret_value=True")["versions"], 1)
	require.Len(t, c.must("GET", "/"+id, "")["versions"], 1)

	c.sim.SetBehavior(Behavior{})
	require.Len(t, first("")["versions"], 1)
}

func TestASecretThatIsGotWithoutValuesMayOmitVersions(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Behavior: Behavior{GetOmitsVersions: true}})
	id := c.sim.Create("one", []byte("1"))
	require.NotContains(t, c.must("GET", "/"+id, ""), "versions")
	require.Len(t, c.must("GET", "/"+id+"?return_secret_value=True", "")["versions"], 1)
	require.Len(t, c.must("GET", "/"+id+"/versions", "")["versions"], 1)

	c.sim.SetBehavior(Behavior{})
	require.Len(t, c.must("GET", "/"+id, "")["versions"], 1)
}

func TestTheRateLimitRefillsWithTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Behavior: Behavior{RateLimit: 2.5}})
		for range 3 {
			c.must("GET", "", "")
		}
		c.refused(429, "GET", "", "")
		time.Sleep(400 * time.Millisecond)
		c.must("GET", "", "")
		resp, _ := c.do(c.request("GET", "", ""))
		require.Equal(t, 429, resp.StatusCode)
		require.Empty(t, resp.Header.Get("Retry-After"))

		c.sim.SetBehavior(Behavior{RateLimit: 0.25, RateLimitRetryAfter: true})
		c.must("GET", "", "")
		resp, _ = c.do(c.request("GET", "", ""))
		require.Equal(t, "4", resp.Header.Get("Retry-After"))
		time.Sleep(4 * time.Second)
		c.must("GET", "", "")
		time.Sleep(time.Hour)
		c.must("GET", "", "")
		c.refused(429, "GET", "", "")
	})
}

func TestTheLastVersionMayBeProtected(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{Behavior: Behavior{LastVersionProtected: true}})
	id := c.sim.Create("one", []byte("1"))
	c.sim.AddVersion("one", []byte("2"))
	sec, _ := c.sim.Secret("one")
	first, second := "/"+id+"/versions/"+sec.Versions[0].ID, "/"+id+"/versions/"+sec.Versions[1].ID

	c.must("PATCH", first, `{"status":"inactive"}`)
	c.refused(400, "PATCH", second, `{"status":"inactive"}`)
	c.refused(400, "DELETE", second, "")
	c.must("PATCH", second, `{"status":"active"}`)
	c.must("DELETE", first, "")
	c.refused(400, "DELETE", second, "")
	c.sim.SetStatus("one", 2, inactive)
	c.refused(400, "DELETE", second, "")
	c.must("PATCH", second, `{"status":"active"}`)

	c.sim.SetBehavior(Behavior{})
	c.must("PATCH", second, `{"status":"inactive"}`)
	c.must("DELETE", second, "")
	require.Equal(t, []any{}, c.must("GET", "/"+id, "")["versions"])
}

func TestSizesAreLimited(t *testing.T) {
	t.Parallel()
	for _, example := range []struct{ set, bytes, versions int }{{0, 65536, 100}, {3, 3, 3}} {
		c := newCaller(t, Options{Behavior: Behavior{MaxValueBytes: example.set, MaxVersions: example.set}})
		body := func(size int) string { return b64(strings.Repeat("a", size)) }
		c.refused(400, "POST", "", `{"name":"one","value":"`+body(example.bytes+1)+`"}`)
		id := c.must("POST", "", `{"name":"one","value":"`+body(example.bytes)+`"}`)["id"].(string)
		c.refused(400, "POST", "/"+id+"/versions", `{"value":"`+body(example.bytes+1)+`"}`)
		for range example.versions - 1 {
			c.sim.AddVersion("one", []byte("2"))
		}
		c.refused(400, "POST", "/"+id+"/versions", `{"value":"YQ=="}`)
	}
}

func TestTimesMayHaveAnOffset(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Behavior: Behavior{TimesWithOffset: true}})
		id := c.sim.Create("one", []byte("1"))
		require.Equal(t, "2000-01-01T09:00:00.000000+09:00", c.must("GET", "/"+id, "")["created_at"])
	})
}

func TestVersionTimesMayDrift(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(t, Options{Behavior: Behavior{VersionTimesDrift: true}})
		time.Sleep(time.Minute)
		id := c.sim.Create("one", []byte("1"))
		updated := func() any {
			return c.must("GET", "/"+id+"/versions", "")["versions"].([]any)[0].(map[string]any)["updated_at"]
		}
		require.Equal(t, "2000-01-01T00:01:00.000000Z", updated())
		time.Sleep(6 * time.Minute)
		require.Equal(t, "2000-01-01T00:05:00.000000Z", updated())
	})
}

func TestInvalidBehaviorIsRefused(t *testing.T) {
	t.Parallel()
	for _, b := range []Behavior{{Order: "random"}, {ListLag: -1}, {Clear: "none"}, {RateLimit: -1}, {MaxValueBytes: -1}, {MaxVersions: -1}} {
		require.Error(t, b.Check())
		require.Panics(t, func() { New(Options{Behavior: b}) })
	}
}
