# What becomes of inodes: a name that is replaced all the time is always found, removed files and directories stay for who
# still refers to them, and no longer: neither the table of inodes nor the daemon grows with what came and went.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3
count=20000
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && count=100000
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"

# statfs counts the inodes of the working tree.
inodes() { stat -f -c '%c - %d' "$mnt" | xargs expr; }
inodes_are() { [[ $(inodes) == "$1" ]]; }
resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$(daemon_pid)/status"; }
files() { # create|remove
  python3 - "$1" "$mnt/vm/many" "$count" <<'PYTHON'
import os, sys
what, directory, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
if what == "create":
    os.mkdir(directory)
    os.chdir(directory)
    for n in range(count):
        os.close(os.open(f"file-{n:06}", os.O_CREAT | os.O_WRONLY))
else:
    os.chdir(directory)
    for n in range(count):
        os.unlink(f"file-{n:06}")
    os.rmdir(directory)
PYTHON
}

say "renamed over, removed while referred to"
python3 "$(dirname "$0")/inode_lifetime.py" "$mnt/vm" 4

say "$count files come and go, twice"
rm -rf "$mnt"/vm/*
wait_until 20 inodes_are 2
files create
inodes_are $((count + 3)) || fail "$(inodes) inodes after $count files were made"
ls -l "$mnt/vm/many" >/dev/null
find "$mnt/vm/many" -type f | wc -l >/dev/null
files remove
wait_until 30 inodes_are 2
first=$(resident_kib)
files create
ls -l "$mnt/vm/many" >/dev/null
files remove
wait_until 30 inodes_are 2
second=$(resident_kib)
say "resident: $first KiB after the first time, $second KiB after the second"
sanitized || [[ $second -lt $((first + first / 4 + 4096)) ]] || fail "the daemon grew from $first to $second KiB"

say "a removed file stays as long as it is open"
exec 7>"$mnt/vm/open"
rm "$mnt/vm/open"
inodes_are 3 || fail "$(inodes) inodes with an open file without a name"
echo content >&7
exec 7>&-
wait_until 10 inodes_are 2

say "and in other ways to lose a name: rename over"
echo a >"$mnt/vm/a"
echo b >"$mnt/vm/b"
mv -f "$mnt/vm/a" "$mnt/vm/b"
wait_until 10 inodes_are 3
assert_eq "$(cat "$mnt/vm/b")" a
unmount_vault
