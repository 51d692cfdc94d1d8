# A vault whose key is on a PKCS#11 token (SoftHSM): registered by name, rotated by the token's own tools, followed while
# mounted, retired by the next backup; the token goes away and comes back.
. "$(dirname "$0")/lib.sh"
need_fuse
need softhsm2-util pkcs11-tool
module=/usr/lib/softhsm/libsofthsm2.so
[[ -e $module ]] || skip "no $module"
mkdir -m 0700 "$scratch/tokens"
export SOFTHSM2_CONF=$scratch/softhsm2.conf
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$scratch/tokens" >"$SOFTHSM2_CONF"
softhsm2-util --init-token --free --label backup --so-pin 87654321 --pin 1234567 >/dev/null
(umask 077 && echo 1234567 >"$scratch/pin")
token() { pkcs11-tool --module "$module" --token-label backup --login --pin 1234567 "$@" >/dev/null 2>&1; }

say "a key vault is registered, its options checked"
expect_error InvalidArgument 2 "$vaultctl" keyvault add hsm --provider pkcs11 --option module="$module" --option slots=3
expect_error InvalidArgument 2 "$vaultctl" keyvault add hsm --provider nosuch
ctl keyvault add hsm --provider pkcs11 --option module="$module" --option token=backup \
  --option pin-file="$scratch/pin" >/dev/null
expect_error KeyVaultExists '' "$vaultctl" keyvault create hsm
assert_eq "$(jctl .connection keyvault show hsm)" Available
assert_eq "$(ctl --json keyvault list | jq -r '.keyvaults[] | select(.name == "hsm") | .provider')" pkcs11

say "a vault under a key of the token"
token --keypairgen --key-type rsa:2048 --label vm --id 00112233445566778899aabbccddee01
v1=$(newest_version hsm/vm)
assert_eq "$v1" 00112233445566778899aabbccddee01
ctl vault create "$vault" --key hsm/vm >/dev/null 2>"$scratch/err"
if grep 'same file system' "$scratch/err"; then fail "the token was taken for files of this machine"; fi
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
if grep -rqs -e 1234567 -e libsofthsm2 "$vault"; then fail "the vault holds the PIN or the module's path"; fi
expect_error KeyVaultInUse 8 "$vaultctl" keyvault remove hsm

say "rotated by the token's own tool while mounted: noticed, proven, and retired by the next backup"
mount_vault commit=manual
token --keypairgen --key-type rsa:2048 --label vm --id 00112233445566778899aabbccddee02
v2=00112233445566778899aabbccddee02
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v1") $(version_role "$v2")" "Retiring Active"
expect_error KeyVersionInUse 8 "$vaultctl" key disable "hsm/vm/$v1"
ctl key drill "$vault" >/dev/null
echo more >"$mnt/vm/note"
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(version_role "$v1")" Retired
ctl key disable "hsm/vm/$v1" >/dev/null
assert_eq "$(ctl --json key list hsm/vm | jq -c '[.versions[] | .enabled]')" '[false,true]'
assert_same "$scratch/disk" "$mnt/vm/d"

say "the token goes away: an outage; work goes on, and it heals when the token is back"
mv "$scratch/tokens" "$scratch/away"
if ctl encryption refresh "$vault" >/dev/null 2>"$scratch/err"; then fail "a refresh without the token ended well"; fi
grep -q KeyVaultUnavailable "$scratch/err" || fail "said: $(cat "$scratch/err")"
assert_eq "$(jctl .key_access encryption show "$vault")" Unreachable
echo during >"$mnt/vm/note"
sync "$mnt/vm/note"
mv "$scratch/away" "$scratch/tokens"
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(jctl .key_access encryption show "$vault")" Available
unmount_vault
ctl restore "$vault" vm --disk d --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
ctl verify "$vault" >/dev/null

say "a wrong PIN is asked for once, not until the token locks"
(umask 077 && echo 7654321 >"$scratch/pin")
for _ in 1 2 3 4 5; do
  if ctl key list hsm/vm >/dev/null 2>"$scratch/err"; then fail "a wrong PIN was taken"; fi
done
(umask 077 && echo 1234567 >"$scratch/pin")
ctl key list hsm/vm >/dev/null
