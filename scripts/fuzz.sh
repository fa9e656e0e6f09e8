#!/bin/sh
# Runs every fuzz target of the module for $FUZZTIME, one after the other, with what the machine has to spare. An input
# that reaches new code is made smaller in 100 tries, not for a minute as go test would.
# A failing input is left under testdata/fuzz, where every later 'go test' tries it again: commit it with the fix.
set -eu
cd "$(dirname "$0")/.."
for package in ./client ./internal/store ./backend; do
  for target in $(sed -n 's/^func \(Fuzz[A-Za-z]*\)(.*/\1/p' "$package"/*_test.go); do
    echo "$package $target"
    nice go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZTIME:-5000x}" -fuzzminimizetime 100x "$package"
  done
done
