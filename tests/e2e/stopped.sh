# Ctrl-C and SIGTERM in commands: the work stops, nothing hidden is left, what is kept is said, the exit code is 130 or 143.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
new_vault
truncate -s 3G "$scratch/disk"
random_file "$scratch/piece" 64M
cp "$scratch/piece" "$scratch/disk"
truncate -s 3G "$scratch/disk"
ctl backup run "$vault" vm --disk "d=$scratch/disk" >/dev/null
random_file "$scratch/large" 700M

# PID SIGNAL: it is vaultctl by now, and takes that signal by itself. Before, a signal would end it as any program.
listens() {
  local masks
  [[ $(readlink "/proc/$1/exe") == "$vaultctl" ]] || return 1
  masks=$(awk '/^Sig(Cgt|Blk)/ {print $2}' "/proc/$1/status") || return 1
  for mask in $masks; do
    if (((16#$mask >> ($(kill -l "$2") - 1)) & 1)); then return 0; fi
  done
  return 1
}
# stopped SIGNAL CODE COMMAND…: the command is sent the signal while it works, and must end so, soon.
stopped() {
  local signal=$1 code=$2 got=0 pid began
  shift 2
  # A shell's background jobs ignore SIGINT, and what ignores it goes on doing so.
  env --default-signal=INT "$@" </dev/null >"$scratch/out" 2>"$scratch/err" &
  pid=$!
  until listens "$pid" "$signal" || ! kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
  sleep "${pause:-0.3}"
  kill "-$signal" "$pid" 2>/dev/null || fail "it had ended before: $* ($(cat "$scratch/err"))"
  began=$SECONDS
  wait "$pid" || got=$?
  assert_eq "$got" "$code" "exit code of $* ($(cat "$scratch/err"))"
  grep -q '^vaultctl: Interrupted: by SIG' "$scratch/err" || fail "it said: $(cat "$scratch/err")"
  [[ $* != *" backup run "* ]] || grep -q 'the item is as it was' "$scratch/err" || fail "it does not say what is kept: $(cat "$scratch/err")"
  [[ $* != *" restore "* ]] || grep -Eq "; $scratch/(target|tree) is as it was" "$scratch/err" || fail "it does not say what is left: $(cat "$scratch/err")"
  [[ $* != *" verify "* ]] || grep -q 'it changes nothing' "$scratch/err" || fail "it does not say what is kept: $(cat "$scratch/err")"
  [[ $((SECONDS - began)) -lt $(patience 15) ]] || fail "it took $((SECONDS - began)) s to stop"
}
hidden() { find "$scratch" -maxdepth 2 -name '.vaultfs-restore*'; }
ended_jobs() { assert_eq "$(jctl '[.jobs[] | select(.state == "InProgress")] | length' job list "$vault")" 0 "jobs in progress"; }

say "an unmounted vault: backup and restore"
stopped INT 130 "$vaultctl" backup run "$vault" large --disk "d=$scratch/large"
stopped TERM 143 "$vaultctl" backup run "$vault" large --disk "d=$scratch/large"
ended_jobs
assert_eq "$(jctl '.recovery_points | length' recovery-point list "$vault")" 1
ctl backup run "$vault" large --disk "d=$scratch/large" >/dev/null
stopped INT 130 "$vaultctl" restore "$vault" large --to "$scratch/target"
[[ ! -e $scratch/target ]] || fail "a part of a disk has the name of the whole"
mkdir "$scratch/tree"
stopped TERM 143 "$vaultctl" restore "$vault" large --to "$scratch/tree"
assert_eq "$(ls -A "$scratch/tree")" ""
assert_eq "$(hidden)" ""
pause=0.2 stopped INT 130 "$vaultctl" verify "$vault"
ended_jobs
ctl verify "$vault" >/dev/null

say "a mounted vault: the owner stops, too, and serves on"
mount_vault commit=manual
random_file "$scratch/large2" 700M
stopped INT 130 "$vaultctl" backup run "$vault" second --disk "d=$scratch/large2"
ended_jobs
stopped TERM 143 "$vaultctl" restore "$vault" large --to "$scratch/target"
[[ ! -e $scratch/target ]] || fail "a part of a disk has the name of the whole"
assert_eq "$(hidden)" ""
ended_jobs
mkdir -p "$mnt/live"
echo alive >"$mnt/live/file"
ctl backup commit "$vault" live >/dev/null
unmount_vault

say "waiting for a vault that is in use"
exec 6<"$vault/vault.lock"
flock 6
stopped INT 130 "$vaultctl" --wait 60 backup commit "$vault" live
flock -u 6
exec 6<&-

say "waiting for a passphrase: the terminal echoes again"
python3 - "$vaultctl" <<'PYTHON'
import os, pty, signal, sys, termios, time
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], [sys.argv[1], "keyvault", "create", "asked", "--passphrase"])
end = time.time() + 20
seen = b""
while b"assphrase" not in seen and time.time() < end:
    seen += os.read(terminal, 1000)
assert not termios.tcgetattr(terminal)[3] & termios.ECHO, "the passphrase is shown"
os.kill(pid, signal.SIGINT)
while time.time() < end:
    try:
        if not os.read(terminal, 1000): break
    except OSError:
        break
_, status = os.waitpid(pid, 0)
assert os.waitstatus_to_exitcode(status) == 130, status
PYTHON
expect_error KeyVaultNotFound 3 "$vaultctl" keyvault show asked

say "what was started with a signal ignored (nohup, a background job of a script) goes on ignoring it"
for signal in HUP INT TERM; do
  env --ignore-signal="$signal" "$vaultctl" verify "$vault" >/dev/null 2>&1 </dev/null &
  pid=$!
  sleep 0.4
  kill "-$signal" "$pid" 2>/dev/null || fail "verify had ended before"
  wait "$pid" || fail "it ended with $? by SIG$signal"
  code=0
  env --ignore-signal="$signal" "$vaultctl" vault hold "$vault" -- sh -c "kill -$signal \$\$; exit 7" </dev/null || code=$?
  assert_eq "$code" 7 "the exit code of a command under a hold, which ignores SIG$signal as well"
done
