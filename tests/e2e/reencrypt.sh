# vaultctl reencrypt: unmounted, mounted beside writers, backups and a rotation, stopped and killed in the middle; afterwards nothing is
# left under older epochs, and every recovery point is what it was.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
random_file "$scratch/disk.1" 40M
cp "$scratch/disk.1" "$scratch/disk.2"
head -c 3M /dev/urandom | dd of="$scratch/disk.2" bs=1M seek=11 conv=notrunc status=none
random_file "$scratch/small" 700
for n in 1 2; do
  ctl backup run "$vault" vm --disk "d=$scratch/disk.$n" --disk "small=$scratch/small" >/dev/null
done
mapfile -t points < <(ctl --json recovery-point list "$vault" vm | jq -r '.recovery_points[].id')

check_points() {
  local n
  for n in 1 2; do
    rm -rf "$scratch/back"
    mkdir "$scratch/back"
    ctl restore "$vault" "vm@${points[n - 1]}" --to "$scratch/back" >/dev/null
    assert_same "$scratch/disk.$n" "$scratch/back/d"
    assert_same "$scratch/small" "$scratch/back/small"
  done
}
verify_all() {
  ctl verify "$vault" >"$scratch/out" || fail "verify: $(cat "$scratch/out")"
  ctl verify "$vault" --keyless >"$scratch/out" || fail "verify --keyless: $(cat "$scratch/out")"
}
epochs() { ctl --json encryption show "$vault" | jq -c '[.epochs[] | select(.bytes > 0) | .epoch]'; }
newest() { jctl .current_epoch encryption show "$vault"; }
only_newest() { [[ $(epochs) == "[$(newest)]" ]]; }
last_job() { ctl --json job list "$vault" | jq -r '[.jobs[] | select(.kind == "Reencryption")][-1].'"$1"; }

say "nothing to do"
ctl reencrypt "$vault" | grep -q 'Nothing to do'
assert_eq "$(last_job state)" CompletedNoChange
expect_error Usage 2 "$vaultctl" reencrypt "$vault" --rate 5X
expect_error VaultNotFound 3 "$vaultctl" reencrypt "$scratch/nothing"

say "unmounted: everything to a new epoch; old segments stay for copies that are being made"
cp -a "$vault/segments" "$scratch/segments.before"
ctl --json reencrypt "$vault" --new-epoch >"$scratch/outcome"
jq -e --argjson epoch "$(newest)" '.epoch == $epoch and .moved_bytes >= 43*1048576 and .renewed_recovery_points == 2
  and .left.segments == 0 and .waiting.bytes >= 40*1048576 and .damaged_records == 0 and .damage == []
  and .job.state == "Completed" and .job.kind == "Reencryption"' "$scratch/outcome" >/dev/null || fail "$(cat "$scratch/outcome")"
for file in "$scratch"/segments.before/*; do
  [[ -e $vault/segments/${file##*/} ]] || fail "${file##*/} went before its time"
done
check_points
verify_all
ctl activity "$vault" | grep -q 'reencrypt.begin'
ctl activity "$vault" | grep -q 'reencrypt.complete'
mapfile -t after < <(ctl --json recovery-point list "$vault" vm | jq -r '.recovery_points[].id')
assert_eq "${after[*]}" "${points[*]}" "recovery points have other names"

say "without grace they go"
ctl reencrypt "$vault" --no-grace >/dev/null
only_newest || fail "left: $(epochs)"
for file in "$scratch"/segments.before/*; do
  [[ ! -e $vault/segments/${file##*/} ]] || fail "${file##*/} is still there"
done
check_points
verify_all
ctl reencrypt "$vault" | grep -q 'Nothing to do'

say "Ctrl-C, kill -9 and again: what is moved stays moved"
ctl key new-epoch "$vault" >/dev/null
# Waits until so many MiB more have reached the segments: how fast a machine is must not matter.
segment_bytes() { du -sb "$vault/segments" | cut -f1; }
moved_since() { [[ $(segment_bytes) -ge $(($1 + $2 * 1048576)) ]]; }
before=$(segment_bytes)
# A shell's background jobs ignore SIGINT, and what ignores it goes on doing so.
env --default-signal=INT "$vaultctl" reencrypt "$vault" --rate 8M </dev/null >"$scratch/out" 2>"$scratch/err" &
pid=$!
wait_until 60 moved_since "$before" 16
kill -INT "$pid"
got=0
wait "$pid" || got=$?
assert_eq "$got" 130
grep -q '^vaultctl: Interrupted: ' "$scratch/err" || fail "it said: $(cat "$scratch/err")"
assert_eq "$(last_job state)" Cancelled
check_points
for _ in 1 2; do
  before=$(segment_bytes)
  "$vaultctl" reencrypt "$vault" --rate 2M </dev/null >/dev/null 2>&1 &
  pid=$!
  wait_until 60 moved_since "$before" 3
  kill -KILL "$pid"
  wait "$pid" 2>/dev/null || true
  check_points
  verify_all
done
ctl --json reencrypt "$vault" --no-grace >"$scratch/outcome"
jq -e '.moved_bytes < 30*1048576 and .left.segments == 0' "$scratch/outcome" >/dev/null || fail "it began anew: $(cat "$scratch/outcome")"
only_newest || fail "left: $(epochs)"
check_points
verify_all

say "mounted: beside a writer, a commit, a backup run, readers and a rotation"
rate=$((4 / time_factor > 0 ? 4 / time_factor : 1))M # slow enough for all that is to happen beside it
mount_vault commit=manual
mkdir "$mnt/live"
(
  while [[ ! -e $scratch/stop ]]; do
    dd if=/dev/urandom of="$mnt/live/disk" bs=64K count=16 seek=$((RANDOM % 64)) conv=notrunc,fsync status=none 2>/dev/null || break # its daemon is killed below
  done
) &
writer=$!
wait_until 20 test -s "$mnt/live/disk"
"$vaultctl" --json reencrypt "$vault" --new-epoch --rate "$rate" --no-grace </dev/null >"$scratch/outcome" 2>"$scratch/err" &
runner=$!
under_way() { [[ $(last_job state) == InProgress && $(last_job stored_bytes) -gt 0 ]]; }
wait_until 30 under_way
expect_error VaultBusy 6 "$vaultctl" reencrypt "$vault"
ctl backup commit "$vault" live >/dev/null
random_file "$scratch/other" 5M
ctl backup run "$vault" other --disk "d=$scratch/other" >/dev/null
assert_same "$scratch/disk.2" "$mnt/vm/d"
ctl key rotate office/backup --bits 2048 >/dev/null
ctl encryption refresh "$vault" >/dev/null
[[ $(last_job state) == InProgress ]] || fail "the re-encryption has not waited for this test: raise its size"
wait "$runner" || fail "reencrypt ended with $?: $(cat "$scratch/err")"
jq -e '.left.segments == 0 and .renewed_recovery_points >= 2' "$scratch/outcome" >/dev/null || fail "$(cat "$scratch/outcome")"

say "killed with its daemon in the middle"
"$vaultctl" reencrypt "$vault" --new-epoch --rate "$rate" </dev/null >/dev/null 2>&1 &
runner=$!
wait_until 30 under_way
kill_daemon
touch "$scratch/stop"
wait "$runner" && fail "reencrypt ended well without its daemon"
wait "$writer" || true
umount -l "$mnt"
check_points
verify_all
ctl reencrypt "$vault" --no-grace >/dev/null
only_newest || fail "left: $(epochs)"
check_points
rm -f "$scratch/back.other"
ctl restore "$vault" other --to "$scratch/back.other" >/dev/null
assert_same "$scratch/other" "$scratch/back.other"
verify_all

say "an unmount does not wait for its end"
mount_vault commit=manual
ctl key new-epoch "$vault" >/dev/null
"$vaultctl" reencrypt "$vault" --rate 1M </dev/null >/dev/null 2>"$scratch/err" &
runner=$!
wait_until 30 under_way
began=$SECONDS
unmount_vault
[[ $((SECONDS - began)) -lt $(patience 20) ]] || fail "the unmount took $((SECONDS - began)) s"
wait "$runner" && fail "reencrypt ended well"
assert_eq "$(last_job state)" Interrupted

say "damage stays where it is and is told; the rest moves"
segment=$(ls -S "$vault"/segments/*.seg | tail -n +1 | head -n 1)
size=$(stat -c %s "$segment")
printf 'damaged!' | dd of="$segment" bs=1 seek=$((size / 2)) conv=notrunc status=none
expect_error DamageFound 40 "$vaultctl" reencrypt "$vault" --no-grace
[[ -e $segment ]] || fail "the damaged segment is gone"
assert_eq "$(last_job state)" Failed
