#!/usr/bin/env bash
# Runs a command that takes long, and says on standard error how far it is: in one line on a terminal, twice a
# minute elsewhere. What the command itself prints there is shown only if it fails.
#
# usage: progress.sh WHAT THINGS TOTAL COMMAND [ARG...]
#
# THINGS is what the command prints a line for when it begins one, such as packages, and TOTAL how many it will
# be. Either may be empty.
set -euo pipefail

what=$1 things=$2 total=$3
shift 3
log=$(mktemp)

say() {
  local done=
  if [[ $things ]]; then done="$(($(wc -l <"$log"))) ${total:+of $total }$things, "; fi
  printf '%s%s: %s%d s%s' "$1" "$what" "$done" "$SECONDS" "$2" >&2
}

# It ends also when this script is killed. The sleep that is left then must not keep the caller's pipes open.
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
  # What is counted are single words, such as packages; go says why it fails before it begins the last of them.
  if ((status)); then { [[ $things ]] && grep ' ' "$log" | tail -n 200 >&2; } || tail -n 200 "$log" >&2; fi
  rm -f "$log"
  exit "$status"
}
trap finish EXIT

"$@" 2>"$log"
