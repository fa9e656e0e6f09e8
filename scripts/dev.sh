#!/usr/bin/env bash
# Leaves a dev Vault with the plugin and ABEJA's simulator running until Ctrl-C.
. "$(dirname "${BASH_SOURCE[0]}")/start.sh"

program=$("$root/scripts/vault.sh")
command=$program
for name in bao vault; do
  if found=$(command -v "$name") && [[ $(realpath "$found") == "$program" ]]; then command=$name; fi
done
prepare
start_simulator -secrets 25
start_vault
mount_abeja

# If another server's BAO_ADDR is set, bao would go there despite VAULT_ADDR.
prefix=VAULT
if [[ $(vault version) == OpenBao* ]]; then prefix=BAO; fi
trap 'echo; exit 0' INT TERM
cat <<EOF

Running, with 25 made-up secrets. Paste into another terminal:

export ${prefix}_ADDR=$VAULT_ADDR ${prefix}_TOKEN=$VAULT_TOKEN
$command list abeja/secrets
$command read abeja/secrets/demo_00001

The simulator can be called instead of ABEJA:

$(grep '^export ' simulator.log)

Ctrl-C stops everything and removes $work.
EOF
wait -n || true
echo "Vault or the simulator ended by itself. Their last output:" >&2
tail -n 20 vault.log simulator.log >&2
exit 1
