# Damage is remembered and heals: bytes flipped in a segment, a segment cut, a segment gone, with and without the index; found by
# verify, by a restore, by an opening, through a mount; the next backup that has the content heals all points, and verify is clean.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
# 12 MiB: the disk has a map page, too.
random_file "$scratch/disk" 12M
random_file "$scratch/other" 3M
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
ctl backup run "$vault" other --disk "d=$scratch/other" >/dev/null
cp "$scratch/disk" "$scratch/second"
python3 - "$scratch/second" <<'PY'
import os, sys
with open(sys.argv[1], "r+b") as f:
    f.seek(11 << 20); f.write(os.urandom(4096))
PY
ctl backup run "$vault" vm --disk "d=$scratch/second" >/dev/null
first=$(jctl '.recovery_points[0].id' recovery-point list "$vault" vm)
cp -a "$vault" "$scratch/sound"
cp -a "$VAULTFS_HOME" "$scratch/sound-home"
begin_anew() {
  rm -rf "$vault" "$VAULTFS_HOME"
  cp -a "$scratch/sound" "$vault"
  cp -a "$scratch/sound-home" "$VAULTFS_HOME"
}
segment=$(find "$vault/segments" -name '*.seg' -size +8M | sort | head -n 1)
[[ -n $segment ]] || fail "no segment of 8 MiB"

flip() { # OFFSET…: a few bytes at each, in the large segment
  python3 - "$segment" "$@" <<'PY'
import sys
with open(sys.argv[1], "r+b") as f:
    for at in map(int, sys.argv[2:]):
        f.seek(at); old = f.read(8)
        f.seek(at); f.write(bytes(b ^ 0x55 for b in old))
PY
}
verify_code() { local code=0; "$vaultctl" --json verify "$vault" </dev/null >"$scratch/report" 2>"$scratch/err" || code=$?; echo "$code"; }
# backup COMMAND's exit code; JSON in $scratch/job
backup() { local code=0; "$vaultctl" --json backup run "$vault" "$@" </dev/null >"$scratch/job" 2>"$scratch/err" || code=$?; echo "$code"; }
job() { jq -er "$1" "$scratch/job"; }
report() { jq -er "$1" "$scratch/report"; }
expect_whole() { # both points and the other item are what was backed up, and verify is clean
  rm -f "$scratch"/back.*
  ctl restore "$vault" "vm@$first" --to "$scratch/back.1" >/dev/null
  ctl restore "$vault" vm --disk d --to "$scratch/back.2" >/dev/null
  ctl restore "$vault" other --to "$scratch/back.3" >/dev/null
  assert_same "$scratch/disk" "$scratch/back.1"
  assert_same "$scratch/second" "$scratch/back.2"
  assert_same "$scratch/other" "$scratch/back.3"
  assert_eq "$(verify_code)" 0 "verify: $(cat "$scratch/report" "$scratch/err")"
  assert_eq "$(report .known_damage)" 0
}

say "flipped bytes: verify names item, point, disk and range, and remembers"
flip 2500000 5600000
assert_eq "$(verify_code)" 40
assert_eq "$(report .remembered)" true
assert_eq "$(report .known_damage)" 2
report '.damage | any(.item == "vm" and .disk == "d" and .recovery_point == "'"$first"'" and .length >= 1048576)' >/dev/null ||
  fail "the range is not named: $(cat "$scratch/report")"
report '.damage | all(.item != "other")' >/dev/null
assert_eq "$(jctl .damaged_chunks vault show "$vault")" 2

say "an unrelated item is backed up; a backup that does not bring the content warns"
assert_eq "$(backup other --disk "d=$scratch/other")" 0
random_file "$scratch/small" 64K
assert_eq "$(backup vm --disk "e=$scratch/small")" 40
assert_eq "$(job .job.state)" CompletedWithWarnings
[[ $(job .recovery_point.id) != null ]] || fail "the point is missing"
grep -q '^vaultctl: DamageFound: ' "$scratch/err" || fail "no named error: $(cat "$scratch/err")"
assert_eq "$(jctl '[.jobs[] | select(.kind == "Backup")][-1].state' job list "$vault")" CompletedWithWarnings

say "the same disk heals all points, also though nothing has changed"
assert_eq "$(backup vm --disk "d=$scratch/second")" 0
assert_eq "$(job .healed_chunks)" 2
assert_eq "$(job .healed_points)" 3
assert_eq "$(job .job.state)" CompletedNoChange
expect_whole
report '.notes | length > 0' >/dev/null || fail "the old records are not even a note"
begin_anew

say "a backup of the content under another name heals, too"
flip 2500000 5600000
assert_eq "$(verify_code)" 40
"$vaultctl" backup run "$vault" new --disk "d=$scratch/disk" </dev/null >"$scratch/out"
grep -q '^2 damaged chunks healed in 2 points\.$' "$scratch/out" || fail "said: $(cat "$scratch/out")"
expect_whole
begin_anew

say "a restore remembers what it met, and what a copy put back made whole is forgotten"
cp -a "$segment" "$scratch/segment"
flip 2500000
expect_error '(DamagedRecord|AuthenticationFailed)' 10 "$vaultctl" restore "$vault" vm --to "$scratch/never"
grep -q 'is remembered' "$scratch/err" || fail "said: $(cat "$scratch/err")"
assert_eq "$(jctl .damaged_chunks vault show "$vault")" 1
cp -a "$scratch/segment" "$segment"
assert_eq "$(verify_code)" 0
assert_eq "$(report .known_damage)" 0
assert_eq "$(report .healed_chunks)" 1
begin_anew

for index in kept gone; do
  say "a cut segment, index $index: damage of its chunks, which blocks nothing else"
  truncate -s 3000000 "$segment"
  [[ $index == kept ]] || find "$vault/index" -type f -delete
  assert_eq "$(backup other --disk "d=$scratch/other")" 0
  [[ $(jctl .damaged_chunks vault show "$vault") -gt 5 ]] || fail "the opening remembers nothing"
  assert_eq "$(backup vm --disk "e=$scratch/small")" 40
  assert_eq "$(job .job.state)" CompletedWithWarnings
  assert_eq "$(verify_code)" 40
  report '.damage | any(.item == "vm" and .disk == "d")' >/dev/null
  assert_eq "$(backup vm --disk "d=$scratch/second" --disk "e=$scratch/small")" 0
  assert_eq "$(backup vm2 --disk "d=$scratch/disk")" 0
  expect_whole
  begin_anew

  say "a segment that is gone, index $index"
  rm "$segment"
  [[ $index == kept ]] || find "$vault/index" -type f -delete
  assert_eq "$(verify_code)" 40
  [[ $(report .known_damage) -gt 5 ]] || fail "remembered: $(report .known_damage)"
  assert_eq "$(backup vm --disk "e=$scratch/small")" 40
  assert_eq "$(backup vm --disk "d=$scratch/second")" 0
  assert_eq "$(backup vm2 --disk "d=$scratch/disk")" 0
  [[ $(job .healed_chunks) -ge 1 ]] || fail "healed: $(cat "$scratch/job")"
  expect_whole
  begin_anew
done

say "mounted: a read remembers, durably; the owner verifies and heals"
flip 2500000
mount_vault settle=1
cat "$mnt/vm/d" >/dev/null 2>&1 && fail "the damaged disk could be read"
wait_until 20 bash -c "[[ \$('$vaultctl' --json vault show '$vault' </dev/null | jq .damaged_chunks) == 1 ]]"
kill_daemon
umount -l "$mnt"
assert_eq "$(jctl .damaged_chunks vault show "$vault")" 1 "after a crash"
mount_vault settle=1
assert_eq "$(verify_code)" 40
assert_eq "$(report .remembered)" true
cp "$scratch/second" "$mnt/vm/again"
assert_eq "$(ctl --json backup commit "$vault" vm | jq .healed_chunks)" 1
assert_same "$scratch/second" "$mnt/vm/d"
assert_eq "$(verify_code)" 0
unmount_vault
expect_whole
begin_anew

say "what can't be written down is said"
flip 2500000
mount --bind "$vault" "$vault" 2>/dev/null && mount -o remount,bind,ro "$vault" || skip "no read-only bind mounts here"
assert_eq "$(verify_code)" 40
assert_eq "$(report '.remembered | tostring')" false
report '.not_remembered.name' >/dev/null
"$vaultctl" verify "$vault" </dev/null >"$scratch/out" 2>/dev/null || true
grep -q 'not remembered: ReadOnly: ' "$scratch/out" || fail "it is not said: $(cat "$scratch/out")"
umount "$vault"
assert_eq "$(jctl .damaged_chunks vault show "$vault")" 0
