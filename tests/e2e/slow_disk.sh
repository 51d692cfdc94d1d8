# A disk that does not answer: 40 writers and as many syncs wait for it, but what needs no disk is answered meanwhile. When
# it answers again, all goes on and nothing is lost.
. "$(dirname "$0")/lib.sh"
need_fuse
need_loop
need mkfs.ext4 fsfreeze python3
small_disk 1500M
new_vault
mount_vault commit=manual write-buffer=16M
mkdir "$mnt/vm" "$mnt/vm/names"
random_file "$scratch/content" 12M
cp "$scratch/content" "$mnt/vm/read"
random_file "$scratch/source" 8M
sync "$mnt/vm/read"
for n in $(seq 200); do : >"$mnt/vm/names/$n"; done
ctl backup commit "$vault" vm >/dev/null
for n in $(seq 40); do : >"$mnt/vm/out-$n"; done
for n in $(seq 40); do echo x >"$mnt/vm/synced-$n"; done

trap 'code=$?; thaw; finish $code' EXIT
say "40 writers and 40 syncs on a disk that stands still"
freeze
writers=()
for n in $(seq 40); do
  dd if="$scratch/source" of="$mnt/vm/out-$n" bs=1M conv=notrunc,fsync status=none &
  writers+=($!)
  sync "$mnt/vm/synced-$n" &
  writers+=($!)
done
sleep 3

say "what needs no disk is answered"
answered() { timeout "$(patience 20)" "$@" >/dev/null || fail "no answer while the disk stands still: $*"; }
answered stat "$mnt/vm/out-1"
answered ls -l "$mnt/vm/names"
answered cmp "$scratch/content" "$mnt/vm/read"
answered df "$mnt"
answered "$vaultctl" vault show "$vault"
for pid in "${writers[@]}"; do kill -0 "$pid" 2>/dev/null || fail "a writer has ended though the disk stands still"; done

say "the disk answers again"
thaw
for pid in "${writers[@]}"; do wait "$pid" || fail "a writer ended with $?"; done
for n in 1 17 40; do assert_same "$scratch/source" "$mnt/vm/out-$n"; done
unmount_vault
mount_vault commit=manual
for n in 1 17 40; do assert_same "$scratch/source" "$mnt/vm/out-$n"; done
unmount_vault
ctl verify "$vault" >/dev/null
