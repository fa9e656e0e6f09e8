#!/usr/bin/env bash
# Leaves a dev Vault with the plugin and ABEJA's simulator running until Ctrl-C.
. "$(dirname "${BASH_SOURCE[0]}")/start.sh"

if ! command -v vault >/dev/null; then
  alias="alias vault='$("$root/scripts/vault.sh")'"
fi
prepare
start_simulator -secrets 25
start_vault
mount_abeja

cat <<EOF

Running, with 25 made-up secrets. In another terminal:

${alias:-}
export VAULT_ADDR=$VAULT_ADDR VAULT_TOKEN=$VAULT_TOKEN
vault list abeja/secrets

The simulator can be called in place of ABEJA:

$(grep '^export ' simulator.log)

Ctrl-C stops all of it and removes $work.
EOF
trap 'echo; exit 0' INT TERM
wait -n || true
echo "Vault or the simulator ended by itself. What they said last:" >&2
tail -n 20 vault.log simulator.log >&2
exit 1
