#!/usr/bin/env bash
# Shows the plugin at work in a dev Vault, and fails if anything is not as expected.
#
# ABEJA is the simulator, unless ABEJA_ORGANIZATION_ID, ABEJA_PLATFORM_USER_ID and
# ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN are set, or PLATFORM_AUTH_TOKEN instead of the last two: then it
# is the real one, at ABEJA_API_URL or https://api.abeja.io. There the demo sees and writes only names
# with its own prefix, and removes what it wrote.
. "$(dirname "${BASH_SOURCE[0]}")/start.sh"

prefix=vault_demo_$(date +%s)_${RANDOM}_

# cleanup removes what a run that failed half-way left at ABEJA.
cleanup() {
  local status=$? name
  export VAULT_TOKEN=root
  for name in db_password api_key mail_password; do
    vault delete "abeja/secrets/$name" >/dev/null 2>&1 || true
  done
  if [[ $(vault list abeja/secrets 2>&1) != *"No value found"* ]]; then
    echo "Could not remove everything: please remove the secrets $prefix... from ABEJA." >&2
    status=1
  fi
  stop_all
  exit "$status"
}

title() {
  printf '\n\n# %s\n' "$*"
}

fail() {
  echo "demo: $*" >&2
  exit 1
}

# expect REGEXP COMMAND [ARG...] shows a command that must succeed, and print what matches.
expect() {
  local want=$1
  shift
  print_command "$@"
  answer=$("$@" 2>&1) || fail "this should have succeeded: $answer"
  printf '%s\n' "$answer"
  [[ $answer =~ $want ]] || fail "this should have matched: $want"
}

# refuse REGEXP COMMAND [ARG...] shows a command that must fail, and print what matches.
refuse() {
  local want=$1
  shift
  print_command "$@"
  if answer=$("$@" 2>&1); then fail "this should have been refused: $answer"; fi
  printf '%s\n' "$answer"
  [[ $answer =~ $want ]] || fail "this should have matched: $want"
}

simulate=1
if [[ ${ABEJA_ORGANIZATION_ID:-} ]] && { personal_token || [[ ${PLATFORM_AUTH_TOKEN:-} ]]; }; then
  ABEJA_API_URL=${ABEJA_API_URL:-https://api.abeja.io}
  simulate=
fi
cat <<EOF
This starts a Vault with the plugin${simulate:+, and a simulator of ABEJA,} on this machine, shows commands with their output,
and stops what it started. It takes about 15 seconds once everything is built.
EOF
if ! "$root/scripts/vault.sh" -n >/dev/null 2>&1; then
  cores=$(getconf _NPROCESSORS_ONLN)
  echo "There is no Vault here yet. If it cannot be downloaded, it is built in about $((8 / cores + 1)) minutes on $cores cores."
fi
echo
prepare
if [[ $simulate ]]; then start_simulator -secrets 25; fi
echo "ABEJA is $ABEJA_API_URL"
start_vault

title "Connect Vault to one organization of ABEJA, here only to names that begin with $prefix"
mount_abeja name_prefix="$prefix"
trap cleanup EXIT
expect "$ABEJA_ORGANIZATION_ID" vault read abeja/config

title 'Write and read a secret'
expect 'created +true' vault write abeja/secrets/db_password value=first description='of the orders database'
expect 'of the orders database' vault read abeja/secrets/db_password
expect 'first' vault read -field=value abeja/secrets/db_password

title 'A new value is a new version, and the old ones stay'
expect 'version +2' vault write abeja/secrets/db_password value=second
expect 'second' vault read -field=value abeja/secrets/db_password
expect 'first' vault read -field=value abeja/secrets/db_password version=1
expect '1.*2' vault list abeja/secrets/db_password/versions

title 'List'
expect 'created +true' vault write abeja/secrets/api_key value=4711
expect 'db_password' vault list abeja/secrets
expect 'of the orders database' vault list -detailed abeja/secrets

title 'The same with "vault kv"'
expect 'second' vault kv get -mount=abeja -field=value secrets/db_password
expect 'version +3' vault kv put -mount=abeja secrets/db_password value=third
expect 'third' vault kv get -mount=abeja -field=value secrets/db_password

title 'Two teams: one reads and lists, one creates but does not overwrite'
cat >reading_team.hcl <<'EOF'
path "abeja/secrets/*" {
  capabilities = ["read", "list"]
}
EOF
cat >creating_team.hcl <<'EOF'
path "abeja/secrets/*" {
  capabilities = ["create"]
}
EOF
show cat reading_team.hcl
show vault policy write reading_team reading_team.hcl
expect . vault token create -policy=reading_team -field=token
reader=$answer
show cat creating_team.hcl
show vault policy write creating_team creating_team.hcl
expect . vault token create -policy=creating_team -field=token
creator=$answer

title 'What the reading team can do'
show export VAULT_TOKEN="$reader"
expect 'api_key' vault list abeja/secrets
expect 'third' vault read -field=value abeja/secrets/db_password
refuse 'permission denied' vault write abeja/secrets/db_password value=fourth
refuse 'permission denied' vault delete abeja/secrets/db_password

title 'What the creating team can do'
show export VAULT_TOKEN="$creator"
expect 'created +true' vault write abeja/secrets/mail_password value=fifth
refuse 'permission denied' vault write abeja/secrets/mail_password value=sixth
refuse 'permission denied' vault write abeja/secrets/db_password value=sixth
refuse 'permission denied' vault read abeja/secrets/db_password

title 'Delete'
show export VAULT_TOKEN=root
for name in db_password api_key mail_password; do
  expect 'Success' vault delete "abeja/secrets/$name"
done
refuse 'No value found' vault list abeja/secrets

title 'All as it should be. Vault and the simulator are being stopped.'
