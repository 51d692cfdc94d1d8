# What the makers of frozen examples share: a scratch machine at a fixed place, a mount, content that is the same at every
# run. Source it with `version` set to the name of the directory to make. Wants VAULTFS_BIN.
# shellcheck shell=bash
set -euo pipefail
export LC_ALL=C.UTF-8 TZ=UTC
umask 077

bin=$(realpath "${VAULTFS_BIN:?set VAULTFS_BIN to the directory of vaultfs and vaultctl}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$here/$version
[[ ! -e $out ]] || { echo "make: $out exists; a frozen example is never made again" >&2; exit 1; }

# A fixed place: registrations, audit log and activity log name it, and it should be nobody's real directory.
work=/var/tmp/vaultfs-frozen
[[ ! -e $work ]] || { echo "make: $work exists; remove it first" >&2; exit 1; }
mnt=$work/mnt
mkdir -p "$work" "$mnt"
export VAULTFS_HOME=$work/home VAULTFS_RUNTIME_DIR=$work/run
cleanup() {
  ! mountpoint -q "$mnt" || "$bin/umount.fuse.vaultfs" "$mnt" || umount -l "$mnt"
  rm -rf "$work"
}
trap cleanup EXIT

ctl() { "$bin/vaultctl" "$@" </dev/null; }
mount_vault() { "$bin/vaultfs" "$1" "$mnt" -o "commit=manual,log=$work/log,write-buffer=16M" </dev/null; }
unmount() { "$bin/umount.fuse.vaultfs" "$mnt"; }
# Bytes that nothing compresses, the same at every run: only keys, salts and times differ between two runs.
noise() { # SEED BYTES
  head -c "$2" /dev/zero | openssl enc -aes-128-ctr -nosalt -K "$(printf '%032x' "$1")" -iv "$(printf '%032x' 0)"
}
text() { { seq -f 'line %.0f of a text that compresses well' 1 100000 2>/dev/null || true; } | head -c "$1"; }
put() { dd of="$1" bs=64K seek="$2" oflag=seek_bytes conv=notrunc,fsync status=none; } # FILE OFFSET: stdin to there
# FILE: a 3 MiB + 5,000 byte disk: random, a hole, written zeros, text, a hole over a page border, a short tail.
disk() {
  truncate -s $((3 * 1024 * 1024 + 5000)) "$1"
  noise 1 150000 | put "$1" 0
  head -c 1048576 /dev/zero | put "$1" 1048576
  text 700000 | put "$1" 2200000
  noise 2 5000 | put "$1" $((3 * 1024 * 1024))
}
manifest() { "$here/list_tree.py" "$1"; }
points() { ctl --json recovery-point list "$1" | jq '[.recovery_points[].id]'; }
# PART…: what was made becomes the example.
keep_parts() {
  local part
  mkdir "$out"
  for part; do cp -r --sparse=always "$work/$part" "$out/"; done
}
