module github.com/abeja-inc/vault-plugin-secrets-abeja/test/soak

go 1.26.0

require github.com/anishathalye/porcupine v1.3.1
