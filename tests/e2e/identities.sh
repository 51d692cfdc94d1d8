# Identities and access policies: a vault's own and user-assigned ones, taken away, disabled, made again; a copy of a vault
# on another machine; identity and key never change together.
. "$(dirname "$0")/lib.sh"
need rsync
new_key
new_vault
random_file "$scratch/disk" 1M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
own=$(jctl '.identities[0].id' identity list)
restores() {
  rm -f "$scratch/back"
  ctl restore "$vault" vm --to "$scratch/back" >/dev/null
  assert_same "$scratch/disk" "$scratch/back"
}

say "a vault has its own identity, which vault create let in"
assert_eq "$(jctl '.identities[0].kind' identity list)" SystemAssigned
assert_eq "$(jctl '.access[0].identity' keyvault show office)" "$own"
assert_eq "$(ctl --json keyvault show office | jq -c '.access[0].permissions')" '["get","list","wrapkey","unwrapkey"]'

say "taken away: a revocation that says how to heal it"
ctl keyvault deny office --identity "$own" --override office >/dev/null
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
grep -q "vaultctl keyvault allow office --identity $own" "$scratch/err" || fail "$(cat "$scratch/err")"
ctl keyvault allow office --identity "$own" --permissions get,list,wrapkey >/dev/null
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
grep -q unwrapkey "$scratch/err" || fail "what is missing is not named: $(cat "$scratch/err")"
ctl keyvault allow office --identity "$own" --template backup >/dev/null
restores

say "disabled, deleted, made again"
ctl identity disable "$own" --override "$own" >/dev/null
expect_error IdentityDisabled 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
expect_error IdentityDisabled 21 "$vaultctl" --json vault show "$vault"
assert_eq "$(jq -s 'map(.error.name) | join(" ")' -r "$scratch/out")" IdentityDisabled "what stands on stdout"
ctl identity enable "$own" >/dev/null
restores
expect_error IdentityInUse 8 "$vaultctl" identity delete "$own"
ctl identity delete "$own" --override "$own" >/dev/null
expect_error IdentityNotFound 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
again=$(jctl .id identity create --vault "$vault")
[[ $again != "$own" ]] || fail "an identity that is made again must be another"
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
ctl keyvault allow office --identity "$again" >/dev/null
restores
expect_error AlreadyExists 4 "$vaultctl" identity create --vault "$vault"

say "a user-assigned identity, and identity and key one after the other"
expect_error InvalidName 2 "$vaultctl" identity create system
expect_error InvalidArgument 2 "$vaultctl" identity create typo --option pin=1234
expect_error InvalidArgument 2 "$vaultctl" identity create typo --option clientid=42
backup=$(jctl .id identity create backup)
expect_error IdentityAndKeyChange 8 "$vaultctl" encryption set "$vault" --identity backup --key office/backup
expect_error IdentityNotFound 21 "$vaultctl" encryption set "$vault" --identity nosuch
expect_error KeyVaultDenied 21 "$vaultctl" encryption set "$vault" --identity backup
assert_eq "$(jctl .identity encryption show "$vault")" system
ctl keyvault allow office --identity backup >/dev/null
assert_eq "$(jctl .identity encryption set "$vault" --identity backup)" backup
ctl keyvault deny office --identity "$again" >/dev/null
restores
ctl keyvault deny office --identity "$backup" --override office >/dev/null
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
ctl keyvault allow office --identity backup >/dev/null
expect_error IdentityInUse 8 "$vaultctl" identity delete backup
expect_error IdentityNotFound 21 "$vaultctl" vault create "$scratch/v2" --key office/backup --identity nosuch
ctl vault create "$scratch/v2" --key office/backup --identity backup >/dev/null 2>&1
assert_eq "$(jctl .identity encryption show "$scratch/v2")" backup

say "another key vault lets the identity in only when its owner says so"
ctl keyvault create branch >/dev/null
ctl key create branch/kek --bits 2048 >/dev/null
expect_error KeyVaultDenied 21 "$vaultctl" encryption set "$vault" --key branch/kek
ctl keyvault allow branch --identity backup >/dev/null
ctl encryption set "$vault" --key branch/kek >/dev/null
restores

if [[ -c /dev/fuse ]]; then
  say "a mount whose identity is disabled: told at the refresh, healed by enabling it, without a remount"
  mount_vault
  ctl identity disable backup --override backup >/dev/null
  expect_error IdentityDisabled 21 "$vaultctl" encryption refresh "$vault"
  assert_eq "$(jctl .key_access encryption show "$vault")" Denied
  assert_eq "$(jctl .state encryption show "$vault")" Inconsistent
  ctl identity enable backup >/dev/null
  ctl encryption refresh "$vault" >/dev/null
  assert_eq "$(jctl .state encryption show "$vault")" Enabled
  assert_same "$scratch/disk" "$mnt/vm/d"
  unmount_vault
fi

say "an identity is not deleted while a vault that uses it is out of reach"
ctl encryption set "$vault" --identity backup >/dev/null
mv "$vault" "$scratch/away"
expect_error IdentityInUse 8 "$vaultctl" identity delete backup
grep -q "$vault" "$scratch/err" || fail "the vault is not named: $(cat "$scratch/err")"
mv "$scratch/away" "$vault"

say "one that was taken away is replaced, though the vault can't be opened as it any more"
ctl identity create other >/dev/null
for name in office branch; do ctl keyvault allow "$name" --identity other >/dev/null; done
ctl identity disable backup --override backup >/dev/null
expect_error IdentityDisabled 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
expect_error IdentityNotFound 21 "$vaultctl" encryption set "$vault" --identity nosuch
assert_eq "$(jctl .identity encryption set "$vault" --identity other)" other
restores
ctl vault create "$scratch/platform" --no-recovery >/dev/null 2>&1
expect_error IdentityNotFound 21 "$vaultctl" encryption set "$scratch/platform" --identity nosuch
expect_error IdentityDisabled 21 "$vaultctl" encryption set "$scratch/platform" --identity backup
ctl identity enable backup >/dev/null

say "what is done is no failure because its record can't be written; an override without a record is not done"
version=$(newest_version)
mv "$VAULTFS_HOME/audit.log" "$scratch/audit.log"
printf 'no line of a log\n' >"$VAULTFS_HOME/audit.log"
ctl identity create unlogged >"$scratch/out" 2>"$scratch/err"
grep -q 'audit log' "$scratch/err" || fail "no warning: $(cat "$scratch/err")"
grep -q unlogged "$scratch/out" || fail "its id is not told: $(cat "$scratch/out")"
code=0
"$vaultctl" key disable "office/backup/$version" --override backup </dev/null 2>"$scratch/err" || code=$?
[[ $code == 10 ]] || fail "$code: $(cat "$scratch/err")"
assert_eq "$(jctl '.versions[-1].enabled' key list office/backup)" true
mv "$scratch/audit.log" "$VAULTFS_HOME/audit.log"
assert_eq "$(jctl .overridden key disable "office/backup/$version" --override backup 2>"$scratch/err")" true
[[ ! -s $scratch/err ]] || fail "$(cat "$scratch/err")"
ctl key enable "office/backup/$version" >/dev/null
assert_eq "$(ctl --json activity "$scratch/v2" | jq -r '[.activities[] | select(.operation == "key.disable.override") | .outcome] | last')" Requested

say "forgetting a vault takes its own identity with it"
count=$(ctl --json identity list | jq '.identities | length')
second=$(jctl .id vault show "$scratch/v2")
expect_error VaultExists 4 "$vaultctl" vault forget "$scratch/v2"
ctl vault forget "$scratch/v2" --override "$second" >/dev/null
assert_eq "$(ctl --json identity list | jq '.identities | length')" $((count - 1))
