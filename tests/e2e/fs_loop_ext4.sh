# An ext4 file system made on an image in the mount, mounted by a loop device, used, checked; and its recovery point.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 e2fsck
new_vault
mount_vault commit=manual
mkdir "$mnt/vm" "$scratch/disk"
image=$mnt/vm/disk.img

say "mkfs on the image, loop mount, write, umount, fsck"
truncate -s 256M "$image"
mkfs.ext4 -q -F "$image"
e2fsck -fn "$image" >/dev/null 2>&1
mount -o loop "$image" "$scratch/disk"
cp -a /etc "$scratch/disk/etc" 2>/dev/null || true
random_file "$scratch/disk/big" 40M
(cd "$scratch/disk" && find etc big -type f -print0 | xargs -0 sha256sum) >"$scratch/sums"
sync -f "$scratch/disk"
say "a commit while it is mounted is crash-consistent: the journal of ext4 replays to a clean state"
ctl backup commit "$vault" vm >/dev/null
umount "$scratch/disk"
e2fsck -fn "$image" >/dev/null
ctl restore "$vault" vm --to "$scratch/crash.img" >/dev/null
e2fsck -fy "$scratch/crash.img" >"$scratch/fsck" 2>&1 || [[ $? == 1 ]] || fail "$(cat "$scratch/fsck")"
mount -o loop,ro "$scratch/crash.img" "$scratch/disk"
(cd "$scratch/disk" && sha256sum --quiet -c "$scratch/sums")
umount "$scratch/disk"

say "unmounted: file-consistent, after a remount of the vault too"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual
e2fsck -fn "$image" >/dev/null
mount -o loop "$image" "$scratch/disk"
(cd "$scratch/disk" && sha256sum --quiet -c "$scratch/sums")
rm "$scratch/disk/big"
umount "$scratch/disk"

say "a recovery point can be loop-mounted read-only where it stands"
point=$mnt/.recovery-points/vm/$(newest_point vm)/disk.img
loop=$(losetup --read-only --find --show "$point")
mount -o ro,noload "$loop" "$scratch/disk"
(cd "$scratch/disk" && sha256sum --quiet -c "$scratch/sums")
umount "$scratch/disk"
losetup -d "$loop"

say "a loop device with direct I/O"
if loop=$(losetup --direct-io=on --find --show "$image" 2>"$scratch/err"); then
  mount "$loop" "$scratch/disk"
  echo direct >"$scratch/disk/direct"
  umount "$scratch/disk"
  losetup -d "$loop"
  e2fsck -fn "$image" >/dev/null
else
  fail "losetup --direct-io=on: $(cat "$scratch/err")"
fi
wait_until 30 unmount_vault
