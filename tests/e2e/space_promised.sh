# What fallocate has set aside is there when it is needed: `df` shows it as taken at once, other files get ENOSPC first, and
# then the range can still be written to its last byte, in large writes and in small synced ones.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4
small_disk 600M -O ^has_journal
new_vault
mount_vault commit=manual write-buffer=16M
mkdir "$mnt/vm"

free_bytes() { echo $(($(stat -f -c '%a * %S' "$mnt"))); }
fill() { # writes small and large pieces until both are refused
  local bs
  for bs in 1M 4k; do
    if dd if=/dev/urandom of="$mnt/vm/filler-$bs" bs=$bs count=800M iflag=count_bytes conv=fsync status=none 2>"$scratch/err"; then
      fail "800 MiB went into a disk of 600"
    fi
    grep -q "No space left" "$scratch/err" || fail "dd said: $(cat "$scratch/err")"
  done
}
make_room() {
  rm -f "$mnt"/vm/filler-*
  wait_until 60 eval '[[ $(free_bytes) -gt $((250 << 20)) ]]'
}

say "as much as df shows can be set aside, and no more"
fallocate -l "$(free_bytes)" "$mnt/vm/all"
expect_errno ENOSPC fallocate -l 4M "$mnt/vm/more"
rm "$mnt/vm/all" "$mnt/vm/more"

say "df shows what is set aside, and gives it back"
before=$(free_bytes)
fallocate -l 150M "$mnt/vm/promised"
after=$(free_bytes)
[[ $((before - after)) -ge $((150 << 20)) ]] || fail "150 MiB were set aside, but statfs shows $before, then $after"
[[ $((before - after)) -lt $((170 << 20)) ]] || fail "far more than 150 MiB is shown as taken: $before, then $after"
fallocate -p -o 0 -l 150M "$mnt/vm/promised"
[[ $(free_bytes) -gt $((after + (140 << 20))) ]] || fail "punched, but still taken: $(free_bytes)"
fallocate -l 150M "$mnt/vm/promised"
expect_errno ENOSPC fallocate -l 500M "$mnt/vm/too-much"

say "others fill the disk; the range can still be written, by 1 MiB"
fill
[[ $(free_bytes) -lt $((8 << 20)) ]] || fail "the disk is full, but statfs shows $(free_bytes)"
random_file "$scratch/content" 150M
dd if="$scratch/content" of="$mnt/vm/promised" bs=1M conv=notrunc,fsync status=none
assert_same "$scratch/content" "$mnt/vm/promised"

say "likewise by small pieces, each synced"
make_room
: >"$mnt/vm/small"
fallocate -n -l 24M "$mnt/vm/small"
fill
head -c 24M "$scratch/content" >"$scratch/small"
dd if="$scratch/small" of="$mnt/vm/small" bs=16K oflag=append,dsync conv=notrunc status=none
assert_same "$scratch/small" "$mnt/vm/small"

say "and it is there after a remount"
make_room
unmount_vault
mount_vault commit=manual
assert_same "$scratch/content" "$mnt/vm/promised"
assert_same "$scratch/small" "$mnt/vm/small"
unmount_vault
ctl verify "$vault" >/dev/null
