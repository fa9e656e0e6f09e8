#!/bin/sh
# Runs every fuzz target of the module for FUZZTIME, one after the other. A failing input is left
# under testdata/fuzz, where every later 'go test' tries it again: commit it with the fix.
set -eu
cd "$(dirname "$0")/.."
for package in ./client ./internal/store ./backend; do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz'); do
    echo "$package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-10s}" "$package"
  done
done
