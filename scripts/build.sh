#!/usr/bin/env bash
# Builds a package of the module in DIRECTORY into FILE, and reports its progress.
#
# usage: build.sh DIRECTORY PACKAGE FILE [FLAG...]
set -euo pipefail
progress=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/progress.sh
cd "$1"
package=$2 file=$3 name=$(basename "$2")
shift 3

export CGO_ENABLED=0
set -- -trimpath "$@" # as the plugin is built: what both need is compiled once
todo=$("$progress" "Downloading the modules of $name" modules '' \
  go list -deps "$@" -f '{{if .Stale}}{{.ImportPath}}{{end}}' "$package")
"$progress" "Building $name" packages "$(grep -c . <<<"$todo")" \
  go build -v "$@" -o "$file" "$package"
