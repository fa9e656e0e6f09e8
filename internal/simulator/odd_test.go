package simulator

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnOddRecordIsOddInThatAlone(t *testing.T) {
	t.Parallel()
	const asked = "return_secret_value=True"
	for _, example := range []struct {
		kind     Odd
		version  int
		listOnly bool
		change   func(sec, second map[string]any)
	}{
		{OddTimeWithoutZone, 0, false, func(sec, _ map[string]any) { sec["created_at"] = "2024-01-02T03:04:05.678901" }},
		{OddNullName, 0, true, func(sec, _ map[string]any) { sec["name"] = nil }},
		{OddVersionWithoutNumber, 2, false, func(_, second map[string]any) { delete(second, "version") }},
		{OddVersionWithoutValue, 2, false, func(_, second map[string]any) { delete(second, "value") }},
		{OddBadBase64, 2, false, func(_, second map[string]any) { second["value"] = "this is no base64!" }},
	} {
		t.Run(string(example.kind), func(t *testing.T) {
			t.Parallel()
			c := newCaller(t, Options{})
			c.sim.Create("other", []byte("1"))
			id := c.sim.Create("one", []byte("1"))
			c.sim.AddVersion("one", []byte("2"))
			sec, _ := c.sim.Secret("one")
			versions := "/" + id + "/versions"
			second := versions + "/" + sec.Versions[1].ID
			list, got := c.must("GET", "?"+asked, ""), c.must("GET", "/"+id+"?"+asked, "")
			listed, v := c.must("GET", versions+"?"+asked, ""), c.must("GET", second+"?"+asked, "")

			c.sim.MakeOdd("one", example.kind, example.version)
			in := func(parent any, field string, i int) map[string]any {
				return parent.(map[string]any)[field].([]any)[i].(map[string]any)
			}
			one := in(list, "secrets", 1)
			example.change(one, in(one, "versions", 1))
			if !example.listOnly {
				example.change(got, in(got, "versions", 1))
			}
			example.change(map[string]any{}, in(listed, "versions", 1))
			example.change(map[string]any{}, v)
			require.Equal(t, list, c.must("GET", "?"+asked, ""))
			require.Equal(t, got, c.must("GET", "/"+id+"?"+asked, ""))
			require.Equal(t, listed, c.must("GET", versions+"?"+asked, ""))
			require.Equal(t, v, c.must("GET", second+"?"+asked, ""))

			c.sim.Delete("one")
			id = c.sim.Create("one", []byte("1"))
			c.sim.AddVersion("one", []byte("2"))
			require.Equal(t, []string{"other", "one"}, names(c.must("GET", "", "")))
			got = c.must("GET", "/"+id+"?"+asked, "")
			require.Equal(t, "one", got["name"])
			require.Equal(t, b64("2"), in(got, "versions", 1)["value"])
			require.EqualValues(t, 2, in(got, "versions", 1)["version"])
		})
	}
}

func TestASecretCanBeOddInSeveralWays(t *testing.T) {
	t.Parallel()
	c := newCaller(t, Options{})
	id := c.sim.Create("one", []byte("1"))
	c.sim.MakeOdd("one", OddTimeWithoutZone, 0)
	c.sim.MakeOdd("one", OddBadBase64, 1)
	_, answer := c.call("GET", "/"+id+"?return_secret_value=True", "")
	require.Contains(t, answer, `"created_at":"2024-01-02T03:04:05.678901"`)
	require.Contains(t, answer, `"value":"this is no base64!"`)
}

func TestWhatCannotBeOddIsRefused(t *testing.T) {
	t.Parallel()
	sim := New(Options{})
	sim.Create("one", []byte("1"))
	require.Panics(t, func() { sim.MakeOdd("none", OddNullName, 0) })
	require.Panics(t, func() { sim.MakeOdd("one", "blue", 0) })
	require.Panics(t, func() { sim.MakeOdd("one", OddNullName, 1) })
	require.Panics(t, func() { sim.MakeOdd("one", OddBadBase64, 0) })
	require.Panics(t, func() { sim.MakeOdd("one", OddBadBase64, 2) })
}
