"""The disk images that are backed up: a real one of this system's files, and what a day changes in it."""
import os
import shutil
import subprocess
import pathlib

from measure import MIB, run


def make_image(path, most):
    """A real ext4 image of this system's files, at most about `most` bytes of them."""
    tree = path.parent / "tree"
    tree.mkdir()
    for folder in ("/usr/share", "/usr/bin", "/usr/lib"):
        room = most - int(run("du", "-sb", tree).split()[0])
        if room <= 0:
            break
        files, total = [], 0
        for base, _, names in os.walk(folder):
            for name in names:
                file = os.path.join(base, name)
                if os.path.isfile(file) and not os.path.islink(file) and total < room:
                    files.append(os.path.relpath(file, folder))
                    total += os.path.getsize(file)
        if files:
            target = tree / folder.strip("/")
            target.mkdir(parents=True)
            run("rsync", "-a", "--from0", "--files-from=-", f"{folder}/", target, input="\0".join(files).encode())
    blocks = max(1200, int(run("du", "-sm", tree).split()[0]) * 13 // 10 + 128)
    run("truncate", "-s", f"{blocks}M", path)
    run("mkfs.ext4", "-q", "-F", "-d", tree, path)
    shutil.rmtree(tree)


def make_next_day(image, other):
    """A copy of the image with some new files in it (ext4), or other bytes at a few places."""
    run("cp", "--sparse=always", image, other)
    fresh = other.parent / "fresh"
    listing = subprocess.run(["blkid", "-p", "-o", "value", "-s", "TYPE", str(other)], capture_output=True, text=True, check=False)
    if listing.stdout.strip() == "ext4":
        with open(fresh, "wb") as file:
            for program in sorted(pathlib.Path("/usr/bin").iterdir()):
                if program.is_file() and file.tell() < 60 * MIB:
                    file.write(program.read_bytes()[::-1])  # other bytes than on day 1, as compressible as programs are
        run("debugfs", "-w", "-R", f"write {fresh} day-two", other)
        fresh.unlink()
        return
    with open(other, "r+b") as file:
        length = file.seek(0, 2)
        for place in range(16):
            file.seek(length * place // 16)
            file.write(os.urandom(2 * MIB))
