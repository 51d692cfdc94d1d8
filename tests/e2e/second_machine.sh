# The second machine: a vault copied with rsync, its key exported and imported there. It opens only after `vault trust`,
# restores, continues, and heals nothing silently.
. "$(dirname "$0")/lib.sh"
need rsync
echo 'for the road' >"$scratch/pass"
new_key
new_vault
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
fingerprint=$(jctl .root_fingerprint vault show "$vault")
ctl key export office/backup --to "$scratch/key.pem" --file-passphrase-file "$scratch/pass" >/dev/null
rsync -a "$vault/" "$scratch/copy/"
first_home=$VAULTFS_HOME

export VAULTFS_HOME=$scratch/home2 VAULTFS_RUNTIME_DIR=$scratch/run2
vault2=$scratch/copy
sums() { (cd "$vault2" && find . -type f ! -name vault.lock -print0 | sort -z | xargs -0 sha256sum); }
sums >"$scratch/before"

say "without trust: read-only commands want --unverified, changing ones are refused"
expect_error VaultUnverified 12 "$vaultctl" restore "$vault2" vm --to "$scratch/no"
expect_error VaultUnverified 12 "$vaultctl" backup run "$vault2" vm --disk "d=$scratch/disk"
ctl verify "$vault2" --keyless >/dev/null

say "without the key: a named error that is no integrity error"
code=0
"$vaultctl" restore "$vault2" vm --to "$scratch/no" --unverified </dev/null 2>"$scratch/err" || code=$?
[[ $code == 3 || $code == 20 || $code == 21 || $code == 22 ]] || fail "exit code $code: $(cat "$scratch/err")"

say "the key alone is not enough: what has to be set up again is named, identity first, then its access"
ctl keyvault create office >/dev/null
ctl key import office/backup --from "$scratch/key.pem" --file-passphrase-file "$scratch/pass" >/dev/null
expect_error IdentityNotFound 21 "$vaultctl" restore "$vault2" vm --to "$scratch/no" --unverified
grep -q 'vaultctl identity create --vault' "$scratch/err" || fail "what to do is not said: $(cat "$scratch/err")"
identity=$(jctl .id identity create --vault "$vault2")
expect_error KeyRevoked 21 "$vaultctl" restore "$vault2" vm --to "$scratch/no" --unverified
grep -q "vaultctl keyvault allow office --identity $identity" "$scratch/err" || fail "$(cat "$scratch/err")"
ctl keyvault allow office --identity "$identity" --template backup >/dev/null

say "with key, identity and access, unverified: restore says so and works"
expect_error VaultUnverified 12 "$vaultctl" restore "$vault2" vm --to "$scratch/no"
"$vaultctl" restore "$vault2" vm --to "$scratch/back" --unverified </dev/null >/dev/null 2>"$scratch/note"
grep -qi unverified "$scratch/note" || fail "nothing was said about it"
assert_same "$scratch/disk" "$scratch/back"
sums | cmp - "$scratch/before" || fail "reading changed the copy"

if [[ -c /dev/fuse ]]; then
  say "a mount: refused, or read-only and unverified by name"
  expect_error VaultUnverified 12 "$vaultfs" "$vault2" "$mnt"
  "$vaultfs" "$vault2" "$mnt" -o "ro,unverified,log=$log"
  assert_same "$scratch/disk" "$mnt/vm/d"
  expect_errno EROFS touch "$mnt/vm/x"
  unmount_vault
fi

say "trust wants the right fingerprint"
wrong=$(tr '0123456789abcdef' '123456789abcdef0' <<<"$fingerprint")
expect_error FingerprintMismatch 12 "$vaultctl" vault trust "$vault2" --fingerprint "$wrong"
code=0
"$vaultctl" vault trust "$vault2" --fingerprint nonsense </dev/null 2>"$scratch/err" || code=$?
[[ $code == 2 || $code == 12 ]] || fail "exit code $code: $(cat "$scratch/err")"
expect_error VaultUnverified 12 "$vaultctl" backup run "$vault2" vm --disk "d=$scratch/disk"
ctl vault trust "$vault2" --fingerprint "$fingerprint" >/dev/null

say "then it is this machine's vault"
ctl restore "$vault2" vm --to "$scratch/back2" >/dev/null
assert_same "$scratch/disk" "$scratch/back2"
head -c 1M /dev/urandom >>"$scratch/disk"
ctl backup run "$vault2" vm --disk "d=$scratch/disk" >/dev/null
ctl verify "$vault2" >/dev/null
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault2" >/dev/null
ctl backup run "$vault2" vm --disk "d=$scratch/disk" >/dev/null
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$(newest_version)"

say "back on the first machine its own vault is untouched; the other copy in its place is not the state it has pinned"
export VAULTFS_HOME=$first_home VAULTFS_RUNTIME_DIR=$scratch/run
ctl verify "$vault" >/dev/null
head -c 1M /dev/urandom >"$scratch/other"
ctl backup run "$vault" other --disk "d=$scratch/other" >/dev/null

say "a vault forged under the public key alone: same id, other root key"
ctl vault create "$scratch/forged" --key office/backup >/dev/null 2>&1
cp -a "$vault" "$scratch/swapped"
cp "$scratch/forged/vault.header" "$scratch/swapped/vault.header"
code=0
"$vaultctl" vault show "$scratch/swapped" </dev/null >/dev/null 2>"$scratch/err" || code=$?
[[ $code == 10 || $code == 11 || $code == 12 ]] || fail "exit code $code: $(cat "$scratch/err")"
