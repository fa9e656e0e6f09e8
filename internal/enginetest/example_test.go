package enginetest_test

import (
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/backend"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/enginetest"
	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestASecretIsWrittenAndRead(t *testing.T) {
	t.Parallel()
	sim, storage, log := simulator.New(simulator.Options{}), &logical.InmemStorage{}, &enginetest.Log{}
	server := httptest.NewServer(sim)
	defer server.Close()
	b := enginetest.Start(t, backend.Factory(backend.Build{}), storage, logical.TestSystemView(), log)
	ask := func(op logical.Operation, path string, data map[string]any) enginetest.Answer {
		resp, err := enginetest.Do(t.Context(), b, enginetest.Request(t, storage, op, path, data))
		return enginetest.AnswerTo(op, resp, err)
	}
	require.Equal(t, 400, ask(logical.ReadOperation, "secrets/one", nil).Status, "not configured")
	require.Equal(t, 204, ask(logical.UpdateOperation, "config", enginetest.Config(sim, server.URL)).Status)
	require.Equal(t, true, ask(logical.UpdateOperation, "secrets/one", map[string]any{"value": "hidden-1"}).Data["created"])
	require.Equal(t, "hidden-1", ask(logical.ReadOperation, "secrets/one", nil).Data["value"])
	require.False(t, enginetest.Shows(log.String()))
}

func ExampleShows() {
	fmt.Println(enginetest.Shows("Basic dXNlcjpoaWRkZW4="), enginetest.Shows("Basic"))
	// Output: true false
}
