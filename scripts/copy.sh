#!/usr/bin/env bash
# Copies secrets from Vault's KV version 2 to ABEJA, or back: all of them, or none if one does not fit. If it is
# interrupted, run it again. See usage.
set -euo pipefail

usage() {
  cat <<'END'
usage: scripts/copy.sh [-n] FROM TO

Copies the current version of each secret at FROM to TO. Both are data paths of KV version 2:
secret/data, secret/data/FOLDER, abeja/data. First it asks TO whether it would accept each of them. If it would
not, or has another value, it lists all these secrets and copies none. It overwrites and deletes nothing.

  -n  only check

VAULT_ADDR, VAULT_TOKEN and Vault's other variables are those of somebody who may list and read FROM, and may
read and create at TO. The program is $VAULT, otherwise vault, otherwise bao.
END
}

die() {
  printf 'copy.sh: %s\n' "$*" >&2
  exit 1
}

vault() {
  command "$program" "$@"
}

# value prints the map of a secret as JSON: null if it is deleted, and nothing if there is none.
value() {
  local answer
  if answer=$(vault read -format=json -field=data "$1" 2>/dev/null); then
    printf %s "$answer"
    return
  fi
  answer=$(vault read -format=json -field=data "$1" 2>&1 >/dev/null) || true
  if [[ $answer == *'Field "data" not present'* ]]; then
    printf null
  elif [[ $answer != *'No value found'* ]]; then
    die "cannot read $1: $answer"
  fi
}

# put NAME MAP CAS writes a secret to TO if its current version is CAS. The map goes by standard input, since
# others can see a command line.
put() {
  printf '{"data":%s,"options":{"cas":%s}}' "$2" "$3" | vault write -format=json "$to/$1" - 2>&1
}

# reason prints the last sentence of Vault's error, or all of any other output.
reason() {
  local sentence
  sentence=$(sed -n 's/^[[:space:]]*\* //p' <<<"$1" | tail -n 1)
  printf %s "${sentence:-$1}"
}

# check NAME sets why to the reason why a secret cannot be copied, if there is one.
check() {
  local map answer
  why=
  if [[ $1 == */ ]]; then
    why='is a folder, copy it separately'
    return
  fi
  map=$(value "$from/$1")
  if [[ $map == null ]]; then return; fi
  if ! answer=$(value "$to/$1" 2>&1); then
    why=$(reason "$answer")
  elif [[ $answer ]]; then
    [[ $answer == "$map" ]] || why="has another value at $to"
  # No secret has this version, so TO always refuses the write, and names another reason if there is one.
  elif answer=$(put "$1" "$map" 2147483647); then
    die "$to is not KV version 2: it stored $1"
  elif [[ $answer != *'check-and-set parameter did not match'* ]]; then
    why=$(reason "$answer")
  fi
}

# copy NAME copies a secret, unless it is deleted or already there, and sets said to what it did.
copy() {
  local map answer
  map=$(value "$from/$1")
  if [[ $map == null ]]; then
    said='deleted, left out'
  elif [[ $(value "$to/$1") == "$map" ]]; then
    said='already there'
  else
    answer=$(put "$1" "$map" 0) || die "$1: $answer"
    [[ $(value "$to/$1") == "$map" ]] || die "$to/$1 is not what was written: compare it with $from/$1"
    said='copied'
  fi
}

check_only=
while getopts nh option; do
  case $option in
  n) check_only=1 ;;
  h) usage && exit ;;
  *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if [[ $# -ne 2 || $1/ != */data/* || $2/ != */data/* ]]; then usage >&2 && exit 2; fi
from=${1%/} to=${2%/}
program=${VAULT:-$(type -P vault || type -P bao)} || die 'neither vault nor bao is on the PATH: set VAULT'
unset VAULT_FORMAT BAO_FORMAT VAULT_DETAILED BAO_DETAILED # They change what vault prints.

at=$from/
list=${at%%/data/*}/metadata/${at#*/data/}
answer=$(vault list "$list" 2>&1 >/dev/null) || die "cannot list $from: $answer"
if [[ $answer ]]; then die "cannot be sure of all of $from: $answer"; fi
names=$(vault list "$list" | tail -n +3) # without the heading

all=0 bad=0
while IFS= read -r name; do
  check "$name"
  all=$((all + 1))
  if [[ $why ]]; then
    printf '%s: %s\n' "$name" "$why"
    bad=$((bad + 1))
  fi
done <<<"$names"
if ((bad)); then die "$bad of $all cannot be copied, so none was"; fi
if [[ $check_only ]]; then
  echo 'all can be copied'
  exit
fi

while IFS= read -r name; do
  copy "$name"
  printf '%s: %s\n' "$name" "$said"
done <<<"$names"
