# What a process inherits decides nothing: standard descriptors that are closed, no HOME, another user's environment, a
# working directory that is gone, ignored signals, a umask, limits, an empty PATH, a locale that is not there. Each either
# works, or is refused with the reason.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
random_file "$scratch/disk" 2M
mkdir "$scratch/mnt2"
backup=(backup run "$vault" vm --disk "d=$scratch/disk")
ctl "${backup[@]}" >/dev/null
gone() { ! kill -0 "$1" 2>/dev/null; }
mountpoint_is_free() { [[ -z $(daemons) ]] && ! mountpoint -q "$mnt"; }

say "standard descriptors closed: no file of the vault gets their numbers"
(exec "$vaultctl" "${backup[@]}" <&- >&- 2>&-) || fail "vaultctl ended with $?"
(exec "$vaultctl" encryption refresh "$vault" <&- >&- 2>&-) || fail "vaultctl ended with $?"
(exec "$vaultctl" key rotate office/backup <&- >&- 2>&-) || fail "vaultctl ended with $?"
(exec "$vaultctl" vault create "$scratch/another" --key office/backup <&- >&- 2>&-) || fail "vaultctl ended with $?"
(exec "$vaultctl" backup run "$vault" vm --disk "d=$scratch/nothing" <&- >&- 2>&-) && fail "a disk that is not there"
for closed in '<&- >&- 2>&-' '2>&-' '<&-' '>&-'; do
  (eval "exec \"\$vaultfs\" \"\$vault\" \"\$mnt\" -o log=\$log $closed") || fail "vaultfs $closed ended with $?"
  mkdir -p "$mnt/vm"
  echo "$closed" >"$mnt/vm/note"
  ctl backup commit "$vault" vm >/dev/null
  expect_error VaultBusy 6 "$vaultfs" "$vault" "$scratch/mnt2"
  (exec "$umounter" "$mnt" <&- >&- 2>&-) || fail "umount ended with $?"
done
ctl verify "$vault" >/dev/null
ctl verify "$scratch/another" >/dev/null
ctl activity "$vault" --verify >/dev/null

# in_setting NAME COMMAND…: the command as it is started by something else. Its exit code.
in_setting() {
  local setting=$1
  shift
  case $setting in
    no-home) env -u HOME -u XDG_DATA_HOME -u XDG_RUNTIME_DIR -u VAULTFS_RUNTIME_DIR "$@" ;;
    other-runtime) env XDG_RUNTIME_DIR="$scratch/elsewhere" VAULTFS_RUNTIME_DIR="$scratch/elsewhere2" "$@" ;;
    su) env HOME="$scratch/foreign" XDG_DATA_HOME="$scratch/foreign/data" XDG_RUNTIME_DIR=/run/user/12345 "$@" ;;
    cron) env -i VAULTFS_HOME="$VAULTFS_HOME" HOME="${HOME:-/}" PATH=/usr/bin:/bin LOGNAME=x "$@" </dev/null ;;
    no-directory)
      (
        mkdir "$scratch/gone"
        cd "$scratch/gone"
        rmdir "$scratch/gone"
        exec "$@"
      )
      ;;
    umask-0777) (umask 0777 && exec "$@") ;;
    umask-0) (umask 0 && exec "$@") ;;
    ignored-signals)
      python3 -c '
import os, signal, sys
for s in (signal.SIGCHLD, signal.SIGTERM, signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGXFSZ): signal.signal(s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGURG, signal.SIGUSR1})
os.execv(sys.argv[1], sys.argv[1:])' "$@"
      ;;
    empty-path) env PATH= "$@" ;;
    no-path) env -u PATH "$@" ;;
    odd-locale) env LC_ALL=tr_TR.UTF-8 LANG=xx_XX.nothing TZ=Nowhere/At_All "$@" ;;
    few-files) (ulimit -S -n 16 && exec "$@") ;;
    small-stack) (ulimit -S -s 64 && exec "$@") ;;
    small-file) (ulimit -S -f 8 && exec "$@") ;;
    little-time) (ulimit -S -t 1 && exec "$@") ;;
  esac
}
settings=(no-home other-runtime su cron no-directory umask-0777 umask-0 ignored-signals empty-path no-path odd-locale few-files
  small-stack small-file little-time)
mkdir -m 0700 "$scratch/foreign"
if [[ $EUID == 0 ]]; then chown 65534 "$scratch/foreign"; fi

for setting in "${settings[@]}"; do
  say "$setting: a command, a mount, a command on a mount that was made as usual, and the other way round"
  in_setting "$setting" "$vaultctl" "${backup[@]}" </dev/null >/dev/null || fail "unmounted, it ended with $?"
  in_setting "$setting" "$vaultfs" "$vault" "$mnt" -o "log=$log" || fail "vaultfs ended with $?"
  pid=$(daemon_pid)
  mkdir -p "$mnt/vm"
  echo "$setting" >"$mnt/vm/note"
  ctl backup commit "$vault" vm >/dev/null || fail "its mount is not found by others"
  in_setting "$setting" "$umounter" "$mnt" || fail "umount ended with $?"
  wait_until 10 gone "$pid"
  mount_vault
  in_setting "$setting" "$vaultctl" backup commit "$vault" vm >/dev/null || fail "it does not find the mount: $?"
  assert_eq "$(cat "$mnt/vm/note")" "$setting"
  kill -TERM "$(daemon_pid)"
  wait_until 30 mountpoint_is_free
done
ctl verify "$vault" >/dev/null
[[ ! -e $scratch/gone && -z $(ls -A "$scratch/foreign") ]] || fail "something was left"
assert_eq "$(find "$vault" "$VAULTFS_HOME" -perm /077 -not -type l)" "" "others may read what was made under a umask of 0"

say "a daemon that was started with SIGTERM ignored and blocked ends by it"
in_setting ignored-signals "$vaultfs" "$vault" "$mnt" -o "log=$log"
pid=$(daemon_pid)
kill -TERM "$pid"
wait_until 30 gone "$pid"

say "nothing is left in the working directory"
mkdir "$scratch/here"
(
  cd "$scratch/here"
  for variables in "VAULTFS_HOME= HOME= XDG_DATA_HOME=" "VAULTFS_RUNTIME_DIR=run" "XDG_DATA_HOME=data HOME=home VAULTFS_HOME="; do
    # shellcheck disable=SC2086
    env $variables "$vaultctl" recovery-point list "$vault" >/dev/null 2>&1 </dev/null || true
  done
)
assert_eq "$(ls -A "$scratch/here")" ""

say "hard limits that would end a mount are refused, and named"
expect_error NotPermitted 5 bash -c "ulimit -t 3600; exec '$vaultfs' '$vault' '$mnt'"
grep -q 'ulimit -t' "$scratch/err"
expect_error NotPermitted 5 bash -c "ulimit -n 64; exec '$vaultfs' '$vault' '$mnt'"
grep -q 'ulimit -n' "$scratch/err"
expect_error NotPermitted 5 bash -c "ulimit -f 1000; exec '$vaultfs' '$vault' '$mnt'"
code=0
random_file "$scratch/disk" 2M # content that the vault does not know
bash -c "ulimit -f 100; exec '$vaultctl' backup run '$vault' limited --disk 'd=$scratch/disk'" 2>"$scratch/err" >/dev/null </dev/null || code=$?
[[ $code != 0 && $code -lt 128 ]] || fail "a file that is too large for its limit: exit code $code"
grep -q '^vaultctl: ' "$scratch/err" || fail "it says nothing: $(cat "$scratch/err")"
ctl verify "$vault" >/dev/null

say "vault hold gives its command what it was started with"
code=0
held=$(umask 027 && "$vaultctl" vault hold "$vault" -- sh -c 'umask; kill -PIPE $$' </dev/null) || code=$?
assert_eq "$held" 0027
assert_eq "$code" $((128 + 13))
