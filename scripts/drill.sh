#!/usr/bin/env bash
# Shows what readers get while ABEJA is away, with the settings of a mount. See usage.
. "$(dirname "${BASH_SOURCE[0]}")/start.sh"

drill=abeja-drill
secret=$drill/secrets/drill
registered=

usage() {
  cat <<'END'
usage: scripts/drill.sh [MOUNT]

Shows what readers get while ABEJA is away, with the settings of MOUNT, abeja by default.

It also registers MOUNT's plugin as abeja-drill, so that it runs in its own process, mounts it with these settings,
and starts a stand-in for ABEJA on this machine. The stand-in hangs, abeja-drill is restarted, and the stand-in comes
back with another value. ABEJA is not called, and only the config of MOUNT is read. At the end, and after Ctrl-C, all
that was made is removed.

Run it on the host of the active Vault, with Go and curl. VAULT_ADDR and VAULT_TOKEN are those of an operator. The
program is $VAULT, otherwise vault, otherwise bao.
END
}

vault() {
  "$program" "$@"
}

die() {
  printf 'drill.sh: %s\n' "$*" >&2
  exit 1
}

title() {
  printf '\n\n# %s\n' "$*"
}

cleanup() {
  local status=$?
  trap '' HUP INT TERM
  if [[ $registered ]]; then
    title 'Clean up'
    show vault secrets disable "$drill" || status=1
    show vault plugin deregister -version="$version" secret "$drill" || status=1
  fi
  stop_all
  exit "$status"
}

# stand_in METHOD PATH [JSON] uses the stand-in's own API.
stand_in() {
  curl -sSf -X "$1" -d "${3:-}" "$ABEJA_API_URL/_simulator/$2"
}

# reads WHAT reads the secret, shows the result and how long it took, and expects a new value, an old value or an error.
reads() {
  local got='a new value'
  print_command vault read "$secret"
  { time answer=$(vault read "$secret" 2>&1) || got='an error'; } 2>&1
  if [[ $got != 'an error' && $answer == *'could not be asked'* ]]; then got='an old value'; fi
  grep -E '^value|Code: |\* [^0-9]' <<<"$answer" || printf '%s\n' "$answer"
  [[ $got == "$1" ]] || die "this should have been: $1"
}

# info FIELD prints how the plugin is registered: under its version, or under none.
info() {
  vault plugin info -version="$version" -field="$1" secret "$plugin" 2>/dev/null || vault plugin info -field="$1" secret "$plugin"
}

stored() {
  [[ $(vault read -field=last_good_entries "$drill/status") == 1 ]]
}

second() {
  [[ $(vault read -field=value "$secret") == second ]]
}

case ${1:-} in
  -h) usage && exit ;;
  -*) usage >&2 && exit 2 ;;
esac
mount=${1:-abeja}
mount=${mount%/}
unset CDPATH VAULT_FORMAT BAO_FORMAT # They change what cd and vault print.
# Each read shown is one request, and its time is the mount's.
export VAULT_MAX_RETRIES=0 BAO_MAX_RETRIES=0
TIMEFORMAT='after %1R s:'

program=$(type -P "${VAULT:-vault}" || { [[ ! ${VAULT:-} ]] && type -P bao; }) ||
  die "${VAULT:-vault} is not a program that can be run. Install vault or bao, or set VAULT to one of them."
program=$(realpath "$program")
plugin=$(vault read -field=type "sys/mounts/$mount") || die "Vault does not show what is mounted at $mount."
version=$(vault read -field=running_plugin_version "sys/mounts/$mount") || die "Vault does not show what $mount runs."
sha256=$(info sha256) && command=$(info command) || die "Vault does not show how $plugin is registered."
! vault read "sys/mounts/$drill" >/dev/null 2>&1 ||
  die "$drill already exists. If no other drill is running, one was killed: vault secrets disable $drill"
# cache_ttl and stale_while_revalidate are left out: for that long nobody would notice the outage.
settings=()
for name in request_timeout max_retries stale_if_error keep_last_good; do
  value=$(vault read -field=$name "$mount/config") || die "Vault does not show the config of $mount."
  settings+=("$name=$value")
  case $name=$value in
    stale_if_error=0*) outage='an error' restart='an error' ;;
    stale_if_error=*) outage='an old value' restart='an error' ;;
    keep_last_good=true) restart='an old value' ;;
  esac
done

"$root/scripts/progress.sh" 'Building the stand-in for ABEJA' '' '' go build -C "$root" -o "$work/" ./cmd/abeja-simulator
cd "$work"
PATH=$work:$PATH
trap cleanup EXIT
start_simulator
stand_in PUT secrets/drill '{"value":"first"}'

title "A mount with the settings of $mount, at a stand-in for ABEJA"
registered=1
show vault plugin register -sha256="$sha256" -version="$version" -command="$command" secret "$drill"
show vault secrets enable -path="$drill" -plugin-version="$version" "$drill"
show vault write "$drill/config" organization_id="$ABEJA_ORGANIZATION_ID" user_id="$ABEJA_PLATFORM_USER_ID" personal_access_token=- \
  api_url="$ABEJA_API_URL" "${settings[@]}" < <(printf %s "$ABEJA_PLATFORM_PERSONAL_ACCESS_TOKEN") ||
  die "Vault does not reach the stand-in. Run this on the host of the active Vault."
reads 'a new value'
if [[ $restart == 'an old value' ]]; then
  (wait_for /dev/null stored) || die "The value was not stored. Vault's log says why."
  sleep 2 # the names are stored after the values
fi

title "ABEJA hangs: a reader gets $outage"
stand_in POST faults '{"kind":"hang"}'
reads "$outage"
reads "$outage"

title "The plugin is restarted meanwhile: a reader gets $restart"
show vault write sys/plugins/reload/backend plugin="$drill"
reads "$restart"

title 'ABEJA is back, with another value'
stand_in PUT secrets/drill '{"value":"second"}'
stand_in DELETE faults
SECONDS=0
(wait_for /dev/null second) || die "The other value was not returned."
echo "A reader gets it after $SECONDS s."
reads 'a new value'
