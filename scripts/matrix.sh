#!/usr/bin/env bash
# Runs the scripts of test/e2e with each version of Vault that is pinned in tools/vault and tools/matrix,
# and writes what came of it between the marks of docs/compatibility.md.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# run_scripts prints a line to standard error for each script that it begins.
run_scripts() {
  go test -count=1 -parallel=4 -v -run 'TestScripts' ./test/e2e | tee "$1" |
    grep --line-buffered '^=== CONT .*TestScripts/' >&2
}
export -f run_scripts

status=0
scripts=(test/e2e/testdata/*.txtar)
printf '| Vault | Scripts that pass | Scripts that fail |\n|---|---|---|\n' >"$work/table"
for module in $(printf '%s\n' tools/matrix/*/ | sort -V) tools/vault; do
  : >"$work/log"
  if vault=$(scripts/vault.sh "$module"); then
    version=$(basename "$vault")
    VAULT=$vault scripts/progress.sh "Running the scripts with $version" scripts "${#scripts[@]}" \
      bash -c 'run_scripts "$1"' bash "$work/log" || true
    passed=$(grep -c '^    --- PASS' "$work/log" || true)
    failed=$(sed -n 's/^    --- FAIL: TestScripts\/\([^ ]*\).*/`\1`/p' "$work/log" | sort | paste -s -d ' ')
    printf '| %s | %s | %s |\n' "${version#vault-}" "$passed" "${failed:-none}"
  else
    version=$(basename "$module") passed=0 failed='is not built'
    printf '| %s | | is not built |\n' "$version"
  fi >>"$work/table"
  tail -n 1 "$work/table"
  if ((passed == 0)) || [[ $failed ]]; then
    cat "$work/log" >&2
    status=1
  fi
done

awk -v table="$work/table" '
  /^<!-- end/ { skip = 0 }
  !skip { print }
  /^<!-- begin/ { skip = 1; while ((getline line < table) > 0) print line }
' docs/compatibility.md >"$work/page"
cp "$work/page" docs/compatibility.md
exit $status
