# Ends that end: the vault's disk fails, turns read-only, fills or stands still under a write. Unmounting and
# SIGTERM end within 30 s, success means that everything is safe, and only the daemon's own mount is touched.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 fsfreeze python3
here=$(dirname "$0")
trap 'code=$?; thaw; finish $code' EXIT
gone() { ! kill -0 "$1" 2>/dev/null; }

# A new small disk with a vault, mounted, with a point, and with acknowledged writes that are in memory only.
begin() { # [MKFS OPTION…]
  small_disk 300M "$@"
  new_vault
  mount_vault settle=3600 write-buffer=16M
  mkdir "$mnt/vm"
  random_file "$scratch/kept" 10M
  cp "$scratch/kept" "$mnt/vm/kept"
  ctl backup commit "$vault" vm >/dev/null
  pid=$(daemon_pid)
}
late_writes() { dd if=/dev/urandom of="$mnt/vm/late" bs=1M count=6 status=none; }
write_on() { dd if=/dev/urandom of="$mnt/vm/stream" bs=1M count=2000 conv=fsync status=none 2>"$scratch/dd.err"; }
# The disk is whole again: nothing that was committed is lost.
look_again() {
  wait_until 20 umount "$scratch/disk"
  e2fsck -fp "$scratch/disk.img" >/dev/null 2>&1 || true
  mount -o loop,noatime "$scratch/disk.img" "$scratch/disk"
  ctl verify "$vault" >/dev/null
  ctl restore "$vault" vm@"$(jctl '.recovery_points[0].id' recovery-point list "$vault" vm)" --disk kept --to "$scratch/back" >/dev/null
  assert_same "$scratch/kept" "$scratch/back"
  rm "$scratch/back" "$scratch/kept"
  umount "$scratch/disk"
  rm "$scratch/disk.img"
  rmdir "$scratch/disk"
}
expect_unsafe_umount() { # PATTERN
  local began=$SECONDS code=0
  timeout "$(patience 40)" "$umounter" "$mnt" 2>"$scratch/err" || code=$?
  assert_eq "$code" 32 "umount's exit code ($(cat "$scratch/err"))"
  grep -Eq "$1" "$scratch/err" || fail "umount does not say what was not written: $(cat "$scratch/err")"
  [[ $((SECONDS - began)) -lt $(patience 35) ]] || fail "umount took $((SECONDS - began)) s"
  wait_until 10 gone "$pid"
}

say "the disk fails under a write: the writer gets EIO, umount tells, and all ends"
begin
late_writes
python3 "$here/disk_cut.py" "$scratch/disk"
if write_on; then fail "200 MB went to a disk that is gone"; fi
grep -q 'Input/output error' "$scratch/dd.err"
expect_unsafe_umount 'not everything is safe: (IoError|JobFailed): .'
look_again

say "the same, and the last writes were acknowledged before"
begin
late_writes
python3 "$here/disk_cut.py" "$scratch/disk"
expect_unsafe_umount 'not everything is safe: IoError: .'
look_again

say "who closes a file hears of what could not be kept since his last write"
begin
python3 - "$mnt/vm/closed" "$here/disk_cut.py" "$scratch/disk" <<'PYTHON'
import errno
import os
import subprocess
import sys
import time

fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
subprocess.run([sys.executable, sys.argv[2], sys.argv[3]], check=True)
os.write(fd, os.urandom(1 << 20))  # into memory; a whole chunk is stored at once
time.sleep(2)
try:
    os.close(fd)
except OSError as error:
    sys.exit(0 if error.errno == errno.EIO else f"close said {error}")
sys.exit("the file was closed without a word")
PYTHON
expect_unsafe_umount 'not everything is safe: (IoError|JobFailed): .'
look_again

say "the same by SIGTERM"
begin
late_writes
python3 "$here/disk_cut.py" "$scratch/disk"
kill -TERM "$pid"
wait_until 30 gone "$pid"
if mountpoint -q "$mnt"; then fail "still mounted"; fi
look_again

say "the disk fills under a write, and somebody else takes the reserve, too"
begin
late_writes
if write_on; then fail "2000 MB went into a disk of 300"; fi
grep -q 'No space left' "$scratch/dd.err"
cat /dev/zero >"$scratch/disk/foreign" 2>/dev/null || true
md5sum <"$mnt/vm/late" >"$scratch/sum"
code=0
timeout "$(patience 40)" "$umounter" "$mnt" 2>"$scratch/err" || code=$?
wait_until 10 gone "$pid"
rm "$scratch/disk/foreign"
if [[ $code == 0 ]]; then
  # There was just room enough for the end: then it is true.
  mount_vault ro
  assert_eq "$(md5sum <"$mnt/vm/late")" "$(cat "$scratch/sum")" "success was told, but it is not safe"
  unmount_vault
  assert_eq "$(point_count vm)" 2 "success was told, but there is no point"
else
  assert_eq "$code" 32
  grep -Eq 'not everything is safe: (NoSpace|JobFailed): .' "$scratch/err" || fail "umount said: $(cat "$scratch/err")"
fi
look_again

say "the disk turns read-only, as ext4 does after an error"
begin -e remount-ro
late_writes
python3 - "$scratch/disk" <<'PYTHON'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
# What the kernel does by itself: the superblock is read-only from now on, whoever has files open for writing (MS_REMOUNT | MS_RDONLY
# is refused then; sysrq's emergency remount is not for one disk). ext4 has a trigger for that.
device = os.stat(sys.argv[1]).st_dev
name = os.path.basename(os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"))
with open(f"/sys/fs/ext4/{name}/trigger_fs_error", "w") as trigger:
    trigger.write("test\n")
PYTHON
grep -q "$scratch/disk ext4 ro" /proc/mounts || say "(this kernel does not show it)"
if write_on; then fail "writes went on"; fi
expect_unsafe_umount 'not everything is safe: (ReadOnly|IoError|JobFailed): .'
look_again

say "the disk stands still: umount names what hangs, tells that nothing is safe, and the daemon goes on when it can"
begin
late_writes
freeze
code=0
began=$SECONDS
timeout "$(patience 90)" "$umounter" "$mnt" 2>"$scratch/err" || code=$?
assert_eq "$code" 32 "umount's exit code ($(cat "$scratch/err"))"
grep -Eq 'the disk does not answer, (writing|syncing|opening|making|renaming|truncating) .*/vault/' "$scratch/err" || fail "$(cat "$scratch/err")"
[[ $((SECONDS - began)) -lt $(patience 60) ]] || fail "that took $((SECONDS - began)) s"
thaw
wait_until 60 gone "$pid"
look_again

say "success means safe: a healthy disk, also by umount while data is in memory"
begin
late_writes
md5sum <"$mnt/vm/late" >"$scratch/sum"
unmount_vault
assert_eq "$(point_count vm)" 2
mount_vault ro
assert_eq "$(md5sum <"$mnt/vm/late")" "$(cat "$scratch/sum")"
unmount_vault
look_again

vault=$scratch/vault2
ctl vault create "$vault" --no-recovery >/dev/null 2>&1
say "SIGTERM leaves alone what was mounted over the vault's mount, and umount takes that one first"
mount_vault
pid=$(daemon_pid)
mount -t tmpfs foreign "$mnt"
echo theirs >"$mnt/file"
kill -TERM "$pid"
sleep 3
assert_eq "$(cat "$mnt/file")" theirs "the other file system was unmounted"
kill -0 "$pid" || fail "the daemon ended with its mount in place"
umount "$mnt"
wait_until 30 gone "$pid"
if mountpoint -q "$mnt"; then fail "still mounted"; fi

say "a mount that was moved is unmounted where it is"
mount --bind "$scratch" "$scratch" && mount --make-private "$scratch"
mount_vault
pid=$(daemon_pid)
mkdir "$scratch/moved"
mount --move "$mnt" "$scratch/moved"
mount -t tmpfs foreign "$mnt"
kill -TERM "$pid"
wait_until 30 gone "$pid"
assert_eq "$(findmnt -n -o FSTYPE "$mnt")" tmpfs
if mountpoint -q "$scratch/moved"; then fail "still mounted"; fi
umount "$mnt"
umount "$scratch"

say "a daemon that is killed while it unmounts: umount does not say that all is safe"
mount_vault commit=manual
pid=$(daemon_pid)
mkdir -p "$mnt/vm"
kill -STOP "$pid"
"$umounter" "$mnt" 2>"$scratch/err" &
waiting=$!
sleep 1
kill -KILL "$pid"
code=0
wait "$waiting" || code=$?
[[ $code != 0 ]] || fail "umount returned 0 though the daemon was killed"
mountpoint -q "$mnt" && umount -l "$mnt"
say "little memory: requests fail with ENOMEM, the daemon goes on"
mount_vault commit=manual
pid=$(daemon_pid)
mkdir -p "$mnt/vm"
if ! sanitized; then
  size=$(awk '/^VmSize/ {print $2}' "/proc/$pid/status")
  prlimit --pid "$pid" --as=$(((size + 3000) * 1024)):unlimited
  dd if=/dev/urandom of="$mnt/vm/big" bs=1M count=300 status=none 2>"$scratch/dd.err" || true
  for n in $(seq 400); do timeout 20 mkdir -p "$mnt/vm/d$n/e/f" 2>/dev/null || true; done
  head -c 8M "$mnt/vm/big" >/dev/null 2>&1 || true
  kill -0 "$pid" || fail "the daemon was aborted for want of memory"
  prlimit --pid "$pid" --as=unlimited:unlimited
  echo after >"$mnt/vm/after"
  sync "$mnt/vm/after"
  assert_eq "$(cat "$mnt/vm/after")" after
fi
unmount_vault || fail "umount: $?"
ctl verify "$vault" >/dev/null
