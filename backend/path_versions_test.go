package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func versions(t *testing.T, e *engine) {
	for _, value := range []string{"hidden-1", "hidden-2", "hidden-3"} {
		e.write("secrets/one", fields{"value": value}).ok()
	}
	sec, _ := e.sim.Secret("one")
	data := e.list("secrets/one/versions/").ok()
	require.Equal(t, []string{"1", "2", "3"}, data["keys"])
	for i, v := range sec.Versions {
		info := data["key_info"].(map[string]any)[data["keys"].([]string)[i]].(map[string]any)
		require.Equal(t, v.ID, info["id"])
		require.Equal(t, v.Status, info["status"])
		require.Regexp(t, `^\d{4}-.*Z$`, info["created_at"])
		require.Regexp(t, `^\d{4}-.*Z$`, info["updated_at"])
		require.Len(t, info, 4)
	}
	status := func(number int) string {
		sec, _ := e.sim.Secret("one")
		return sec.Versions[number-1].Status
	}

	// The newest active version is the one that is read.
	e.write("secrets/one/versions/2", fields{"status": "active"}).ok()
	require.Equal(t, "hidden-3", e.read("secrets/one").ok()["value"])
	e.write("secrets/one/versions/3", fields{"status": "inactive"}).ok()
	require.Equal(t, "inactive", status(3))
	require.Equal(t, "active", status(2))
	require.Equal(t, "hidden-2", e.read("secrets/one").ok()["value"])

	// A version is read whatever its status, by either path.
	for _, data := range []map[string]any{e.read("secrets/one/versions/3").ok(), e.read("secrets/one", fields{"version": 3}).ok()} {
		require.Equal(t, "hidden-3", data["value"])
		require.Equal(t, 3, data["version"])
		require.Equal(t, sec.Versions[2].ID, data["version_id"])
		require.Equal(t, "inactive", data["status"])
		require.Equal(t, "one", data["name"])
	}

	// A status that it has already is not sent.
	sent := e.writes()
	e.write("secrets/one/versions/3", fields{"status": "inactive"}).ok()
	require.Equal(t, sent, e.writes())
	e.write("secrets/one/versions/3", fields{"status": "active"}).ok()
	require.Equal(t, "hidden-3", e.read("secrets/one").ok()["value"])

	e.delete("secrets/one/versions/2").ok()
	e.holds("one", "hidden-1", "hidden-3")
	require.Equal(t, []string{"1", "3"}, e.list("secrets/one/versions/").ok()["keys"])
	e.read("secrets/one/versions/2").refused(http.StatusNotFound, "no such version", "list its versions")
	e.delete("secrets/one/versions/2").ok() // as it was to be, and a client may have sent it twice
	require.Equal(t, "hidden-3", e.read("secrets/one").ok()["value"])
}

func TestTheOnlyVersionGoesOrStaysAsABEJASays(t *testing.T) {
	t.Parallel()
	for protected, status := range map[bool]int{true: http.StatusBadRequest, false: http.StatusNoContent} {
		e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{LastVersionProtected: protected}})
		e.write("secrets/one", fields{"value": "hidden-1"}).ok()
		require.Equal(t, status, e.write("secrets/one/versions/1", fields{"status": "inactive"}).status)
		a := e.delete("secrets/one/versions/1")
		require.Equal(t, status, a.status)
		if protected {
			a.refused(http.StatusBadRequest, "must not be deleted")
			require.Equal(t, "hidden-1", e.read("secrets/one").ok()["value"])
			continue
		}
		e.read("secrets/one").refused(http.StatusNotFound, "has no version", "write a value")
		require.Empty(t, e.list("secrets/one/versions/").ok()["keys"])
		e.write("secrets/one", fields{"value": "hidden-1"}).ok()
		require.Equal(t, "hidden-1", e.read("secrets/one").ok()["value"])
	}
}

func TestASecretWithManyVersionsShowsAllInOrder(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{Behavior: simulator.Behavior{Order: "hash", MaxVersions: 130}})
	e.sim.Create("one", []byte("hidden-1"))
	for range 119 {
		e.sim.AddVersion("one", []byte("hidden-2"))
	}
	keys := e.list("secrets/one/versions/").ok()["keys"].([]string)
	require.Len(t, keys, 120)
	require.Equal(t, []string{"1", "2", "3"}, keys[:3])
	require.Equal(t, []string{"119", "120"}, keys[118:])
}
