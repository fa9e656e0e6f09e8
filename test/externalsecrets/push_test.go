package externalsecrets

import (
	"testing"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	esv1alpha1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1alpha1"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/abeja-inc/vault-plugin-secrets-abeja/internal/vaulttest"
)

// pushed is what a PushSecret does: a key of a Kubernetes secret, or all of it, goes to a property, or to the whole.
type pushed struct {
	version  esv1.VaultKVStoreVersion
	name     string // at ABEJA
	key      string // for the provider
	property string
}

// The page has the one of a property in version 2.
func (p pushed) data() esv1alpha1.PushSecretData {
	match := esv1alpha1.PushSecretMatch{RemoteRef: esv1alpha1.PushSecretRemoteRef{RemoteKey: p.key, Property: p.property}}
	if p.property != "" {
		match.SecretKey = "value"
	}
	return esv1alpha1.PushSecretData{Match: match}
}

func TestASecretIsPushedChangedAndDeleted(t *testing.T) {
	for title, p := range map[string]pushed{
		"version 2, a property": {esv1.VaultKVStoreV2, "pushed_value", "pushed_value", "value"},
		"version 2, a map":      {esv1.VaultKVStoreV2, "pushed_map", "pushed_map", ""},
		"version 1, a property": {esv1.VaultKVStoreV1, "pushed_v1", "secrets/pushed_v1", "value"},
		"version 1, the whole":  {esv1.VaultKVStoreV1, "pushed_v1_map", "secrets/pushed_v1_map", ""},
	} {
		t.Run(title, func(t *testing.T) {
			client := connect(t, p.version)
			read := func(path string) vaulttest.Answer {
				return server.Call(t.Context(), vaulttest.RootToken, "GET", "abeja/"+path+"/"+p.name, nil)
			}
			push := func(value string) {
				t.Helper()
				// The operator repeats each push.
				for range 2 {
					require.NoError(t, client.PushSecret(t.Context(), &corev1.Secret{Data: map[string][]byte{"value": []byte(value)}}, p.data()))
				}
				got, err := client.GetSecret(t.Context(), esv1.ExternalSecretDataRemoteRef{Key: p.key, Property: "value"})
				require.NoError(t, err)
				require.Equal(t, value, string(got))
			}
			push("first")
			push("second")
			require.EqualValues(t, 2, read("secrets").Data["version"], "each value is one version")
			require.Equal(t, map[string]any{"managed-by": "external-secrets"}, read("metadata").Data["custom_metadata"])

			exists, err := client.SecretExists(t.Context(), p.data())
			require.NoError(t, err)
			require.True(t, exists)
			if p.version == esv1.VaultKVStoreV1 && p.property != "" {
				// The provider writes back all other fields of the secret, in place of deleting it.
				require.ErrorContains(t, client.DeleteSecret(t.Context(), p.data()), "to remove the secret delete it")
				require.Equal(t, "second", read("secrets").Data["value"])
				return
			}
			require.NoError(t, client.DeleteSecret(t.Context(), p.data()))
			require.Equal(t, 404, read("metadata").Status)
			require.NoError(t, client.DeleteSecret(t.Context(), p.data()), "a deletion is repeated")
			push("third")
		})
	}
}

func TestWhatTheOperatorHasNotPushedIsLeftAlone(t *testing.T) {
	require.NoError(t, server.Write(t.Context(), "abeja/secrets/not_pushed", map[string]any{"value": "mine"}))
	for version, key := range map[esv1.VaultKVStoreVersion]string{esv1.VaultKVStoreV2: "not_pushed", esv1.VaultKVStoreV1: "secrets/not_pushed"} {
		data := pushed{version, "not_pushed", key, "value"}.data()
		client := connect(t, version)
		require.ErrorContains(t, client.PushSecret(t.Context(), &corev1.Secret{Data: map[string][]byte{"value": []byte("theirs")}}, data), "not managed by external-secrets", version)
		require.NoError(t, client.DeleteSecret(t.Context(), data), version)
		got, err := client.GetSecret(t.Context(), esv1.ExternalSecretDataRemoteRef{Key: key, Property: "value"})
		require.NoError(t, err, version)
		require.Equal(t, "mine", string(got), version)
	}
}

func TestThePagesPushIsOne(t *testing.T) {
	data := object[esv1alpha1.PushSecret](t, "PushSecret").Spec.Data[0]
	require.Equal(t, pushed{esv1.VaultKVStoreV2, "api_key", "api_key", "value"}.data(), data)
}
