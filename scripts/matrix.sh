#!/usr/bin/env bash
# Runs the scripts of test/e2e with other servers, and writes the results between the marks of
# docs/compatibility.md: with $VAULT if it is set, otherwise with the versions of Vault pinned in tools/vault
# and tools/matrix, or in the given directories. The rows of other servers stay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
page=docs/compatibility.md
status=0
scripts=(test/e2e/testdata/*.txtar)

# run_scripts prints a line to standard error for each script that it begins.
run_scripts() {
  go test -count=1 -timeout=60m -parallel=4 -v -run 'TestScripts' ./test/e2e | tee "$1" |
    grep --line-buffered '^=== CONT .*TestScripts/' >&2
}
export -f run_scripts

# row SERVER FROM PASSED SKIPPED FAILED
row() {
  printf '| %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$(date +%F)" "$3" "$4" "$5" | tee -a "$work/rows"
}

# try PROGRAM FROM
try() {
  local server passed skipped failed
  server=$("$1" version | sed -n 's/^\([A-Za-z]*\) v\([^ ,]*\).*/\1 \2/p')
  VAULT=$1 scripts/progress.sh "Running the scripts with $server" scripts "${#scripts[@]}" \
    bash -c 'run_scripts "$1"' bash "$work/log" || true
  passed=$(grep -c '^    --- PASS' "$work/log" || true)
  skipped=$(of SKIP) failed=$(of FAIL)
  row "$server" "$2" "$passed" "${skipped:-none}" "${failed:-none}"
  if ((passed == 0)) || [[ $failed ]]; then
    cat "$work/log" >&2
    status=1
  fi
}

# of SKIP prints the scripts that were skipped, of FAIL those that failed.
of() {
  sed -n 's/^    --- '"$1"': TestScripts\/\([^ ]*\).*/`\1`/p' "$work/log" | sort | paste -s -d ' '
}

if [[ ${VAULT:-} ]]; then
  try "$(scripts/vault.sh)" 'by hand'
else
  (($#)) || set -- tools/matrix/* tools/vault
  for module in "$@"; do
    from="[$module](../$module)"
    if vault=$(scripts/vault.sh "$module"); then
      try "$vault" "$from"
    else
      row "Vault $(go list -C "$module" -m -f '{{slice .Version 1}}' github.com/hashicorp/vault)" "$from" 0 none 'was not built'
      status=1
    fi
  done
fi

awk -F ' [|] ' 'NR == FNR { run[$1] = 1; print; next } /^<!-- end/ { exit } table > 2 && !run[$1] { print } table || /^<!-- begin/ { table++ }' \
  "$work/rows" "$page" | sort -V >"$work/table"
awk -v table="$work/table" '
  /^<!-- end/ { skip = 0 }
  !skip { print }
  /^<!-- begin/ {
    skip = 1
    print "| Server | From | Run on | Scripts that pass | Scripts about something else | Scripts that fail |"
    print "|---|---|---|---|---|---|"
    while ((getline line < table) > 0) print line
  }
' "$page" >"$work/page"
cp "$work/page" "$page"
exit $status
