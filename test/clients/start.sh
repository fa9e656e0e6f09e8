#!/usr/bin/env bash
# Starts a dev Vault with the plugin and the simulator. Prints how to reach them, and runs until its
# standard input ends: so nothing stays behind, however the test that started it ends.
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/start.sh"

prepare >&2
start_simulator
start_vault
mount_abeja >&2
for name in PATH VAULT_ADDR "${!ABEJA_@}"; do
  printf '%s=%s\n' "$name" "${!name}"
done
echo
cat >/dev/null
