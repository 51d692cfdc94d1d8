# Key vaults elsewhere, through vaultctl: a token of SoftHSM is registered, its key protects a vault, a version made with
# the token's own tools is followed; the registration goes only when no vault needs it.
. "$(dirname "$0")/lib.sh"
need softhsm2-util pkcs11-tool
module=
for path in /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do [[ -f $path ]] && module=$path; done
[[ -n $module ]] || skip "SoftHSM's module is not installed"
readonly pin=a-pin-like-no-other-4711
mkdir "$scratch/tokens"
printf 'directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n' "$scratch/tokens" >"$scratch/softhsm.conf"
export SOFTHSM2_CONF=$scratch/softhsm.conf
softhsm2-util --init-token --free --label vaultfs --so-pin 0000 --pin "$pin" >/dev/null
(umask 077 && printf %s "$pin" >"$scratch/pin")
token_key() { # ID: an RSA key pair of the label kek, made by the token's own tool
  pkcs11-tool --module "$module" --token-label vaultfs --login --pin "$pin" --keypairgen --key-type rsa:2048 \
    --label kek --id "$1" >/dev/null 2>&1
}
token_key 01

say "registration: options are checked, names are shared, nothing is asked of the token"
expect_error InvalidArgument 2 "$vaultctl" keyvault add hsm --provider nosuch
expect_error InvalidArgument 2 "$vaultctl" keyvault add hsm --provider pkcs11 --option nosuch=1
expect_error Usage 2 "$vaultctl" keyvault add hsm --provider pkcs11 --option nothing
[[ ! -e $VAULTFS_HOME/keyvaults/hsm ]] || fail "a refused registration left something"
ctl keyvault add hsm --provider pkcs11 --option "module=$module" --option token=vaultfs --option "pin-file=$scratch/pin" \
  >/dev/null
assert_eq "$(stat -c %a "$VAULTFS_HOME/keyvaults/hsm/provider.json")" 600
expect_error KeyVaultExists 4 "$vaultctl" keyvault create hsm
expect_error KeyVaultExists 4 "$vaultctl" keyvault add hsm --provider pkcs11 --option "module=$module" --option token=x \
  --option "pin-file=$scratch/pin"
if grep -rq "$pin" "$VAULTFS_HOME"; then fail "the PIN is in the machine's state"; fi
assert_eq "$(jctl .connection keyvault show hsm)" Available
assert_eq "$(ctl --json keyvault show hsm | jq -c .keys)" '["kek"]'
assert_eq "$(jctl '.keyvaults[0].provider' keyvault list)" pkcs11

say "a key vault that does not answer is told of, with what is known"
ctl keyvault add gone --provider pkcs11 --option "module=$module" --option token=nosuch --option "pin-file=$scratch/pin" >/dev/null
expect_error KeyVaultUnavailable 20 "$vaultctl" keyvault show gone
assert_match "$(cat "$scratch/out")" "Failed"
ctl keyvault list >/dev/null
ctl keyvault remove gone >/dev/null

say "a vault under the token's key"
ctl vault create "$vault" --key hsm/kek >/dev/null
random_file "$scratch/disk" 1M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
for secret in "$module" "$scratch/pin" "$pin"; do
  if grep -rqaF -- "$secret" "$vault"; then fail "the vault holds $secret"; fi
done
assert_eq "$(jctl .key_uri encryption show "$vault")" hsm/kek
assert_eq "$(jctl .state encryption show "$vault")" Enabled
expect_error KeyVaultInUse 8 "$vaultctl" keyvault remove hsm
grep -q "$vault" "$scratch/err" || fail "the vault is not named"

say "a version that the token's own tool made takes effect"
token_key 02
assert_eq "$(ctl --json key list hsm/kek | jq '.versions | length')" 2
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role 02)" Active
expect_error KeyVersionInUse 8 "$vaultctl" key disable hsm/kek/01
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
assert_eq "$(version_role 01)" Retired
ctl key disable hsm/kek/01 >/dev/null
assert_eq "$(jctl '.versions[0].state' key list hsm/kek)" Disabled
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"

say "what this provider cannot do is said by name"
expect_error NotSupportedByProvider 8 "$vaultctl" key delete hsm/kek --override kek
expect_error NotSupportedByProvider 8 "$vaultctl" key export hsm/kek --to "$scratch/no"
expect_error NotSupportedByProvider 8 "$vaultctl" key rotation-policy set hsm/kek --after-create 30d

say "without the registration the key vault is out of reach: no revocation, and it heals"
cp -a "$VAULTFS_HOME/keyvaults/hsm/provider.json" "$scratch/kept"
ctl keyvault remove hsm --override hsm >/dev/null
expect_error KeyVaultUnavailable 20 "$vaultctl" restore "$vault" vm --to "$scratch/no"
ctl keyvault add hsm --provider pkcs11 --option "module=$module" --option token=vaultfs --option "pin-file=$scratch/pin" \
  >/dev/null
ctl restore "$vault" vm --to "$scratch/back2" >/dev/null

say "a vault that finds its version there under another name keeps the registration, too"
token_key 4711471147114711471147114711471147114711
second=$scratch/second
ctl vault create "$second" --key hsm/kek >/dev/null
ctl backup run "$second" vm --disk "d=$scratch/disk" >/dev/null
ctl keyvault add other --provider pkcs11 --option "module=$module" --option token=vaultfs --option "pin-file=$scratch/pin" \
  >/dev/null
ctl keyvault remove other >/dev/null # its own name serves it
ctl keyvault add other --provider pkcs11 --option "module=$module" --option token=vaultfs --option "pin-file=$scratch/pin" \
  >/dev/null
ctl vault forget "$(jctl .id vault show "$vault")" --override "$(jctl .id vault show "$vault")" >/dev/null
ctl keyvault remove hsm --override hsm >/dev/null
ctl restore "$second" vm --to "$scratch/back3" >/dev/null
assert_same "$scratch/disk" "$scratch/back3"
expect_error KeyVaultInUse 8 "$vaultctl" keyvault remove other
grep -q "$second" "$scratch/err" || fail "the vault is not named"
