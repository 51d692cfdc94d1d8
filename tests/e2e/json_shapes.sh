# --json: the shapes that docs/cli.md promises, by their keys and types, without an owner and through a mount's socket.
. "$(dirname "$0")/lib.sh"
new_key
random_file "$scratch/disk" 1M
shape() { # FILTER COMMAND…: the filter must be true of the output
  local filter=$1
  shift
  "$vaultctl" --json "$@" </dev/null >"$scratch/out" 2>"$scratch/err" || fail "$* failed: $(cat "$scratch/err")"
  jq -e "$time_type $filter" "$scratch/out" >/dev/null || fail "$*: the output does not fit $filter: $(cat "$scratch/out")"
}
time_type='def time: test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$");'

say "creation"
shape '(.name == "cellar") and (.path | type == "string")' keyvault create cellar
shape '(.version | test("^[0-9a-f]{32}$")) and .enabled and .bits == 2048' key create cellar/k --bits 2048
shape '(.id | test("^[0-9a-f]{32}$")) and (.root_fingerprint | length > 30) and (.fingerprint | test("^1:[0-9a-f]{8}-")) and .epoch == 1 and (.path | startswith("/"))' \
  vault create "$vault" --key office/backup

check_vault_commands() { # ITEM
  shape '.keyvaults | map(.name) | sort == ["cellar","office"]' keyvault list
  shape '.name == "office" and .provider == "local" and .keys == ["backup"] and .soft_delete and .purge_protection' \
    keyvault show office
  shape '.versions[0] | (keys | contains(["bits","created","enabled","expires","key_type","not_before","state","version"]))
    and .state == "Enabled" and (.created | time)' key list office/backup
  shape '.vaults[0] | .reachable and (.recovery_points | type == "number") and .versions[0].role == "Active"' \
    key impact office/backup
  shape '.encryption_at_rest_type == "CustomerManaged" and .key_uri == "office/backup" and .follows_new_versions
    and (.last_update_status | type == "string") and .infrastructure_encryption_state == "Disabled"
    and .key_access == "Available" and .problem == null and .escrow == null
    and (.versions[0] | .role == "Active" and (.version | type == "string") and (.since | time) and .last_epoch == null)' \
    encryption show "$vault"
  shape '(.version_changed | type == "boolean") and (.retired_versions | type == "array")' encryption refresh "$vault"
  shape '(.id | type == "string") and (.created | time) and (.stored_bytes | type == "number") and (.items | type == "array")
    and .damaged_chunks == 0 and (.encryption.versions | length > 0) and (.notes | type == "array")
    and (.mounted_on | type == "string" or type == "null")' vault show "$vault"
  shape '.job.state == "Completed" and .job.kind == "Backup" and .read_bytes + .hole_bytes > 0
    and (.new_chunks | type == "number") and (.known_chunks | type == "number") and (.stored_bytes | type == "number")
    and (.recovery_point.id | type == "string") and .healed_chunks == 0 and .healed_points == 0' backup run "$vault" "$1" --disk "d=$scratch/disk"
  shape '.recovery_point == null and .job.state == "CompletedNoChange" and .retired_versions == []' backup commit "$vault" "$1"
  shape '.recovery_points[-1] | (.created | time) and .consistency == "FileConsistent" and .auto == false
    and .after_interruption == false and .logical_bytes == 1048576 and .files == 1 and .item == "'"$1"'"' \
    recovery-point list "$vault"
  shape '.recovery_points | length == 1' recovery-point list "$vault" "$1"
  rm -f "$scratch/back"
  shape '.files == 1 and .logical_bytes == 1048576 and .recovery_point.item == "'"$1"'" and .written_bytes <= 1048576' \
    restore "$vault" "$1" --to "$scratch/back"
  shape '.authenticated and .damage == [] and .files > 0 and .bytes > 0 and .records > 0 and .recovery_points > 0
    and .notes == [] and .damaged_segments == [] and .known_damage == 0 and .not_remembered == null' verify "$vault"
  shape '(.authenticated | not) and .damage == []' verify "$vault" --keyless
  shape '(.jobs | map(.job) | . == sort) and (.jobs[-1] | (.started | time) and (.state | type == "string"))' job list "$vault"
  shape '.job == 1' job show "$vault" 1
  shape '(.activities | map(.number) | . == sort and length > 0) and (.activities[0] | .operation == "vault.create"
    and (.time | time) and .outcome == "Succeeded" and (.uid | type == "number"))' activity "$vault"
  shape '.authenticated and .damage == [] and .files > 0 and .entries > 0' activity "$vault" --verify
  shape '(.authenticated | not) and .damage == [] and .entries > 0' activity "$vault" --verify --keyless
}
say "not mounted"
check_vault_commands first

if [[ -c /dev/fuse ]]; then
  say "mounted"
  mount_vault commit=manual
  check_vault_commands second
  assert_eq "$(jctl .mounted_on vault show "$vault")" "$mnt"
  unmount_vault
fi

say "JSON stands alone on stdout; flags may stand behind the command"
ctl vault show "$vault" --json | jq -e .id >/dev/null
ctl job list "$vault" --json | jq -e .jobs >/dev/null
