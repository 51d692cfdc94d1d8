# Random small writes over a large image, for a while: memory, journal and the space of what was overwritten stay bounded,
# and opening after a kill replays in seconds.
. "$(dirname "$0")/lib.sh"
need_fuse
need fio
seconds=20
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && seconds=900
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
daemon=$(daemon_pid)
size_mib=1024

say "$seconds seconds of random writes of 4 KiB over $size_mib MiB"
fio --name=random --filename="$mnt/vm/disk" --rw=randwrite --bs=4k --size="${size_mib}m" --ioengine=psync --fsync=64 \
  --time_based --runtime="$seconds" --output="$scratch/fio" || fail "$(cat "$scratch/fio")"
# Recycled buffers that are resident as a whole were once counted by the pages written: 1 GiB instead of 160 MiB.
if ! sanitized; then
  memory=$(awk '/^VmHWM/ {print $2}' "/proc/$daemon/status")
  say "the daemon's memory: $((memory / 1024)) MiB at most"
  [[ $memory -lt $((300 * 1024)) ]] || fail "the daemon took $((memory / 1024)) MiB"
fi
segments=$(($(allocated "$vault/segments") >> 20))
journal=$(($(allocated "$vault/journal") >> 20))
say "$segments MiB of segments, $journal MiB of journal"
[[ $journal -lt 1024 ]] || fail "the journal has $journal MiB"
# As much garbage as live data, what one look of the compactor may miss, and a segment.
[[ $segments -lt $((2 * size_mib + 512 + 128)) ]] || fail "the segments have $segments MiB for $size_mib MiB of data"

say "kill -9, and opening again"
cp "$mnt/vm/disk" "$scratch/model"
sync "$mnt/vm/disk"
kill -KILL "$daemon"
gone() { [[ ! -e /proc/$daemon ]]; }
wait_until 30 gone
umount -l "$mnt"
before=$(date +%s%N)
mount_vault commit=manual
took=$((($(date +%s%N) - before) / 1000000))
say "opened in $took ms"
[[ $took -lt $(patience 10000) ]] || fail "opening took $took ms"
assert_same "$scratch/model" "$mnt/vm/disk"
unmount_vault
