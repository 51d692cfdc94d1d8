# Power loss under write load: the vault's disk is cut off by its file system's shutdown ioctl, so that what was not synced
# is gone. After mounting it again, all that was fsynced is there, points are complete or absent, verify finds no damage.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4
rounds=4
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && rounds=60
here=$(dirname "$0")
mkdir "$scratch/disk"
truncate -s 3G "$scratch/disk.img"
mkfs.ext4 -q -F "$scratch/disk.img"
mount -o loop "$scratch/disk.img" "$scratch/disk"
vault=$scratch/disk/vault
new_vault
new_points=0

for round in $(seq "$rounds"); do
  mount_vault commit=manual write-buffer=16M
  mkdir -p "$mnt/vm"
  rm -f "$mnt/vm"/disk-*
  file=$mnt/vm/disk-$round
  : >"$scratch/notes-$round"
  python3 "$here/crash_writer.py" write "$file" "$scratch/notes-$round" "$round" 2>/dev/null &
  writer=$!
  # Without a sync there is nothing to check; a slow machine needs its time to get there.
  wait_until 60 grep -q synced "$scratch/notes-$round"
  sleep "0.$((RANDOM % 10))"
  committed=
  committing=
  if [[ $((round % 2)) == 0 ]]; then
    # The commit is cut in the middle, or just after it said that it is done.
    (ctl backup commit "$vault" vm >"$scratch/committed" 2>&1 && : >"$scratch/committed-$round" || true) &
    committing=$!
    sleep "0.$((RANDOM % 10))"
  fi
  # What counts is what had been told by now. A sync under way at the cut may end well though nothing is safe: ext4 itself does
  # that here, without any file system of ours (one cut in six under load), because the cut is not one moment to it.
  synced=$(awk '/^synced/ {n = $2} END {print n + 0}' "$scratch/notes-$round")
  [[ ! -e $scratch/committed-$round ]] || committed=yes
  python3 "$here/disk_cut.py" "$scratch/disk"
  [[ -z $committing ]] || wait "$committing"
  wait "$writer" || true
  kill_daemon
  umount -l "$mnt"
  wait_until 20 umount "$scratch/disk"
  mount -o loop "$scratch/disk.img" "$scratch/disk"
  mount_vault commit=manual write-buffer=16M
  # Not inside of say's argument, where its failure would be nobody's.
  checked=$(python3 "$here/crash_writer.py" check "$file" "$scratch/notes-$round" "$synced")
  say "round $round: $checked"
  points=$(point_count vm 2>/dev/null || echo 0)
  if [[ $committed == yes ]]; then
    [[ $points -gt $new_points ]] || fail "backup commit said that it was done, but the point is not there"
  fi
  new_points=$points
  for point in "$mnt"/.recovery-points/vm/*/; do
    [[ -d $point ]] || continue
    cat "$point"/* >/dev/null || fail "the point $point can't be read"
  done
  unmount_vault
  ctl verify "$vault" >"$scratch/verified" || fail "verify found damage after a power loss: $(cat "$scratch/verified")"
done

say "a disk that fails under a mount: writers get EIO, nothing hangs, unmounting works"
mount_vault commit=manual write-buffer=16M
python3 "$here/disk_cut.py" "$scratch/disk"
expect_errno EIO dd if=/dev/urandom of="$mnt/vm/late" bs=1M count=40 conv=fsync
timeout 60 "$umounter" "$mnt" 2>"$scratch/err" || true
no_daemons() { [[ -z $(daemons) ]]; }
wait_until 30 no_daemons
wait_until 20 umount "$scratch/disk"
mount -o loop "$scratch/disk.img" "$scratch/disk"
ctl verify "$vault" >/dev/null
