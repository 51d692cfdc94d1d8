# .recovery-points: reachable by name, hidden from the listing, read-only, unmoved by later writes.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
mount_vault commit=manual
mkdir "$mnt/vm" "$mnt/mail"
points=$mnt/.recovery-points

say "before the first point"
if ls -a "$mnt" | grep -q recovery; then fail "the folder is listed"; fi
[[ -d $points ]] || fail "the folder is not reachable by its name"

say "two points of one item keep what it held then"
echo first >"$mnt/vm/notes"
random_file "$mnt/vm/disk.img" 5M
cp "$mnt/vm/disk.img" "$scratch/day1"
ctl backup commit "$vault" vm >/dev/null
one=$(newest_point vm)
echo second >"$mnt/vm/notes"
dd if=/dev/urandom of="$mnt/vm/disk.img" bs=4k seek=77 count=9 conv=notrunc status=none
mkdir "$mnt/vm/folder"
rm -f "$mnt/vm/gone"
ctl backup commit "$vault" vm >/dev/null
two=$(newest_point vm)
[[ $one < $two ]] || fail "ids do not sort by age: $one, $two"
assert_match "$one" '^[0-9]+'
assert_eq "$(ls "$points")" vm "items with points"
assert_eq "$(ls "$points/vm" | tr '\n' ' ')" "$one $two "
assert_eq "$(cat "$points/vm/$one/notes")" first
assert_eq "$(cat "$points/vm/$two/notes")" second
assert_same "$scratch/day1" "$points/vm/$one/disk.img"
assert_same "$mnt/vm/disk.img" "$points/vm/$two/disk.img"
[[ ! -e $points/vm/$one/folder && -d $points/vm/$two/folder ]] || fail "a point shows another point's names"

say "a point that is open stays readable while the item goes on"
exec 5<"$points/vm/$one/disk.img"
head -c 5M /dev/urandom >"$mnt/vm/disk.img"
ctl backup commit "$vault" vm >/dev/null
cmp "$scratch/day1" /dev/fd/5
exec 5<&-

say "read-only, for root too"
for attempt in "touch $points/new" "mkdir $points/vm/new" "touch $points/vm/$one/new" "rm $points/vm/$one/notes" \
  "rmdir $points/vm/$one" "chmod 777 $points/vm/$one/notes" "mv $points/vm/$one/notes $points/vm/$one/x" \
  "truncate -s 0 $points/vm/$one/notes" "ln $points/vm/$one/notes $points/vm/$one/y" "touch $points/vm/$one/notes"; do
  # shellcheck disable=SC2086 # the words are ours
  if $attempt 2>"$scratch/err"; then fail "$attempt succeeded"; fi
  grep -Eq 'Read-only|not permitted|denied' "$scratch/err" || fail "$attempt: $(cat "$scratch/err")"
done
if (echo x >"$points/vm/$one/notes") 2>/dev/null; then fail "a point's file was opened for writing"; fi
assert_eq "$(cat "$points/vm/$one/notes")" first
expect_errno EEXIST mkdir "$points"

say "copied back by reference: no time, no space, equal bytes"
random_file "$scratch/image" 41234567
cp "$scratch/image" "$mnt/vm/image"
ctl backup commit "$vault" vm >/dev/null
source=$points/vm/$(newest_point vm)/image
before=$(allocated "$vault")
copy_range "$source" "$mnt/mail/image"
assert_same "$scratch/image" "$mnt/mail/image"
rm "$mnt/vm/image"
cp --reflink=auto "$source" "$mnt/vm/image"
assert_same "$scratch/image" "$mnt/vm/image"
for item in vm mail; do ctl backup commit "$vault" "$item" >/dev/null; done
grown=$(($(allocated "$vault") - before))
[[ $grown -lt 2000000 ]] || fail "two copies of what a point has made the vault grow by $grown bytes"
assert_same "$scratch/image" "$points/mail/$(newest_point mail)/image"
say "written to, a copy leaves the point as it was; from it into it is refused"
dd if=/dev/urandom of="$mnt/vm/image" bs=4k seek=3000 count=2 conv=notrunc,fsync status=none
assert_same "$scratch/image" "$source"
expect_errno EROFS cp --reflink=auto "$mnt/vm/image" "$points/vm/$one/new"
expect_errno EOPNOTSUPP cp --reflink=always "$source" "$mnt/vm/cloned"

say "names that are not there"
expect_errno ENOENT ls "$points/nobody"
expect_errno ENOENT ls "$points/vm/0000000099"

say "thousands of points are listed at once: no manifest is read for a name"
unmount_vault
mount_vault commit=manual
mkdir "$scratch/manifests"
mv "$vault"/points/* "$scratch/manifests/"
assert_eq "$(\ls "$points/vm" | head -n 2 | tr '\n' ' ')" "$one $two "
mv "$scratch"/manifests/* "$vault/points/"
assert_eq "$(cat "$points/vm/$one/notes")" first
unmount_vault

say "a read-only mount sees the points"
mount_vault ro
assert_eq "$(cat "$points/vm/$one/notes")" first
expect_errno EROFS touch "$mnt/vm/x"
unmount_vault
