# Vaults without customer-managed keys, and with a second layer: keys that exist on one machine only, and the recovery file.
. "$(dirname "$0")/lib.sh"
random_file "$scratch/disk" 3M
echo 'correct horse' >"$scratch/passphrase"
chmod 0600 "$scratch/passphrase"

say "such a vault wants a word about recovery; a failed creation leaves nothing"
expect_error RecoveryChoiceRequired 2 "$vaultctl" vault create "$vault"
[[ ! -e $vault ]] || fail "a failed creation left $vault"
expect_error RecoveryChoiceRequired 2 "$vaultctl" vault create "$vault" --infrastructure-encryption
expect_error PassphraseRequired 22 "$vaultctl" vault create "$vault" --recovery-file "$scratch/recovery"
grep -q -- ' --recovery-passphrase-file FILE' "$scratch/err" || fail "the option is not named: $(cat "$scratch/err")"
[[ ! -e $vault && ! -e $scratch/recovery ]] || fail "a failed creation left files"
expect_error InvalidArgument 2 "$vaultctl" vault create "$vault" --no-recovery --region "$(printf 'r%.0s' {1..65})"
[[ ! -e $vault ]] || fail "a failed creation left $vault"

say "with a recovery file: back up, restore"
ctl vault create "$vault" --recovery-file "$scratch/recovery" --recovery-passphrase-file "$scratch/passphrase" >/dev/null 2>&1
assert_eq "$(stat -c %a "$scratch/recovery")" 600
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
assert_eq "$(jctl .encryption_at_rest_type encryption show "$vault")" PlatformManaged
fingerprint=$(jctl .root_fingerprint vault show "$vault")

say "an existing file is never taken for the recovery file"
expect_error AlreadyExists 4 "$vaultctl" vault create "$scratch/v2" --recovery-file "$scratch/recovery" \
  --passphrase-file "$scratch/passphrase"
[[ ! -e $scratch/v2 ]] || fail "a failed creation left a vault"

say "once an item was protected there is no way to customer-managed keys"
new_key
expect_error 'EncryptionAlreadySet|EncryptionNotChangeable' 8 "$vaultctl" encryption set "$vault" --key office/backup

say "a machine that has lost the platform key"
first_home=$VAULTFS_HOME
export VAULTFS_HOME=$scratch/home2
ctl vault trust "$vault" --fingerprint "$fingerprint" >/dev/null 2>&1 || true
code=0
"$vaultctl" restore "$vault" vm --to "$scratch/no" </dev/null 2>"$scratch/err" || code=$?
[[ $code == 22 || $code == 12 ]] || fail "exit code $code: $(cat "$scratch/err")"
expect_error RecoveryFileNotFound 3 "$vaultctl" vault recover "$vault" --recovery-file "$scratch/nothing" \
  --passphrase-file "$scratch/passphrase"
echo wrong >"$scratch/wrong"
expect_error WrongPassphrase 22 "$vaultctl" vault recover "$vault" --recovery-file "$scratch/recovery" \
  --passphrase-file "$scratch/wrong"
ctl vault recover "$vault" --recovery-file "$scratch/recovery" --passphrase-file "$scratch/passphrase" >/dev/null
ctl vault trust "$vault" --fingerprint "$fingerprint" >/dev/null
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "infrastructure encryption under a customer-managed key"
export VAULTFS_HOME=$first_home
ctl vault create "$scratch/double" --key office/backup --infrastructure-encryption --no-recovery >/dev/null 2>&1
assert_eq "$(jctl .infrastructure_encryption_state encryption show "$scratch/double")" Enabled
assert_eq "$(jctl .infrastructure_encryption_state encryption show "$vault")" Disabled
ctl backup run "$scratch/double" vm --disk "d=$scratch/disk" >/dev/null
ctl restore "$scratch/double" vm --to "$scratch/back2" >/dev/null
assert_same "$scratch/disk" "$scratch/back2"
ctl verify "$scratch/double" >/dev/null
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$scratch/double" >/dev/null
ctl backup run "$scratch/double" vm --disk "d=$scratch/disk" >/dev/null
ctl restore "$scratch/double" vm --to "$scratch/back3" >/dev/null
assert_same "$scratch/disk" "$scratch/back3"
if [[ -c /dev/fuse ]]; then
  vault=$scratch/double mount_vault commit=manual
  assert_same "$scratch/disk" "$mnt/vm/d"
  unmount_vault
fi

say "a recovery file knows the root key only: of a vault of several epochs a new machine wants the newest fingerprint"
vault=$scratch/epochs
first=$(jctl .fingerprint vault create "$vault" --recovery-file "$scratch/recovery3" --recovery-passphrase-file "$scratch/passphrase")
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl key new-epoch "$vault" >/dev/null 2>"$scratch/err"
newest=$(jctl .fingerprint vault show "$vault")
grep -q "$newest" "$scratch/err" || fail "the new fingerprint is not said: $(cat "$scratch/err")"
export VAULTFS_HOME=$scratch/home3
recover() { "$vaultctl" vault recover "$vault" --recovery-file "$scratch/recovery3" --passphrase-file "$scratch/passphrase" "$@"; }
expect_error FingerprintMismatch 12 recover
expect_error FingerprintMismatch 12 recover --fingerprint "$first"
recover --fingerprint "$newest" </dev/null >/dev/null
ctl restore "$vault" vm --to "$scratch/back4" >/dev/null
assert_same "$scratch/disk" "$scratch/back4"
recover </dev/null >/dev/null # known now
