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
