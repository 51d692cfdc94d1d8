# A mount that another mount namespace has a copy of: umount waits for it, says so, and ends when the copy does.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need unshare
unshare -m true 2>/dev/null || skip "no private mount namespaces here"
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"
echo kept >"$mnt/vm/note"
unshare -m --propagation private sleep 300 &
holder=$!
other_namespace() { [[ $(readlink "/proc/$holder/ns/mnt") != "$(readlink /proc/self/ns/mnt)" ]]; }
wait_until 10 other_namespace

say "it waits and says for whom"
"$umounter" "$mnt" </dev/null 2>"$scratch/said" &
umount=$!
told() { grep -q "still mounted in another mount namespace, that of process $holder " "$scratch/said"; }
wait_until 30 told
kill -0 "$umount" || fail "it did not wait"
mountpoint -q "$mnt" && fail "it is still mounted here"

say "the other one ends"
kill "$holder"
wait "$holder" || true
wait "$umount" || fail "umount ended with $?: $(cat "$scratch/said")"
flock -n "$vault/vault.lock" true || fail "the daemon is still there"

# held_by PATTERN PROGRAM: Python in a mount namespace of its own holds the mount; umount says that, and ends with it.
held_by() {
  local pattern=$1
  mount_vault commit=manual
  rm -f "$scratch/holds"
  unshare -m --propagation private python3 -c "
import os, sys, time
mnt, scratch = sys.argv[1:]
$2
open(os.open('holds', os.O_CREAT | os.O_WRONLY, dir_fd=ready), 'w').close()
time.sleep(300)" "$mnt" "$scratch" &
  holder=$!
  wait_until 10 test -e "$scratch/holds"
  "$umounter" "$mnt" </dev/null 2>"$scratch/said" &
  umount=$!
  says_who() { grep -Eq "still ${pattern//PID/$holder}" "$scratch/said"; }
  wait_until 30 says_who
  grep -q "is written" "$scratch/said" && fail "it said that it waits for data: $(cat "$scratch/said")"
  kill "$holder"
  wait "$holder" || true
  wait "$umount" || fail "umount ended with $?: $(cat "$scratch/said")"
}
ready="ready = os.open(scratch, os.O_RDONLY)"
mkdir -p "$scratch/root"
say "a holder with another root, which does not see the mount itself"
held_by 'mounted in another mount namespace, that of process PID ' "$ready; os.chroot(scratch + '/root'); os.chdir('/')"
say "one that has unmounted it, but still has a file open, mapped, or as its directory or root"
away="os.system(f'umount -i -l {mnt}')"
held_by 'in use by process PID .*a file in it open' "$ready; kept = open(mnt + '/vm/note'); $away"
held_by 'in use by process PID .*working directory' "$ready; os.chdir(mnt + '/vm'); $away"
held_by 'in use by process PID .*root directory' "$ready; os.chdir(mnt); $away; os.chroot('.'); os.chdir(ready)"
held_by 'in use by process PID .*mapped' "
import mmap
$ready
with open(mnt + '/vm/note') as note: kept = mmap.mmap(note.fileno(), 4, access=mmap.ACCESS_READ)
import glob
for link in glob.glob('/proc/self/fd/*'):
    if os.path.exists(link) and mnt in os.readlink(link): os.close(int(link.rsplit('/', 1)[1]))
$away"

say "a bind mount in this namespace"
mount_vault commit=manual
mkdir "$scratch/bound"
mount --bind "$mnt/vm" "$scratch/bound"
"$umounter" "$mnt" </dev/null 2>"$scratch/said" &
umount=$!
told_where() { grep -q "still mounted on $scratch/bound;" "$scratch/said"; }
wait_until 30 told_where
umount -i "$scratch/bound"
wait "$umount" || fail "umount ended with $?: $(cat "$scratch/said")"

say "nothing is said otherwise"
mount_vault commit=manual
[[ $(cat "$mnt/vm/note") == kept ]] || fail "the file is gone"
"$umounter" "$mnt" 2>"$scratch/said"
[[ ! -s $scratch/said ]] || fail "it said: $(cat "$scratch/said")"
