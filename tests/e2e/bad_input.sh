# Bad input to every command: what is missing, of the wrong type, not permitted, of another format, in use.
. "$(dirname "$0")/lib.sh"
new_vault
random_file "$scratch/disk" 1M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
mkdir "$scratch/empty"
: >"$scratch/file"

# Every command that takes a vault, with the words behind it.
vault_commands=("vault show V" "encryption show V" "encryption refresh V" "encryption set V --key office/backup"
  "backup run V vm --disk d=$scratch/disk" "backup commit V vm" "recovery-point list V" "restore V vm --to $scratch/out-file"
  "verify V" "verify V --keyless" "job list V" "job show V 1" "activity V" "key rewrap V"
  "vault trust V --fingerprint $(printf '0%.0s' {1..64})" "vault recover V --recovery-file $scratch/file --passphrase-file $scratch/file")
# for_each_vault_command NAME CODE VAULT: all of them must end so.
for_each_vault_command() {
  local words command
  for command in "${vault_commands[@]}"; do
    read -ra words <<<"${command/ V/ $3}"
    expect_error "$1" "$2" "$vaultctl" "${words[@]}"
    [[ ! -e $scratch/out-file ]] || fail "$command left a file"
  done
}

say "an empty path, and no working directory any more"
expect_error Usage 2 "$vaultctl" encryption show ""
expect_error Usage 2 "$vaultctl" --json restore "$vault" vm --to ""
jq -e '.error.name == "Usage"' "$scratch/out" >/dev/null || fail "$(cat "$scratch/out")"
mkdir "$scratch/gone"
(cd "$scratch/gone" && rmdir "$scratch/gone" && expect_error NotFound 3 "$vaultctl" vault show relative)

say "a word that is nearly one"
says() { grep -qF "$1" "$scratch/err" || fail "expected '$1', got: $(cat "$scratch/err")"; }
expect_error Usage 2 "$vaultctl" bakcup run "$vault" && says "did you mean backup?"
expect_error Usage 2 "$vaultctl" vault shwo "$vault" && says "did you mean show?"
expect_error Usage 2 "$vaultctl" backup run "$vault" vm --dsik "d=$scratch/disk" && says "did you mean --disk?"
expect_error Usage 2 "$vaultfs" "$vault" "$mnt" -o setle=5 && says "did you mean settle?"

say "a new passphrase from a file that holds more than one line"
printf 'secret\r\n' >"$scratch/windows"
printf 'one\ntwo\n' >"$scratch/two"
chmod 600 "$scratch/windows" "$scratch/two"
expect_error InvalidArgument "" "$vaultctl" keyvault create other --new-passphrase-file "$scratch/windows" && says "carriage return"
expect_error InvalidArgument "" "$vaultctl" keyvault create other --new-passphrase-file "$scratch/two" && says "more than one line"

say "a vault that is not there"
for_each_vault_command VaultNotFound 3 "$scratch/nowhere"
say "a directory that is no vault"
for_each_vault_command NotAVault 7 "$scratch/empty"
assert_eq "$(ls -A "$scratch/empty")" "" "what a refused command left behind"
say "a file in its place"
for_each_vault_command NotAVault 7 "$scratch/file"

say "a newer format: refused by its name, nothing is touched"
cp -a "$vault" "$scratch/newer"
python3 - "$scratch/newer/vault.header" <<'PY'
import hashlib, sys
with open(sys.argv[1], "r+b") as file:
    header = file.read()
    assert header[:10] == b"VAULTFSH" + (1).to_bytes(2, "little")
    body = header[:8] + (2).to_bytes(2, "little") + header[10:-32]
    file.seek(0)
    file.write(body + hashlib.sha256(body).digest())
PY
(cd "$scratch/newer" && find . -type f -print0 | sort -z | xargs -0 sha256sum) >"$scratch/sums"
for_each_vault_command UnsupportedFormat 7 "$scratch/newer"
(cd "$scratch/newer" && sha256sum --quiet -c "$scratch/sums") || fail "a refused command changed a vault of another format"

say "no permission"
if [[ $EUID == 0 ]]; then
  need setpriv
  cp -a "$vault" "$scratch/private"
  chmod 0700 "$scratch/private"
  mkdir -m 0700 "$scratch/nobody"
  chown 65534:65534 "$scratch/nobody"
  # The programs may lie where only root can go.
  cp "$vaultctl" "$scratch/vaultctl"
  chmod 0755 "$scratch/vaultctl"
  expect_error PermissionDenied 5 env VAULTFS_HOME="$scratch/nobody/home" VAULTFS_RUNTIME_DIR="$scratch/nobody/run" \
    setpriv --reuid=65534 --regid=65534 --clear-groups -- "$scratch/vaultctl" vault show "$scratch/private"
fi
chmod 0777 "$VAULTFS_HOME"
expect_error PermissionDenied 5 "$vaultctl" keyvault list
chmod 0700 "$VAULTFS_HOME"

say "creating where something is"
expect_error VaultExists 4 "$vaultctl" vault create "$vault" --key office/backup
expect_error VaultExists 4 "$vaultctl" vault create "$scratch/file" --key office/backup
mkdir "$scratch/full"
: >"$scratch/full/x"
expect_error VaultExists 4 "$vaultctl" vault create "$scratch/full" --key office/backup
expect_error NotFound 3 "$vaultctl" vault create "$scratch/no/such/parent" --key office/backup
expect_error KeyVaultExists 4 "$vaultctl" keyvault create office
expect_error KeyExists 4 "$vaultctl" key create office/backup

say "keys that are not there"
unknown=00000000000000000000000000000000
expect_error KeyVaultNotFound 3 "$vaultctl" key create nowhere/k
expect_error KeyVaultNotFound 3 "$vaultctl" key list nowhere/k
expect_error KeyVaultNotFound 3 "$vaultctl" keyvault show nowhere
expect_error KeyNotFound 3 "$vaultctl" key list office/none
expect_error KeyNotFound 3 "$vaultctl" key rotate office/none
expect_error KeyNotFound 3 "$vaultctl" key impact office/none
expect_error KeyVersionNotFound 3 "$vaultctl" key list "office/backup/$unknown"
expect_error KeyVersionNotFound 3 "$vaultctl" key disable "office/backup/$unknown"
expect_error KeyVersionNotFound 3 "$vaultctl" key enable "office/backup/$unknown"
expect_error KeyNotFound 3 "$vaultctl" vault create "$scratch/v2" --key office/none
[[ ! -e $scratch/v2 ]] || fail "a failed creation left a vault"

say "every error names the thing that it is about"
# names THING COMMAND…: it fails, and what it says has the thing in it.
names() {
  local thing=$1
  shift
  expect_error '[A-Za-z]+' "" "$vaultctl" "$@"
  grep -qF -- "$thing" "$scratch/err" || fail "$* does not name $thing: $(cat "$scratch/err")"
}
mkdir "$scratch/tree"
ctl backup run "$vault" two --disk "a=$scratch/disk" --disk "b=$scratch/disk" >/dev/null
printf 'secret\r\n' >"$scratch/bad-passphrase"
chmod 600 "$scratch/bad-passphrase"
echo secret >"$scratch/good"
: >"$scratch/empty-passphrase"
chmod 600 "$scratch/empty-passphrase"
names '"gone"' restore "$vault" gone --to "$scratch/x"
names '"gone"' recovery-point list "$vault" gone
names '"gone"' backup commit "$vault" gone
names '99-99' restore "$vault" vm@99-99 --to "$scratch/x"
names '"vm"' restore "$vault" vm@99-99 --to "$scratch/x"
names '"nodisk"' restore "$vault" two --disk nodisk --to "$scratch/x"
names '--disk' restore "$vault" two --to "$scratch/x"
names '99' job show "$vault" 99
names "$scratch/disk" restore "$vault" vm --to "$scratch/disk"
names "$vault" restore "$vault" vm --to "$vault/x"
names "$scratch/nowhere" restore "$vault" vm --to "$scratch/nowhere/x"
names "$scratch/missing" backup run "$vault" vm --disk "d=$scratch/missing"
names "$scratch/tree" backup run "$vault" vm --disk "d=$scratch/tree"
names '"a/b"' backup run "$vault" vm --disk "a/b=$scratch/disk"
names '"d"' backup run "$vault" vm --disk "d=$scratch/disk" --disk "d=$scratch/disk"
names '--disk' backup run "$vault" vm --disk "$scratch/disk"
names "$scratch/empty" vault show "$scratch/empty"
names "$scratch/file" vault show "$scratch/file"
names "$scratch/nowhere" vault show "$scratch/nowhere"
names "$scratch/full" vault create "$scratch/full" --key office/backup
names "$scratch/file" vault create "$scratch/file" --key office/backup
names "$scratch/no/such" vault create "$scratch/no/such/parent" --key office/backup
names "$scratch/file" vault create "$scratch/v3" --recovery-file "$scratch/file" --recovery-passphrase-file "$scratch/good"
names "--recovery-passphrase-file" vault create "$scratch/v3" --recovery-file "$scratch/rf"
names "--no-recovery" vault create "$scratch/v3"
names "$scratch/missing" vault create "$scratch/v3" --key office/backup --escrow-key "$scratch/missing"
names "$scratch/file" vault create "$scratch/v3" --key office/backup --escrow-key "$scratch/file"
names "$scratch/missing" vault recover "$vault" --recovery-file "$scratch/missing" --passphrase-file "$scratch/two"
names "$scratch/file" vault recover "$vault" --recovery-file "$scratch/file" --passphrase-file "$scratch/two"
names "$scratch/missing" keyvault create other --new-passphrase-file "$scratch/missing"
names "$scratch/bad-passphrase" keyvault create other --new-passphrase-file "$scratch/bad-passphrase"
names "$scratch/empty-passphrase" keyvault create other --new-passphrase-file "$scratch/empty-passphrase"
names nowhere keyvault show nowhere
names nowhere key list nowhere/k
names none key list office/none
names none key delete office/none
names none key recover office/none
names none key purge office/none
names office keyvault create office
names backup key create office/backup
names 0000000000000000 key disable office/backup/00000000000000000000000000000000
names nobody identity disable nobody
names nobody identity delete nobody
names nobody encryption set "$vault" --identity nobody
names nowhere encryption set "$vault" --key nowhere/k
names none encryption set "$vault" --key office/none
names "$scratch/missing" key import office/imported --from "$scratch/missing"
names "$scratch/file" key import office/imported --from "$scratch/file"
names "$scratch/file" key export office/backup --to "$scratch/file" --file-passphrase-file "$scratch/good"
names '--rate' reencrypt "$vault" --rate fast
names '--wait' --wait x vault show "$vault"
names '"12ab"' vault trust "$vault" --fingerprint 12ab
names '--retention-days' keyvault create short --retention-days 3
names '--refresh-minutes' encryption set "$vault" --refresh-minutes x
names '--after-create' key rotation-policy set office/backup --after-create soon --expiry P90D
names "$scratch/nowhere" vault forget "$scratch/nowhere"
flock "$vault/vault.lock" sleep 3 &
sleep 0.3
names "$vault" backup run "$vault" vm --disk "d=$scratch/disk"
wait
names '99999999999999999999' job show "$vault" 99999999999999999999
names '--new-passphrase-fd 99' keyvault create other --new-passphrase-fd 99
names '--after-create P999999999999D' key rotation-policy set office/backup --after-create P999999999999D --expiry P90D
names '".hidden"' backup run "$vault" .hidden --disk "d=$scratch/disk"
names '"item"' backup run "$vault" "" --disk "d=$scratch/disk"
names "$vault" vault create "$vault/inside" --no-recovery
if [[ -c /dev/fuse ]]; then
  for option in log= home= passphrase-file=; do
    expect_error Usage 2 "$vaultfs" "$vault" "$mnt" -o "$option" && says "$option: give a path"
  done
  expect_error NotFound 3 "$vaultfs" "$vault" "$mnt" -o "log=$scratch/no/such/log" && says "$scratch/no/such"
  [[ ! -e $scratch/no ]] || fail "a mistyped log made directories"
fi
[[ ! -e $scratch/x && ! -e $scratch/v3 ]] || fail "something was left"

say "usage"
for words in "" "vault" "vault create" "vault nonsense" "nonsense" "key" "key disable" "backup run $vault" "job show $vault x" \
  "restore $vault vm" "key create office/k --bits many" "--wait x vault show $vault" "vault show" "recovery-point" \
  "vault show $vault extra" "key rotate office/backup --nonsense"; do
  # shellcheck disable=SC2086 # the words are ours
  expect_error Usage 2 "$vaultctl" $words
done
expect_error InvalidKeyRef 2 "$vaultctl" key disable office/backup
expect_error InvalidKeyRef 2 "$vaultctl" key create office
"$vaultctl" --help | grep -q vaultctl
"$vaultctl" --version | grep -Eq '^vaultctl [0-9]+\.[0-9]+\.[0-9]+$'

say "errors as JSON for scripts"
code=0
"$vaultctl" --json vault show "$scratch/nowhere" </dev/null >"$scratch/out" 2>/dev/null || code=$?
assert_eq "$code $(jq -r .error.name "$scratch/out")" "3 VaultNotFound"

say "the key vault is gone: an outage, said at mount and by every command that needs the key; keyless verification works"
key_vault=$(dirname "$(dirname "$(find "$VAULTFS_HOME" -name backup.json)")")
[[ $key_vault == "$VAULTFS_HOME"/* ]] || fail "the key vault is not below VAULTFS_HOME: $key_vault"
mv "$key_vault" "$scratch/away"
for words in "encryption show $vault" "restore $vault vm --to $scratch/out-file" "backup run $vault vm --disk d=$scratch/disk" \
  "verify $vault" "recovery-point list $vault"; do
  # shellcheck disable=SC2086 # the words are ours
  expect_error KeyVaultUnavailable 20 "$vaultctl" $words
done
if [[ -c /dev/fuse ]]; then expect_error KeyVaultUnavailable 20 "$vaultfs" "$vault" "$mnt"; fi
ctl verify "$vault" --keyless >/dev/null
mv "$scratch/away" "$key_vault"
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
