# Programs that people use, at work in the mount: rsync -aHAX there and back, git, a build, sqlite, many writers, a large directory.
# VAULTFS_TEST_LONG=1 takes the whole of /usr.
. "$(dirname "$0")/lib.sh"
need_fuse
need_root
need rsync setfattr setfacl git make cc setcap
new_vault
mount_vault commit=manual allow_other
mkdir "$mnt/vm"

say "rsync -aHAX of a tree with everything in it, there and back"
tree=$scratch/tree
mkdir -p "$tree/dir/empty" "$tree/sgid"
random_file "$tree/dir/data" 3M
truncate -s 40M "$tree/sparse"
ln "$tree/dir/data" "$tree/hard"
ln -s dir/data "$tree/soft"
ln -s nowhere "$tree/dangling"
mkfifo -m 0640 "$tree/fifo"
mknod "$tree/null" c 1 3
mknod "$tree/block" b 7 300
python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$tree/socket"
setfattr -n user.color -v blue "$tree/dir/data"
setfattr -n trusted.note -v kept "$tree/dir"
setfattr -h -n trusted.link -v kept "$tree/soft"
setfacl -m u:nobody:rw,g:4242:r "$tree/dir/data"
setfacl -d -m u:nobody:rwx "$tree/dir"
cp /bin/true "$tree/ping" && setcap cap_net_raw+ep "$tree/ping"
cp /bin/true "$tree/suid" && chown 65534:4242 "$tree/suid" && chmod 6755 "$tree/suid"
chown 0:4242 "$tree/sgid" && chmod 2775 "$tree/sgid"
chmod 1777 "$tree/dir/empty"
touch -h -d '1969-07-20 20:17:40.123456789' "$tree/soft"
touch -d '2038-01-19 03:14:08.5' "$tree/dir/data"
same() { # SOURCE TARGET: rsync finds nothing to do, by content
  local difference
  difference=$(rsync -aHAXSnci --delete "$1/" "$2/")
  [[ -z $difference ]] || fail "rsync sees a difference: $difference"
}
rsync -aHAXS "$tree/" "$mnt/vm/tree/"
same "$tree" "$mnt/vm/tree"
mkdir "$scratch/back"
rsync -aHAXS "$mnt/vm/tree/" "$scratch/back/"
same "$tree" "$scratch/back"
cp -a "$tree" "$mnt/vm/copy"
same "$tree" "$mnt/vm/copy"
[[ $(allocated "$mnt/vm/tree/sparse") -lt 1000000 ]] || fail "a hole takes space"

large=/usr/share/doc
[[ ${VAULTFS_TEST_LONG:-} == 1 ]] && large=/usr
say "rsync -aHAX of $large and back"
rsync -aHAX "$large/" "$mnt/vm/large/"
same "$large" "$mnt/vm/large"
if [[ ${VAULTFS_TEST_LONG:-} == 1 ]]; then
  rsync -aHAX "$mnt/vm/large/" "$scratch/large/"
  same "$large" "$scratch/large"
fi

say "copies by reference take no space"
random_file "$mnt/vm/disk" 32M
# Whatever else is still on its way to the disk would count as the copy's.
ctl backup commit "$vault" vm >/dev/null
before=$(allocated "$vault")
copy_range "$mnt/vm/disk" "$mnt/vm/twin"
assert_same "$mnt/vm/disk" "$mnt/vm/twin"
grown=$(($(allocated "$vault") - before))
[[ $grown -lt 16000000 ]] || fail "the copy was stored again: the vault grew by $grown bytes"

say "git: clone, fsck, work"
git init -q "$scratch/origin"
(
  cd "$scratch/origin"
  git config user.email test@example.org && git config user.name Test
  cp -r "$source_dir/docs" . && git add -A && git commit -qm first
)
git clone -q --no-hardlinks "$scratch/origin" "$mnt/vm/clone"
(
  cd "$mnt/vm/clone"
  git config user.email test@example.org && git config user.name Test
  git fsck --strict --no-progress
  for n in 1 2 3 4 5; do
    echo "$n" >>docs/format.md
    git commit -qam "change $n"
  done
  git gc -q --prune=now
  git fsck --strict --no-progress
  assert_eq "$(git log --oneline | wc -l)" 6
  assert_eq "$(git status --porcelain)" ""
)

say "a build"
mkdir "$mnt/vm/build"
(
  cd "$mnt/vm/build"
  for n in $(seq 1 20); do printf 'int f%d(void) { return %d; }\n' "$n" "$n" >"f$n.c"; done
  { for n in $(seq 1 20); do echo "int f$n(void);"; done
    echo 'int main(void) { return f20() - 20; }'; } >main.c
  printf 'OBJECTS := $(patsubst %%.c,%%.o,$(wildcard *.c))\nprogram: libf.a main.o\n\t$(CC) -o $@ main.o libf.a\nlibf.a: $(filter f%%,$(OBJECTS))\n\tar rcs $@ $^\n' >Makefile
  make -s -j2
  ./program
  cp program running
  ./running
  make -s -q program
)

say "sqlite, with its shared memory"
if command -v sqlite3 >/dev/null; then
  sqlite3 "$mnt/vm/db" 'PRAGMA journal_mode=WAL; CREATE TABLE t(a, b); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, randomblob(200) FROM n;' >/dev/null
  assert_eq "$(sqlite3 "$mnt/vm/db" 'SELECT count(*) FROM t; PRAGMA integrity_check;' | tr '\n' ' ')" "5000 ok "
fi

say "16 writers, one file each and one file for all"
truncate -s 64M "$mnt/vm/shared"
random_file "$scratch/noise" 4M
pids=()
for n in $(seq 0 15); do
  (
    cp "$scratch/noise" "$mnt/vm/writer-$n"
    dd if="$scratch/noise" of="$mnt/vm/shared" bs=64K seek=$((n * 64)) conv=notrunc status=none
  ) &
  pids+=($!)
done
for pid in "${pids[@]}"; do wait "$pid"; done
for n in $(seq 0 15); do
  assert_same "$scratch/noise" "$mnt/vm/writer-$n"
  dd if="$mnt/vm/shared" bs=4M skip="$n" count=1 status=none | cmp - "$scratch/noise"
done

say "a directory of 20,000 files: telldir stays where it was while entries come and go"
python3 - "$mnt/vm/many" <<'PYTHON'
import ctypes, os, sys
os.mkdir(sys.argv[1]), os.chdir(sys.argv[1])
count = 20000
for n in range(count):
    os.close(os.open(f"f{n:06}", os.O_CREAT | os.O_WRONLY))
assert len(os.listdir(".")) == count
libc = ctypes.CDLL(None, use_errno=True)
class Entry(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_ulong), ("off", ctypes.c_long), ("length", ctypes.c_ushort), ("kind", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]
libc.opendir.restype, libc.readdir.restype, libc.telldir.restype = ctypes.c_void_p, ctypes.POINTER(Entry), ctypes.c_long
libc.readdir.argtypes = libc.telldir.argtypes = libc.rewinddir.argtypes = libc.closedir.argtypes = [ctypes.c_void_p]
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
directory = libc.opendir(b".")
def following():
    entry = libc.readdir(directory)
    return entry.contents.name.decode() if entry else None
seen, place, at_place = [], None, None
while (name := following()) is not None:
    if name.startswith("f"):
        seen.append(name)
    if len(seen) == 5000 and place is None:
        place, at_place = libc.telldir(directory), following()
        seen.append(at_place)
        for n in range(0, count, 2):
            os.unlink(f"f{n:06}")
        for n in range(1000):
            os.close(os.open(f"g{n:06}", os.O_CREAT | os.O_WRONLY))
kept = {f"f{n:06}" for n in range(1, count, 2)}
assert len(seen) == len(set(seen)), "an entry came twice"
assert kept <= set(seen), "an entry that stayed all the time was left out"
libc.seekdir(directory, place)
again = following()
assert again == at_place or int(at_place[1:]) % 2 == 0, (again, at_place)
libc.rewinddir(directory)
names = set()
while (name := following()) is not None:
    names.add(name)
assert names - {".", ".."} == kept | {f"g{n:06}" for n in range(1000)}, "rewinddir does not show what is there"
libc.closedir(directory)
PYTHON
[[ $(find "$mnt/vm/many" -type f | wc -l) == 11000 ]] || fail "find counts otherwise"
rm -rf "$mnt/vm/many"

say "a sparse image of 8 TiB"
truncate -s 8T "$mnt/vm/huge"
printf end | dd of="$mnt/vm/huge" bs=1 seek=$((8 * 1024 ** 4 - 3)) conv=notrunc status=none
printf middle | dd of="$mnt/vm/huge" bs=1M seek=4000000 conv=notrunc status=none
assert_eq "$(tail -c 3 "$mnt/vm/huge")" end
[[ $(allocated "$mnt/vm/huge") -le 3000000 ]] || fail "holes take space"
assert_eq "$(python3 -c 'import os, sys; print(os.lseek(os.open(sys.argv[1], os.O_RDONLY), 4096, os.SEEK_DATA))' "$mnt/vm/huge")" $((4000000 << 20))

say "all of it after a remount"
(cd "$mnt/vm" && find . -path ./huge -prune -o -path ./large -prune -o -type f -print0 | sort -z | xargs -0 sha256sum) >"$scratch/sums"
unmount_vault
mount_vault commit=manual allow_other
(cd "$mnt/vm" && sha256sum --quiet -c "$scratch/sums")
same "$tree" "$mnt/vm/tree"
assert_eq "$(tail -c 3 "$mnt/vm/huge")" end
git -C "$mnt/vm/clone" fsck --strict --no-progress
unmount_vault
