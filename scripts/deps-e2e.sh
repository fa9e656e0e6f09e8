#!/usr/bin/env bash
# Installs the clients that test/clients runs: hvac and curl from Debian's packages, if they are
# missing; a Node.js client and consul-template, in the versions pinned here, into bin/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=()
/usr/bin/python3 -c 'import hvac' 2>/dev/null || packages+=(python3-hvac)
command -v curl >/dev/null || packages+=(curl)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
if ((${#packages[@]})); then
  if ! command -v apt-get >/dev/null; then
    echo "Missing, and there is no apt-get to install them: ${packages[*]}. For hvac, /usr/bin/python3 must import it." >&2
    exit 1
  fi
  as_root=()
  if ((EUID)); then as_root=(sudo); fi
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
fi

mkdir -p bin
if ! cmp -s test/clients/testdata/package-lock.json bin/node/package-lock.json; then
  new=$(mktemp -d bin/node.XXXXXX)
  trap 'rm -rf "$new"' EXIT
  cp test/clients/testdata/package.json test/clients/testdata/package-lock.json "$new/"
  npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund
  rm -rf bin/node
  mv "$new" bin/node
fi

version=$(cd tools/consul-template && go list -m -f '{{.Version}}' github.com/hashicorp/consul-template)
consul_template=$PWD/bin/consul-template-${version#v}
if [[ ! -x $consul_template ]]; then
  (cd tools/consul-template && CGO_ENABLED=0 go build -o "$consul_template.new" github.com/hashicorp/consul-template)
  mv "$consul_template.new" "$consul_template"
fi
ln -sfn "$(basename "$consul_template")" bin/consul-template
