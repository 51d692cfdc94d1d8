# Holes: SEEK_HOLE and SEEK_DATA, honest st_blocks, zeros that take no space.
. "$(dirname "$0")/lib.sh"
need_fuse
new_vault
mount_vault commit=manual
mkdir "$mnt/vm"

cat >"$scratch/layout.py" <<'PY'
"""Prints the data ranges of a file by SEEK_DATA and SEEK_HOLE, and checks that what they call a hole reads as zeros."""
import errno, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
size, at, ranges = os.fstat(fd).st_size, 0, []
while at < size:
    try: data = os.lseek(fd, at, os.SEEK_DATA)
    except OSError as problem:
        assert problem.errno == errno.ENXIO, problem
        data = size
    assert data >= at
    for offset in range(at, data, 1 << 20):
        block = os.pread(fd, min(1 << 20, data - offset), offset)
        assert not any(block), f"data in a hole at {offset}"
    if data == size: break
    at = os.lseek(fd, data, os.SEEK_HOLE)
    assert at > data
    ranges.append((data, at))
for whence in (os.SEEK_DATA, os.SEEK_HOLE):
    try: os.lseek(fd, size, whence)
    except OSError as problem: assert problem.errno == errno.ENXIO
    else: raise AssertionError("seeking at the end must be ENXIO")
print(*(f"{a >> 20}-{(b + (1 << 20) - 1) >> 20}" for a, b in ranges))
PY
layout() { python3 "$scratch/layout.py" "$1"; }

say "a file with data in two places"
truncate -s 64M "$mnt/vm/f"
head -c 2M /dev/urandom | dd of="$mnt/vm/f" bs=1M seek=10 conv=notrunc status=none
head -c 1M /dev/urandom | dd of="$mnt/vm/f" bs=1M seek=40 conv=notrunc status=none
assert_eq "$(layout "$mnt/vm/f")" "10-12 40-41" "before the sync"
sync "$mnt/vm/f"
assert_eq "$(layout "$mnt/vm/f")" "10-12 40-41" "after the sync"
[[ $(allocated "$mnt/vm/f") -le 3500000 ]] || fail "64 MB with 3 MB of data occupy $(allocated "$mnt/vm/f")"

say "written zeros become holes and take no space"
head -c 32M /dev/zero >"$mnt/vm/zeros"
sync "$mnt/vm/zeros"
assert_eq "$(stat -c %s "$mnt/vm/zeros")" 33554432
[[ $(allocated "$mnt/vm/zeros") -lt 1000000 ]] || fail "zeros occupy space"
before=$(jctl .stored_bytes vault show "$vault")
head -c 64M /dev/zero | dd of="$mnt/vm/zeros" bs=1M conv=fsync status=none
after=$(jctl .stored_bytes vault show "$vault")
[[ $((after - before)) -lt 100000 ]] || fail "64 MB of zeros stored $((after - before)) bytes"

say "data overwritten by zeros becomes a hole again, and reads as zeros"
head -c 2M /dev/zero | dd of="$mnt/vm/f" bs=1M seek=10 conv=notrunc,fsync status=none
assert_eq "$(layout "$mnt/vm/f")" "40-41"

say "a program that copies by SEEK_DATA gets the same bytes"
head -c 3000 /dev/urandom | dd of="$mnt/vm/f" bs=1000 seek=25000 conv=notrunc status=none
cp --sparse=auto "$mnt/vm/f" "$scratch/copy"
assert_same "$mnt/vm/f" "$scratch/copy"
[[ $(allocated "$scratch/copy") -lt 8000000 ]] || fail "the copy has no holes"

say "fallocate: punch, zero, keep-size and plain do what they say; a mode that is not there is refused"
cp "$mnt/vm/f" "$scratch/model"
for change in "-p -o 40500000 -l 123456" "-z -o 41700000 -l 5000" "-o 0 -l 70000000" "-n -o 80000000 -l 1000000"; do
  # shellcheck disable=SC2086 # the words are ours
  fallocate $change "$scratch/model"
  # shellcheck disable=SC2086
  fallocate $change "$mnt/vm/f"
  assert_eq "$(stat -c %s "$mnt/vm/f")" "$(stat -c %s "$scratch/model")" "the size after fallocate $change"
  assert_same "$scratch/model" "$mnt/vm/f"
done
expect_errno EOPNOTSUPP fallocate -c -o 0 -l 1M "$mnt/vm/f"
expect_errno EOPNOTSUPP fallocate -i -o 0 -l 1M "$mnt/vm/f"
assert_same "$scratch/model" "$mnt/vm/f"

say "after the commit, a remount, and in the point"
wanted=$(layout "$mnt/vm/f")
cp "$mnt/vm/f" "$scratch/model"
ctl backup commit "$vault" vm >/dev/null
unmount_vault
mount_vault commit=manual
assert_eq "$(layout "$mnt/vm/f")" "$wanted"
assert_eq "$(layout "$mnt/.recovery-points/vm/$(newest_point vm)/f")" "$wanted"
assert_same "$scratch/model" "$mnt/.recovery-points/vm/$(newest_point vm)/f"
unmount_vault
