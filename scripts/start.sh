# Sourced by demo.sh and dev.sh to start a dev Vault with the plugin, and by drill.sh, which needs only the
# simulator. Everything is in a separate directory. However the script ends, the programs are stopped and the
# directory is removed.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Vault refuses a plugin directory that is reached through a symlink, as macOS's /tmp is.
work=$(realpath "$(mktemp -d)")
pids=()

stop_all() {
  local pid
  for pid in "${pids[@]}"; do
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  rm -rf "$work"
}
trap stop_all EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# start FILE PROGRAM [ARG...] starts a program that prints to that file. It gets its own
# process group: Ctrl-C then reaches only the script, which needs the program until it has cleaned up.
start() {
  local file=$1
  shift
  set -m
  "$@" >"$file" 2>&1 &
  set +m
  pids+=("$!")
}

# wait_for FILE COMMAND [ARG...] waits until the command succeeds. FILE shows why it does not.
wait_for() {
  local file=$1
  shift
  for _ in {1..300}; do
    if "$@" >/dev/null 2>&1; then return; fi
    sleep 0.1
  done
  echo "not ready after 30 seconds:" >&2
  tail -n 20 "$file" >&2
  exit 1
}

# prepare builds the programs, and changes to the directory.
prepare() {
  local vault
  vault=$("$root/scripts/vault.sh")
  mkdir "$work/bin"
  ln -s "$vault" "$work/bin/vault"
  "$root/scripts/progress.sh" 'Building the plugin' '' '' make -s -C "$root" build BIN="$work/plugins"
  "$root/scripts/progress.sh" 'Building the simulator' '' '' go build -C "$root" -o "$work/bin/" ./cmd/abeja-simulator

  cd "$work"
  export PATH=$work/bin:$PATH HOME=$work TMPDIR=$work
  # Settings for another Vault, such as VAULT_NAMESPACE or VAULT_CACERT, do not fit this one. OpenBao prefers
  # those that begin with BAO_.
  unset "${!VAULT_@}" "${!BAO_@}"
}

# start_simulator [FLAG...] sets ABEJA_API_URL and the other variables of ABEJA's SDK.
start_simulator() {
  start simulator.log abeja-simulator -listen 127.0.0.1:0 "$@"
  wait_for simulator.log grep '^export PLATFORM_AUTH_TOKEN=' simulator.log
  eval "$(grep '^export ' simulator.log)"
}

start_vault() {
  local port
  # A port is free if nobody answers there.
  while port=$((20000 + RANDOM % 10000)) && (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
  export VAULT_ADDR=http://127.0.0.1:$port VAULT_TOKEN=root
  # The plugin must have ABEJA's credential from its configuration, not from the environment.
  export -n ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN PLATFORM_AUTH_TOKEN
  start vault.log vault server -dev -dev-root-token-id=root -dev-no-store-token \
    -dev-plugin-dir="$work/plugins" -dev-listen-address="127.0.0.1:$port"
  wait_for vault.log vault status
}

# print_command COMMAND [ARG...] prints a command as it would be typed.
print_command() {
  local word
  printf '\n$'
  for word in "$@"; do
    if [[ $word == *[^a-zA-Z0-9_./:=@-]* && $word =~ ^([a-z_]+=)?(.*) ]]; then
      word="${BASH_REMATCH[1]}'${BASH_REMATCH[2]}'"
    fi
    printf ' %s' "$word"
  done
  printf '\n'
}

# show COMMAND [ARG...] prints a command and runs it.
show() {
  print_command "$@"
  "$@"
}

# personal_token reports whether there is a user with a personal access token.
personal_token() {
  [[ ${ABEJA_PLATFORM_USER_ID:-} && ${ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN:-} ]]
}

# mount_abeja [FIELD=VALUE...] enables and configures the plugin at abeja/. The token comes on
# standard input, since others can see a command line.
mount_abeja() {
  local credential=(auth_token=-) token=${PLATFORM_AUTH_TOKEN:-}
  if personal_token; then
    credential=(user_id="$ABEJA_PLATFORM_USER_ID" personal_access_token=-)
    token=$ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN
  fi
  show vault secrets enable -path=abeja vault-plugin-secrets-abeja
  show vault write abeja/config organization_id="$ABEJA_ORGANIZATION_ID" "${credential[@]}" \
    api_url="$ABEJA_API_URL" "$@" < <(printf %s "$token")
}
