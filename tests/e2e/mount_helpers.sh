# mount -t fuse.vaultfs, /etc/fstab and umount with the installed helpers, in a mount namespace of their own so that this
# machine's /sbin and /etc stay as they are.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need cmake unshare
unshare -m true 2>/dev/null || skip "no private mount namespaces here"
new_vault
build=$(cd "$VAULTFS_BIN/.." && pwd)
[[ -f $build/CMakeCache.txt ]] || skip "VAULTFS_BIN is no build directory"
random_file "$scratch/disk" 2M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null

DESTDIR=$scratch/stage cmake --install "$build" >"$scratch/install.log" || fail "$(cat "$scratch/install.log")"
prefix=$(sed -n 's/^CMAKE_INSTALL_PREFIX:PATH=//p' "$build/CMakeCache.txt")
[[ -d $prefix/bin ]] || skip "$prefix/bin is not there to be covered"
cp -a "$(readlink -f /sbin)" "$scratch/sbin"
cp "$scratch/stage/sbin/"*mount.fuse.vaultfs "$scratch/sbin/"

cat >"$scratch/inside" <<'INSIDE'
set -euo pipefail
trap 'umount -l "$mnt" 2>/dev/null || true' EXIT
free() { flock -n "$vault/vault.lock" true || { echo "umount returned before the daemon was done" >&2; exit 1; }; }
mount -t tmpfs none /run/mount # the table of user-space mount options, too
mount --bind "$scratch/sbin" "$(readlink -f /sbin)"
mount --bind "$scratch/stage$prefix/bin" "$prefix/bin"
echo "== mount -t fuse.vaultfs"
mount -t fuse.vaultfs "$vault" "$mnt" -o "settle=1,log=$log"
cmp "$scratch/disk" "$mnt/vm/d"
echo kept >"$mnt/vm/note"
umount "$mnt"
free
echo "== a line of /etc/fstab, with options that systemd and mount add"
echo "$vault $mnt fuse.vaultfs noauto,nofail,x-systemd.requires-mounts-for=/var,commit=manual,allow_other,log=$log 0 0" >"$scratch/fstab"
mount --bind "$scratch/fstab" /etc/fstab
mount "$mnt"
[[ $(cat "$mnt/vm/note") == kept ]]
findmnt -n -o FSTYPE,OPTIONS "$mnt" | grep -q 'fuse.vaultfs.*allow_other'
findmnt -n -o OPTIONS "$mnt" | grep -Eq 'nosuid|nodev' && { echo "nodev or nosuid, which nobody asked for" >&2; exit 1; }
echo "== remounting changes what the kernel keeps, and nothing else"
mount -o remount,nodev,ro "$mnt"
findmnt -n -o OPTIONS "$mnt" | grep -q 'ro,.*nodev'
if touch "$mnt/vm/x" 2>/dev/null; then echo "a read-only mount was written to" >&2; exit 1; fi
if mount -o remount,rw "$mnt" 2>"$scratch/refused"; then exit 1; fi
grep -q 'read-only: unmount it' "$scratch/refused"
if mount -o remount,ro,settle=5 "$mnt" 2>"$scratch/refused"; then exit 1; fi
grep -q 'settle=5 can.t be changed' "$scratch/refused"
umount "$mnt"
free
echo "== nosuid and nodev where they are asked for, and the usual words of fstab"
echo "$vault $mnt fuse.vaultfs noauto,nosuid,nodev,lazytime,nodiratime,sync,X-mount.mkdir,log=$log 0 0" >"$scratch/fstab"
mount "$mnt"
findmnt -n -o OPTIONS "$mnt" | grep -q 'nosuid,nodev'
umount "$mnt"
free
echo "== read-only"
mount -r -t fuse.vaultfs "$vault" "$mnt" -o "log=$log"
if touch "$mnt/vm/x" 2>/dev/null; then echo "a read-only mount was written to" >&2; exit 1; fi
umount "$mnt"
echo "== a refused mount: mount(8) passes the reason and fails"
if mount -t fuse.vaultfs "$scratch/nothing" "$mnt" 2>"$scratch/refused"; then exit 1; fi
grep -q 'VaultNotFound' "$scratch/refused"
INSIDE
export scratch vault mnt prefix log
unshare -m --propagation private bash "$scratch/inside" || fail "see above"
