# qemu-img works in the mount as on any disk: convert, create, check, resize; raw and qcow2.
. "$(dirname "$0")/lib.sh"
need_fuse
need qemu-img qemu-io
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
cd "$mnt/vm"
random_file "$scratch/data" 9M
truncate -s 48M "$scratch/src.raw"
dd if="$scratch/data" of="$scratch/src.raw" bs=64k seek=100 conv=notrunc status=none

say "convert into the mount and between formats in it"
qemu-img convert -f raw -O raw "$scratch/src.raw" copy.raw
assert_same "$scratch/src.raw" copy.raw
qemu-img convert -f raw -O qcow2 "$scratch/src.raw" disk.qcow2
qemu-img check disk.qcow2 | grep -q 'No errors'
qemu-img convert -f qcow2 -O qcow2 -c disk.qcow2 compressed.qcow2
qemu-img check compressed.qcow2 | grep -q 'No errors'
qemu-img convert -f qcow2 -O raw compressed.qcow2 back.raw
assert_same "$scratch/src.raw" back.raw
qemu-img compare -f qcow2 -F raw disk.qcow2 "$scratch/src.raw" | grep -q identical
for cache in none writeback directsync; do
  qemu-img convert -t "$cache" -f raw -O qcow2 "$scratch/src.raw" "$cache.qcow2"
  qemu-img compare -f qcow2 -F raw "$cache.qcow2" "$scratch/src.raw" | grep -q identical
done
qemu-img convert -n -t none -T none -f raw -O raw copy.raw back.raw
assert_same "$scratch/src.raw" back.raw

say "create, write inside, a snapshot, an overlay, resize"
qemu-img create -q -f qcow2 new.qcow2 1G
qemu-io -f qcow2 -c 'write -P 0x5a 300M 5M' -c 'write -z 302M 1M' -c flush new.qcow2 >/dev/null
qemu-img snapshot -c first new.qcow2
qemu-io -f qcow2 -c 'write -P 0xa5 300M 5M' -c flush new.qcow2 >/dev/null
qemu-io -f qcow2 -c 'read -P 0xa5 300M 5M' new.qcow2 | grep -vq 'Pattern verification failed'
qemu-img snapshot -a first new.qcow2
qemu-io -f qcow2 -c 'read -P 0x5a 300M 2M' -c 'read -P 0 302M 1M' -c 'read -P 0x5a 303M 2M' new.qcow2 >"$scratch/io"
if grep -q 'verification failed' "$scratch/io"; then fail "$(cat "$scratch/io")"; fi
qemu-img create -q -f qcow2 -b new.qcow2 -F qcow2 overlay.qcow2
qemu-io -f qcow2 -c 'write -P 1 10M 1M' overlay.qcow2 >/dev/null
qemu-img commit -q overlay.qcow2
qemu-img check new.qcow2 | grep -q 'No errors'
qemu-img resize -q new.qcow2 2G
qemu-img resize -q -f raw copy.raw 60M
assert_eq "$(stat -c %s copy.raw)" 62914560

say "after commit and remount"
sha256sum ./*.raw ./*.qcow2 >"$scratch/sums"
cd "$scratch"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual
(cd "$mnt/vm" && sha256sum --quiet -c "$scratch/sums" && qemu-img check new.qcow2 | grep -q 'No errors')
(cd "$mnt/.recovery-points/vm/$(newest_point vm)" && sha256sum --quiet -c "$scratch/sums")
unmount_vault
