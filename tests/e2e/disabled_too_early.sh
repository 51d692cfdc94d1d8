# An outside administrator disables a Retiring version by editing the key vault: the vault says so, works on with the
# Active version, and heals when the version comes back. The same for the Active version: that is a revocation.
. "$(dirname "$0")/lib.sh"
new_key
v1=$(newest_version)
new_vault
random_file "$scratch/disk" 2M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl key rotate office/backup --bits 2048 >/dev/null
v2=$(newest_version)
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v1") $(version_role "$v2")" "Retiring Active"

key_file=$(find "$VAULTFS_HOME" -name backup.json -path '*keys*')
[[ -n $key_file ]] || fail "the key vault's state file is not where docs say"
set_enabled() { # VERSION true|false, as an administrator's editor would
  python3 - "$key_file" "$1" "$2" <<'PY'
import json, sys
path, version, enabled = sys.argv[1:]
with open(path) as f: state = json.load(f)
[entry] = [e for e in state["versions"] if e["id"] == version]
entry["enabled"] = enabled == "true"
with open(path, "w") as f: json.dump(state, f)
PY
}
too_early() { ctl --json encryption show "$vault" | jq -e --arg v "$1" '[.versions[] | select(.version == $v)][-1].disabled_too_early'; }

say "disabled too early: named, not fatal"
set_enabled "$v1" false
ctl --json encryption refresh "$vault" >"$scratch/out1" 2>"$scratch/err1" || true
assert_eq "$(too_early "$v1")" true
assert_eq "$(jctl .problem.name encryption show "$vault")" KeyVersionDisabledTooEarly
ctl encryption show "$vault" | grep -q KeyVersionDisabledTooEarly
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"

say "it heals when the version returns"
set_enabled "$v1" true
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(ctl --json encryption show "$vault" | jq -r .problem)" null
assert_eq "$(too_early "$v1" || true)" false
assert_eq "$(version_role "$v1")" Retiring

say "too early again, and a backup: it does not block the retirement"
set_enabled "$v1" false
ctl encryption refresh "$vault" >/dev/null 2>&1 || true
head -c 4k /dev/urandom >>"$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
assert_eq "$(version_role "$v1")" Retired
assert_eq "$(ctl --json encryption show "$vault" | jq -r .problem)" null

say "the Active version disabled from outside: denied, never an older version, and back without further ado"
set_enabled "$v1" true
set_enabled "$v2" false
expect_error 'KeyVersionDisabled|KeyRevoked|KeyVaultDenied' 21 "$vaultctl" backup run "$vault" vm --disk "d=$scratch/disk"
expect_error 'KeyVersionDisabled|KeyRevoked|KeyVaultDenied' 21 "$vaultctl" encryption show "$vault"
set_enabled "$v2" true
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl restore "$vault" vm --to "$scratch/again" >/dev/null
assert_same "$scratch/disk" "$scratch/again"
assert_eq "$(version_role "$v2")" Active

say "a key vault that is missing is an outage, a key that is missing is a revocation: other names, other exit codes"
mv "$VAULTFS_HOME" "$scratch/elsewhere"
cp -a "$scratch/elsewhere" "$VAULTFS_HOME"
key_vault=$(dirname "$(dirname "$key_file")")
rm -r "$key_vault"
expect_error KeyVaultUnavailable 20 "$vaultctl" restore "$vault" vm --to "$scratch/no"
rm -r "$VAULTFS_HOME"
cp -a "$scratch/elsewhere" "$VAULTFS_HOME"
rm "$key_file"
code=0
"$vaultctl" restore "$vault" vm --to "$scratch/no" </dev/null 2>"$scratch/err" || code=$?
[[ $code != 0 && $code != 20 ]] || fail "a missing key looks like an outage: $(cat "$scratch/err")"
rm -r "$VAULTFS_HOME"
cp -a "$scratch/elsewhere" "$VAULTFS_HOME"
ctl restore "$vault" vm --to "$scratch/back3" >/dev/null
assert_same "$scratch/disk" "$scratch/back3"
