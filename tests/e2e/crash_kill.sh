# kill -9 of the daemon under load, again and again: what was fsynced is there after the next mount, recovery points are
# complete or absent, and verify finds no damage.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
rounds=20
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && rounds=200
crash_writer=$(dirname "$0")/crash_writer.py
check_round() { # ROUND: what its writer synced is there
  python3 "$crash_writer" check "$mnt/vm/disk-$1" "$scratch/notes-$1"
}
read_points() { # from the point after the last one read on
  local point
  for point in "$mnt"/.recovery-points/vm/*/; do
    [[ -d $point && $point > ${points_read:-} ]] || continue
    cat "$point"/* >/dev/null || fail "the point $point can't be read"
    points_read=$point
  done
}
check_vault() { ctl verify "$vault" >"$scratch/verified" || fail "verify found damage after a crash: $(cat "$scratch/verified")"; }

for round in $(seq "$rounds"); do
  mount_vault commit=manual
  mkdir -p "$mnt/vm"
  : >"$scratch/notes-$round"
  python3 "$crash_writer" write "$mnt/vm/disk-$round" "$scratch/notes-$round" "$round" 2>/dev/null &
  writer=$!
  # Besides, a stream of new data that nobody syncs.
  dd if=/dev/urandom of="$mnt/vm/stream" bs=1M count=24 status=none 2>/dev/null &
  stream=$!
  # Without a sync there is nothing to check; a slow machine needs its time to get there.
  wait_until 60 grep -q synced "$scratch/notes-$round"
  # A commit in the middle of it now and then, which may be what is killed.
  if [[ $((round % 4)) == 0 ]]; then ctl backup commit "$vault" vm >/dev/null; fi
  if [[ $((round % 4)) == 2 ]]; then "$vaultctl" backup commit "$vault" vm >/dev/null 2>&1 </dev/null & fi
  sleep "0.$((RANDOM % 400 + 100))"
  kill_daemon
  wait
  umount -l "$mnt"
  before=$(date +%s%N)
  mount_vault commit=manual
  took=$((($(date +%s%N) - before) / 1000000))
  [[ $took -lt $(patience 20000) ]] || fail "opening after a crash took $took ms"
  # Not inside of say's argument, where its failure would be nobody's.
  checked=$(check_round "$round")
  say "round $round: $checked; opened in $took ms"
  # What was there before this crash, too; old ones go, so that compaction has work.
  if [[ $round -gt 1 ]]; then check_round $((round - 1)) >/dev/null; fi
  rm -f "$mnt/vm/disk-$((round - 2))"
  read_points
  unmount_vault
  if [[ $((round % 5)) == 0 ]]; then check_vault; fi
done
points_read=
check_vault

say "what was fsynced before a crash is in the next explicit point"
mount_vault commit=manual
read_points
cp "$mnt/vm/disk-$rounds" "$scratch/model"
ctl backup commit "$vault" vm >/dev/null
assert_same "$scratch/model" "$mnt/.recovery-points/vm/$(newest_point vm)/disk-$rounds"
unmount_vault

say "kill -9 of a vaultctl backup run: the vault opens, the item is what it was, the next run works"
random_file "$scratch/big" 200M
"$vaultctl" backup run "$vault" other --disk "d=$scratch/big" </dev/null >/dev/null 2>&1 &
runner=$!
sleep 0.4
kill -KILL "$runner" 2>/dev/null || true
wait "$runner" 2>/dev/null || true
ctl verify "$vault" >/dev/null
ctl backup run "$vault" other --disk "d=$scratch/big" >/dev/null
ctl restore "$vault" other --to "$scratch/back" >/dev/null
assert_same "$scratch/big" "$scratch/back"
