# The vault's disk runs full, again and again, at any moment: writers hear of it, what was fsynced stays, recovery points
# stay, removing files makes room, and the vault goes on without a remount.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4
rounds=2
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && rounds=20
small_disk 400M -O ^has_journal
new_vault
mount_vault commit=manual write-buffer=16M
mkdir "$mnt/vm"

# Writes 8 MiB after 8 MiB to the end of a file until it hears of the full disk. One write alone would prove nothing: what is
# removed in the background gives room at any moment. The disk does not take 50 of them, whatever is given back.
refused_in_the_end() {
  local part
  for part in $(seq 50); do
    dd if=/dev/urandom of="$1" bs=1M count=8 oflag=append conv=notrunc,fsync status=none 2>"$scratch/err" && continue
    grep -q "No space left" "$scratch/err" || fail "dd said in part $part: $(cat "$scratch/err")"
    return 0
  done
  fail "400 MiB went into a disk of 400"
}
enough_room() { [[ $(($(stat -f -c '%a * %S' "$scratch/disk"))) -gt $((200 << 20)) ]]; }

say "a point from before"
random_file "$scratch/kept" 60M
cp "$scratch/kept" "$mnt/vm/kept"
ctl backup commit "$vault" vm >/dev/null
first=$(newest_point vm)

for round in $(seq "$rounds"); do
  say "round $round: dd until the disk is full"
  random_file "$scratch/small" 300K
  cp "$scratch/small" "$mnt/vm/small"
  sync "$mnt/vm/small"
  if dd if=/dev/urandom of="$mnt/vm/filler" bs=1M count=1000 conv=fsync status=none 2>"$scratch/err"; then
    fail "1000 MiB went into a disk of 400"
  fi
  grep -q "No space left" "$scratch/err" || fail "dd said: $(cat "$scratch/err")"
  written=$(stat -c %s "$mnt/vm/filler")
  [[ $written -gt $((100 << 20)) ]] || fail "only $written bytes went into a disk of 400 MiB"
  assert_same "$scratch/small" "$mnt/vm/small"
  assert_same "$scratch/kept" "$mnt/vm/kept"
  say "small writes are refused too, nothing hangs"
  refused_in_the_end "$mnt/vm/more"

  say "full: listing, reading the point, unlink and a commit work"
  assert_same "$scratch/kept" "$mnt/.recovery-points/vm/$first/kept"
  rm -f "$mnt/vm/filler" "$mnt/vm/more"
  ctl backup commit "$vault" vm >"$scratch/committed" 2>&1 || fail "a commit on a full disk: $(cat "$scratch/committed")"
  ctl encryption refresh "$vault" >/dev/null
  assert_same "$scratch/small" "$mnt/.recovery-points/vm/$(newest_point vm)/small"

  say "somebody else fills the disk to the last byte: writes fail, and go on when there is room again"
  cat /dev/zero >"$scratch/disk/foreign" 2>/dev/null || true
  refused_in_the_end "$mnt/vm/late"
  rm "$scratch/disk/foreign"
  rm -f "$mnt/vm/late"
  say "what the removed files held is given back"
  wait_until 60 enough_room
  random_file "$scratch/after" 3M
  cp "$scratch/after" "$mnt/vm/after"
  sync "$mnt/vm/after"
  assert_same "$scratch/after" "$mnt/vm/after"
  assert_same "$scratch/kept" "$mnt/vm/kept"
done
unmount_vault
ctl verify "$vault" >/dev/null

say "a disk that has become read-only: reading works, mounting read-write says why not"
mount -o remount,ro "$scratch/disk"
expect_error ReadOnly "" "$vaultfs" "$vault" "$mnt"
mount_vault ro
assert_same "$scratch/kept" "$mnt/vm/kept"
unmount_vault
mount -o remount,rw "$scratch/disk"
