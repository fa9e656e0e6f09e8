package client_test

import (
	"go/doc"
	"go/parser"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/simulator"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(withABEJA{m}) }

// withABEJA runs the tests with an ABEJA for the examples, which they find in the environment.
type withABEJA struct{ tests *testing.M }

func (w withABEJA) Run() int {
	abeja := simulator.New(simulator.Options{})
	var last string
	for _, name := range []string{"api_key", "db_password", "mail_password", "queue_password"} {
		last = abeja.Create(name, []byte("first"))
		abeja.AddVersion(name, []byte("second"))
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && strings.Contains(r.URL.Path, last) { // done, but the answer is lost
			abeja.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		abeja.ServeHTTP(w, r)
	}))
	defer server.Close()
	organization, user, token, authToken := abeja.Credentials()
	os.Setenv("ABEJA_API_URL", server.URL)
	os.Setenv("ABEJA_ORGANIZATION_ID", organization)
	os.Setenv("ABEJA_PLATFORM_USER_ID", user)
	os.Setenv("ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN", token)
	os.Setenv("PLATFORM_AUTH_TOKEN", authToken)
	return w.tests.Run()
}

func TestEveryExampleIsAProgramThatCanBeCopied(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "example_test.go", nil, parser.ParseComments)
	require.NoError(t, err)
	examples := doc.Examples(file)
	require.NotEmpty(t, examples)
	for _, example := range examples {
		require.NotNil(t, example.Play, "%s uses what is not in its file", example.Name)
		require.NotEmpty(t, example.Output, "%s is not run", example.Name)
		for _, imported := range example.Play.Imports {
			require.False(t, strings.Contains(imported.Path.Value, "/internal/"), "%s imports %s", example.Name, imported.Path.Value)
		}
	}
}
