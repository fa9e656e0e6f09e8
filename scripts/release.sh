#!/usr/bin/env bash
# Builds a release into dist/: for each of TARGETS the plugin, and a CycloneDX SBOM of its modules;
# and SHA256SUMS of the plugins, the checksums for 'vault plugin register'.
# 'make release' calls it with VERSION, LDFLAGS and TARGETS.
#
# The same commit gives the same bytes wherever it is built. An SBOM also names the program that made
# it, with its checksum, and so differs between kinds of machines.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.."

number='(0|[1-9][0-9]*)'
label='(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)'
if [[ ! $VERSION =~ ^v$number\.$number\.$number(-$label(\.$label)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$ ]]; then
  echo "'$VERSION' is not a version. Use a semantic one with a v: make release VERSION=v1.2.3" >&2
  exit 1
fi
changes=$(git status --porcelain --untracked-files)
if [[ $changes ]]; then
  printf '%s\n' "A release is built from a commit, and these changes are not committed. Commit or remove them:" "$changes" >&2
  exit 1
fi

# What else determines the bytes: the compiler, and settings of this machine.
GOTOOLCHAIN=$(awk '$1 == "toolchain" { print $2 }' tools/release/go.mod)
export GOTOOLCHAIN GOFLAGS=-buildvcs=false GOWORK=off CGO_ENABLED=0 GOAMD64=v1 GOARM=7 GOARM64=v8.0 GOFIPS140=off
unset GOEXPERIMENT GOOS GOARCH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
scripts/progress.sh 'Building cyclonedx-gomod' '' '' \
  go build -C tools/release -trimpath -o "$work/" github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod

mkdir "$work/dist"
for target in $TARGETS; do
  os=${target%/*} arch=${target#*/}
  file=vault-plugin-secrets-abeja_${VERSION}_${os}_$arch
  if [[ $os == windows ]]; then file+=.exe; fi
  echo "$file"
  GOOS=$os GOARCH=$arch scripts/progress.sh "Building $file" '' '' \
    go build -trimpath -ldflags "$LDFLAGS" -o "$work/dist/$file" ./cmd/vault-plugin-secrets-abeja
done

(
  cd "$work/dist"
  files=(*)
  if command -v sha256sum >/dev/null; then sha256sum "${files[@]}"; else shasum -a 256 "${files[@]}"; fi >SHA256SUMS
  for file in "${files[@]}"; do
    "$work/cyclonedx-gomod" bin -json -noserial -notimestamp -std -version "$VERSION" -output "$file.cdx.json" "$file"
  done
)

rm -rf dist
mv "$work/dist" dist
