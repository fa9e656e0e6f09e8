#!/usr/bin/env bash
# Prints the path of the Vault to use: $VAULT, otherwise vault or bao on PATH, otherwise the version pinned in
# tools/vault, which is put into bin/ once: HashiCorp's release, if it can be downloaded, otherwise a build. With
# an argument it is the version pinned in that directory. With -n it gets none, and fails if there is none.
#
# A release must have its checksum in the SHA256SUMS beside the pinned version. VAULT_RELEASES is where it comes
# from instead of https://releases.hashicorp.com.
set -euo pipefail

only_look=
if [[ ${1:-} == -n ]]; then
  only_look=1
  shift
fi
module=${1:-tools/vault}
if (($#)); then
  :
elif found=$(command -v "${VAULT:-vault}") || { [[ ! ${VAULT:-} ]] && found=$(command -v bao); }; then
  realpath "$found"
  exit
elif [[ ${VAULT:-} ]]; then
  echo "VAULT=$VAULT is not a program that can be run" >&2
  exit 1
fi

cd "$(dirname "${BASH_SOURCE[0]}")/.."
version=$(cd "$module" && go list -m -f '{{.Version}}' github.com/hashicorp/vault)
version=${version#v}
vault=$PWD/bin/vault-$version

# download gets the release into $new. Without a network it gives up in less than 5 seconds.
download() {
  local file url want got
  file=vault_${version}_$(go env GOHOSTOS)_$(go env GOHOSTARCH).zip
  url=${VAULT_RELEASES:-https://releases.hashicorp.com}/vault/$version/$file
  want=$(awk -v file="$file" '$2 == file { print $1 }' "$module/SHA256SUMS" 2>/dev/null) && [[ $want ]] || return
  if ! command -v curl >/dev/null || ! command -v unzip >/dev/null; then
    echo "Without curl and unzip the release of Vault cannot be downloaded." >&2
    return 1
  fi
  scripts/progress.sh "Downloading $url" '' '' \
    curl -sSfL --connect-timeout 3 --speed-limit 1000 --speed-time 3 -o "$new.zip" "$url" || return
  got=$(if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi <"$new.zip")
  if [[ ${got%% *} != "$want" ]]; then
    echo "What $url returns is not the release: its checksum is ${got%% *}, not $want. It is discarded." >&2
    return 1
  fi
  unzip -p "$new.zip" vault >"$new" && chmod 0755 "$new"
}

if [[ ! -x $vault ]]; then
  [[ ! $only_look ]] || exit 1
  mkdir -p bin
  exec 9>bin/.vault.lock
  # Two callers at once need not both get it. Without flock (macOS) both do, and the rename below keeps
  # that harmless.
  if command -v flock >/dev/null; then scripts/progress.sh 'Waiting for another process that gets Vault' '' '' flock 9; fi
  if [[ ! -x $vault ]]; then
    new=$vault.$$
    trap 'rm -f "$new" "$new.zip"' EXIT
    if ! download; then
      echo "Building Vault $version into bin/, once. It takes 3 to 6 minutes on 2 cores, and 2.6 GB for its modules." >&2
      # -tags minimal leaves out the plugins and storages that need hundreds more modules.
      scripts/build.sh "$module" github.com/hashicorp/vault "$new" -tags minimal
    fi
    mv "$new" "$vault"
  fi
fi
echo "$vault"
