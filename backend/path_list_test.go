package backend

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestAnIDIsListedOnceThoughItsSecretWasRenamed(t *testing.T) {
	t.Parallel()
	e := newEngine(t, simulator.Options{})
	id := e.write("secrets/one", fields{"value": "hidden-1"}).ok()["id"].(string)
	e.sim.Rename("one", "two")
	require.Equal(t, []string{id}, e.list("ids/").ok()["keys"])
}
