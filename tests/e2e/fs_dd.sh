# dd through the mount: every block size and flag that people use for disk images gives back what was written, during the
# session, after a remount, and out of the recovery point.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
mount_vault commit=manual
random_file "$scratch/src" 20M
head -c 777 /dev/urandom >>"$scratch/src" # an end inside a chunk and inside a page
mkdir "$mnt/vm"

say "block sizes"
for bs in 512 4k 64k 1M 3M 1000003 12345; do
  dd if="$scratch/src" of="$mnt/vm/bs-$bs" bs="$bs" status=none
  assert_same "$scratch/src" "$mnt/vm/bs-$bs"
done

say "reading with other sizes than it was written with"
for bs in 4k 65537 5M; do dd if="$mnt/vm/bs-1M" bs="$bs" status=none | cmp - "$scratch/src"; done

say "conv=notrunc at odd offsets"
cp "$scratch/src" "$scratch/patched"
for spec in "100 1" "4096 257" "1048575 3" "1000003 7" "262144 20"; do
  read -r bs at <<<"$spec"
  head -c "$((bs * 2))" /dev/urandom >"$scratch/piece"
  for target in "$scratch/patched" "$mnt/vm/bs-1M"; do
    dd if="$scratch/piece" of="$target" bs="$bs" seek="$at" conv=notrunc status=none
  done
done
assert_same "$scratch/patched" "$mnt/vm/bs-1M"
assert_same "$scratch/src" "$mnt/vm/bs-4k"

say "conv=fsync, fdatasync, sparse"
dd if="$scratch/src" of="$mnt/vm/fsync" bs=1M conv=fsync status=none
dd if="$scratch/src" of="$mnt/vm/fdatasync" bs=1M conv=fdatasync status=none
assert_same "$scratch/src" "$mnt/vm/fsync"
assert_same "$scratch/src" "$mnt/vm/fdatasync"
{ head -c 5M /dev/zero; cat "$scratch/src"; head -c 9M /dev/zero; } >"$scratch/holey"
dd if="$scratch/holey" of="$mnt/vm/sparse" bs=64k conv=sparse status=none
assert_same "$scratch/holey" "$mnt/vm/sparse"
[[ $(allocated "$mnt/vm/sparse") -lt 24000000 ]] || fail "holes of a sparse file occupy space"

say "oflag=direct, append, sync, dsync; iflag=direct"
head -c 20M "$scratch/src" >"$scratch/aligned"
dd if="$scratch/aligned" of="$mnt/vm/direct" bs=1M oflag=direct status=none
assert_same "$scratch/aligned" "$mnt/vm/direct"
dd if="$mnt/vm/direct" bs=1M iflag=direct status=none | cmp - "$scratch/aligned"
head -c 200k "$scratch/src" >"$scratch/small"
dd if="$scratch/small" of="$mnt/vm/sync" bs=10k oflag=sync status=none
dd if="$scratch/small" of="$mnt/vm/dsync" bs=10k oflag=dsync status=none
assert_same "$scratch/small" "$mnt/vm/sync"
assert_same "$scratch/small" "$mnt/vm/dsync"
: >"$mnt/vm/append"
for _ in 1 2 3; do dd if="$scratch/small" of="$mnt/vm/append" bs=7k oflag=append conv=notrunc status=none; done
cat "$scratch/small" "$scratch/small" "$scratch/small" | cmp - "$mnt/vm/append"

say "random 4 KiB writes from two writers at once"
python3 - "$mnt/vm/bs-64k" "$scratch/model" "$scratch/src" <<'PY'
import os, random, shutil, sys, threading
target, model, source = sys.argv[1:]
def give_up(failure): # a thread that fails would only print that
    sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)
threading.excepthook = give_up
shutil.copyfile(source, model)
def writer(seed, low, high):
    dice = random.Random(seed)
    with open(target, "r+b", buffering=0) as a, open(model, "r+b", buffering=0) as b:
        for turn in range(400):
            offset, block = dice.randrange(low, high - 9000), dice.randbytes(dice.choice([1, 512, 4096, 8191]))
            os.pwrite(a.fileno(), block, offset); os.pwrite(b.fileno(), block, offset)
            if turn % 97 == 0: os.fsync(a.fileno())
half = os.path.getsize(source) // 2
threads = [threading.Thread(target=writer, args=(n, n * half, (n + 1) * half)) for n in range(2)]
for t in threads: t.start()
for t in threads: t.join()
PY
assert_same "$scratch/model" "$mnt/vm/bs-64k"

say "all of it after a remount, and in the recovery point"
(cd "$mnt/vm" && sha256sum ./*) >"$scratch/sums"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual
(cd "$mnt/vm" && sha256sum --quiet -c "$scratch/sums")
(cd "$mnt/.recovery-points/vm/$(newest_point vm)" && sha256sum --quiet -c "$scratch/sums")

say "the kernel's own cache (cache=writeback)"
unmount_vault
mount_vault cache=writeback commit=manual
dd if="$scratch/src" of="$mnt/vm/writeback" bs=4k status=none
dd if="$scratch/piece" of="$mnt/vm/writeback" bs=1000 seek=333 conv=notrunc,fsync status=none
cp "$scratch/src" "$scratch/patched"
dd if="$scratch/piece" of="$scratch/patched" bs=1000 seek=333 conv=notrunc status=none
assert_same "$scratch/patched" "$mnt/vm/writeback"
unmount_vault
mount_vault commit=manual
assert_same "$scratch/patched" "$mnt/vm/writeback"
unmount_vault
