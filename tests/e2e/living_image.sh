# An image that never closes: an ext4 mounted by a loop device from the mount, written all the time, backed up by
# `backup commit` and by max-job. Each point mounts after its journal's replay, passes e2fsck, and holds what had been
# synced in it before; writers do not stand still meanwhile.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 e2fsck
points=3
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && points=12
new_vault
mount_vault settle=2s max-job=6s write-buffer=32M
mkdir "$mnt/vm" "$scratch/disk" "$scratch/restored"
image=$mnt/vm/disk.img
truncate -s 600M "$image"
mkfs.ext4 -q -F "$image"
mount -o loop "$image" "$scratch/disk"

# The guest: files of random size, fsynced, with their sums noted after the sync; some are removed and overwritten.
cat >"$scratch/guest.py" <<'GUEST'
import hashlib, os, random, sys, time
disk, notes = sys.argv[1:]
dice, longest, number = random.Random(7), 0.0, 0
log = open(notes, "a", buffering=1)
while not os.path.exists(notes + ".stop"):
    number += 1
    content = dice.randbytes(dice.choice([100, 4096, 70000, 900000]))
    path = f"{disk}/file-{number}"
    begin = time.monotonic()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    longest = max(longest, time.monotonic() - begin)
    log.write(f"{number} {hashlib.sha256(content).hexdigest()}\n")
    if number > 200:
        os.unlink(f"{disk}/file-{number - 200}")
with open(notes + ".longest", "w") as file:
    file.write(f"{longest * 1000:.0f}")
GUEST
python3 "$scratch/guest.py" "$scratch/disk" "$scratch/notes" &
guest=$!

check_point() { # POINT NUMBER: files up to NUMBER were synced before the cut
  local point=$1 synced=$2 loop
  ctl restore "$vault" "vm@$point" --to "$scratch/restored.img" >/dev/null
  e2fsck -fy "$scratch/restored.img" >"$scratch/fsck" 2>&1 || [[ $? == 1 ]] || fail "$(cat "$scratch/fsck")"
  e2fsck -fn "$scratch/restored.img" >/dev/null 2>&1 || fail "the point $point is not clean after its journal's replay"
  mount -o loop,ro "$scratch/restored.img" "$scratch/restored"
  local number sum checked=0
  while read -r number sum; do
    [[ $number -le $synced && $number -gt $((synced - 150)) ]] || continue
    [[ $(sha256sum <"$scratch/restored/file-$number") == "$sum "* ]] || fail "file-$number of the point $point is not what was synced"
    checked=$((checked + 1))
  done <"$scratch/notes"
  umount "$scratch/restored"
  rm "$scratch/restored.img"
  [[ $checked -gt 0 ]] || fail "no file had been synced before the point"
  say "$point holds the $checked newest files that had been synced"
}

for _ in $(seq "$points"); do
  sleep 1.5
  synced=$(tail -n 1 "$scratch/notes" | cut -d' ' -f1)
  ctl backup commit "$vault" vm >/dev/null
  check_point "$(newest_point vm)" "$synced"
done

say "max-job makes a point by itself, marked as crash-consistent"
before=$(point_count vm)
wait_until 40 eval "[[ \$(point_count vm) -gt $before ]]"
assert_eq "$(jctl '.recovery_points[-1].consistency' recovery-point list "$vault" vm)" CrashConsistent

touch "$scratch/notes.stop"
wait "$guest"
say "the longest write and fsync in the guest took $(cat "$scratch/notes.longest") ms"
[[ $(cat "$scratch/notes.longest") -lt 10000 ]] || fail "the guest stood still"
umount "$scratch/disk"
e2fsck -fn "$image" >/dev/null
unmount_vault
ctl verify "$vault" >/dev/null
