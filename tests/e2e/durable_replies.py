"""Changes whose answer promises that they are durable, one a call, and what must be there when the daemon was killed
right after the answer.

prepare TOP: what the changes begin with, synced.
list: the changes, each with the mount options that it wants ("-" for none).
do CHANGE TOP: makes one change in a file or directory of its own.
check CHANGE TOP: whether it is there.
"""
import ctypes
import os
import sys

SIZE = 3 << 20
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)


def content(name, size=SIZE):
    return (name.encode() * (size // len(name) + 1))[:size]


def read(path):
    with open(path, "rb") as file:
        return file.read()


def with_file(path, flags, change):
    fd = os.open(path, flags, 0o600)
    try:
        change(fd)
    finally:
        os.close(fd)


def punch(fd):
    offset, length = ctypes.c_int64(1 << 20), ctypes.c_int64(1 << 20)
    if libc.fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, offset, length) != 0:
        raise OSError(ctypes.get_errno(), "fallocate")


def new_name_and_its_folder(folder):
    with_file(folder + "/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, lambda fd: None)
    with_file(folder, os.O_RDONLY | os.O_DIRECTORY, os.fsync)


def copy_whole(folder):
    with open(folder + "/old", "rb") as source:
        with_file(folder + "/new", os.O_WRONLY, lambda fd: os.copy_file_range(source.fileno(), fd, SIZE))


# Each: mount options; the change; whether it is there. Both are called with the change's own folder.
CHANGES = {
    "write-dsync": (
        "-",
        lambda d: with_file(d + "/old", os.O_WRONLY | os.O_DSYNC, lambda fd: os.pwrite(fd, b"new" * 99, 4000)),
        lambda d: read(d + "/old")[4000:4297] == b"new" * 99,
    ),
    "write-sync": (
        "-",
        lambda d: with_file(d + "/old", os.O_WRONLY | os.O_SYNC, lambda fd: os.pwrite(fd, b"new" * 99, SIZE)),
        lambda d: read(d + "/old")[SIZE:] == b"new" * 99,
    ),
    "write-dsync-append": (
        "-",
        lambda d: with_file(d + "/old", os.O_WRONLY | os.O_APPEND | os.O_DSYNC, lambda fd: os.write(fd, b"end")),
        lambda d: read(d + "/old")[SIZE:] == b"end",
    ),
    "fsync-of-a-folder": ("-", new_name_and_its_folder, lambda d: os.path.exists(d + "/new")),
    "write": (
        "sync",
        lambda d: with_file(d + "/old", os.O_WRONLY, lambda fd: os.pwrite(fd, b"new", 1)),
        lambda d: read(d + "/old")[1:4] == b"new",
    ),
    "truncate": ("sync", lambda d: os.truncate(d + "/old", 4711), lambda d: os.path.getsize(d + "/old") == 4711),
    "grow": ("sync", lambda d: os.truncate(d + "/old", 2 * SIZE), lambda d: os.path.getsize(d + "/old") == 2 * SIZE),
    "chmod": ("sync", lambda d: os.chmod(d + "/old", 0o604), lambda d: os.stat(d + "/old").st_mode & 0o777 == 0o604),
    "utime": ("sync", lambda d: os.utime(d + "/old", (1, 2)), lambda d: os.stat(d + "/old").st_mtime == 2),
    "open-trunc": (
        "sync",
        lambda d: with_file(d + "/old", os.O_WRONLY | os.O_TRUNC, lambda fd: None),
        lambda d: os.path.getsize(d + "/old") == 0,
    ),
    "punch": (
        "sync",
        lambda d: with_file(d + "/old", os.O_WRONLY, punch),
        lambda d: not any(read(d + "/old")[1 << 20 : 2 << 20]),
    ),
    "allocate": (
        "sync",
        lambda d: with_file(d + "/old", os.O_WRONLY, lambda fd: os.posix_fallocate(fd, SIZE, 100)),
        lambda d: os.path.getsize(d + "/old") == SIZE + 100,
    ),
    "copy": ("sync", copy_whole, lambda d: read(d + "/new") == content("old")),
    "create": (
        "sync",
        lambda d: with_file(d + "/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, lambda fd: None),
        lambda d: os.path.exists(d + "/new"),
    ),
    "mkdir": ("sync", lambda d: os.mkdir(d + "/new"), lambda d: os.path.isdir(d + "/new")),
    "mkfifo": ("sync", lambda d: os.mkfifo(d + "/new"), lambda d: os.path.exists(d + "/new")),
    "symlink": ("sync", lambda d: os.symlink("there", d + "/new"), lambda d: os.readlink(d + "/new") == "there"),
    "link": ("sync", lambda d: os.link(d + "/old", d + "/new"), lambda d: os.stat(d + "/new").st_nlink == 2),
    "rename": ("sync", lambda d: os.rename(d + "/old", d + "/new"), lambda d: os.listdir(d) == ["new"]),
    "unlink": ("sync", lambda d: os.unlink(d + "/old"), lambda d: os.listdir(d) == []),
    "rmdir": ("sync", lambda d: os.rmdir(d + "/old"), lambda d: os.listdir(d) == []),
    "setxattr": (
        "sync",
        lambda d: os.setxattr(d + "/old", "user.note", b"here"),
        lambda d: os.listxattr(d + "/old") == ["user.note"],
    ),
    "removexattr": (
        "sync",
        lambda d: os.removexattr(d + "/old", "user.note"),
        lambda d: os.listxattr(d + "/old") == [],
    ),
}


def prepare(top):
    for name in CHANGES:
        folder = f"{top}/{name}"
        os.makedirs(folder)
        if name == "rmdir":
            os.mkdir(folder + "/old")
            continue
        if name not in ("fsync-of-a-folder", "create", "mkdir", "mkfifo", "symlink"):
            with open(folder + "/old", "wb") as file:
                file.write(content("old"))
        if name == "copy":
            with open(folder + "/new", "wb") as file:
                file.write(content("other"))
        if name == "removexattr":
            os.setxattr(folder + "/old", "user.note", b"here")


if __name__ == "__main__":
    verb = sys.argv[1]
    if verb == "list":
        for name, (options, _, _) in CHANGES.items():
            print(name, options)
    elif verb == "prepare":
        prepare(sys.argv[2])
    elif verb == "do":
        CHANGES[sys.argv[2]][1](f"{sys.argv[3]}/{sys.argv[2]}")
    elif not CHANGES[sys.argv[2]][2](f"{sys.argv[3]}/{sys.argv[2]}"):
        sys.exit(f"{sys.argv[2]} was answered, and is not there")
