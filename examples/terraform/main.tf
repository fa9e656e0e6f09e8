# The plugin must be registered: see docs/operations.md. Terraform mounts it, configures it, and
# grants two teams their rights.

resource "vault_mount" "abeja" {
  path        = "abeja"
  type        = "vault-plugin-secrets-abeja"
  description = "ABEJA Secret Manager"
}

# A read of the config never returns the token, so Terraform does not compare what is stored: a
# change made elsewhere shows only at the next change here.
resource "vault_generic_endpoint" "config" {
  path                 = "${vault_mount.abeja.path}/config"
  disable_read         = true
  ignore_absent_fields = true

  data_json = jsonencode({
    organization_id       = var.organization_id
    user_id               = var.user_id
    personal_access_token = var.personal_access_token
    api_url               = var.api_url
    cache_ttl             = 0
    stale_if_error        = 3600
    expired_secrets       = "warn"
  })
}

resource "vault_policy" "reader" {
  name   = "abeja-reader"
  policy = <<-EOT
    path "abeja/secrets/*" {
      capabilities = ["read", "list"]
    }
  EOT
}

resource "vault_policy" "creator" {
  name   = "abeja-creator"
  policy = <<-EOT
    path "abeja/secrets/*" {
      capabilities = ["create"]
    }
  EOT
}

resource "vault_policy" "prometheus" {
  name   = "abeja-prometheus"
  policy = <<-EOT
    path "abeja/metrics" {
      capabilities = ["read"]
    }
  EOT
}
