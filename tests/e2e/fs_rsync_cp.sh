# rsync (default, --inplace, --sparse) and cp (--sparse=always, -a) into the mount and back.
. "$(dirname "$0")/lib.sh"
need_fuse
need rsync
new_vault
mount_vault commit=manual
src=$scratch/src
mkdir -p "$src/sub/deeper" "$mnt/vm"
random_file "$src/disk.img" 12M
truncate -s 40M "$src/holey.img"
dd if="$src/disk.img" of="$src/holey.img" bs=1M seek=17 count=2 conv=notrunc status=none
for n in $(seq 1 60); do head -c $((n * 137)) /dev/urandom >"$src/sub/file-$n"; done
ln -s ../disk.img "$src/sub/link"
ln "$src/sub/file-1" "$src/sub/deeper/hard"
: >"$src/sub/empty"
touch -d '2001-02-03 04:05:06.789' "$src/sub/file-2"
chmod 0640 "$src/sub/file-3"

same_tree() { # compares contents, modes, times, links
  local difference
  difference=$(rsync -aHn --delete --itemize-changes --checksum "$src/" "$1/")
  [[ -z $difference ]] || fail "the trees differ: $difference"
}

say "rsync -aH"
rsync -aH "$src/" "$mnt/vm/"
same_tree "$mnt/vm"
say "rsync --inplace after a change in the middle (-I: the change may fall into the same second)"
dd if=/dev/urandom of="$src/disk.img" bs=4k seek=1111 count=3 conv=notrunc status=none
rsync -aHI --inplace --no-whole-file "$src/" "$mnt/vm/"
same_tree "$mnt/vm"
say "rsync (with its temporary file and rename) after a change"
dd if=/dev/urandom of="$src/disk.img" bs=4k seek=2000 count=3 conv=notrunc status=none
rsync -aHI --no-whole-file "$src/" "$mnt/vm/"
same_tree "$mnt/vm"
say "rsync --sparse"
mkdir "$mnt/sparse"
rsync -aH --sparse "$src/" "$mnt/sparse/"
same_tree "$mnt/sparse"
[[ $(allocated "$mnt/sparse/holey.img") -lt 4000000 ]] || fail "rsync --sparse left no holes"
say "rsync --delete"
rm "$src/sub/file-9"
rsync -aH --delete "$src/" "$mnt/vm/"
[[ ! -e $mnt/vm/sub/file-9 ]] || fail "a deleted file is still there"

say "cp --sparse=always, cp -a"
mkdir "$mnt/copies"
cp --sparse=always "$src/holey.img" "$mnt/copies/holey.img"
assert_same "$src/holey.img" "$mnt/copies/holey.img"
[[ $(allocated "$mnt/copies/holey.img") -lt 4000000 ]] || fail "cp --sparse=always left no holes"
cp -a "$src" "$mnt/copies/tree"
same_tree "$mnt/copies/tree"
cp --reflink=auto "$mnt/copies/holey.img" "$mnt/copies/again.img"
assert_same "$src/holey.img" "$mnt/copies/again.img"

say "the same content in three items is stored once"
for item in vm sparse copies; do ctl backup commit "$vault" "$item" >/dev/null; done
stored=$(jctl .stored_bytes vault show "$vault")
[[ $stored -lt 32000000 ]] || fail "three copies of 15 MB take $stored bytes"

(cd "$mnt/vm" && find . -type f -print0 | xargs -0 sha256sum) >"$scratch/sums"
say "out again, from the working tree and from the recovery point after a remount"
unmount_vault
mount_vault commit=manual
same_tree "$mnt/vm"
(cd "$mnt/.recovery-points/vm/$(newest_point vm)" && sha256sum --quiet -c "$scratch/sums")
mkdir "$scratch/back"
rsync -aH --sparse "$mnt/vm/" "$scratch/back/"
same_tree "$scratch/back"
unmount_vault
