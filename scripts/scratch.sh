# shellcheck shell=bash
# Sourced by the scripts that run tests: a scratch directory that all they start knows as TMPDIR, and that is taken down
# with whatever is left in it, however the script ends: mounts, loop devices, processes, files.
#
#   scratch_begin NAME    makes a directory NAME.* in TMPDIR (else /var/tmp) and sets the traps; REQUIRES: bash, set -e may be on
#   run COMMAND…          in the background, so that a signal reaches the trap at once; gives the command's code

scratch_child=
scratch_mounts() { # [!]TYPE: escaped mount points below TMPDIR of that type, or of any other; the deepest first
  awk -v prefix="$TMPDIR/" -v type="${1#!}" -v other="${1:0:1}" 'index($5, prefix) == 1 {
    for (i = 6; $i != "-"; i++); if (($(i + 1) == type) != (other == "!")) print $5 }' /proc/self/mountinfo | sort -r
}
scratch_unmount() { # [!]TYPE
  local escaped path
  for escaped in $(scratch_mounts "$1"); do
    printf -v path %b "$escaped"
    umount "$path" 2>/dev/null || umount -l "$path"
  done
}
scratch_loops() { losetup -n -O NAME,BACK-FILE 2>/dev/null | awk -v prefix="$TMPDIR/" 'index($2, prefix) == 1 {print $1}'; }
# What this run has started and what still lives: its environment names TMPDIR, which nobody else uses.
scratch_processes() {
  local entry words
  for entry in /proc/[0-9]*/environ; do
    mapfile -d '' -t words 2>/dev/null <"$entry" || continue
    [[ " ${words[*]} " == *" TMPDIR=$TMPDIR "* ]] || continue
    entry=${entry#/proc/}
    [[ ${entry%/environ} == "$$" || ${entry%/environ} == "$BASHPID" ]] || echo "${entry%/environ}"
  done 2>/dev/null
}
scratch_await_end() { # at most 15 s: a daemon first syncs its work
  local _
  for _ in $(seq 150); do
    [[ -n $(scratch_processes) ]] || break
    sleep 0.1
  done
}
scratch_end() {
  local code=$? device pid
  trap - EXIT INT TERM HUP
  set +e
  if [[ -n $scratch_child ]] && kill -0 "$scratch_child" 2>/dev/null; then
    kill -TERM "$scratch_child"
    wait "$scratch_child" 2>/dev/null
  fi
  # Tests that are still there unmount in their traps.
  for pid in $(scratch_processes); do kill -TERM "$pid" 2>/dev/null; done
  scratch_await_end
  # What lies on top first: a file system on a loop device on a file of a mount. Once a mount has been taken away lazily,
  # its loop devices can't be told from others.
  scratch_unmount !fuse.vaultfs
  for device in $(scratch_loops); do losetup -d "$device"; done
  scratch_unmount fuse.vaultfs
  scratch_await_end
  for pid in $(scratch_processes); do kill -KILL "$pid" 2>/dev/null; done
  rm -rf --one-file-system "$TMPDIR"
  exit "$code"
}
scratch_begin() {
  TMPDIR=$(mktemp -d "${TMPDIR:-/var/tmp}/$1.XXXXXX")
  chmod 0711 "$TMPDIR" # tests of other users' mounts must be able to pass through it
  export TMPDIR
  trap scratch_end EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
}
run() {
  "$@" &
  scratch_child=$!
  local code=0
  wait "$scratch_child" || code=$?
  scratch_child=
  return "$code"
}
