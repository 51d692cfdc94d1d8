# The escrow key: an offline RSA key that opens the vault when every key vault is gone.
. "$(dirname "$0")/lib.sh"
need openssl
printf 'in the safe\n' >"$scratch/pass"
escrow_pair() { # NAME: NAME.pem (encrypted) and NAME.pub
  openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -aes256 -pass "file:$scratch/pass" -out "$scratch/$1.pem" 2>/dev/null
  openssl pkey -in "$scratch/$1.pem" -passin "file:$scratch/pass" -pubout -out "$scratch/$1.pub"
}
fingerprint_of() { openssl pkey -pubin -in "$scratch/$1.pub" -outform DER | sha256sum | cut -d' ' -f1; }
drill() { ctl --json key drill "$vault" --escrow-key-file "$scratch/$1.pem" --passphrase-file "$scratch/pass"; }
keyrings() { (cd "$vault/keyrings" && sha256sum ./*); }
escrow_pair escrow
escrow_pair second

say "what is no RSA public key is refused by name"
new_key
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 2>/dev/null | openssl pkey -pubout -out "$scratch/ec.pub"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 2>/dev/null | openssl pkey -pubout -out "$scratch/small.pub"
expect_error KeyNotRsa 8 "$vaultctl" vault create "$vault" --key office/backup --escrow-key "$scratch/ec.pub"
expect_error KeySizeUnsupported 8 "$vaultctl" vault create "$vault" --key office/backup --escrow-key "$scratch/small.pub"
expect_error InvalidArgument 2 "$vaultctl" vault create "$vault" --key office/backup --escrow-key "$scratch/escrow.pem"
grep -q -- -pubout "$scratch/err" || fail "what to do with a private key is not said: $(cat "$scratch/err")"
expect_error InvalidArgument 2 "$vaultctl" vault create "$vault" --key office/backup --escrow-key "$scratch/pass"
expect_error NotFound 3 "$vaultctl" vault create "$vault" --key office/backup --escrow-key "$scratch/none"
[[ ! -e $vault ]] || fail "a refused creation left something"

say "a vault with an escrow key, backed up"
root=$(jctl .root_fingerprint vault create "$vault" --key office/backup --escrow-key "$scratch/escrow.pub" 2>/dev/null)
assert_eq "$(jctl .escrow.fingerprint encryption show "$vault")" "$(fingerprint_of escrow)"
ctl encryption show "$vault" | grep -q "Escrow key.*$(fingerprint_of escrow)" || fail "not in words"
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

say "the drill proves it, with the right key only, and changes nothing"
keyrings >"$scratch/before"
assert_eq "$(drill escrow | jq -r '[.slots[] | "\(.role) \(.opens)"] | join(", ")')" "Active true, Escrow true"
code=0
drill second >"$scratch/drill" || code=$?
assert_eq "$code" 22
assert_eq "$(jq -r '.slots[] | select(.role == "Escrow") | .problem.name' "$scratch/drill")" WrongKey
printf 'wrong\n' >"$scratch/wrong"
expect_error WrongPassphrase 22 "$vaultctl" key drill "$vault" --escrow-key-file "$scratch/escrow.pem" --passphrase-file "$scratch/wrong"
keyrings | cmp - "$scratch/before" || fail "the drill changed a keyring"
ctl key drill "$vault" >/dev/null 2>"$scratch/err"
grep -q 'escrow key' "$scratch/err" || fail "that the escrow key was not tested is not said"

say "two rotations, with a retirement between them, keep it; so do a rewrap and a new epoch"
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
head -c 100K /dev/urandom >>"$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
drill escrow >/dev/null
ctl key rewrap "$vault" >/dev/null
ctl key new-epoch "$vault" >/dev/null
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(drill escrow | jq -r '[.slots[] | "\(.role) \(.opens)"] | join(", ")')" "Active true, Retiring true, Escrow true"

say "it is not taken away while a version is Retiring, and another one takes its place afterwards"
expect_error KeyVersionInUse 8 "$vaultctl" encryption set "$vault" --no-escrow
ctl key rewrap "$vault" --drop-retiring >/dev/null
cp -a "$vault" "$scratch/older"
ctl encryption set "$vault" --escrow-key "$scratch/second.pub" >/dev/null
code=0
drill escrow >/dev/null || code=$?
assert_eq "$code" 22 "the old escrow key opens the vault on"
drill second >/dev/null
ctl encryption set "$vault" --no-escrow >/dev/null
assert_eq "$(ctl --json encryption show "$vault" | jq -r .escrow)" null
ctl encryption show "$vault" | grep -q 'Escrow key.*none' || fail "not in words"
ctl encryption set "$vault" --escrow-key "$scratch/escrow.pub" >/dev/null
expect_error Usage 2 "$vaultctl" encryption set "$vault" --escrow-key "$scratch/escrow.pub" --no-escrow
expect_error Usage 2 "$vaultctl" encryption set "$vault" --escrow-key "$scratch/escrow.pub" --key office/backup
ctl activity "$vault" | grep -q encryption.set-escrow || fail "no activity record of the change"

say "the key vault is destroyed: the escrow key alone opens the vault"
rm -rf "$VAULTFS_HOME/keyvaults/office"
code=0
"$vaultctl" restore "$vault" vm --to "$scratch/no" </dev/null 2>"$scratch/err" || code=$?
[[ $code == 20 || $code == 21 ]] || fail "exit code $code: $(cat "$scratch/err")"
code=0
drill escrow >"$scratch/drill" || code=$?
[[ $code == 20 || $code == 21 ]] || fail "exit code $code"
assert_eq "$(jq -r '[.slots[] | "\(.role) \(.opens)"] | join(", ")' "$scratch/drill")" "Active false, Escrow true"

say "recovery: wrong keys change nothing, the right one gives it a new key vault"
ctl keyvault create spare >/dev/null
ctl key create spare/new --bits 2048 >/dev/null
recover() { # KEYFILE ARGUMENTS…
  local file=$scratch/$1.pem
  shift
  "$vaultctl" vault recover "$vault" --escrow-key-file "$file" --passphrase-file "$scratch/pass" "$@" </dev/null
}
keyrings >"$scratch/before"
expect_error WrongKey 22 recover second --key spare/new
expect_error KeyNotFound 3 recover escrow --key spare/none
assert_eq "$(jctl .access keyvault show spare | jq length)" 0 "a refused recovery let somebody in"
identity=$(jctl '.identities[0].id' identity list)
ctl keyvault allow spare --identity "$identity" --permissions get,list >/dev/null
expect_error KeyVaultDenied 21 recover escrow --key spare/new # its owner has decided
grep -q "keyvault allow spare --identity $identity" "$scratch/err" || fail "$(cat "$scratch/err")"
ctl keyvault deny spare --identity "$identity" >/dev/null
expect_error InvalidArgument 2 recover escrow
expect_error Usage 2 "$vaultctl" vault recover "$vault"
keyrings | cmp - "$scratch/before" || fail "a refused recovery changed a keyring"
say "the vault lets itself in at a local key vault"
recover escrow --key spare/new >"$scratch/out"
grep -q spare/new "$scratch/out" || fail "$(cat "$scratch/out")"
assert_eq "$(jctl .key_uri encryption show "$vault")" spare/new
assert_eq "$(ctl --json encryption show "$vault" | jq -r '[.versions[].role] | unique | join(" ")')" "Active Retired"
jctl '[.jobs[] | select(.kind == "KeyUpdate" and .state == "Completed" and (.detail | startswith("vault.recover ")))] | length == 1' job list "$vault" >/dev/null
jctl '[.activities[] | select(.operation == "vault.recover" and .outcome == "Succeeded")] | length == 1' activity "$vault" >/dev/null
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
ctl verify "$vault" >/dev/null
head -c 100K /dev/urandom >>"$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
drill escrow >/dev/null
expect_error KeyVersionInUse 8 "$vaultctl" key disable "spare/new/$(newest_version spare/new)"

say "on another machine it wants the root fingerprint, and then works from the private key alone"
cp -a "$vault" "$scratch/copy"
export VAULTFS_HOME=$scratch/home2 VAULTFS_RUNTIME_DIR=$scratch/run2
vault=$scratch/copy
ctl keyvault create third >/dev/null
ctl key create third/key --bits 2048 >/dev/null
expect_error VaultUnverified 12 recover escrow --key third/key
expect_error FingerprintMismatch 12 recover escrow --key third/key --fingerprint "$(tr '0123456789abcdef' '123456789abcdef0' <<<"$root")"
expect_error IdentityNotFound 21 recover escrow --key third/key --fingerprint "$root" --identity nosuch
grep -q 'identity create nosuch' "$scratch/err" || fail "$(cat "$scratch/err")"
assert_eq "$(jctl '.identities' identity list | jq length)" 0 "a refused recovery left an identity"
recover escrow --key third/key --fingerprint "$root" >/dev/null
ctl restore "$vault" vm --to "$scratch/back2" >/dev/null
assert_same "$scratch/disk" "$scratch/back2"

say "what removing an escrow key does not take back: a copy from before"
vault=$scratch/older
export VAULTFS_HOME=$scratch/home3
ctl keyvault create fourth >/dev/null
ctl key create fourth/key --bits 2048 >/dev/null
expect_error WrongKey 22 recover second --key fourth/key --fingerprint "$root"
recover escrow --key fourth/key --fingerprint "$root" >/dev/null
ctl verify "$vault" >/dev/null
export VAULTFS_HOME=$scratch/home2

say "a platform-managed vault: the escrow key is recovery choice enough, and gives it a key of the next machine"
vault=$scratch/platform
ctl vault create "$vault" --escrow-key "$scratch/escrow.pub" >/dev/null
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
rm -r "$VAULTFS_HOME/platform-keys"
expect_error PlatformKeyMissing 22 "$vaultctl" restore "$vault" vm --to "$scratch/no"
expect_error EncryptionNotChangeable 8 recover escrow --key third/key
recover escrow >/dev/null
ctl restore "$vault" vm --to "$scratch/back3" >/dev/null
assert_same "$scratch/disk" "$scratch/back3"
