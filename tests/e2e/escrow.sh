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
ctl vault create "$vault" --key office/backup --escrow-key "$scratch/escrow.pub" >/dev/null 2>&1
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
older_fingerprint=$(jctl .fingerprint vault show "$vault")
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
root=$(jctl .fingerprint vault show "$vault")
grep -q "$root" "$scratch/out" || fail "the new fingerprint is not said: $(cat "$scratch/out")"
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

say "on another machine it wants the newest fingerprint, and then works from the private key alone"
cp -a "$vault" "$scratch/copy"
export VAULTFS_HOME=$scratch/home2 VAULTFS_RUNTIME_DIR=$scratch/run2
vault=$scratch/copy
ctl keyvault create third >/dev/null
ctl key create third/key --bits 2048 >/dev/null
expect_error VaultUnverified 12 recover escrow --key third/key
expect_error FingerprintMismatch 12 recover escrow --key third/key --fingerprint "$(tr '0123456789abcdef' '123456789abcdef0' <<<"$root")"
expect_error FingerprintMismatch 12 recover escrow --key third/key --fingerprint "$older_fingerprint"
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
expect_error WrongKey 22 recover second --key fourth/key --fingerprint "$older_fingerprint"
recover escrow --key fourth/key --fingerprint "$older_fingerprint" >/dev/null
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

say "two layers: the escrow key is choice enough, and is given the infrastructure key"
vault=$scratch/double
first=$(jctl .fingerprint vault create "$vault" --key third/key --infrastructure-encryption --escrow-key "$scratch/escrow.pub" 2>/dev/null)
infrastructure_of() { jctl .escrow.infrastructure_key encryption show "$vault"; }
assert_eq "$(infrastructure_of)" Escrowed
ctl encryption show "$vault" | grep -q 'with the infrastructure key' || fail "not in words"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl key rotate third/key --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
head -c 100K /dev/urandom >>"$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
assert_eq "$(drill escrow | jq -r '[.slots[] | "\(.role) \(.opens) \(.infrastructure_key)"] | join(", ")')" "Active true null, Escrow true Escrowed"
ctl key drill "$vault" --escrow-key-file "$scratch/escrow.pem" --passphrase-file "$scratch/pass" >"$scratch/out"
grep -q 'brings back the infrastructure key' "$scratch/out" || fail "$(cat "$scratch/out")"
mv "$VAULTFS_HOME/platform-keys" "$scratch/platform-keys" # the drill needs nothing of the machine but its pin
code=0
drill escrow >"$scratch/drill" || code=$?
assert_eq "$code" 22
assert_eq "$(jq -r '[.slots[] | "\(.role) \(.opens)"] | join(", ")' "$scratch/drill")" "Active false, Escrow true"
expect_error PlatformKeyMissing 22 "$vaultctl" restore "$vault" vm --to "$scratch/no"
grep -q -- --escrow-key-file "$scratch/err" || fail "the way back is not named: $(cat "$scratch/err")"
mv "$scratch/platform-keys" "$VAULTFS_HOME/platform-keys"

say "a second machine: the escrow key alone recovers both layers; what is refused, or was changed, installs nothing"
root=$(jctl .fingerprint vault show "$vault")
cp -a "$vault" "$scratch/double-copy"
cp -a "$vault" "$scratch/double-forged"
export VAULTFS_HOME=$scratch/home5 VAULTFS_RUNTIME_DIR=$scratch/run5
installed() { find "$VAULTFS_HOME" -path '*/platform-keys/*.key' | wc -l; }
ctl keyvault create fifth >/dev/null
ctl key create fifth/key --bits 2048 >/dev/null
vault=$scratch/double-forged
forge_wrap() { # flips a bit of the infrastructure key's wrap, and makes the file's plain digest match
  python3 - "$(printf '%s\n' "$vault/keyrings"/*.keyring | tail -n 1)" "$(fingerprint_of escrow)" <<'PYTHON'
import hashlib, pathlib, struct, sys
path = pathlib.Path(sys.argv[1])
data = bytearray(path.read_bytes()[:-32])
at = data.index(bytes.fromhex(sys.argv[2])) + 32 + 8
at += 4 + struct.unpack_from("<I", data, at)[0]
assert data[8] == 6 and struct.unpack_from("<I", data, at)[0] == 256
data[at + 4 + 100] ^= 1
path.write_bytes(bytes(data) + hashlib.sha256(data).digest())
PYTHON
}
forge_wrap
keyrings >"$scratch/before"
expect_error AuthenticationFailed 10 recover escrow --key fifth/key --fingerprint "$root"
keyrings | cmp - "$scratch/before" || fail "a refused recovery changed a keyring"
vault=$scratch/double-copy
expect_error VaultUnverified 12 recover escrow --key fifth/key
expect_error FingerprintMismatch 12 recover escrow --key fifth/key --fingerprint "$first"
expect_error WrongKey 22 recover second --key fifth/key --fingerprint "$root"
expect_error KeyNotFound 3 recover escrow --key fifth/none --fingerprint "$root"
assert_eq "$(installed)" 0
recover escrow --key fifth/key --fingerprint "$root" >"$scratch/out"
grep -q 'infrastructure key is on this machine' "$scratch/out" || fail "$(cat "$scratch/out")"
assert_eq "$(installed)" 1
ctl restore "$vault" vm --to "$scratch/back4" >/dev/null
assert_same "$scratch/disk" "$scratch/back4"
ctl verify "$vault" >/dev/null
head -c 100K /dev/urandom >>"$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
assert_eq "$(drill escrow | jq -r '.slots[] | select(.role == "Escrow") | .infrastructure_key')" Escrowed
# On a machine that has the key it is compared: another one is told, and stays.
cp -a "$vault" "$scratch/double-other"
key_file=$(find "$VAULTFS_HOME" -path '*/platform-keys/*.key')
export VAULTFS_HOME=$scratch/home6 VAULTFS_RUNTIME_DIR=$scratch/run6
mkdir -p -m 0700 "$VAULTFS_HOME/platform-keys"
python3 - "$key_file" "$VAULTFS_HOME/platform-keys" <<'PYTHON'
import hashlib, os, pathlib, sys
source = pathlib.Path(sys.argv[1])
data = bytearray(source.read_bytes()[:-32])
data[-1] ^= 1
target = pathlib.Path(sys.argv[2]) / source.name
target.write_bytes(bytes(data) + hashlib.sha256(data).digest())
os.chmod(target, 0o600)
PYTHON
vault=$scratch/double-other
ctl keyvault create sixth >/dev/null
ctl key create sixth/key --bits 2048 >/dev/null
(cd "$VAULTFS_HOME/platform-keys" && sha256sum -- *.key) >"$scratch/before"
expect_error WrongKey 22 recover escrow --key sixth/key --fingerprint "$root"
(cd "$VAULTFS_HOME/platform-keys" && sha256sum -- *.key) | cmp - "$scratch/before" || fail "the machine's key was replaced"

say "a platform-managed vault on two layers: both keys of the lost machine"
vault=$scratch/platform-double
root=$(jctl .fingerprint vault create "$vault" --infrastructure-encryption --escrow-key "$scratch/escrow.pub" 2>/dev/null)
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
export VAULTFS_HOME=$scratch/home7 VAULTFS_RUNTIME_DIR=$scratch/run7
recover escrow --fingerprint "$root" >/dev/null
assert_eq "$(installed)" 2
ctl restore "$vault" vm --to "$scratch/back5" >/dev/null
assert_same "$scratch/disk" "$scratch/back5"

say "a keyring of before: the drill says what is missing and how to mend it, and a rewrap does"
example=$source_dir/tests/frozen/v1-escrow-double
cp -r "$example" "$scratch/older-programs"
chmod -R u=rwX,go= "$scratch/older-programs"
vault=$scratch/older-programs/escrow-before
mkdir -p "$vault"/{checkpoints,index,activity,journal,heads,keyrings,points,segments}
cp "$scratch/older-programs/escrow.pem" "$scratch/older.pem"
cp "$scratch/older-programs/passphrase" "$scratch/pass"
export VAULTFS_HOME=$scratch/older-programs/home VAULTFS_RUNTIME_DIR=$scratch/run8
keyrings >"$scratch/before"
drill older >"$scratch/drill" 2>"$scratch/err"
assert_eq "$(jq -r '.slots[] | select(.role == "Escrow") | "\(.opens) \(.infrastructure_key)"' "$scratch/drill")" "true NotEscrowed"
grep -q "recovery file.*vaultctl key rewrap $vault" "$scratch/err" || fail "$(cat "$scratch/err")"
keyrings | cmp - "$scratch/before" || fail "the drill changed a keyring"
root=$(jctl .fingerprint vault show "$vault")
cp -a "$vault" "$scratch/older-copy"
elsewhere() { # VAULT WORDS…: runs a command on another machine
  local vault=$1 VAULTFS_HOME=$scratch/home9 VAULTFS_RUNTIME_DIR=$scratch/run9
  export VAULTFS_HOME VAULTFS_RUNTIME_DIR
  shift
  "$@"
}
elsewhere none ctl keyvault create ninth >/dev/null
elsewhere none ctl key create ninth/key --bits 2048 >/dev/null
expect_error PlatformKeyMissing 22 elsewhere "$scratch/older-copy" recover older --key ninth/key --fingerprint "$root"
grep -q -- '--recovery-file.*key rewrap' "$scratch/err" || fail "$(cat "$scratch/err")"
ctl key rewrap "$vault" >/dev/null
assert_eq "$(infrastructure_of)" Escrowed
assert_eq "$(drill older | jq -r '.slots[] | select(.role == "Escrow") | .infrastructure_key')" Escrowed
ctl restore "$vault" vm --to "$scratch/older-disk" >/dev/null
elsewhere "$vault" recover older --key ninth/key --fingerprint "$root" >/dev/null
elsewhere "$vault" ctl restore "$vault" vm --to "$scratch/back6" >/dev/null
assert_same "$scratch/older-disk" "$scratch/back6"
