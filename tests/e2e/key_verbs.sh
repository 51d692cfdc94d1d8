# key new-epoch, key drill and the limits of encryption set, mounted and not; a revocation while mounted seals the vault
# within its grace, with the kernel's pages of a writeback mount, and it heals without a remount.
. "$(dirname "$0")/lib.sh"
need_fuse
new_key
v1=$(newest_version)
new_vault
random_file "$scratch/disk" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
epoch() { jctl .current_epoch encryption show "$vault"; }

say "new-epoch: new data goes under another key, old data stays readable"
before=$(epoch)
ctl key new-epoch "$vault" >"$scratch/out"
grep -q 'stays under the older epochs' "$scratch/out"
assert_eq "$(epoch)" $((before + 1))
head -c 1M /dev/urandom | dd of="$scratch/disk" bs=1M seek=1 conv=notrunc status=none
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/disk" "$scratch/back"
ctl verify "$vault" >/dev/null
ctl activity "$vault" | grep -q key.new-epoch

say "a drill opens the vault by each version alone"
ctl key rotate office/backup --bits 2048 >/dev/null
v2=$(newest_version)
assert_eq "$(jctl .version_changed encryption refresh "$vault")" true # though it was opened for the command
assert_eq "$(ctl --json encryption refresh "$vault" | jq .version_changed)" false
ctl --json key drill "$vault" >"$scratch/drill"
assert_eq "$(jq -c '[.slots[] | {role, version, opens}] | sort_by(.role)' "$scratch/drill")" \
  "[{\"role\":\"Active\",\"version\":\"$v2\",\"opens\":true},{\"role\":\"Retiring\",\"version\":\"$v1\",\"opens\":true}]"
ctl key disable "office/backup/$v1" --override backup >/dev/null
"$vaultctl" --json key drill "$vault" >"$scratch/drill" && fail "a drill with a disabled version ended well"
assert_eq "$(jq -r --arg v "$v1" '.slots[] | select(.version == $v) | .problem.name' "$scratch/drill")" KeyVersionDisabled
assert_eq "$(jq -r --arg v "$v2" '.slots[] | select(.version == $v) | .opens' "$scratch/drill")" true
ctl key enable "office/backup/$v1" >/dev/null
ctl key drill "$vault" >/dev/null

say "a drill tells of a vault that can't be opened, too: the Active version is disabled, then gone"
drilled() { # WANTED CODE
  local code=0
  "$vaultctl" --json key drill "$vault" >"$scratch/drill" 2>"$scratch/err" || code=$?
  assert_eq "$code" "$2" "$(cat "$scratch/err")"
  assert_eq "$(jq -r '[.slots[] | "\(.role) \(.opens) \(.problem.name // "-")"] | join(", ")' "$scratch/drill")" "$1"
}
ctl key disable "office/backup/$v2" --override backup >/dev/null
expect_error KeyRevoked 21 "$vaultctl" restore "$vault" vm --to "$scratch/no"
(cd "$vault" && find . -type f -exec sha256sum {} + | sort) >"$scratch/before"
drilled "Active false KeyVersionDisabled, Retiring true -" 21
mv "$VAULTFS_HOME/keyvaults/office/keys/backup.json" "$scratch/gone"
drilled "Active false KeyNotFound, Retiring false KeyNotFound" 3
mv "$scratch/gone" "$VAULTFS_HOME/keyvaults/office/keys/backup.json"
(cd "$vault" && find . -type f -exec sha256sum {} + | sort) | cmp - "$scratch/before" || fail "a drill changed the vault"
expect_error VaultUnverified 12 env VAULTFS_HOME="$scratch/elsewhere" "$vaultctl" key drill "$vault"
ctl key enable "office/backup/$v2" >/dev/null
drilled "Active true -, Retiring true -" 0

say "limits are checked and kept"
expect_error InvalidArgument 2 "$vaultctl" encryption set "$vault" --refresh-minutes 61
expect_error InvalidArgument 2 "$vaultctl" encryption set "$vault" --refresh-minutes 0
expect_error Usage 2 "$vaultctl" encryption set "$vault" --refresh-minutes 5 --key office/backup
expect_error Usage 2 "$vaultctl" encryption set "$vault"
ctl encryption set "$vault" --refresh-minutes 1 --revocation-grace 2 --outage-ttl 3600 >/dev/null
assert_eq "$(ctl --json encryption show "$vault" | jq -c '[.refresh_minutes, .revocation_grace_seconds, .outage_ttl_seconds]')" '[1,2,3600]'

say "revoked while mounted: sealed after the grace, nothing is shown or taken, and it heals by itself"
mount_vault commit=manual,cache=writeback
ctl key new-epoch "$vault" >/dev/null
random_file "$scratch/small" 300K
cp "$scratch/small" "$mnt/vm/small"
cp "$scratch/small" "$mnt/vm/other"
exec 5<"$mnt/vm/d"
python3 -c 'import os; assert len(os.pread(5, 65536, 0)) == 65536' # now the kernel has its pages
printf 'written before the revocation' >"$mnt/vm/late"
ctl key disable "office/backup/$v2" --override backup >/dev/null
ctl encryption refresh "$vault" >/dev/null 2>&1 && fail "a refresh with a disabled key ended well"
sealed() { [[ $(jctl .key_access encryption show "$vault" 2>/dev/null) == Sealed ]]; }
wait_until 20 sealed
nothing_is_shown() { ! python3 -c 'import os; os.pread(5, 65536, 0)' 2>/dev/null; } # not opened anew
wait_until 10 nothing_is_shown
if cat "$mnt/vm/small" >/dev/null 2>"$scratch/err"; then fail "a sealed vault was read"; fi
grep -q 'Key has been revoked' "$scratch/err" || fail "cat said: $(cat "$scratch/err")"
if sh -c "echo more >$mnt/vm/more" 2>/dev/null; then fail "a sealed vault was written to"; fi
ctl key enable "office/backup/$v2" >/dev/null
ctl encryption refresh "$vault" >/dev/null
readable() { cmp -s "$scratch/small" "$mnt/vm/small"; }
wait_until 20 readable
exec 5<&-
assert_same "$scratch/small" "$mnt/vm/other"
assert_eq "$(cat "$mnt/vm/late")" 'written before the revocation'
echo again >"$mnt/vm/again"
sync "$mnt/vm/again"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
ctl verify "$vault" >/dev/null

say "unmounted while it is sealed: umount tells that the last work has no point; it is there when access is back"
mount_vault settle=3600
printf 'no point has it' >"$mnt/vm/late"
ctl key disable "office/backup/$v2" --override backup >/dev/null
ctl encryption refresh "$vault" >/dev/null 2>&1 && fail "a refresh with a disabled key ended well"
wait_until 20 sealed
code=0
unmount_vault 2>"$scratch/err" || code=$?
assert_eq "$code" 32 "umount's exit code ($(cat "$scratch/err"))"
grep -q 'not everything is safe: KeyRevoked: .* 1 item (job [0-9]*)' "$scratch/err" || fail "it said: $(cat "$scratch/err")"
ctl key enable "office/backup/$v2" >/dev/null
mount_vault settle=3600
assert_eq "$(cat "$mnt/vm/late")" 'no point has it'
ctl backup commit "$vault" vm >/dev/null
unmount_vault
