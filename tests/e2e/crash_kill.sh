# kill -9 of the daemon under load, again and again: what was fsynced is there after the next mount, recovery points are
# complete or absent, and verify finds no damage.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
rounds=4
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && rounds=40
crash_writer=$(dirname "$0")/crash_writer.py

for round in $(seq "$rounds"); do
  mount_vault commit=manual
  mkdir -p "$mnt/vm"
  file=$mnt/vm/disk-$round
  : >"$scratch/notes-$round"
  python3 "$crash_writer" write "$file" "$scratch/notes-$round" "$round" 2>/dev/null &
  writer=$!
  dd if=/dev/urandom of="$mnt/vm/stream-$round" bs=1M count=2000 conv=fsync status=none 2>/dev/null &
  stream=$!
  # Without a sync there is nothing to check; a slow machine needs its time to get there.
  wait_until 60 grep -q synced "$scratch/notes-$round"
  sleep 1
  # A commit in the middle of it every second round.
  if [[ $((round % 2)) == 0 ]]; then ctl backup commit "$vault" vm >/dev/null; fi
  sleep "0.$((RANDOM % 900 + 100))"
  kill -KILL "$(daemon_pid)"
  wait "$writer" "$stream" 2>/dev/null || true
  umount -l "$mnt"
  before=$(date +%s%N)
  mount_vault commit=manual
  took=$((($(date +%s%N) - before) / 1000000))
  [[ $took -lt $((20000 * time_factor)) ]] || fail "opening after a crash took $took ms"
  # Not inside of say's argument, where its failure would be nobody's.
  checked=$(python3 "$crash_writer" check "$file" "$scratch/notes-$round")
  say "round $round: $checked; opened in $took ms"
  for old in $(seq $((round - 1))); do
    python3 "$crash_writer" check "$mnt/vm/disk-$old" "$scratch/notes-$old" >/dev/null
  done
  for point in "$mnt"/.recovery-points/vm/*/; do
    [[ -d $point ]] || continue
    cat "$point"/* >/dev/null || fail "the point $point can't be read"
  done
  rm -f "$mnt/vm/stream-$round"
  unmount_vault
  ctl verify "$vault" >"$scratch/verified" || fail "verify found damage after a crash: $(cat "$scratch/verified")"
done

say "what was fsynced before a crash is in the next explicit point"
mount_vault commit=manual
cp "$mnt/vm/disk-1" "$scratch/model"
ctl backup commit "$vault" vm >/dev/null
assert_same "$scratch/model" "$mnt/.recovery-points/vm/$(newest_point vm)/disk-1"
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
