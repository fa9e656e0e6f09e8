#!/usr/bin/env bash
# Runs a long command, and reports its progress on standard error: in one line on a terminal, otherwise twice a
# minute. What the command itself prints there is shown only if it fails.
#
# usage: progress.sh WHAT THINGS TOTAL COMMAND [ARG...]
#
# THINGS is what the command prints a line for when it begins one, such as packages, and TOTAL is their number.
# Either may be empty.
set -euo pipefail

what=$1 things=$2 total=$3
shift 3
log=$(mktemp)

say() {
  local done=
  if [[ $things ]]; then done="$(($(wc -l <"$log"))) ${total:+of $total }$things, "; fi
  printf '%s%s: %s%d s%s' "$1" "$what" "$done" "$SECONDS" "$2" >&2
}

# It also ends when this script is killed. The remaining sleep must then not keep the caller's pipes open.
tell() {
  local second=0
  while sleep 1 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
    if [[ -t 2 ]]; then
      say $'\e[K' $'\r' # what the command prints goes over it
    elif ((second++ % 26 == 0)); then # so that no gap is longer than half a minute
      say '' $'\n'
    fi
  done
}

tell &
teller=$!
finish() {
  local status=$?
  kill "$teller" 2>/dev/null || true
  wait "$teller" 2>/dev/null || true
  if [[ -t 2 ]]; then printf '\e[K' >&2; fi
  # Counted lines are single words, such as packages; go says why it fails before it begins the last of them.
  if ((status)); then { [[ $things ]] && grep ' ' "$log" | tail -n 200 >&2; } || tail -n 200 "$log" >&2; fi
  rm -f "$log"
  exit "$status"
}
trap finish EXIT

"$@" 2>"$log"
