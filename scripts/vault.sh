#!/usr/bin/env bash
# Prints the path of the vault binary to use: $VAULT, else vault on PATH, else the version pinned
# in tools/vault, which is built once into bin/. With an argument it is the version that is pinned in
# that directory.
set -euo pipefail

module=${1:-tools/vault}
if (($#)); then
  :
elif found=$(command -v "${VAULT:-vault}"); then
  realpath "$found"
  exit
elif [[ -n ${VAULT:-} ]]; then
  echo "VAULT=$VAULT is no program that can be run" >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(cd "$module" && go list -m -f '{{.Version}}' github.com/hashicorp/vault)
vault=$PWD/bin/vault-${version#v}

if [[ ! -x $vault ]]; then
  echo "Building Vault $version into bin/, as there is none." >&2
  echo "This is done once. It takes about 3 minutes on 2 cores, and 2.6 GB for Vault's own modules." >&2
  mkdir -p bin
  exec 9>bin/.vault.lock
  # Two callers at once need not both build. Where there is no flock (macOS) both do, and the
  # rename below keeps that harmless.
  if command -v flock >/dev/null; then scripts/progress.sh 'Waiting for another that builds it' '' '' flock 9; fi
  if [[ ! -x $vault ]]; then
    new=$vault.$$
    trap 'rm -f "$new"' EXIT
    # -tags minimal leaves out the plugins and storages that need hundreds of modules more.
    scripts/build.sh "$module" github.com/hashicorp/vault "$new" -tags minimal
    mv "$new" "$vault"
  fi
fi
echo "$vault"
