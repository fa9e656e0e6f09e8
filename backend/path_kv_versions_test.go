package backend

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// states tells what ABEJA holds of the secret one: the status of each version, by number.
func (e *engine) states() map[int]string {
	sec, _ := e.sim.Secret("one")
	states := map[int]string{}
	for _, v := range sec.Versions {
		states[v.Number] = v.Status
	}
	return states
}

func TestKVDeleteUndeleteAndDestroyActOnTheVersionsThatAreNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		versions any
		acts     bool
	}{
		{2, true}, {"2", true}, {[]any{2}, true}, {"2,9", true}, {[]any{2, 2}, true}, {[]any{"9", "2"}, true}, {[]any{-1, 0, 2}, true},
		{9, false}, {[]any{0, -2}, false},
	} {
		e := newEngine(t, simulator.Options{})
		for n := range 3 {
			e.put("one", fields{"value": fmt.Sprintf("hidden-%d", n)})
		}
		second := func(state string) map[int]string {
			states := map[int]string{1: "active", 2: "active", 3: "active"}
			if c.acts && state == "" {
				delete(states, 2)
			} else if c.acts {
				states[2] = state
			}
			return states
		}
		for _, step := range []struct{ path, state string }{
			{"delete/one", "inactive"}, {"delete/one", "inactive"}, {"undelete/one", "active"}, {"undelete/one", "active"},
			{"destroy/one", ""}, {"destroy/one", ""}, {"undelete/one", ""}, {"delete/one", ""},
		} {
			a := e.kvPut(step.path, fields{"versions": c.versions})
			require.Equal(t, http.StatusNoContent, a.status, "%s: %s", a.what, a.text)
			require.Equal(t, second(step.state), e.states(), "after %s of %v", step.path, c.versions)
		}
		if !c.acts {
			require.Equal(t, 3, e.writes(), "only the values are sent")
		}
	}
}

func TestKVDeleteUndeleteAndDestroyNeedVersions(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"value": "hidden-1"})
	for _, path := range []string{"delete/one", "undelete/one", "destroy/one"} {
		for _, body := range []fields{{}, {"versions": nil}, {"versions": ""}, {"versions": []any{}}} {
			e.kvPut(path, body).refused(http.StatusBadRequest, "o version number provided")
		}
		for _, odd := range []any{"hidden", fields{"a": 1}, true, 1.5, []any{1.5}} {
			e.kvPut(path, fields{"versions": odd}).refused(http.StatusBadRequest, "versions must be a list of whole numbers")
		}
		for _, op := range []logical.Operation{logical.ReadOperation, logical.PatchOperation, logical.DeleteOperation, logical.CreateOperation} {
			e.kv(op, path, fields{"versions": 1}).refused(http.StatusMethodNotAllowed)
		}
	}
	require.Equal(t, map[int]string{1: "active"}, e.states())
}

func TestKVAnErrorEndsADeleteThatIsThenRepeated(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{LastVersionProtected: true}})
	for n := range 3 {
		e.put("one", fields{"value": fmt.Sprintf("hidden-%d", n)})
	}
	e.sim.AddFault(simulator.Fault{Op: simulator.UpdateVersion, Kind: simulator.FaultStatus, Status: 503, Count: 1})
	e.kvPut("delete/one", fields{"versions": "1,2"}).refused(http.StatusBadGateway)
	e.kvPut("delete/one", fields{"versions": "1,2"}).ok()
	require.Equal(t, map[int]string{1: "inactive", 2: "inactive", 3: "active"}, e.states())
	e.kvDelete("data/one").refused(http.StatusBadRequest, "only active version")
	e.kvPut("destroy/one", fields{"versions": "3"}).refused(http.StatusBadRequest, "must not be deleted")
	require.Equal(t, map[string]any{"value": "hidden-2"}, e.kvGet("data/one").ok()["data"])
}

func TestKVSubkeysShowKeysWithoutAnyValue(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	e.put("one", fields{"old": "hidden-0"})
	e.put("one", fields{
		"text": "hidden-1", "list": []any{fields{"x": "hidden-2"}}, "empty": fields{}, "null": nil,
		"a": fields{"b": fields{"c": fields{"d": "hidden-3"}}, "n": 5},
	})
	shown := func(a any) map[string]any {
		return map[string]any{"text": nil, "list": nil, "empty": nil, "null": nil, "a": a}
	}
	all := map[string]any{"b": map[string]any{"c": map[string]any{"d": nil}}, "n": nil}
	for depth, want := range map[any]map[string]any{
		nil: shown(all), 0: shown(all), 4: shown(all), 99: shown(all),
		1: shown(nil), "1": shown(nil),
		2: shown(map[string]any{"b": nil, "n": nil}),
		3: shown(map[string]any{"b": map[string]any{"c": nil}, "n": nil}),
	} {
		got := e.kvGet("subkeys/one", fields{"depth": depth}).ok()
		require.Equal(t, want, got["subkeys"], "depth %v", depth)
		require.EqualValues(t, 2, about(got)["version"])
	}
	got := e.kvGet("subkeys/one", fields{"version": 1}).ok()
	require.Equal(t, map[string]any{"old": nil}, got["subkeys"])
	require.EqualValues(t, 1, about(got)["version"])

	e.kvPut("delete/one", fields{"versions": 1}).ok()
	a := e.kvGet("subkeys/one", fields{"version": 1})
	a.refused(http.StatusNotFound)
	require.Contains(t, a.data, "subkeys")
	require.Nil(t, a.data["subkeys"])
	isTime(t, about(a.data)["deletion_time"])

	e.put("text", fields{"value": "hidden-4"})
	require.Equal(t, map[string]any{"value": nil}, e.kvGet("subkeys/text").ok()["subkeys"])
}
