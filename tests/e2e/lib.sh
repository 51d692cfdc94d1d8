# Shared by the end-to-end tests: a scratch directory with a machine state of its own, mounts that are always taken down,
# assertions that name the line. Source it first. Wants VAULTFS_BIN, the directory of the built programs; takes
# VAULTFS_TIME_FACTOR, by which every wait may be longer (builds with sanitizers are slow).
# shellcheck shell=bash
set -euo pipefail

: "${VAULTFS_BIN:?set VAULTFS_BIN to the directory of vaultfs, vaultctl and umount.fuse.vaultfs}"
readonly source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly vaultfs=$VAULTFS_BIN/vaultfs vaultctl=$VAULTFS_BIN/vaultctl umounter=$VAULTFS_BIN/umount.fuse.vaultfs
readonly skip_code=77 time_factor=${VAULTFS_TIME_FACTOR:-1}

scratch=$(mktemp -d "${TMPDIR:-/var/tmp}/vaultfs-e2e.XXXXXX")
readonly scratch
chmod 0711 "$scratch" # other users must be able to reach a mount that lets them in
export VAULTFS_HOME=$scratch/home VAULTFS_RUNTIME_DIR=$scratch/run LC_ALL=C.UTF-8 TZ=UTC
# What a sanitizer finds goes to files there, because a daemon's stderr is /dev/null and its exit code nobody's: any such
# file fails the test (see finish). Builds without sanitizers ignore these variables. Other users' processes report too.
readonly sanitizer_reports=$scratch/sanitizer
mkdir -m 1777 "$sanitizer_reports"
# g++'s UBSan beside ASan ignores log_path and writes to stderr: it aborts, and ASan's report shows where.
export ASAN_OPTIONS=exitcode=99:detect_leaks=1:handle_abort=1:log_path=$sanitizer_reports/asan
export UBSAN_OPTIONS=abort_on_error=1:print_stacktrace=1:log_path=$sanitizer_reports/ubsan
export TSAN_OPTIONS=exitcode=99:second_deadlock_stack=1:log_path=$sanitizer_reports/tsan
# Bash runs a trap only after the foreground program has ended: the tests keep each of them short.
trap 'finish $?' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# vault, mount point and log of the usual test; a second machine sets its own.
vault=$scratch/vault
mnt=$scratch/mnt
log=$scratch/vaultfs.log
mkdir "$mnt"

fail() {
  local frame=1
  while [[ ${BASH_SOURCE[frame]##*/} == lib.sh && $frame -lt $((${#BASH_SOURCE[@]} - 1)) ]]; do frame=$((frame + 1)); done
  printf 'FAILED %s:%s: %s\n' "${BASH_SOURCE[frame]##*/}" "${BASH_LINENO[frame - 1]}" "$*" >&2
  if [[ -s $log ]]; then
    echo '--- end of the log' >&2
    tail -n 30 "$log" >&2
  fi
  # In a subshell, as that of "$(…)" among a command's words, nobody might look at the exit code: see finish.
  : >"$scratch/failed"
  exit 1
}
trap 'fail "a command ended with $?: $BASH_COMMAND"' ERR
set -E

skip() {
  printf 'SKIPPED: %s\n' "$*"
  exit "$skip_code"
}

say() { printf '== %s\n' "$*"; }

# Mount points below the scratch directory, the deepest first, escaped as in mountinfo (\\040 for a blank).
mounts_below_scratch() {
  awk -v prefix="$scratch/" 'index($5, prefix) == 1 {print $5}' /proc/self/mountinfo | sort -r
}

# Daemons of this test, by their exact command line: their vault lies in this scratch directory.
daemons() {
  local entry words
  for entry in /proc/[0-9]*/cmdline; do
    mapfile -d '' -t words 2>/dev/null <"$entry" || continue
    [[ ${words[0]:-} == "$vaultfs" && " ${words[*]:1} " == *" $scratch/"* ]] || continue
    entry=${entry#/proc/}
    echo "${entry%/cmdline}"
  done 2>/dev/null
}

# What this shell has started in the background and what has not ended by itself, in 5 s at most. Not the daemons of mounts:
# those have their work to sync.
end_children() {
  local pid pids=() waited=0
  for pid in $(jobs -p); do
    [[ $(readlink "/proc/$pid/exe") == "$vaultfs" ]] || pids+=("$pid")
  done
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do
    while [[ $waited -lt 50 && -e /proc/$pid/exe ]]; do
      sleep 0.1
      waited=$((waited + 1))
    done
    kill -KILL "$pid" 2>/dev/null
    kill -KILL -- "-$pid" 2>/dev/null # one that leads a group of its own
  done
}

# The end of every test: nothing may stay behind, and a daemon that does not end is a failure.
finish() {
  local code=$1 escaped path pid
  trap - ERR EXIT
  set +eE
  [[ $code != 0 || ! -e $scratch/failed ]] || code=1
  # A test that failed may still hold files of a mount open, itself or by what it has started: no unmount would end.
  exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
  end_children
  # Loop devices first: they keep files of a mount open.
  if [[ -e /dev/loop-control ]]; then
    for escaped in $(mounts_below_scratch); do
      printf -v path %b "$escaped"
      [[ $(findmnt -n -o FSTYPE "$path") == fuse.vaultfs ]] || umount "$path" 2>/dev/null || umount -l "$path"
    done
    losetup -n -O NAME,BACK-FILE | awk -v prefix="$scratch/" 'index($2, prefix) == 1 {print $1}' |
      while read -r path; do losetup -d "$path"; done
  fi
  for escaped in $(mounts_below_scratch); do
    printf -v path %b "$escaped"
    timeout $((60 * time_factor)) "$umounter" "$path" 2>/dev/null || umount -l "$path"
  done
  local waited=0
  while [[ -n $(daemons) && $waited -lt $((200 * time_factor)) ]]; do
    sleep 0.1
    waited=$((waited + 1))
  done
  for pid in $(daemons); do
    echo "the daemon $pid did not end" >&2
    kill -KILL "$pid"
    [[ $code == 0 ]] && code=1
  done
  local report
  for report in "$sanitizer_reports"/*; do
    [[ -s $report ]] || continue
    printf -- '--- sanitizer report\n' >&2
    head -n 200 "$report" >&2
    code=99
  done
  if [[ ${VAULTFS_KEEP_SCRATCH:-} == 1 ]]; then
    echo "kept: $scratch" >&2
  else
    rm -rf "$scratch"
  fi
  exit "$code"
}

need_fuse() {
  [[ -c /dev/fuse ]] || skip "there is no /dev/fuse here"
  [[ $EUID == 0 ]] || command -v fusermount3 >/dev/null || skip "mounting wants root or fusermount3"
}
need_root() { [[ $EUID == 0 ]] || skip "this test wants root"; }
# The runtime of a sanitizer keeps what was freed and has memory of its own.
sanitized() { ldd "$vaultfs" | grep -Eq 'lib(asan|tsan)'; }
need_loop() {
  need_root
  [[ -c /dev/loop-control ]] && losetup -f >/dev/null 2>&1 || skip "there are no loop devices here"
}
# scripts/test has installed all that scripts/install-deps knows of: what is missing then is missing there, and no reason to skip.
need() {
  local program
  for program; do
    command -v "$program" >/dev/null && continue
    [[ ${VAULTFS_TEST_INSTALLED:-} != 1 ]] || fail "$program is not installed, and scripts/install-deps does not know of it"
    skip "$program is not installed (scripts/install-deps --test)"
  done
}

ctl() { "$vaultctl" "$@" </dev/null; }
# Asks vaultctl for JSON and jq for one value of it, which must be there (null is not): jctl FILTER ARGUMENTS…
jctl() {
  local filter=$1
  shift
  ctl --json "$@" | jq -er "($filter) | if . == false then \"false\" else . end"
}

assert_eq() { [[ $1 == "$2" ]] || fail "${3:-the values differ}: expected \"$2\", got \"$1\""; }
assert_match() { [[ $1 =~ $2 ]] || fail "${3:-no match}: \"$1\" does not match \"$2\""; }
assert_same() { cmp -- "$1" "$2" || fail "$1 and $2 differ"; }
# Bytes that a file occupies, or that everything below a directory does.
allocated() { du -s --block-size=1 -- "$1" | cut -f1; }

# expect_error NAME CODE COMMAND…: it must end with this exit code (any, if CODE is empty; several as 3|7) and say "PROGRAM: NAME: what happened" on stderr.
# Leaves stderr in $scratch/err.
expect_error() {
  local name=$1 code=$2 got=0
  shift 2
  "$@" >"$scratch/out" 2>"$scratch/err" </dev/null || got=$?
  grep -Eq "^(vaultctl|vaultfs): $name: .+" "$scratch/err" ||
    fail "$* should say $name (exit code $code), but ended with $got and said: $(cat "$scratch/err")"
  [[ $got != 0 ]] || fail "$* ended with 0"
  [[ -z $code || "|$code|" == *"|$got|"* ]] || fail "$* should end with $code, not $got: $(cat "$scratch/err")"
}

# expect_errno ERRNO COMMAND…: fails with this errno's text (as coreutils and Python print it).
expect_errno() {
  local name=$1 text got=0
  shift
  text=$(python3 -c 'import errno, os, sys; print(os.strerror(getattr(errno, sys.argv[1])))' "$name")
  "$@" >"$scratch/out" 2>&1 </dev/null || got=$?
  [[ $got != 0 ]] || fail "$* should have failed with $name"
  grep -Fq "$text" "$scratch/out" || fail "$* should fail with \"$text\", but said: $(cat "$scratch/out")"
}

# How much time something may take here that takes at most N (of whatever unit) on a machine that has nothing else to do.
patience() { # N
  awk -v wanted="$1" -v factor="$time_factor" -v cores="$(nproc)" \
    '{printf "%d\n", wanted * factor * (1 + $1 / cores) + 0.5}' /proc/loadavg
}

# wait_until SECONDS COMMAND…: polls until it succeeds. SECONDS is what a machine with nothing else to do may need; a busy
# one gets five times that.
wait_until() {
  local end=$((SECONDS + $1 * 5 * time_factor))
  shift
  until "$@" >/dev/null 2>&1; do
    [[ $SECONDS -lt $end ]] || fail "waited in vain for: $*"
    sleep 0.2
  done
}

new_key() { # [KEYREF]: a key vault if missing, and a key
  local ref=${1:-office/backup}
  ctl keyvault show "${ref%%/*}" >/dev/null 2>&1 || ctl keyvault create "${ref%%/*}" >/dev/null
  ctl key create "$ref" --bits 2048 >/dev/null
}
new_vault() { # [VAULT]: under the key office/backup
  local at=${1:-$vault}
  [[ -e $VAULTFS_HOME ]] || new_key
  ctl vault create "$at" --key office/backup 2>/dev/null >/dev/null
}
# The newest version of a key.
newest_version() { jctl '.versions[-1].version' key list "${1:-office/backup}"; }
version_role() { ctl --json encryption show "$vault" | jq -er --arg v "$1" '[.versions[] | select(.version == $v)][-1].role'; }
point_count() { jctl '.recovery_points | length' recovery-point list "$vault" ${1+"$1"}; }
newest_point() { jctl '.recovery_points[-1].id' recovery-point list "$vault" "$1"; }

mount_vault() { # [OPTIONS…]: comma lists for -o
  local options="log=$log" option
  for option; do options+=",$option"; done
  "$vaultfs" "$vault" "$mnt" -o "$options" </dev/null
  mountpoint -q "$mnt" || fail "$mnt is not mounted though vaultfs returned"
}
unmount_vault() { timeout $((120 * time_factor)) "$umounter" "$mnt"; }
kill_daemon() { # as a crash ends it; returns once it is gone, with all that it held
  local pid
  pid=$(daemon_pid)
  kill -KILL "$pid"
  wait_until 20 has_ended "$pid"
}
has_ended() { # PROCESS
  [[ ! -e /proc/$1 ]] || grep -q '^State:\sZ' "/proc/$1/status" 2>/dev/null
}
daemon_pid() { # the daemon that serves $vault on $mnt
  local pid words
  for pid in $(daemons); do
    mapfile -d '' -t words <"/proc/$pid/cmdline"
    if [[ " ${words[*]} " == *" $vault $mnt "* ]]; then
      echo "$pid"
      return
    fi
  done
  fail "no daemon serves $mnt"
}
# A small ext4 of its own at $scratch/disk, which may run full or stand still, with $vault on it.
small_disk() { # SIZE [MKFS OPTION…]
  mkdir "$scratch/disk"
  truncate -s "$1" "$scratch/disk.img"
  mkfs.ext4 -q -F -m 0 "${@:2}" "$scratch/disk.img"
  mount -o loop,noatime "$scratch/disk.img" "$scratch/disk"
  vault=$scratch/disk/vault
}
# Lets $scratch/disk stand still until thaw, or until the test is gone: bash runs no trap while a program waits for that disk,
# so a test whose time is over is killed, and a disk that nobody thaws holds processes and mounts for ever.
freeze() {
  fsfreeze -f "$scratch/disk"
  setsid bash -c 'while kill -0 "$1" 2>/dev/null; do sleep 1; done; fsfreeze -u "$2"' thaw $$ "$scratch/disk" \
    </dev/null >/dev/null 2>&1 &
  thawer=$!
}
thaw() {
  fsfreeze -u "$scratch/disk" 2>/dev/null || true
  kill "$thawer" 2>/dev/null || true
  thawer=
}
thawer=
# All of a file by copy_file_range, and its sync.
copy_range() { # SOURCE TARGET
  python3 - "$@" <<'PYTHON'
import os, sys
source, target = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_CREAT | os.O_WRONLY, 0o600)
done, size = 0, os.fstat(source).st_size
while done < size:
    got = os.copy_file_range(source, target, size - done, done, done)
    assert got > 0, "copy_file_range stopped"
    done += got
os.fsync(target)
PYTHON
}
random_file() { head -c "$2" /dev/urandom >"$1"; } # FILE BYTES (suffixes of head)
