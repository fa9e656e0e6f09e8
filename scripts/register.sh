#!/usr/bin/env bash
# Installs a binary of the plugin in Vault: copies it into the plugin directory, registers it, and mounts
# it or upgrades the mount. It checks what is there before each step, so it can be run again if it was
# interrupted. See usage.
set -euo pipefail

plugin=vault-plugin-secrets-abeja
pin=sys/plugins/pins/secret/$plugin
mount=abeja
directory=${PLUGIN_DIR:-}
dry=
copy_only=

usage() {
  cat <<'END'
usage: scripts/register.sh [-n] [-c] [-m PATH] [-d DIRECTORY] BINARY

Copies BINARY into Vault's plugin directory under a name with its version, registers it, and
enables it at PATH, or upgrades the mount there. With an older BINARY it goes back to that.

  -n  only say what would be done
  -c  only copy: do that on each node of a cluster, then run this without -c on one of them
  -m  where to mount the plugin, abeja by default
  -d  the plugin_directory of Vault's configuration, $PLUGIN_DIR by default

VAULT_ADDR, VAULT_TOKEN and Vault's other variables are those of an operator. The program is $VAULT,
otherwise vault, otherwise bao.
END
}

vault() {
  "$program" "$@"
}

die() {
  printf 'register.sh: %s\n' "$*" >&2
  exit 1
}

# step WHAT COMMAND [ARG...] says what it does and does it, or with -n only says it.
step() {
  echo "${dry:+would }$1"
  shift
  [[ $dry ]] || "$@" >/dev/null
}

checksum() {
  if command -v sha256sum >/dev/null; then sha256sum <"$1"; else shasum -a 256 <"$1"; fi | cut -d ' ' -f 1
}

# The file gets its name when it is complete, so whoever finds it under that name can run it.
copy() {
  new=$(mktemp "$directory/.$file.XXXXXX") || return
  trap 'rm -f "$new"' EXIT
  cp "$binary" "$new" && chmod 0755 "$new" && mv -n "$new" "$target"
}

# field NAME prints that field of a table that vault has printed. An empty one is n/a there.
field() {
  awk -v name="$1" '$1 == name && $2 != "n/a" { print $2 }'
}

mounted() {
  vault read "sys/mounts/$mount" 2>/dev/null
}

# pinned prints the version pinned for all mounts of the plugin, if any. A Vault that does not know pins
# answers like one that has none.
pinned() {
  local answer
  answer=$(vault read "$pin" 2>&1) || [[ $answer == *'No value found'* ]] || { echo "$answer" >&2 && return 1; }
  field version <<<"$answer"
}

while getopts ncm:d:h option; do
  case $option in
    n) dry=1 ;;
    c) copy_only=1 ;;
    m) mount=${OPTARG#/} mount=${mount%/} ;;
    d) directory=$OPTARG ;;
    h) usage && exit ;;
    *) usage >&2 && exit 2 ;;
  esac
done
shift $((OPTIND - 1))
if (($# != 1)); then
  usage >&2
  exit 2
fi
binary=$1

unset CDPATH VAULT_FORMAT BAO_FORMAT # They change what cd and vault print.

[[ -f $binary && -x $binary ]] || die "$binary is not a program. Give the binary of a release or of make build."
version=$("$(cd "$(dirname "$binary")" && pwd)/$(basename "$binary")" -version) ||
  die "$binary cannot be run on this machine. Give the binary for its system and processor."
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+([-+][0-9A-Za-z.+-]+)?$ ]] ||
  die "$binary -version prints '$version', which is not a version. Is it the plugin?"
sha256=$(checksum "$binary")

[[ $directory ]] || die "Which directory? Give -d, or set PLUGIN_DIR, to the plugin_directory of Vault's configuration."
[[ -d $directory ]] || die "$directory is not a directory. Make it, and set Vault's plugin_directory to it."
real=$(cd "$directory" && pwd -P)
[[ $(cd "$directory" && pwd) == "$real" ]] ||
  die "$directory is reached through a symbolic link, which Vault refuses as plugin_directory. Give $real here and to Vault."
directory=$real
file=${plugin}_$version
target=$directory/$file
if [[ -e $target || -L $target ]]; then
  [[ -f $target && ! -L $target && $(checksum "$target") == "$sha256" ]] ||
    die "$target exists and is not $binary. A file that Vault may be running is not replaced: build under another version, or remove the file if it is not registered in Vault."
fi

if [[ ! $copy_only ]]; then
  program=$(type -P "${VAULT:-vault}" || { [[ ! ${VAULT:-} ]] && type -P bao; }) ||
    die "${VAULT:-vault} is not a program that can be run. Install vault or bao, or set VAULT to one of them. Nothing has been changed."
  # A standby of OpenBao answers for itself, and does not show what the active node runs.
  if [[ $(vault version) == OpenBao* ]]; then
    active=$(vault status | awk '/^HA Mode +standby/ { standby = 1 } standby && /^Active Node Address/ { print $NF }') || true
    [[ ! $active ]] || die "This node is a standby. Set BAO_ADDR to the active node: $active. Nothing has been changed."
  fi
  ask="Nothing has been changed. Set VAULT_ADDR and VAULT_TOKEN to those of an operator, who may read"
  mounts=$(vault secrets list) || die "Vault does not list its mounts. $ask sys/mounts."
  pinned=$(pinned) || die "Vault does not show which version is pinned. $ask $pin."
  catalog=$(vault plugin list secret) || die "Vault does not list its plugins. $ask sys/plugins/catalog."

  # Nor does Vault mount anything above or below another mount.
  in_use=$(awk -v path="$mount/" 'NR > 2 && (index($1, path) == 1 || index(path, $1) == 1) { print $1, $2; exit }' <<<"$mounts")
  [[ ! $in_use || $in_use == "$mount/ $plugin" ]] ||
    die "${in_use% *} is in use by an engine of type ${in_use#* }. Choose another path with -m. Nothing has been changed."

  registered=
  if awk -v plugin="$plugin" -v version="$version" '$1 == plugin && $2 == version { found = 1 } END { exit !found }' <<<"$catalog"; then
    info=$(vault plugin info -version="$version" secret "$plugin") ||
      die "Vault does not show how $version is registered. $ask sys/plugins/catalog/secret/$plugin."
    found=$(field sha256 <<<"$info")
    [[ $found == "$sha256" ]] ||
      die "Vault has $version registered as another binary, with checksum $found. Build under another version, or deregister that one if no mount uses it: vault plugin deregister -version=$version secret $plugin"
    [[ $(field command <<<"$info") != "$file" ]] || registered=1
  fi
fi

if [[ -e $target ]]; then
  echo "$target already exists"
else
  step "copy $binary to $target" copy || die "$directory cannot be written to. Run this as its owner; Vault has not been changed."
  [[ $dry || $(checksum "$target") == "$sha256" ]] || die "$target is not what was copied. Somebody else wrote it at the same time: find out who, and run this again."
fi
[[ ! $copy_only ]] || exit 0

if [[ $registered ]]; then
  echo "$version is already registered"
else
  step "register $version with checksum $sha256" \
    vault plugin register -sha256="$sha256" -version="$version" -command="$file" secret "$plugin" ||
    die "Vault did not register $version; no mount has been changed. $directory must be Vault's plugin_directory, and hold $file on every node (-c). Then run this again."
fi

# While a version is pinned, Vault accepts none for a mount, not even that one.
if [[ $pinned && $pinned != "$version" ]]; then
  die "$pinned is pinned, so Vault runs no other version, and $mount/ is unchanged. Pin $version for all mounts of the plugin: vault write $pin version=$version. Or remove the pin: vault delete $pin. Then run this again."
fi
if [[ ! $in_use ]]; then
  enable=(vault secrets enable -path="$mount")
  [[ $pinned ]] || enable+=(-plugin-version="$version")
  step "enable $version at $mount/" "${enable[@]}" "$plugin" ||
    die "$version is registered but not mounted. Run this again, or deregister it: vault plugin deregister -version=$version secret $plugin"
else
  about=$(mounted) && [[ $about == *running_sha256* ]] ||
    die "Vault does not show what $mount/ runs. The token needs read on sys/mounts/$mount; then run this again."
  running=$(field running_plugin_version <<<"$about")
  configured=${pinned:-$(field plugin_version <<<"$about")}
  if [[ $registered && $configured == "$version" && $running == "$version" && $(field running_sha256 <<<"$about") == "$sha256" ]]; then
    echo "$mount/ already runs $version"
    exit
  fi
  go_back="To finish, run this again; to go back, ${pinned:+pin $running and }run it with the binary of $running."
  if [[ $configured != "$version" ]]; then
    step "set $mount/ from ${configured:-no version} to $version" vault secrets tune -plugin-version="$version" "$mount" ||
      die "$version is registered, and $mount/ still runs $running. $go_back"
  fi
  # Unlike 'vault plugin reload', this is the same in every version of Vault, and in OpenBao.
  step "reload the plugin" vault write sys/plugins/reload/backend plugin="$plugin" ||
    die "$mount/ is set to $version, but the plugin was not reloaded. $go_back"
fi

[[ ! $dry ]] || exit 0
running=$(mounted | field running_plugin_version) || true
[[ $running == "$version" ]] ||
  die "$mount/ runs ${running:-no version that Vault shows}, not $version. Vault's log says why. ${go_back:-To remove it: vault secrets disable $mount}"
echo "$mount/ runs $version"
