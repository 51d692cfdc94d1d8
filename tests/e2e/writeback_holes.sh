# cache=writeback: what only the kernel has so far must not look like a hole to who copies holes, by SEEK_HOLE or by st_blocks,
# while the writer still has the file open.
. "$(dirname "$0")/lib.sh"
need_fuse
need python3 rsync tar
new_vault
mount_vault commit=manual cache=writeback
mkdir "$mnt/vm"
cat >"$scratch/check.py" <<'PYTHON'
import os, random, subprocess, sys
mount, scratch = sys.argv[1:]
path, model, copy = f"{mount}/file", f"{scratch}/model", f"{scratch}/copy"
SIZE = 48 << 20
WAYS = {
    "cp --sparse=always": ["cp", "--sparse=always", path, copy],
    "cp": ["cp", path, copy],
    "cp within": ["sh", "-c", f"cp --sparse=always {path} {mount}/within && cmp {mount}/within {path} && cp {mount}/within {copy}"],
    "rsync --sparse": ["rsync", "--sparse", path, copy],
    "tar --sparse": ["sh", "-c", f"tar -C {mount} --sparse -cf - file | tar -C {scratch} -xf - && mv {scratch}/file {copy}"],
}


def write_here_and_there(files, dice):
    for _ in range(20):
        at, data = dice.randrange(SIZE - 5000), dice.randbytes(dice.choice([1, 100, 4096, 5000]))
        for file in files:
            os.pwrite(file, data, at)


def copied_right(what):
    for name, command in WAYS.items():
        for old in (copy, f"{mount}/within"):
            if os.path.exists(old):
                os.unlink(old)
        subprocess.run(command, check=True)
        if subprocess.run(["cmp", model, copy], check=False).returncode != 0:
            sys.exit(f"{what}: {name} lost data")


for name in WAYS:
    # A file that was looked at while it was empty of data, so that the kernel may know that by heart.
    for each in (path, model):
        with open(each, "wb") as file:
            file.truncate(SIZE)
    os.stat(path)
    files = [os.open(each, os.O_RDWR) for each in (path, model)]
    dice = random.Random(name)
    write_here_and_there(files, dice)
    subprocess.run(["rm", "-f", copy], check=True)
    subprocess.run(WAYS[name], check=True)
    if subprocess.run(["cmp", model, copy], check=False).returncode != 0:
        sys.exit(f"{name} lost what had been written just before")
    write_here_and_there(files, dice)
    copied_right("written again")
    os.fsync(files[0])
    write_here_and_there(files, dice)
    copied_right("written into what is stored")
    for file in files:
        os.close(file)
    copied_right("closed")
    print(f"{name}: all there")

# st_blocks, also of a file that was looked at before: some programs take a file without blocks for one hole.
with open(f"{mount}/blocks", "wb") as file:
    file.truncate(SIZE)
assert os.stat(f"{mount}/blocks").st_blocks == 0
file = os.open(f"{mount}/blocks", os.O_RDWR)
os.pwrite(file, b"x" * 4096, 5 << 20)
assert os.stat(f"{mount}/blocks").st_blocks >= SIZE // 512, "data that looks like a hole"
os.close(file)
os.sync()
assert 8 <= os.stat(f"{mount}/blocks").st_blocks <= 2048

# SEEK_DATA never passes over what write() has accepted.
file = os.open(f"{mount}/seek", os.O_CREAT | os.O_RDWR)
os.ftruncate(file, 64 << 20)
for at in (40 << 20, 7 << 20, (20 << 20) + 4097, 0):
    os.pwrite(file, b"x", at)
    assert os.lseek(file, at, os.SEEK_DATA) == at, "data that looks like a hole"
    assert os.lseek(file, at, os.SEEK_HOLE) > at
os.close(file)
# Once it is closed, st_blocks is what it takes.
os.sync()
blocks = os.stat(f"{mount}/seek").st_blocks
assert blocks <= 4 * 2048, f"{blocks} blocks for four chunks"
PYTHON
python3 "$scratch/check.py" "$mnt/vm" "$scratch"
unmount_vault
mount_vault commit=manual
assert_same "$scratch/model" "$mnt/vm/file"
unmount_vault
