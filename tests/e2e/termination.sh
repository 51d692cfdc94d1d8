# Ends: umount waits for the daemon, SIGTERM unmounts what is free and serves on while it is busy, nothing is lost.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
gone() { ! kill -0 "$1" 2>/dev/null; }

say "umount.fuse.vaultfs returns when the daemon has written everything"
mount_vault settle=3600 # one job, however slow the machine: the point is the unmount's
mkdir "$mnt/vm"
random_file "$scratch/data" 120M
cp "$scratch/data" "$mnt/vm/data"
pid=$(daemon_pid)
unmount_vault
ctl verify "$vault" >/dev/null || fail "right after umount the vault is in use or damaged"
assert_eq "$(point_count vm)" 1
wait_until 5 gone "$pid"
ctl restore "$vault" vm --to "$scratch/back" >/dev/null
assert_same "$scratch/data" "$scratch/back"

say "SIGTERM with nothing open: unmounted and gone"
mount_vault
pid=$(daemon_pid)
echo more >"$mnt/vm/more"
kill -TERM "$pid"
wait_until 60 gone "$pid"
if mountpoint -q "$mnt"; then fail "still mounted"; fi
mount_vault
assert_eq "$(cat "$mnt/vm/more")" more

say "SIGTERM while a file is open: synced, served on, gone when it is closed"
pid=$(daemon_pid)
exec 5>"$mnt/vm/busy"
echo before >&5
kill -TERM "$pid"
sleep 2
kill -0 "$pid" || fail "the daemon left its users alone"
echo after >&5
assert_eq "$(cat "$mnt/vm/busy")" $'before\nafter'
exec 5>&-
wait_until 60 gone "$pid"
mount_vault
assert_eq "$(cat "$mnt/vm/busy")" $'before\nafter'

say "SIGINT and SIGHUP as well"
for signal in INT HUP; do
  pid=$(daemon_pid)
  kill "-$signal" "$pid"
  wait_until 60 gone "$pid"
  mount_vault
done

say "umount of a busy mount is refused and changes nothing"
exec 5<"$mnt/vm/busy"
if unmount_vault 2>"$scratch/err"; then fail "a busy mount was unmounted"; fi
grep -qi busy "$scratch/err" || fail "$(cat "$scratch/err")"
assert_eq "$(cat "$mnt/vm/more")" more
exec 5<&-
unmount_vault

say "a lazy unmount ends when its last user does"
mount_vault
pid=$(daemon_pid)
exec 5>"$mnt/vm/lazy"
"$umounter" -l "$mnt"
echo kept >&5
exec 5>&-
wait_until 60 gone "$pid"
mount_vault
assert_eq "$(cat "$mnt/vm/lazy")" kept

say "the socket is ours alone and goes with the daemon"
assert_eq "$(stat -c %a "$VAULTFS_RUNTIME_DIR")" 700
socket=$(find "$VAULTFS_RUNTIME_DIR" -type s)
assert_eq "$(stat -c %a "$socket")" 600
unmount_vault
assert_eq "$(find "$VAULTFS_RUNTIME_DIR" -name '*.sock')" ""

say "a command waits for another one that owns the vault, if it is told to"
exec 6<"$vault/vault.lock"
flock 6
expect_error VaultBusy 6 "$vaultctl" backup commit "$vault" vm
expect_error VaultBusy 6 "$vaultctl" --wait 1 encryption refresh "$vault"
(
  sleep 1
  flock -u 6
) &
ctl --wait "$(patience 30)" encryption refresh "$vault" >/dev/null
wait
exec 6<&-
