# Keys of a local key vault: passphrase protection, export and import with OpenSSL's own tools, what is refused.
. "$(dirname "$0")/lib.sh"
need openssl
echo 'opens the key vault' >"$scratch/kv-pass"
echo 'opens the file' >"$scratch/file-pass"
random_file "$scratch/disk" 1M

say "a key vault under a passphrase"
ctl keyvault create safe --new-passphrase-file "$scratch/kv-pass" >/dev/null
expect_error PassphraseRequired 22 "$vaultctl" key create safe/k --bits 2048
echo wrong >"$scratch/wrong"
expect_error WrongPassphrase 22 "$vaultctl" --passphrase-file "$scratch/wrong" key create safe/k --bits 2048
ctl --passphrase-file "$scratch/kv-pass" key create safe/k --bits 2048 >/dev/null
ctl --passphrase-file "$scratch/kv-pass" vault create "$vault" --key safe/k >/dev/null 2>&1
expect_error PassphraseRequired 22 "$vaultctl" vault create "$scratch/v3" --key safe/k
grep -q -- ' --passphrase-file FILE' "$scratch/err" || fail "the option is not named: $(cat "$scratch/err")"
ctl vault create "$scratch/v3" --key safe/k --passphrase-file "$scratch/kv-pass" >/dev/null 2>&1 # behind the command too
expect_error PassphraseRequired 22 "$vaultctl" keyvault create locked --passphrase
grep -q -- ' --new-passphrase-file FILE' "$scratch/err" || fail "the option is not named: $(cat "$scratch/err")"
ctl --passphrase-file "$scratch/kv-pass" backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
expect_error PassphraseRequired 22 "$vaultctl" restore "$vault" vm --to "$scratch/no"
ctl --passphrase-fd 7 restore "$vault" vm --to "$scratch/back" 7<"$scratch/kv-pass" >/dev/null
assert_same "$scratch/disk" "$scratch/back"

say "export: encrypted PEM that openssl reads with the passphrase only"
ctl --passphrase-file "$scratch/kv-pass" key export safe/k --to "$scratch/k.pem" --file-passphrase-file "$scratch/file-pass" >/dev/null
assert_eq "$(stat -c %a "$scratch/k.pem")" 600
grep -q 'BEGIN ENCRYPTED PRIVATE KEY' "$scratch/k.pem"
openssl pkey -in "$scratch/k.pem" -passin "file:$scratch/file-pass" -noout -check >/dev/null
if openssl pkey -in "$scratch/k.pem" -passin "file:$scratch/wrong" -noout 2>/dev/null; then fail "any passphrase opens it"; fi
expect_error AlreadyExists 4 "$vaultctl" --passphrase-file "$scratch/kv-pass" key export safe/k --to "$scratch/k.pem" \
  --file-passphrase-file "$scratch/file-pass"

expect_error PassphraseRequired 22 "$vaultctl" --passphrase-file "$scratch/kv-pass" key export safe/k --to "$scratch/k2.pem"
grep -q -- ' --file-passphrase-file FILE' "$scratch/err" || fail "the option is not named: $(cat "$scratch/err")"

say "an export that cannot be written whole leaves nothing, and nothing in the way of the next one"
mkdir "$scratch/exports"
ctl keyvault create plain >/dev/null # without a passphrase: opening it each time is not what this is about
ctl key create plain/k --bits 2048 >/dev/null
export_key() { "$vaultctl" key export plain/k --to "$1" --file-passphrase-file "$scratch/file-pass"; }
assert_nothing() {
  [[ -z $(ls -A "$scratch/exports") ]] || fail "$1 left $(ls -A "$scratch/exports")"
  left=$(grep -rl 'BEGIN ENCRYPTED PRIVATE KEY' "$scratch" "$VAULTFS_HOME" | grep -vx "$scratch/k.pem" || true)
  [[ -z $left ]] || fail "$1 left a private key in $left"
}
expect_error NotFound 3 export_key "$scratch/exports/none/k.pem"
expect_error NotADirectory '' export_key "$scratch/k.pem/k.pem"
expect_error AlreadyExists 4 export_key /dev/full # a device takes a key as little as a file does
ln -s nowhere "$scratch/link"
expect_error AlreadyExists 4 export_key "$scratch/link"
# The write stops within the key: a limit of 1 KiB for each file, without the signal that comes with it.
expect_error FileTooLarge '' bash -c 'trap "" XFSZ; ulimit -f 1; exec "$@"' limited "$vaultctl" \
  key export plain/k --to "$scratch/exports/k.pem" --file-passphrase-file "$scratch/file-pass"
assert_nothing "a write that stopped in the middle"
if [[ $EUID == 0 ]] && unshare -m true 2>/dev/null; then
  # A disk without a free block, and one that is read-only; what is there afterwards is looked at where they are mounted.
  on_disk() {
    unshare -m bash -c 'mount -t tmpfs -o size=4k none "$1" && head -c 4096 /dev/zero >"$1/full" || exit 99
      [[ $2 == full ]] || mount -o remount,ro "$1" || exit 99
      "${@:3}"; code=$?; [[ $(ls -A "$1") == full ]] || { echo "left: $(ls -A "$1")" >&2; exit 99; }; exit $code' \
      disk "$scratch/exports" "$1" "$vaultctl" key export plain/k \
      --to "$scratch/exports/k.pem" --file-passphrase-file "$scratch/file-pass"
  }
  expect_error NoSpace 30 on_disk full
  expect_error ReadOnly 32 on_disk read-only
fi
assert_nothing "a full or read-only disk"
export_key "$scratch/exports/k.pem" </dev/null >/dev/null
export_key "$scratch/exports/again.pem" </dev/null >/dev/null
cmp -s "$scratch/exports/again.pem" "$scratch/exports/k.pem" && fail "two exports share their salt"
openssl pkey -in "$scratch/exports/k.pem" -passin "file:$scratch/file-pass" -noout -check >/dev/null
rm -r "$scratch/exports" "$scratch/link"

say "import into another key vault: the same version id, and it opens the vault"
id=$(ctl --passphrase-file "$scratch/kv-pass" --json key list safe/k | jq -r '.versions[0].version')
ctl keyvault create other >/dev/null
expect_error WrongPassphrase 22 "$vaultctl" key import other/k --from "$scratch/k.pem" --file-passphrase-file "$scratch/wrong"
ctl key import other/k --from "$scratch/k.pem" --file-passphrase-file "$scratch/file-pass" >/dev/null
assert_eq "$(jctl '.versions[0].version' key list other/k)" "$id"

say "an import does not undo a decision: a disabled version stays disabled, under its name and any other"
ctl key disable other/k/"$id" --override k >/dev/null
expect_error AlreadyExists 4 "$vaultctl" key import other/k --from "$scratch/k.pem" --file-passphrase-file "$scratch/file-pass"
grep -q 'vaultctl key enable' "$scratch/err" || grep -q 'key enable' <<<"$("$vaultctl" key import other/k --from "$scratch/k.pem" \
  --file-passphrase-file "$scratch/file-pass" 2>&1 || true)"
assert_eq "$(jctl '.versions[0].state' key list other/k)" Disabled
expect_error KeyVersionDisabled 21 "$vaultctl" key import other/copy --from "$scratch/k.pem" --file-passphrase-file "$scratch/file-pass"
expect_error KeyNotFound 3 "$vaultctl" key list other/copy
ctl key import other/copy --enable --from "$scratch/k.pem" --file-passphrase-file "$scratch/file-pass" >/dev/null
assert_eq "$(jctl '.versions[0].state' key list other/copy)" Enabled
assert_eq "$(jctl '.versions[0].state' key list other/k)" Disabled

say "a passphrase file of another user is refused"
if [[ $(id -u) == 0 ]]; then
  cp "$scratch/kv-pass" "$scratch/foreign-pass"
  chown nobody "$scratch/foreign-pass"
  expect_error PermissionDenied 5 "$vaultctl" --passphrase-file "$scratch/foreign-pass" key rotate safe/k
fi

say "keys made by openssl: RSA of 2048, 3072, 4096 bits yes; others no"
for bits in 2048 3072; do
  openssl genpkey -algorithm RSA -pkeyopt "rsa_keygen_bits:$bits" -out "$scratch/rsa.pem" 2>/dev/null
  ctl key import "other/rsa$bits" --from "$scratch/rsa.pem" >/dev/null
  assert_eq "$(jctl '.versions[0].bits' key list "other/rsa$bits")" "$bits"
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$scratch/ec.pem" 2>/dev/null
expect_error KeyNotRsa 8 "$vaultctl" key import other/ec --from "$scratch/ec.pem"
openssl genpkey -algorithm ED25519 -out "$scratch/ed.pem" 2>/dev/null
expect_error KeyNotRsa 8 "$vaultctl" key import other/ed --from "$scratch/ed.pem"
openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out "$scratch/short.pem" 2>/dev/null
expect_error KeySizeUnsupported 8 "$vaultctl" key import other/short --from "$scratch/short.pem"
head -c 2000 /dev/urandom >"$scratch/noise.pem"
code=0
"$vaultctl" key import other/noise --from "$scratch/noise.pem" </dev/null 2>"$scratch/err" || code=$?
[[ $code != 0 ]] && grep -Eq '^vaultctl: [A-Za-z]+: ' "$scratch/err" || fail "noise was taken for a key: $(cat "$scratch/err")"
expect_error NotFound 3 "$vaultctl" key import other/none --from "$scratch/none.pem"
assert_eq "$(jctl '.keys | sort | join(" ")' keyvault show other)" "copy k rsa2048 rsa3072"

say "expired and not yet valid versions"
for time in tomorrow 2027-02-31 ' 2027-01- 5' 2027-01-05T24:00:00Z; do
  expect_error Usage 2 "$vaultctl" key create other/t --expires "$time"
done
assert_eq "$(jctl .expires key create other/far --bits 2048 --expires 2300-01-01)" 2300-01-01T00:00:00Z
assert_eq "$(jctl '.versions[0].expires' key list other/far)" 2300-01-01T00:00:00Z
expect_error Usage 2 "$vaultctl" key rotate --due --bits 4096
ctl key create other/old --bits 2048 --expires 2020-01-01 >/dev/null 2>"$scratch/err"
grep -q 'can never wrap' "$scratch/err" || fail "not a word of it: $(cat "$scratch/err")"
expect_error KeyVersionExpired 8 "$vaultctl" vault create "$scratch/v2" --key other/old
ctl key create other/young --bits 2048 --not-before 2099-01-01 >/dev/null
expect_error 'KeyVersionNotYetValid|KeyVersionNotFound' '8' "$vaultctl" vault create "$scratch/v2" --key other/young
[[ ! -e $scratch/v2 ]] || fail "a failed creation left a vault"
expect_error KeySizeUnsupported 8 "$vaultctl" key create other/odd --bits 1024

say "private keys at rest: nothing that openssl or grep would recognise, nobody else may read"
if grep -rl 'PRIVATE KEY' "$VAULTFS_HOME"; then fail "a private key stands in the clear"; fi
loose=$(find "$VAULTFS_HOME" -type f -perm /077)
[[ -z $loose ]] || fail "readable by others: $loose"
assert_eq "$(stat -c %a "$VAULTFS_HOME")" 700
