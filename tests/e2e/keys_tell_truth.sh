# What is said of keys is so, mounted and not, in the same words: from a platform key to a customer-managed one, versions
# that expire, why a version waits, the outcome of the last change of keys, clocks that were wrong.
. "$(dirname "$0")/lib.sh"
random_file "$scratch/disk" 2M
echo 'correct horse' >"$scratch/passphrase"
chmod 0600 "$scratch/passphrase"
new_key

mounted=no
[[ -c /dev/fuse ]] && mounted=yes

# Runs the checks of a function without an owner, then through a mount.
both_ways() { # FUNCTION ARGUMENTS…
  "$@"
  [[ $mounted == yes ]] || return 0
  mount_vault commit=manual
  "$@"
  unmount_vault
}
# What encryption show says must be the same, mounted and not, to the byte.
same_both_ways() {
  ctl --json encryption show "$vault" >"$scratch/show.here"
  ctl --json vault show "$vault" | jq .encryption >"$scratch/vault.here"
  [[ $mounted == yes ]] || return 0
  mount_vault commit=manual
  ctl --json encryption show "$vault" >"$scratch/show.mounted"
  ctl --json vault show "$vault" | jq .encryption >"$scratch/vault.mounted"
  unmount_vault
  assert_same "$scratch/show.here" "$scratch/show.mounted"
  assert_same "$scratch/vault.here" "$scratch/vault.mounted"
}
# The key vault's files are its administrator's: dates are set by hand, as time would.
set_newest() { # KEY MEMBER DAYS-FROM-NOW
  python3 - "$VAULTFS_HOME/keyvaults/office/keys/$1.json" "$2" "$3" <<'PYTHON'
import json, sys, time
path, member, days = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(path) as file:
    state = json.load(file)
state["versions"][-1][member] = int(time.time()) + days * 86400
with open(path, "w") as file:
    json.dump(state, file)
PYTHON
}
let_in() { # the identity of $vault at the key vault office
  local identity
  identity=$(ctl --json identity list | jq -er --arg path "$vault" '.identities[] | select(.vault_path == $path) | .id')
  ctl keyvault allow office --identity "$identity" >/dev/null
}
platform_keys() { find "$VAULTFS_HOME/platform-keys" -name '*.key' | wc -l; }
epoch_of() { jctl .current_epoch encryption show "$vault"; }
roles() { ctl --json encryption show "$vault" | jq -r '[.versions[].role] | join(" ")'; }

say "from a platform key to a customer-managed one: a new epoch, no slot, no key is left"
ctl vault create "$vault" --recovery-file "$scratch/recovery" --recovery-passphrase-file "$scratch/passphrase" >/dev/null 2>&1
assert_eq "$(jctl .last_update_status encryption show "$vault")" None
platform_key=$(jctl '.versions[0].version' encryption show "$vault")
[[ -e $VAULTFS_HOME/platform-keys/$platform_key.key ]] || fail "where is the platform key?"
let_in
ctl encryption set "$vault" --key office/backup >"$scratch/out" 2>"$scratch/err"
grep -q "note: the platform key $platform_key .* is void" "$scratch/err" || fail "no word of it: $(cat "$scratch/err")"
[[ ! -e $VAULTFS_HOME/platform-keys/$platform_key.key ]] || fail "the platform key is still there"
check_moved() {
  assert_eq "$(epoch_of)" 2
  assert_eq "$(roles)" "Retired Active"
  assert_eq "$(jctl .void_platform_key encryption show "$vault")" "$platform_key"
  assert_eq "$(jctl '.slots | map(.role) | join(" ")' key drill "$vault")" Active
  assert_eq "$(jctl .last_update_status encryption show "$vault")" Succeeded
}
both_ways check_moved
same_both_ways
for keyring in "$vault"/keyrings/*; do
  ! grep -q "$platform_key" "$keyring" || fail "$keyring has a slot of the platform key"
done
say "its recovery file is void"
expect_error NotPermitted 5 "$vaultctl" vault recover "$vault" --recovery-file "$scratch/recovery" \
  --passphrase-file "$scratch/passphrase"
[[ ! -e $VAULTFS_HOME/platform-keys/$platform_key.key ]] || fail "a void platform key was installed"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl verify "$vault" >/dev/null

say "with infrastructure encryption that key stays, and the recovery file is good for it"
vault=$scratch/double
ctl vault create "$vault" --infrastructure-encryption --recovery-file "$scratch/recovery2" \
  --recovery-passphrase-file "$scratch/passphrase" >/dev/null 2>&1
assert_eq "$(platform_keys)" 2
platform_key=$(jctl '.versions[0].version' encryption show "$vault")
let_in
if [[ $mounted == yes ]]; then mount_vault commit=manual; fi # the mount's daemon does it
ctl encryption set "$vault" --key office/backup >/dev/null 2>"$scratch/err"
if [[ $mounted == yes ]]; then unmount_vault; fi
grep -q 'infrastructure key stays' "$scratch/err" || fail "no word of the infrastructure key: $(cat "$scratch/err")"
assert_eq "$(platform_keys)" 1
both_ways check_moved
mv "$VAULTFS_HOME/platform-keys" "$scratch/platform-keys.away"
expect_error PlatformKeyMissing '' "$vaultctl" encryption show "$vault"
assert_eq "$(ctl --json vault recover "$vault" --recovery-file "$scratch/recovery2" --passphrase-file "$scratch/passphrase" |
  jq -r '"\(.platform_keys) \(.void_platform_keys[0])"')" "1 $platform_key"
assert_eq "$(platform_keys)" 1
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"

say "vault create --key is an update of keys"
vault=$scratch/customer
ctl vault create "$vault" --key office/backup >/dev/null 2>&1
check_created() {
  assert_eq "$(ctl --json job list "$vault" | jq -r '[.jobs[] | select(.kind == "KeyUpdate")][0] | .state + " " + .detail[:12]')" \
    "Completed vault.create"
  assert_eq "$(jctl .last_update_status encryption show "$vault")" Succeeded
  assert_eq "$(jctl .state encryption show "$vault")" Enabled
}
both_ways check_created
same_both_ways
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "an Active version that expires soon is told by show, refresh, backup and drill"
assert_eq "$(ctl --json encryption show "$vault" | jq .key_expiry)" null
set_newest backup exp 20
check_expiry() { # STATE WORDS
  local command
  for command in "encryption show $vault" "encryption refresh $vault" "key drill $vault" "backup commit $vault vm" \
    "backup run $vault vm --disk d=$scratch/disk"; do
    # shellcheck disable=SC2086
    assert_eq "$(jctl .key_expiry.state $command)" "$1" "$command"
    # shellcheck disable=SC2086
    ctl $command >"$scratch/out" 2>/dev/null
    grep -q "^$2" "$scratch/out" || fail "$command says nothing of it: $(cat "$scratch/out")"
  done
  assert_eq "$(jctl .encryption.key_expiry.state vault show "$vault")" "$1"
}
both_ways check_expiry ExpiresSoon "Key expires soon: "
same_both_ways

say "one that has expired keeps older ones waiting: the reason is kept, and told by the refusal"
first=$(newest_version)
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
second=$(newest_version)
assert_eq "$(ctl --json encryption show "$vault" | jq .key_expiry)" null
set_newest backup exp -1
check_waiting() {
  ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
  assert_eq "$(version_role "$first")" Retiring
  assert_match "$(jctl ".versions[] | select(.version == \"$first\") | .waiting_for" encryption show "$vault")" 'has expired'
  expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$first"
  grep -q 'waits for this: .*has expired' "$scratch/err" || fail "the reason is not told: $(cat "$scratch/err")"
}
both_ways check_waiting
both_ways check_expiry Expired "Key expired: "
same_both_ways

say "the outcome of the last change of keys stays what it is, whatever else is done"
python3 - "$VAULTFS_HOME/keyvaults/office/keys/backup.json" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    state = json.load(file)
state["versions"][-1]["exp"] = None
with open(sys.argv[1], "w") as file:
    json.dump(state, file)
PYTHON
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$first")" Retired
expect_error KeyNotFound '' "$vaultctl" encryption set "$vault" --key office/none
check_failed() {
  assert_match "$(jctl .last_update_status encryption show "$vault")" '^Failed: encryption.set office/none: KeyNotFound'
  assert_eq "$(jctl .state encryption show "$vault")" Inconsistent
  assert_eq "$(jctl .state encryption refresh "$vault")" Inconsistent
  assert_eq "$(jctl .encryption.state vault show "$vault")" Inconsistent
}
both_ways check_failed
ctl encryption set "$vault" --refresh-minutes 20 >/dev/null
rm -f "$scratch/back"
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
both_ways check_failed
same_both_ways
ctl key rewrap "$vault" >/dev/null
check_whole() {
  assert_eq "$(jctl .last_update_status encryption show "$vault")" Succeeded
  assert_eq "$(jctl .state encryption refresh "$vault")" Enabled
}
both_ways check_whole
same_both_ways

say "which copies need a Retired version is told by a sequence too"
check_since() {
  local generation
  generation=$(jctl ".versions[] | select(.version == \"$first\") | .since_generation" encryption show "$vault")
  [[ $generation -gt 1 ]] || fail "generation $generation"
  ctl encryption show "$vault" >"$scratch/out"
  grep -Eq "^Copies of this vault made before .* still need $first: all whose newest keyring is of a generation before $generation\.$" \
    "$scratch/out" || fail "$(cat "$scratch/out")"
}
both_ways check_since

say "a clock that was ahead once does not stop a rotation policy"
ctl key create office/ahead --bits 2048 >/dev/null
ctl key rotation-policy set office/ahead --after-create 30d >/dev/null
set_newest ahead created 730
assert_eq "$(ctl --json key rotate --due | jq '.rotated | length')" 0
python3 - "$VAULTFS_HOME/keyvaults/office/keys/ahead.json" <<'PYTHON'
import json, sys
with open(sys.argv[1]) as file:
    state = json.load(file)
state["rotation_counts_from"]["at"] -= 31 * 86400
with open(sys.argv[1], "w") as file:
    json.dump(state, file)
PYTHON
assert_eq "$(ctl --json key rotate --due | jq '.rotated | length')" 1
assert_eq "$(ctl --json key rotate --due | jq '.rotated | length')" 0
