# The second machine: a vault copied with rsync, its key exported and imported there. It opens only after `vault trust`,
# restores, continues, and heals nothing silently.
. "$(dirname "$0")/lib.sh"
need rsync
echo 'for the road' >"$scratch/pass"
new_key
new_vault
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
fingerprint=$(jctl .fingerprint vault show "$vault")
assert_match "$fingerprint" '^1:'
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

say "a recovery point that is lost is damage here, too, and no older one takes its place"
cp -a "$vault2" "$scratch/whole-copy"
rm "$vault2/points/"*.point
code=0
"$vaultctl" --json verify "$vault2" --fingerprint "$fingerprint" </dev/null >"$scratch/verified" 2>/dev/null || code=$?
[[ $code == 40 ]] || fail "verify of a vault without its points ends with $code"
jq -e '.damage | any(.error == "ManifestMissing" and .item == "vm" and .recovery_point != null)' "$scratch/verified" >/dev/null ||
  fail "verify names no point: $(cat "$scratch/verified")"
expect_error ManifestMissing 10 "$vaultctl" restore "$vault2" vm --to "$scratch/no" --fingerprint "$fingerprint"
rm "$vault2/checkpoints/"*.checkpoint
cp "$scratch/whole-copy/points/"*.point "$vault2/points/"
"$vaultctl" restore "$vault2" vm --to "$scratch/proven" --fingerprint "$fingerprint" </dev/null >/dev/null 2>&1
assert_same "$scratch/disk" "$scratch/proven"
rm -rf "$vault2"
mv "$scratch/whole-copy" "$vault2"

if [[ -c /dev/fuse ]]; then
  say "a mount: refused, or read-only and unverified by name"
  expect_error VaultUnverified 12 "$vaultfs" "$vault2" "$mnt"
  "$vaultfs" "$vault2" "$mnt" -o "ro,unverified,log=$log"
  assert_same "$scratch/disk" "$mnt/vm/d"
  expect_errno EROFS touch "$mnt/vm/x"
  unmount_vault
fi

say "trust wants the right fingerprint"
wrong=1:$(tr '0123456789abcdef' '123456789abcdef0' <<<"${fingerprint#1:}")
expect_error FingerprintMismatch 12 "$vaultctl" vault trust "$vault2" --fingerprint "$wrong"
code=0
"$vaultctl" vault trust "$vault2" --fingerprint nonsense </dev/null 2>"$scratch/err" || code=$?
[[ $code == 2 || $code == 12 ]] || fail "exit code $code: $(cat "$scratch/err")"
expect_error VaultUnverified 12 "$vaultctl" backup run "$vault2" vm --disk "d=$scratch/disk"
ctl vault trust "$vault2" --fingerprint "$fingerprint" >/dev/null
sums | cmp - "$scratch/before" || fail "trust wrote into the copy"

say "the original goes on, with a retirement, which prints the new fingerprint; its next copy is the continuation of the first"
second_home=$VAULTFS_HOME
cp -a "$vault2" "$scratch/first-copy"
export VAULTFS_HOME=$first_home VAULTFS_RUNTIME_DIR=$scratch/run
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null 2>"$scratch/err"
! grep -q fingerprint "$scratch/err" || fail "a new version is no new epoch: $(cat "$scratch/err")"
ctl --json backup run "$vault" vm --disk "d=$scratch/disk" >"$scratch/backup" 2>"$scratch/err"
newest=$(jq -r .fingerprint "$scratch/backup")
assert_match "$newest" '^2:'
assert_eq "$(jq .fingerprint_changed "$scratch/backup")" true
grep -q "$newest" "$scratch/err" || fail "the new fingerprint is not said: $(cat "$scratch/err")"
assert_eq "$(jctl .fingerprint vault show "$vault")" "$newest"
ctl --json backup run "$vault" vm --disk "d=$scratch/disk" >"$scratch/backup"
assert_eq "$(jq .fingerprint_changed "$scratch/backup")" false
ctl key export office/backup --to "$scratch/key2.pem" --file-passphrase-file "$scratch/pass" >/dev/null
rsync -a --delete "$vault/" "$scratch/copy/"
export VAULTFS_HOME=$second_home VAULTFS_RUNTIME_DIR=$scratch/run2
ctl key import office/backup --from "$scratch/key2.pem" --file-passphrase-file "$scratch/pass" >/dev/null
ctl restore "$vault2" vm --to "$scratch/back3" >/dev/null 2>"$scratch/note"
grep -q 'genuine up to epoch 1; whoever held' "$scratch/note" || fail "nothing was said about it: $(cat "$scratch/note")"
assert_same "$scratch/disk" "$scratch/back3"

say "a third machine: an older fingerprint reads and is not trusted, the root key's neither"
third() { VAULTFS_HOME=$scratch/home3 VAULTFS_RUNTIME_DIR=$scratch/run3 "$@"; }
third ctl keyvault create office >/dev/null
third ctl key import office/backup --from "$scratch/key.pem" --file-passphrase-file "$scratch/pass" >/dev/null
third ctl key import office/backup --from "$scratch/key2.pem" --file-passphrase-file "$scratch/pass" >/dev/null
third ctl keyvault allow office --identity "$(third jctl .id identity create --vault "$vault2")" --template backup >/dev/null
expect_error FingerprintMismatch 12 third "$vaultctl" vault trust "$vault2" --fingerprint "$fingerprint"
grep -q 'genuine up to epoch 1; whoever held' "$scratch/err" || fail "$(cat "$scratch/err")"
expect_error FingerprintMismatch 12 third "$vaultctl" vault trust "$vault2" --fingerprint "$(jctl .root_fingerprint vault show "$vault2" 2>/dev/null)"
expect_error FingerprintMismatch 12 third "$vaultctl" restore "$vault2" vm --to "$scratch/no" --fingerprint "$wrong"
third ctl restore "$vault2" vm --to "$scratch/back4" --fingerprint "$fingerprint" >/dev/null 2>"$scratch/note"
grep -q 'genuine up to epoch 1; whoever held' "$scratch/note" || fail "nothing was said about it: $(cat "$scratch/note")"
expect_error VaultUnverified 12 third "$vaultctl" backup run "$vault2" vm --disk "d=$scratch/disk"
third ctl vault trust "$vault2" --fingerprint "$newest" >/dev/null

say "an older copy is accepted by name, with its newest fingerprint; nothing is written into it before it is changed"
mv "$vault2" "$scratch/newest-copy"
mv "$scratch/first-copy" "$vault2"
sums >"$scratch/sums"
expect_error RollbackDetected 11 third "$vaultctl" vault trust "$vault2" --fingerprint "$fingerprint"
expect_error FingerprintMismatch 12 third "$vaultctl" vault trust "$vault2" --fingerprint "$newest" --accept-older
third ctl vault trust "$vault2" --fingerprint "$fingerprint" --accept-older >/dev/null
sums | cmp - "$scratch/sums" || fail "trust wrote into the copy"
third ctl restore "$vault2" vm --to "$scratch/back5" >/dev/null
third ctl --json backup run "$vault2" vm --disk "d=$scratch/disk" 2>/dev/null >"$scratch/backup"
assert_eq "$(jq .fingerprint_changed "$scratch/backup")" true
third ctl verify "$vault2" >/dev/null
rm -r "$vault2"
mv "$scratch/newest-copy" "$vault2"

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
