package backend

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func ids(t *testing.T, e *engine) {
	two := e.write("secrets/two", fields{"value": "hidden-2"}).ok()["id"].(string)
	one := e.write("secrets/one", fields{"value": "hidden-1", "description": "the first"}).ok()["id"].(string)
	require.Less(t, two, one, "the ids are in another order than the names")

	data := e.list("ids/").ok()
	sorted := []string{two, one}
	require.Equal(t, sorted, data["keys"])
	info := data["key_info"].(map[string]any)[one].(*itemInfo)
	require.Equal(t, "one", info.Name)
	require.Equal(t, "the first", info.Description)
	require.Equal(t, sorted[1:], e.list("ids/", fields{"after": sorted[0]}).ok()["keys"])
	require.Equal(t, sorted[:1], e.list("ids/", fields{"limit": 1}).ok()["keys"])

	require.Equal(t, e.read("secrets/one").ok(), e.read("ids/"+one).ok())
	require.Equal(t, map[string]any{"id": one, "version": 2, "created": false}, e.write("ids/"+one, fields{"value": "hidden-3"}).ok())
	require.Equal(t, 2, e.write("ids/"+one, fields{"value": "hidden-3", "cas": 2}).ok()["version"])
	e.patch("ids/"+one, fields{"description": nil}).ok()
	data = e.read("secrets/one").ok()
	require.Equal(t, "hidden-3", data["value"])
	require.Nil(t, data["description"])
	require.Equal(t, "hidden-1", e.read("ids/"+one, fields{"version": 1}).ok()["value"])

	e.delete("ids/" + one).ok()
	e.holds("one")
	e.holds("two", "hidden-2")
	e.read("ids/"+one).refused(http.StatusNotFound, "no such secret", "list")
	e.delete("ids/" + one).ok()

	// A secret that is made again has another id, and is not found by the old one.
	e.sim.Delete("two")
	e.sim.Create("two", []byte("hidden-4"))
	e.read("ids/"+two).refused(http.StatusNotFound, "no such secret")
	e.write("ids/"+two, fields{"value": "hidden-5"}).refused(http.StatusNotFound, "no such secret")
	e.holds("two", "hidden-4")
}
