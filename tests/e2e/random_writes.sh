# Random small writes into a large image with little memory for them: what is stored is what fio wrote, after commits,
# remounts and a restore; and it costs the vault far less than a chunk for each write.
. "$(dirname "$0")/lib.sh"
need_fuse
need fio
new_vault
mount_vault commit=manual,write-buffer=16M
mkdir "$mnt/vm"
size=64M
random_file "$mnt/vm/disk.raw" "$size"
ctl backup commit "$vault" vm >/dev/null
stored() { du -s --block-size=1 --apparent-size "$vault/segments" | cut -f1; }

run_fio() { # SEED OPTIONS…: verified random writes over the whole image
  local seed=$1
  shift
  fio --name=random --filename="$mnt/vm/disk.raw" --size="$size" --rw=randwrite --randseed="$seed" --ioengine=psync \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --output="$scratch/fio" "$@" ||
    fail "fio found other bytes than it wrote: $(cat "$scratch/fio")"
}

say "a commit of scattered small writes costs what changed"
before=$(stored)
run_fio 1 --bs=4k --number_ios=256 --end_fsync=1
ctl backup commit "$vault" vm >/dev/null
grown=$(($(stored) - before))
[[ $grown -lt $((256 * 3 * 4096)) ]] || fail "256 writes of 4 KiB made the segments grow by $grown bytes"
cp "$mnt/vm/disk.raw" "$scratch/first.raw"
first=$(newest_point vm)

say "more of them than fit into memory, of all sizes, with fsyncs between"
run_fio 2 --bs=4k --number_ios=6000 --fsync=500
run_fio 3 --bsrange=512-20k --bs_unaligned=1 --number_ios=1500 --fsync=300
cp "$mnt/vm/disk.raw" "$scratch/second.raw"
ctl backup commit "$vault" vm >/dev/null
second=$(newest_point vm)

say "the points, the tree after a remount, and what is restored"
unmount_vault
ctl verify "$vault" >/dev/null
mount_vault commit=manual
assert_same "$scratch/second.raw" "$mnt/vm/disk.raw"
assert_same "$scratch/first.raw" "$mnt/.recovery-points/vm/$first/disk.raw"
assert_same "$scratch/second.raw" "$mnt/.recovery-points/vm/$second/disk.raw"
unmount_vault
for point in first second; do
  ctl restore "$vault" "vm@${!point}" --disk disk.raw --to "$scratch/restored.raw" >/dev/null
  assert_same "$scratch/$point.raw" "$scratch/restored.raw"
  rm "$scratch/restored.raw"
done

say "backup run over a disk that is patched: the same bytes are the same disk"
ctl backup run "$vault" vm --disk "disk.raw=$scratch/second.raw" >/dev/null
ctl restore "$vault" vm --disk disk.raw --to "$scratch/restored.raw" >/dev/null
assert_same "$scratch/second.raw" "$scratch/restored.raw"
before=$(stored)
ctl backup run "$vault" vm --disk "disk.raw=$scratch/second.raw" >/dev/null
assert_eq "$(stored)" "$before" "a second run of the same disk stores nothing"
