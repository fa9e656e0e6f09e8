module github.com/hashicorp/vault-plugin-secrets-azure

go 1.26.0

require github.com/hashicorp/vault/sdk v0.12.0
