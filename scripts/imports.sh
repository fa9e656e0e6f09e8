#!/usr/bin/env bash
# Checks that the packages of this module's programs import each other only as listed here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

allowed='backend client
backend internal/store
cmd/abeja-simulator internal/simulator
cmd/vault-plugin-secrets-abeja backend
internal/store client'
# The store knows neither Vault nor HTTP, and the client works without Vault.
foreign='^(client|internal/store) github\.com/hashicorp/vault/|^internal/store net/http$'

module=$(go list -m)
imports=$(go list -deps -f '{{$p := .ImportPath}}{{range .Imports}}{{$p}} {{.}}{{"\n"}}{{end}}' ./cmd/... | sed -n "s|^$module/||p")
within=$(sed -n "s| $module/| |p" <<<"$imports")
wrong=$(grep -vxF "$allowed" <<<"$within" || true; grep -E "$foreign" <<<"$imports" || true)
if [[ $wrong ]]; then
  printf '%s\n' "These imports are not allowed by scripts/imports.sh:" "$wrong" >&2
  exit 1
fi
