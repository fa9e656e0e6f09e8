package backend

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
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

func TestLongListsWaitForEachOtherAndShortOnesForNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e := inMemory(t)
		e.sim.Fill(shortList + 1)
		other, hangUp := context.WithCancel(t.Context())
		defer hangUp()
		made, err := e.backend.(*backend).long.wait(other, 10*longLists)
		require.NoError(t, err)

		require.Len(t, e.list("secrets/", fields{"limit": shortList}).ok()["keys"], shortList)
		impatient, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		e.send(impatient, e.request(logical.ListOperation, "secrets/", nil)).refused(http.StatusGatewayTimeout)

		answered := make(chan answer, 1)
		go func() { answered <- e.list("secrets/") }()
		synctest.Wait()
		require.Empty(t, answered, "there is no room")
		hangUp()
		synctest.Wait()
		require.Empty(t, answered, "the other's answer is still being made")
		made()
		require.Len(t, (<-answered).ok()["keys"], shortList+1)
	})
}
