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

# The guest: files of random size, fsynced, with their sums noted after the sync; old ones are removed. Beside them, now and
# then, a small file on the machine's own disk: how long that takes at worst is the machine's, not ours.
cat >"$scratch/guest.py" <<'GUEST'
import hashlib, os, random, sys, time
disk, notes, kept = sys.argv[1], sys.argv[2], int(sys.argv[3])
dice, longest, longest_beside, number = random.Random(7), 0.0, 0.0, 0
log = open(notes, "a", buffering=1)

def seconds_to_store(path, content):
    begin = time.monotonic()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.monotonic() - begin

while not os.path.exists(notes + ".stop"):
    number += 1
    content = dice.randbytes(dice.choice([100, 4096, 70000, 900000]))
    path = f"{disk}/file-{number}"
    longest = max(longest, seconds_to_store(path, content))
    if number % 10 == 0:
        longest_beside = max(longest_beside, seconds_to_store(notes + ".beside", content))
    log.write(f"{number} {hashlib.sha256(content).hexdigest()}\n")
    if number > kept:
        os.unlink(f"{disk}/file-{number - kept}")
with open(notes + ".longest", "w") as file:
    file.write(f"{longest * 1000:.0f} {longest_beside * 1000:.0f}")
GUEST
kept=600
python3 "$scratch/guest.py" "$scratch/disk" "$scratch/notes" "$kept" &
guest=$!
# The newest file that is noted as synced; 0: none yet.
synced_files() { tail -n 1 "$scratch/notes" | cut -d' ' -f1 | grep . || echo 0; }
goes_on() { [[ $(synced_files) -gt $1 ]]; } # FILE: the guest has synced a later one
wait_until 20 test -s "$scratch/notes"

check_point() { # POINT FIRST LAST: files up to LAST were synced before the cut, and from FIRST on not removed before it
  local point=$1 first=$2 last=$3
  ctl restore "$vault" "vm@$point" --to "$scratch/restored.img" >/dev/null
  e2fsck -fy "$scratch/restored.img" >"$scratch/fsck" 2>&1 || [[ $? == 1 ]] || fail "$(cat "$scratch/fsck")"
  e2fsck -fn "$scratch/restored.img" >/dev/null 2>&1 || fail "the point $point is not clean after its journal's replay"
  mount -o loop,ro "$scratch/restored.img" "$scratch/restored"
  local number sum checked=0
  while read -r number sum; do
    [[ $number -ge $first && $number -le $last ]] || continue
    [[ $(sha256sum <"$scratch/restored/file-$number") == "$sum "* ]] || fail "file-$number of the point $point is not what was synced"
    checked=$((checked + 1))
  done <"$scratch/notes"
  umount "$scratch/restored"
  rm "$scratch/restored.img"
  [[ $checked -gt 0 ]] || fail "none of the files $first to $last is in the notes"
  say "$point holds the $checked newest files that had been synced"
}

looked_at=0
for _ in $(seq "$points"); do
  wait_until 20 goes_on $(($(synced_files) + 5))
  synced=$(synced_files)
  ctl backup commit "$vault" vm >/dev/null
  # While that went on, the guest has removed what lies this far back.
  first=$(($(synced_files) + 2 - kept))
  if [[ $first -gt $synced ]]; then
    say "the machine was too busy for a look at this point: the guest has removed all that it could have"
    continue
  fi
  check_point "$(newest_point vm)" "$first" "$synced"
  looked_at=$((looked_at + 1))
done
[[ $looked_at -gt 0 ]] || fail "no point was looked at"

say "max-job makes a point by itself, marked as crash-consistent"
before=$(point_count vm)
wait_until 40 eval "[[ \$(point_count vm) -gt $before ]]"
assert_eq "$(jctl '.recovery_points[-1].consistency' recovery-point list "$vault" vm)" CrashConsistent

touch "$scratch/notes.stop"
wait "$guest"
read -r longest beside < <(cat "$scratch/notes.longest" && echo)
say "the longest write and fsync in the guest took $longest ms, on the machine's own disk meanwhile $beside ms"
[[ $longest -lt $((10000 + 10 * beside)) ]] || fail "the guest stood still"
umount "$scratch/disk"
e2fsck -fn "$image" >/dev/null
unmount_vault
ctl verify "$vault" >/dev/null
