#!/usr/bin/env bash
# Installs what test/e2e and test/clients run: hvac, Ansible and curl from Debian's packages, if they are
# missing. Prometheus from Debian's package, and a Node.js client and consul-template in the versions
# pinned here, go into bin/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
progress=$PWD/scripts/progress.sh

packages=()
/usr/bin/python3 -c 'import hvac' 2>/dev/null || packages+=(python3-hvac)
/usr/bin/python3 -c 'import ansible, ansible_collections.community.hashi_vault' 2>/dev/null || packages+=(ansible)
command -v curl >/dev/null || packages+=(curl)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
# The package is only unpacked: installing it would start a service.
unpack=()
mkdir -p bin
for program in prometheus promtool; do
  if [[ -x bin/$program ]]; then continue; fi
  if installed=$(command -v "$program"); then ln -sfn "$installed" "bin/$program"; else unpack=(prometheus); fi
done
if ((${#packages[@]} + ${#unpack[@]})); then
  if ! command -v apt-get >/dev/null; then
    echo "Missing, and there is no apt-get to install them: ${packages[*]-} ${unpack[*]-}. /usr/bin/python3 must import hvac and Ansible." >&2
    exit 1
  fi
  as_root=()
  if ((EUID)); then as_root=(sudo); fi
  "$progress" "Updating apt's lists" '' '' "${as_root[@]}" apt-get update -qq
fi
if ((${#packages[@]})); then
  "$progress" "Installing ${packages[*]}" '' '' \
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
fi
if ((${#unpack[@]})); then
  new=$(mktemp -d bin/prometheus.XXXXXX)
  trap 'rm -rf "$new"' EXIT
  (
    cd "$new"
    "$progress" 'Downloading Prometheus' '' '' apt-get download -qq prometheus
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin
  )
  mv "$new"/usr/bin/* bin/
  rm -rf "$new"
fi

if ! cmp -s test/clients/testdata/package-lock.json bin/node/package-lock.json; then
  new=$(mktemp -d bin/node.XXXXXX)
  trap 'rm -rf "$new"' EXIT
  cp test/clients/testdata/package.json test/clients/testdata/package-lock.json "$new/"
  "$progress" 'Installing node-vault' '' '' npm ci --prefix "$new" --ignore-scripts --no-audit --no-fund >/dev/null
  rm -rf bin/node
  mv "$new" bin/node
fi

version=$(cd tools/consul-template && go list -m -f '{{.Version}}' github.com/hashicorp/consul-template)
consul_template=$PWD/bin/consul-template-${version#v}
if [[ ! -x $consul_template ]]; then
  scripts/build.sh tools/consul-template github.com/hashicorp/consul-template "$consul_template.new"
  mv "$consul_template.new" "$consul_template"
fi
ln -sfn "$(basename "$consul_template")" bin/consul-template
