# Deleted keys of a local key vault: refused while a vault needs them, kept, recovered, purged; protection that is turned
# on and never off.
. "$(dirname "$0")/lib.sh"
new_key
new_vault
random_file "$scratch/disk" 1M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "a key that a vault needs is not deleted by mistake"
expect_error KeyVersionInUse 8 "$vaultctl" key delete office/backup
grep -q "$vault" "$scratch/err" || fail "the vault is not named: $(cat "$scratch/err")"
expect_error Usage 2 "$vaultctl" key delete office/backup --override office
expect_error InvalidKeyRef 2 "$vaultctl" key delete "office/backup/$(newest_version)"
ctl restore "$vault" vm --to "$scratch/back" >/dev/null

say "with --override it is: a revocation, which heals by recovering the key"
assert_eq "$(jctl .overridden key delete office/backup --override backup)" true
expect_error KeyNotFound 3 "$vaultctl" key list office/backup
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
expect_error KeyExists 4 "$vaultctl" key create office/backup
assert_eq "$(jctl '.deleted_keys[0].key' key list office --deleted)" office/backup
assert_eq "$(ctl --json keyvault show office | jq -c .keys)" '[]'
expect_error KeyVersionInUse 8 "$vaultctl" key purge office/backup
grep -q "$vault" "$scratch/err" || fail "the vault is not named: $(cat "$scratch/err")"
expect_error PurgeProtected 8 "$vaultctl" key purge office/backup --override backup
ctl key impact office/backup 2>/dev/null | grep -q "$vault" || fail "the vault is not told of"
ctl key recover office/backup >/dev/null
ctl restore "$vault" vm --to "$scratch/back2" >/dev/null
assert_same "$scratch/disk" "$scratch/back2"
assert_eq "$(ctl --json key list office --deleted | jq '.deleted_keys | length')" 0

say "purge protection keeps a deleted key, without it a deleted key can be destroyed"
ctl key create office/spare --bits 2048 >/dev/null
expect_error InvalidArgument 2 "$vaultctl" key purge office/spare
ctl key delete office/spare >/dev/null
expect_error PurgeProtected 8 "$vaultctl" key purge office/spare
ctl keyvault create weak --no-purge-protection --retention-days 7 >/dev/null
assert_eq "$(jctl .retention_days keyvault show weak)" 7
ctl key create weak/kek --bits 2048 >/dev/null
ctl key delete weak/kek >/dev/null
ctl key purge weak/kek >/dev/null
expect_error KeyNotFound 3 "$vaultctl" key recover weak/kek
expect_error InvalidArgument 2 "$vaultctl" keyvault create no --retention-days 91

say "a vault wants both protections, and they are turned on for good"
ctl key create weak/kek --bits 2048 >/dev/null
expect_error PurgeProtectionRequired 8 "$vaultctl" vault create "$scratch/v2" --key weak/kek
[[ ! -e $scratch/v2 ]] || fail "a failed creation left something"
ctl keyvault create bare --no-soft-delete >/dev/null
ctl key create bare/kek --bits 2048 >/dev/null
expect_error SoftDeleteRequired 8 "$vaultctl" vault create "$scratch/v2" --key bare/kek
expect_error SoftDeleteRequired 8 "$vaultctl" keyvault update bare --enable-purge-protection
expect_error SoftDeleteRequired 8 "$vaultctl" encryption set "$vault" --key bare/kek
assert_eq "$(jctl .state encryption show "$vault")" Inconsistent # the last change of keys has failed
ctl encryption set "$vault" --key office/backup >/dev/null
assert_eq "$(jctl .state encryption show "$vault")" Enabled
ctl keyvault update bare --enable-soft-delete --enable-purge-protection >/dev/null
assert_eq "$(jctl .purge_protection keyvault show bare)" true
ctl vault create "$scratch/v2" --key bare/kek >/dev/null 2>&1

say "what a key vault lost is told by the vault, which goes on"
sed -i 's/"purge_protection": true/"purge_protection": false/' "$VAULTFS_HOME/keyvaults/office/vault.json"
assert_eq "$(jctl '.unmet_preconditions[0].name' encryption refresh "$vault")" PurgeProtectionRequired
assert_eq "$(jctl .state encryption refresh "$vault")" Inconsistent
assert_eq "$(jctl '.unmet_preconditions[0].name' encryption show "$vault")" PurgeProtectionRequired
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl keyvault update office --enable-purge-protection >/dev/null
assert_eq "$(jctl .state encryption refresh "$vault")" Enabled
