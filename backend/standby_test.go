package backend

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/errutil"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

// standby makes another node of the same cluster: a process of its own on the same storage.
func (e *engine) standby() *engine {
	e.t.Helper()
	view := logical.TestSystemView()
	view.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "2.6.2"}
	view.ReplicationStateVal = consts.ReplicationPerformanceStandby
	node := &engine{t: e.t, sim: e.sim, storage: e.storage, log: e.log, url: e.url}
	node.backend = e.startWith(view)
	return node
}

func TestAStandbyHasTheActiveNodeDoWhatIsAboutSecrets(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.sim.Create("one", []byte("hidden-1"))
	standby := e.standby()
	b := standby.backend.(*backend)
	b.Route("config") // compiles the patterns
	asked := 0
	for _, path := range b.Paths {
		if path.TakesArbitraryInput { // names that no secret can have
			continue
		}
		for op := range path.Operations {
			req := e.request(op, samplePath(path, id), nil)
			_, err := standby.backend.HandleRequest(t.Context(), req)
			switch shown := shownPath(path); {
			case shown == "status", shown == "metrics":
				require.NotEqual(t, logical.ErrReadOnly, err, "%s %s", op, req.Path)
			default:
				asked++
				require.True(t, err == logical.ErrReadOnly, "%s %s: %v", op, req.Path, err) // the server forwards for this very error
			}
		}
	}
	require.Greater(t, asked, 25)
}

// samplePath is a path that matches the pattern.
func samplePath(path *framework.Path, id string) string {
	return map[string]string{
		"secrets/": "secrets/", "secrets/NAME": "secrets/one", "secrets/NAME/versions/": "secrets/one/versions/",
		"secrets/NAME/versions/N": "secrets/one/versions/1", "ids/": "ids/", "ids/ID": "ids/" + id, "generate/NAME": "generate/one",
		"data/NAME": "data/one", "metadata/": "metadata/", "metadata/NAME": "metadata/one", "delete/NAME": "delete/one",
		"undelete/NAME": "undelete/one", "destroy/NAME": "destroy/one", "subkeys/NAME": "subkeys/one",
		"config": "config", "status": "status", "metrics": "metrics",
	}[shownPath(path)]
}

func TestAStandbyAnswersReadsByItselfIfTheConfigSaysSo(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"standby_max_age": "5s", "cache_ttl": "1h"})
	e.sim.Create("one", []byte("hidden-1"))
	standby := e.standby()
	require.Equal(t, "hidden-1", standby.read("secrets/one").ok()["value"])
	require.Equal(t, []string{"one"}, standby.list("secrets/").ok()["keys"])
	c := standby.backend.(*backend).mounted.Load().config
	require.Equal(t, 5*time.Second, c.freshness(true).TTL)
	require.Equal(t, time.Hour, c.freshness(false).TTL)
	_, err := standby.backend.HandleRequest(t.Context(), e.request(logical.UpdateOperation, "secrets/one", fields{"value": "hidden-2"}))
	require.True(t, err == logical.ErrReadOnly)
	for _, bad := range []string{"1s", "721h", "-1s"} {
		e.write("config", fields{"standby_max_age": bad}).refused(http.StatusBadRequest, "standby_max_age must be")
	}
}

func TestAnExistenceCheckOfAStandbyHasTheActiveNodeCheck(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	standby := e.standby()
	for _, path := range []string{"secrets/one", "data/one", "metadata/one", "generate/one", "config"} {
		_, _, err := standby.exists(path, fields{"value": "hidden-1"})
		require.Equal(t, errutil.UserError{Err: "cannot write to readonly storage"}, err, path)
	}
	require.Zero(t, e.sim.Count())

	view := logical.TestSystemView()
	view.PluginEnvironment = &logical.PluginEnvironment{VaultVersion: "1.21.2", VaultVersionMetadata: "ent"}
	view.ReplicationStateVal = consts.ReplicationPerformanceStandby
	standby.backend = e.startWith(view)
	checked, exists, err := standby.exists("secrets/one", fields{"value": "hidden-1"})
	require.NoError(t, err)
	require.True(t, checked)
	require.False(t, exists)
}

// cluster is nodes as clients see them: what a node does not do itself the active one does, which is
// the first.
type cluster []*engine

// ask asks a node, as a client would.
func (c cluster) ask(node int, op logical.Operation, name string, data fields) (*logical.Response, error) {
	for _, at := range []*engine{c[node], c[0]} {
		resp, err := enginetest.Do(context.Background(), at.backend, at.request(op, "secrets/"+name, data))
		if err == nil || err.Error() != logical.ErrReadOnly.Error() {
			return resp, err
		}
	}
	return nil, fmt.Errorf("the active node forwards")
}

func TestWhatOneNodeHasAcknowledgedEveryNodeShows(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{}, fields{"cache_ttl": "1h"})
	nodes := cluster{e, e.standby(), e.standby()}
	for round := range 20 {
		name := fmt.Sprint("made_", round)
		at, other := round%3, (round+1)%3
		_, err := nodes.ask(at, logical.UpdateOperation, name, fields{"value": "hidden-1"})
		require.NoError(t, err)
		for node := range nodes {
			got, err := nodes.ask(node, logical.ReadOperation, name, nil)
			require.NoError(t, err)
			require.Equal(t, "hidden-1", got.Data["value"])
		}
		var all sync.WaitGroup
		won := make([]bool, 3)
		for node := range nodes {
			all.Go(func() {
				_, err := nodes.ask(node, logical.UpdateOperation, name, fields{"value": fmt.Sprint("hidden-", 2+node), "cas": 1})
				won[node] = err == nil
			})
		}
		all.Wait()
		winners := 0
		for node, one := range won {
			if one {
				winners++
				got, err := nodes.ask(other, logical.ReadOperation, name, nil)
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint("hidden-", 2+node), got.Data["value"])
			}
		}
		require.Equal(t, 1, winners)
	}
}
