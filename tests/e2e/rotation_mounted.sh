# The rotation rule while the vault is mounted: a job that began before the rotation does not count, the next one does.
. "$(dirname "$0")/lib.sh"
need_fuse
new_key
v1=$(newest_version)
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
random_file "$mnt/vm/disk" 2M
ctl backup commit "$vault" vm >/dev/null

say "a job begins, then the key is rotated, then the job ends: the old version stays Retiring"
exec 5>>"$mnt/vm/disk"
head -c 1M /dev/urandom >&5
ctl key rotate office/backup --bits 2048 >/dev/null
v2=$(newest_version)
ctl encryption refresh "$vault" >/dev/null
assert_eq "$(version_role "$v1") $(version_role "$v2")" "Retiring Active"
head -c 1M /dev/urandom >&5
exec 5>&-
assert_eq "$(ctl --json backup commit "$vault" vm | jq '.retired_versions | length')" 0
assert_eq "$(version_role "$v1")" Retiring
expect_error KeyVersionInUse 8 "$vaultctl" key disable "office/backup/$v1"

say "a job begun afterwards retires it; the mount goes on through all of it"
head -c 1M /dev/urandom >>"$mnt/vm/disk"
ctl --json backup commit "$vault" vm >"$scratch/commit" 2>"$scratch/err"
assert_eq "$(jq -r '.retired_versions[0]' "$scratch/commit")" "$v1"
assert_eq "$(version_role "$v1")" Retired
fingerprint=$(jctl .fingerprint vault show "$vault")
assert_eq "$(jq -r '"\(.fingerprint_changed) \(.fingerprint)"' "$scratch/commit")" "true $fingerprint"
grep -q "$fingerprint" "$scratch/err" || fail "the new fingerprint is not said: $(cat "$scratch/err")"
wait_until 10 grep -q "$fingerprint" "$log"
ctl key disable "office/backup/$v1" >/dev/null
sha256sum "$mnt/vm/disk" >"$scratch/sum"
sha256sum --quiet -c "$scratch/sum"
for point in "$mnt"/.recovery-points/vm/*; do cat "$point/disk" >/dev/null; done

say "after a remount too, with only the new version enabled"
unmount_vault
mount_vault commit=manual
sha256sum --quiet -c "$scratch/sum"

say "rotation under load: writes and fsyncs never fail, nothing is lost"
dd if=/dev/urandom of="$scratch/load" bs=1M count=40 status=none
(dd if="$scratch/load" of="$mnt/vm/load" bs=256k oflag=sync status=none) &
writer=$!
for _ in 1 2 3; do
  ctl key rotate office/backup --bits 2048 >/dev/null
  ctl encryption refresh "$vault" >/dev/null
done
wait "$writer" || fail "a writer failed during rotations"
assert_same "$scratch/load" "$mnt/vm/load"
ctl backup commit "$vault" vm >/dev/null
echo more >>"$mnt/vm/disk"
ctl backup commit "$vault" vm >/dev/null
assert_eq "$(ctl --json encryption show "$vault" | jq '[.versions[] | select(.role == "Retiring")] | length')" 0

say "what the owner wrote under an epoch that it has closed since is no damage"
ctl verify "$vault" >/dev/null

say "mounting takes up a version that was made while unmounted"
unmount_vault
ctl key rotate office/backup --bits 2048 >/dev/null
newest=$(newest_version)
mount_vault commit=manual
takes_effect() { [[ $(version_role "$newest") == Active ]]; }
wait_until 20 takes_effect
assert_same "$scratch/load" "$mnt/vm/load"
unmount_vault
