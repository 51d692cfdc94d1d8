#!/usr/bin/env python3
"""Tells what a directory's file system does with system calls, one line per question: run in two directories, the answers
must be equal. Usage: posix_semantics.py DIRECTORY (empty; root runs it, parts of it as nobody)."""
import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import stat
import struct
import sys
import threading
import time

libc = ctypes.CDLL(None, use_errno=True)
NOBODY = 65534
MIB = 1 << 20
UTIME_OMIT = (1 << 30) - 2
os.chdir(sys.argv[1])
os.umask(0o022)


def tick():
    """Past the granularity of the kernel's clock for time stamps."""
    time.sleep(0.02)


def tell(what, answer):
    print(f"{what}: {answer}")


def attempt(what, call, *arguments, **options):
    """Prints the result, or the errno by name."""
    try:
        result = call(*arguments, **options)
        tell(what, "done" if result is None else result)
        return result
    except OSError as error:
        tell(what, errno.errorcode.get(error.errno, error.errno))
        return None


def system(name, *arguments):
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def write(path, data=b"", mode=0o644):
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode)
    os.write(descriptor, data)
    os.close(descriptor)


def read(path):
    with open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def opened(path, flags=os.O_RDWR):
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def mode(path):
    return oct(os.lstat(path).st_mode & 0o7777)


def as_nobody(call, groups=()):
    """Runs it in a child with no rights at all, and prints what it prints."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setgroups(groups)
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        try:
            call()
        except BaseException as failure:
            print("as nobody:", repr(failure))
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(child, 0)


def renames():
    def rename(a, b, flags):
        system("renameat2", -100, a.encode(), -100, b.encode(), flags)
    write("a", b"a"), write("b", b"b"), os.mkdir("d"), os.mkdir("d/e")
    attempt("rename noreplace onto a file", rename, "a", "b", 1)
    attempt("rename noreplace to a free name", rename, "a", "a2", 1)
    attempt("exchange files", rename, "a2", "b", 2)
    tell("exchanged", (read("a2"), read("b")))
    attempt("exchange file and directory", rename, "b", "d", 2)
    tell("kinds after it", (os.path.isdir("b"), os.path.isdir("d"), os.lstat("b").st_nlink))
    attempt("exchange with what is not there", rename, "b", "nothing", 2)
    attempt("unknown flags", rename, "b", "nothing", 3)
    attempt("directory into itself", os.rename, "b", "b/e/b")
    attempt("file onto directory", os.rename, "a2", "b")
    attempt("directory onto file", os.rename, "b", "a2")
    os.mkdir("empty")
    attempt("directory onto an empty one", os.rename, "b", "empty")
    attempt("directory onto a full one", lambda: (os.mkdir("x"), os.rename("x", "empty")))
    os.link("a2", "same")
    attempt("onto another name of itself", os.rename, "a2", "same")
    tell("both names stay", (os.path.exists("a2"), os.stat("same").st_nlink))
    before = os.stat("same").st_ctime_ns
    tick()
    os.rename("same", "other")
    tell("rename moves ctime", os.stat("other").st_ctime_ns > before)
    tell("dots", [attempt("rmdir .", os.rmdir, "empty/."), attempt("rmdir ..", os.rmdir, "empty/e/..")])


def links():
    write("l", b"1")
    before = os.stat("l")
    tick()
    os.link("l", "l2")
    tell("links", (os.stat("l").st_nlink, os.stat("l").st_ctime_ns > before.st_ctime_ns, os.stat("l").st_mtime_ns == before.st_mtime_ns))
    with opened("l") as fd:
        os.unlink("l"), os.unlink("l2")
        tell("open and unlinked", (os.fstat(fd).st_nlink, os.pwrite(fd, b"xyz", 1), os.pread(fd, 9, 0)))
        attempt("linked again", system, "linkat", -100, f"/proc/self/fd/{fd}".encode(), -100, b"again", 0x400)
    attempt("link of a directory", lambda: (os.mkdir("ld"), os.link("ld", "ld2")))
    os.symlink("x" * 4095, "long")
    tell("long symlink", (len(os.readlink("long")), os.lstat("long").st_size))
    attempt("symlink too long", os.symlink, "x" * 4096, "longer")
    attempt("loop", lambda: (os.symlink("loop", "loop"), os.open("loop", os.O_RDONLY)))
    attempt("O_NOFOLLOW", os.open, "long", os.O_RDONLY | os.O_NOFOLLOW)
    os.link("long", "long2", follow_symlinks=False)
    tell("symlinks have links too", os.lstat("long").st_nlink)


def nodes():
    os.mkfifo("fifo", 0o640), os.mknod("char", 0o600 | stat.S_IFCHR, os.makedev(1, 3)), os.mknod("block", 0o600 | stat.S_IFBLK, os.makedev(7, 300))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket"), server.listen()
        with socket.socket(socket.AF_UNIX) as client:
            attempt("connect", client.connect, "socket")
    for name in ("fifo", "char", "block", "socket"):
        st = os.lstat(name)
        tell(name, (oct(st.st_mode), st.st_rdev, st.st_size, st.st_nlink))
    reader = os.open("fifo", os.O_RDONLY | os.O_NONBLOCK)
    with opened("fifo", os.O_WRONLY) as fd:
        os.write(fd, b"through")
    tell("through the fifo", os.read(reader, 9))
    attempt("truncate a fifo", os.truncate, "fifo", 0)


def rights():
    os.mkdir("sticky"), os.chmod("sticky", 0o1777), os.mkdir("sgid"), os.chown("sgid", 0, 4242), os.chmod("sgid", 0o2777)
    write("sticky/ours"), write("private", b"s", 0o600), write("readable", b"r", 0o644), write("sgid/file"), os.mkdir("sgid/dir")
    tell("set-gid directory", (os.stat("sgid/file").st_gid, os.stat("sgid/dir").st_gid, mode("sgid/dir")))
    write("suid", b"x"), os.chmod("suid", 0o6777), write("sgid-only", b"x"), os.chmod("sgid-only", 0o2767)

    def nobody():
        attempt("nobody reads a private file", read, "private")
        attempt("nobody writes a readable one", write, "readable")
        attempt("nobody removes from a sticky directory", os.unlink, "sticky/ours")
        attempt("nobody renames in a sticky directory", os.rename, "sticky/ours", "sticky/mine")
        attempt("nobody makes a file in one", write, "sticky/theirs", b"t")
        attempt("nobody gives it away", os.chown, "sticky/theirs", 0, 0)
        attempt("nobody takes the set-gid bit of a foreign group", os.chmod, "sgid/file", 0o2755)
        attempt("nobody makes in the set-gid directory", lambda: (write("sgid/n", b"", 0o2775), os.chmod("sgid/n", 0o2775), mode("sgid/n"))[2])
        attempt("nobody sets times of ours", os.utime, "readable")
        attempt("nobody makes a device", os.mknod, "sticky/dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        attempt("nobody makes a fifo", os.mkfifo, "sticky/fifo")
        attempt("nobody writes a set-id file", write_through, "suid", b"y")
        tell("after it", mode("suid"))
        attempt("nobody writes a set-gid file without x", write_through, "sgid-only", b"y")
        tell("after that", mode("sgid-only"))
    as_nobody(nobody)
    for name, change in (("write", lambda: write_through("suid", b"z")), ("truncate", lambda: os.truncate("suid", 0)),
                         ("fallocate", lambda: os.posix_fallocate(os.open("suid", os.O_RDWR), 0, 100))):
        os.chmod("suid", 0o6777)
        change()
        tell(f"root's {name} leaves", mode("suid"))

        def again(change=change, name=name):
            change()
            tell(f"nobody's {name} leaves", mode("suid"))
        as_nobody(again)
    os.chmod("suid", 0o6777), os.chown("suid", 5, 6)
    tell("chown leaves", mode("suid"))
    os.chmod("suid", 0o6777), os.chown("suid", 5, -1)
    tell("chown of the user leaves", mode("suid"))
    os.chmod("sgid", 0o2777), os.chown("sgid", 7, 8)
    tell("chown of a directory leaves", mode("sgid"))
    os.umask(0o077), write("masked", b"", 0o666), os.mkdir("masked-d"), os.mkfifo("masked-f"), os.umask(0o022)
    tell("umask", [mode(name) for name in ("masked", "masked-d", "masked-f")])


def set_group_bits():
    """The set-gid bit where the group may not execute, and when an access list comes: both go by the caller's groups."""
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, perm, who) for tag, perm, who in
                                          ((1, 6, -1 & 0xffffffff), (2, 4, 7), (4, 5, -1 & 0xffffffff),
                                           (16, 5, -1 & 0xffffffff), (32, 4, -1 & 0xffffffff)))
    changes = {
        "write": lambda name: write_through(name, b"y"),
        "truncate": lambda name: os.truncate(name, 0),
        "chown to a group of its own": lambda name: os.chown(name, -1, os.getgroups()[-1] if os.getgroups() else os.getgid()),
        "chmod": lambda name: os.chmod(name, 0o2764),
        "access list": lambda name: os.setxattr(name, "system.posix_acl_access", acl),
        "other attribute": lambda name: os.setxattr(name, "user.x", b"1"),
    }
    for bits in (0o2764, 0o2774, 0o6764):
        for what, change in changes.items():
            for who, groups in (("root", None), ("a member", (4242, 4243)), ("a stranger", ())):
                write("bits", b"x"), os.chown("bits", NOBODY, 4242), os.chmod("bits", bits)
                # Known to the kernel, as for any program that looked at it.
                tell("before", mode("bits"))
                question = f"{what} by {who} on {oct(bits)}"
                if groups is None:
                    attempt(question, change, "bits")
                else:
                    as_nobody(lambda: attempt(question, change, "bits"), groups)
                tell("leaves", mode("bits"))
                os.unlink("bits")


def started_over():
    """rewinddir(3) shows what was made after opendir(3), also when nothing was read before."""
    class Entry(ctypes.Structure):
        _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("len", ctypes.c_uint16), ("type", ctypes.c_uint8),
                    ("name", ctypes.c_char * 256)]
    libc.opendir.restype, libc.readdir.restype = ctypes.c_void_p, ctypes.POINTER(Entry)

    def names():
        found = []
        while entry := libc.readdir(ctypes.c_void_p(stream)):
            found.append(entry.contents.name)
        return sorted(found)
    os.mkdir("over"), write("over/a")
    stream = libc.opendir(b"over")
    write("over/b")
    libc.rewinddir(ctypes.c_void_p(stream))
    tell("made after opendir", names())
    write("over/c"), os.unlink("over/a")
    libc.rewinddir(ctypes.c_void_p(stream))
    tell("made after reading", names())
    libc.closedir(ctypes.c_void_p(stream))


def set_aside():
    with opened_new("aside") as fd:
        fallocate = lambda flags, at, length: system("fallocate", fd, flags, ctypes.c_long(at), ctypes.c_long(length))
        blocks = lambda: os.fstat(fd).st_blocks * 512
        fallocate(0, 0, 3 * MIB)
        tell("blocks of an allocated range", blocks() >= 3 * MIB)
        fallocate(1, 3 * MIB, 2 * MIB)
        tell("and of one behind the end", blocks() >= 5 * MIB)
        fallocate(3, 0, 3 * MIB)
        tell("punched", blocks() <= 3 * MIB)
        before = os.fstat(fd)
        tick(), fallocate(0, 0, MIB)
        after = os.fstat(fd)
        tell("allocating in the file moves", (after.st_mtime_ns > before.st_mtime_ns, after.st_ctime_ns > before.st_ctime_ns))
        tick(), fallocate(0, MIB, 4 * MIB)
        tell("and beyond its end", os.fstat(fd).st_mtime_ns > after.st_mtime_ns)


@contextlib.contextmanager
def opened_new(path):
    write(path)
    with opened(path) as descriptor:
        yield descriptor


def write_through(path, data):
    with opened(path, os.O_WRONLY) as fd:
        os.write(fd, data)


def times():
    write("t", b"1")
    for ns in ((1, 2), (123456789_123456789, -1_500000001), (1 << 40, 4_000_000_000_000000007)):
        os.utime("t", ns=ns)
        tell("times", (os.stat("t").st_atime_ns, os.stat("t").st_mtime_ns))
    times_of = lambda a, m: (ctypes.c_long * 4)(*a, *m)
    system("utimensat", -100, b"t", times_of((5, 6), (0, UTIME_OMIT)), 0)
    tell("UTIME_OMIT of mtime", (os.stat("t").st_atime_ns, os.stat("t").st_mtime_ns))
    system("utimensat", -100, b"t", times_of((0, UTIME_OMIT), (7, 8)), 0)
    tell("UTIME_OMIT of atime", (os.stat("t").st_atime_ns, os.stat("t").st_mtime_ns))
    os.symlink("t", "ts"), os.utime("ts", ns=(11, 12), follow_symlinks=False)
    tell("times of a symlink", (os.lstat("ts").st_mtime_ns, os.stat("t").st_mtime_ns))
    os.mkdir("td")
    for what, change in (("create", lambda: write("td/f")), ("link", lambda: os.link("td/f", "td/g")), ("rename", lambda: os.rename("td/g", "td/h")),
                         ("unlink", lambda: os.unlink("td/h")), ("mkdir", lambda: os.mkdir("td/d")), ("rmdir", lambda: os.rmdir("td/d"))):
        os.utime("td", ns=(0, 0))
        change()
        tell(f"{what} moves the directory's times", (os.stat("td").st_mtime_ns > 0, os.stat("td").st_nlink))
    for what, change, moved in (("write", lambda: write_through("t", b"2"), 2), ("chmod", lambda: os.chmod("t", 0o600), 1), ("truncate", lambda: os.truncate("t", 9), 2)):
        os.utime("t", ns=(0, 0))
        before = os.stat("t").st_ctime_ns
        tick()
        change()
        tell(f"{what} moves", (os.stat("t").st_mtime_ns > 0, os.stat("t").st_ctime_ns > before))


def content():
    with opened("append", os.O_CREAT | os.O_RDWR | os.O_APPEND) as fd:
        os.write(fd, b"1"), os.lseek(fd, 0, 0), os.write(fd, b"2"), os.pwrite(fd, b"3", 0)
        tell("append", os.pread(fd, 9, 0))

    def line(n):
        fd = os.open("lines", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for i in range(50):
            os.write(fd, f"{n:02}-{i:03}\n".encode())
        os.close(fd)
    writers = [threading.Thread(target=line, args=(n,)) for n in range(16)]
    [writer.start() for writer in writers], [writer.join() for writer in writers]
    tell("16 appenders", (len(read("lines")), len(set(read("lines").split()))))
    with opened("fa", os.O_CREAT | os.O_RDWR) as fd:
        os.write(fd, b"x" * 3 * MIB)
        fallocate = lambda flags, at, length: system("fallocate", fd, flags, ctypes.c_long(at), ctypes.c_long(length))
        attempt("allocate", fallocate, 0, 3 * MIB, MIB), tell("size", os.fstat(fd).st_size)
        attempt("keep size", fallocate, 1, 4 * MIB, MIB), tell("size", os.fstat(fd).st_size)
        attempt("punch", fallocate, 3, 100, 2 * MIB)
        tell("punched", (os.pread(fd, 2, 99), os.pread(fd, 2, 2 * MIB + 99), os.fstat(fd).st_size))
        attempt("zero", fallocate, 0x10, 2 * MIB + 500, 1000), tell("zeroed", os.pread(fd, 1002, 2 * MIB + 499).count(b"x"))
        attempt("punch without keep size", fallocate, 2, 0, 10)
        attempt("empty", fallocate, 0, 0, 0), attempt("negative", fallocate, 0, -1, 10)
        attempt("beyond the largest", fallocate, 0, (1 << 63) - 2, 10)
    attempt("fallocate of what is open for reading", lambda: os.posix_fallocate(os.open("fa", os.O_RDONLY), 0, 10))
    attempt("negative truncate", os.truncate, "fa", -1)
    attempt("truncate a directory", os.truncate, ".", 0)
    with opened("holes", os.O_CREAT | os.O_RDWR) as fd:
        os.ftruncate(fd, 20 * MIB), os.pwrite(fd, b"d" * MIB, 5 * MIB), os.fsync(fd)
        tell("holes", [os.lseek(fd, at, how) for at, how in ((0, os.SEEK_DATA), (0, os.SEEK_HOLE), (5 * MIB, os.SEEK_HOLE), (19 * MIB, os.SEEK_HOLE))])
        attempt("data behind the last", os.lseek, fd, 7 * MIB, os.SEEK_DATA)
        attempt("beyond the end", os.lseek, fd, 20 * MIB, os.SEEK_HOLE)
    write("src", os.urandom(1) * 0 + bytes(range(256)) * (3 * MIB // 256) + b"tail"), write("dst", b"D" * 5 * MIB)
    with opened("src") as src, opened("dst") as dst:
        copy = lambda a, at, b, onto, length: copy_all(a, at, b, onto, length)
        for at, onto, length in ((0, 0, 3 * MIB), (MIB, 2 * MIB, 9 * MIB), (17, 4 * MIB + 17, 3 * MIB), (5, 1000, 70000)):
            tell("copied", copy(src, at, dst, onto, length))
            tell("equal", (read("dst")[onto:onto + length] == read("src")[at:at + length], os.fstat(dst).st_size, hash_of("dst")))
        attempt("overlapping copy", os.copy_file_range, src, src, 1000, 0, 500)
        attempt("copy to a reader", os.copy_file_range, src, os.open("dst", os.O_RDONLY), 10, 0, 0)
    with opened("dst") as fd:
        shared = mmap.mmap(fd, 3 * MIB)
        shared[10:13] = b"map"
        os.pwrite(fd, b"pwr", MIB)
        tell("mmap and pwrite", (shared[MIB:MIB + 3], os.pread(fd, 3, 10)))
        shared.flush()
        private = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE)
        private[0:3] = b"own"
        tell("private mapping", (private[0:3], os.pread(fd, 3, 0) == b"own"))
        shared.close()
    tell("after munmap", read("dst")[10:13])


def hash_of(path):
    import hashlib
    return hashlib.sha256(read(path)).hexdigest()[:16]


def copy_all(source, at, target, onto, length):
    done = 0
    while done < length:
        got = os.copy_file_range(source, target, length - done, at + done, onto + done)
        if got == 0:
            break
        done += got
    return done


def unnamed():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"t" * 5000)
    tell("O_TMPFILE", (os.fstat(fd).st_nlink, os.fstat(fd).st_size, oct(os.fstat(fd).st_mode)))
    attempt("named", system, "linkat", -100, f"/proc/self/fd/{fd}".encode(), -100, b"named", 0x400)
    tell("then", (os.fstat(fd).st_nlink, len(read("named"))))
    fd = os.open(".", os.O_TMPFILE | os.O_EXCL | os.O_RDWR, 0o600)
    attempt("O_EXCL can't be named", system, "linkat", -100, f"/proc/self/fd/{fd}".encode(), -100, b"never", 0x400)
    tell("entries", sorted(os.listdir(".")))


def locks():
    write("lock")
    first, second = os.open("lock", os.O_RDWR), os.open("lock", os.O_RDWR)
    attempt("flock", fcntl.flock, first, fcntl.LOCK_EX)
    attempt("flock again", fcntl.flock, second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(first, fcntl.LOCK_UN)
    attempt("record lock", fcntl.lockf, first, fcntl.LOCK_EX, 10, 5)
    def child():
        attempt("another process locks the same bytes", fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        attempt("and others", fcntl.lockf, second, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 15)
    os.chmod("lock", 0o666)
    as_nobody(child)


def extended():
    write("x"), os.mkdir("xd"), os.symlink("x", "xs"), os.mkfifo("xf")
    for name in ("user.a", "trusted.a", "security.a"):
        attempt(f"set {name}", os.setxattr, "x", name, b"value\0of it")
    tell("names", sorted(name for name in os.listxattr("x") if name != "security.selinux"))
    tell("value", os.getxattr("x", "user.a"))
    attempt("create what is there", os.setxattr, "x", "user.a", b"", os.XATTR_CREATE)
    attempt("replace what is not", os.setxattr, "x", "user.b", b"", os.XATTR_REPLACE)
    attempt("empty value", lambda: (os.setxattr("x", "user.e", b""), os.getxattr("x", "user.e"))[1])
    attempt("no suffix", os.setxattr, "x", "user.", b"")
    attempt("long name", os.setxattr, "x", "user." + "n" * 250, b"1")
    attempt("longer name", os.setxattr, "x", "user." + "n" * 251, b"1")
    attempt("too large a value", os.setxattr, "x", "user.big", bytes(65537))
    attempt("user on a symlink", lambda: os.setxattr("xs", "user.a", b"", follow_symlinks=False))
    attempt("user on a fifo", os.setxattr, "xf", "user.a", b"")
    attempt("trusted on a symlink", lambda: os.setxattr("xs", "trusted.a", b"", follow_symlinks=False))
    attempt("directory", lambda: (os.setxattr("xd", "user.d", b"1"), os.listxattr("xd"))[1])
    attempt("remove", os.removexattr, "x", "user.e")
    attempt("remove again", os.removexattr, "x", "user.e")
    attempt("get what is not there", os.getxattr, "x", "user.none")
    attempt("unknown name space", os.setxattr, "x", "other.a", b"")
    before = os.stat("x")
    tick()
    os.setxattr("x", "user.a", b"2")
    tell("moves", (os.stat("x").st_ctime_ns > before.st_ctime_ns, os.stat("x").st_mtime_ns == before.st_mtime_ns))

    def nobody():
        attempt("nobody sees no trusted names", lambda: sorted(name for name in os.listxattr("x") if name.startswith("trusted")))
        attempt("nobody sets", os.setxattr, "x", "user.n", b"")
        attempt("nobody reads", os.getxattr, "x", "user.a")
    as_nobody(nobody)
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
    for what, change in (("write", lambda: write_through("x", b"1")), ("truncate", lambda: os.truncate("x", 3)), ("chown", lambda: os.chown("x", 0, 0)), ("chmod", lambda: os.chmod("x", 0o755))):
        os.setxattr("x", "security.capability", capability)
        change()
        attempt(f"file capability after {what}", lambda: len(os.getxattr("x", "security.capability")))


def lists():
    def acl(*entries):
        return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, rights, owner) for tag, rights, owner in entries)
    none = 0xffffffff
    access, default = "system.posix_acl_access", "system.posix_acl_default"
    write("acl", b"1", 0o600)
    attempt("nobody without a list", lambda: as_nobody(lambda: attempt("reads", read, "acl")))
    attempt("set", os.setxattr, "acl", access, acl((1, 6, none), (2, 4, NOBODY), (4, 0, none), (16, 4, none), (32, 0, none)))
    tell("mode", mode("acl"))
    as_nobody(lambda: (attempt("nobody with a list reads", read, "acl"), attempt("but writes", write_through, "acl", b"2")))
    os.chmod("acl", 0o700)
    tell("after chmod", os.getxattr("acl", access).hex())
    as_nobody(lambda: attempt("masked out", read, "acl"))
    attempt("a list as the mode", os.setxattr, "acl", access, acl((1, 7, none), (4, 5, none), (32, 1, none)))
    tell("mode", (mode("acl"), os.listxattr("acl")))
    attempt("no mask", os.setxattr, "acl", access, acl((1, 7, none), (2, 5, 1), (4, 5, none), (32, 1, none)))
    attempt("default of a file", os.setxattr, "acl", default, acl((1, 7, none), (4, 5, none), (32, 1, none)))
    os.mkdir("acld")
    attempt("default of a directory", os.setxattr, "acld", default, acl((1, 7, none), (2, 7, NOBODY), (4, 5, none), (16, 7, none), (32, 0, none)))
    os.umask(0o077), write("acld/file", b"", 0o666), os.mkdir("acld/dir"), os.mkfifo("acld/fifo"), os.symlink("x", "acld/link"), os.umask(0o022)
    for name in ("file", "dir", "fifo"):
        tell(name, (mode(f"acld/{name}"), [(key, os.getxattr(f"acld/{name}", key).hex()) for key in sorted(os.listxattr(f"acld/{name}"))]))
    as_nobody(lambda: attempt("inherited right", write, "acld/dir/by-nobody"))
    attempt("default removed", os.removexattr, "acld", default)
    attempt("removed again", os.removexattr, "acld", default)
    write("acld/plain", b"", 0o666)
    tell("then the umask counts", mode("acld/plain"))


def names():
    attempt("255 bytes", write, "n" * 255, b"x")
    for what, call in (("open", lambda name: os.open(name, os.O_RDONLY)), ("create", write), ("stat", os.stat), ("mkdir", os.mkdir), ("unlink", os.unlink), ("rmdir", os.rmdir),
                       ("rename", lambda name: os.rename("n" * 255, name)), ("link", lambda name: os.link("n" * 255, name)), ("symlink", lambda name: os.symlink("x", name))):
        attempt(f"{what} of 256 bytes", call, "m" * 256)
    tell("f_namemax", os.statvfs(".").f_namemax)
    write("\u00fc \n\t\\'\"", b""), write(b"\xff\xfe", b"")
    tell("odd names", sorted(os.listdir(b".")))
    attempt("not a directory", os.stat, b"\xff\xfe/x")
    attempt("rmdir of a full one", lambda: (os.mkdir("full"), write("full/x"), os.rmdir("full")))
    attempt("unlink of a directory", os.unlink, "full")
    attempt("rmdir of a file", os.rmdir, "full/x")
    attempt("O_EXCL", os.open, "full/x", os.O_CREAT | os.O_EXCL)
    attempt("O_DIRECTORY", os.open, "full/x", os.O_DIRECTORY)
    attempt("write to a directory", os.open, "full", os.O_RDWR)
    fd = os.open("full", os.O_RDONLY)
    os.unlink("full/x"), os.rmdir("full")
    attempt("make in a removed directory", lambda: os.open("x", os.O_CREAT | os.O_RDWR, dir_fd=fd))
    tell("links of a removed directory", os.fstat(fd).st_nlink)


for part in (renames, links, nodes, rights, set_group_bits, times, content, set_aside, unnamed, locks, extended, lists, names,
             started_over):
    print(f"== {part.__name__}")
    os.mkdir(part.__name__)
    os.chmod(part.__name__, 0o777)
    os.chdir(part.__name__)
    try:
        part()
    except Exception as failure:  # the rest is worth being told too
        print(f"broke off: {failure!r} in line {failure.__traceback__.tb_next.tb_lineno}")
    os.chdir("..")
