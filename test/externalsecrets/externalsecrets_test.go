// Package externalsecrets runs the provider of the External Secrets Operator with what docs/clients.md says of it.
package externalsecrets

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	esmeta "github.com/external-secrets/external-secrets/apis/meta/v1"
	"github.com/external-secrets/external-secrets/pkg/provider/vault"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	kclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

var (
	server *vaulttest.Vault
	tree   string // the repository
)

func TestMain(m *testing.M) {
	vaulttest.Main(m, "../..", map[string]string{vaulttest.Plugin: "v0.0.0-externalsecrets"}, prepare)
}

// prepare mounts the plugin for a simulator, and names a cluster to the provider, which wants one and asks it for nothing.
func prepare(p *vaulttest.Programs) error {
	tree = p.Tree
	ctx := context.Background()
	sim, err := p.Simulator(ctx, p.Dir)
	if err != nil {
		return err
	}
	if server, err = p.Dev(ctx, p.Dir, "info"); err != nil {
		return err
	}
	if err := server.Mount(ctx, "abeja", sim.Config(nil)); err != nil {
		return err
	}
	cluster := filepath.Join(p.Dir, "kubeconfig")
	os.Setenv("KUBECONFIG", cluster)
	return os.WriteFile(cluster, []byte(`
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none}}]
current-context: none
`), 0o600)
}

// object reads an object of a kind from the page, and refuses fields that the kind does not have.
func object[T any](t *testing.T, kind string) T {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(tree, "docs/clients.md"))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(page), "\n## External Secrets Operator\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, block := range strings.Split(section, "\n```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "\n```\n")
		for _, document := range strings.Split(block, "\n---\n") {
			if strings.Contains(document, "\nkind: "+kind+"\n") {
				var parsed T
				require.NoError(t, yaml.UnmarshalStrict([]byte(document), &parsed))
				return parsed
			}
		}
	}
	t.Fatalf("docs/clients.md has no %s", kind)
	panic("unreachable")
}

// tokens is a cluster that holds nothing but a token for Vault.
type tokens struct{ kclient.Client }

func (tokens) Get(_ context.Context, _ kclient.ObjectKey, object kclient.Object, _ ...kclient.GetOption) error {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return fmt.Errorf("asked for %T", object)
	}
	secret.Data = map[string][]byte{"token": []byte(vaulttest.RootToken)}
	return nil
}

// connect gives the provider for the store of the page, with this Vault and a token in place of those on the page.
func connect(t *testing.T, version esv1.VaultKVStoreVersion) esv1.SecretsClient {
	t.Helper()
	store := object[esv1.SecretStore](t, "SecretStore")
	spec := store.Spec.Provider.Vault
	require.Equal(t, esv1.VaultKVStoreV2, spec.Version)
	spec.Server, spec.Version = server.URL(), version
	spec.Auth = &esv1.VaultAuth{TokenSecretRef: &esmeta.SecretKeySelector{Name: "vault", Key: "token"}}
	client, err := (&vault.Provider{NewVaultClient: vault.NewVaultClient}).NewClient(t.Context(), &store, tokens{}, "default")
	require.NoError(t, err)
	return client
}

func TestASecretIsReadInBothVersions(t *testing.T) {
	require.NoError(t, server.Write(t.Context(), "abeja/secrets/db_password", map[string]any{"value": "first"}))
	ref := object[esv1.ExternalSecret](t, "ExternalSecret").Spec.Data[0].RemoteRef
	for version, key := range map[esv1.VaultKVStoreVersion]string{esv1.VaultKVStoreV2: ref.Key, esv1.VaultKVStoreV1: "secrets/" + ref.Key} {
		ref.Key = key
		value, err := connect(t, version).GetSecret(t.Context(), ref)
		require.NoError(t, err, version)
		require.Equal(t, "first", string(value), version)
	}
}

func TestSecretsAreFoundByName(t *testing.T) {
	require.NoError(t, server.Write(t.Context(), "abeja/data/found_one", map[string]any{"data": map[string]any{"user": "app"}}))
	found, err := connect(t, esv1.VaultKVStoreV2).GetAllSecrets(t.Context(), esv1.ExternalSecretFind{Name: &esv1.FindName{RegExp: "^found_"}})
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"found_one": []byte(`{"user":"app"}`)}, found)
}

func TestSecretsAreFoundByTags(t *testing.T) {
	for name, team := range map[string]string{"tagged": "orders", "tagged_otherwise": "billing"} {
		require.NoError(t, server.Write(t.Context(), "abeja/secrets/"+name, map[string]any{"value": "x", "custom_metadata": map[string]any{"team": team}}))
	}
	found, err := connect(t, esv1.VaultKVStoreV2).GetAllSecrets(t.Context(), esv1.ExternalSecretFind{Tags: map[string]string{"team": "orders"}})
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{"tagged": []byte(`{"value":"x"}`)}, found)
}
