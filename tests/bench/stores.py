"""The encrypted stores that the bench mounts, each behind the same few methods, and the null file system beside them.

A store is made in a directory of its own. `mounted()` yields a Place: a directory to work in and the path of one disk image.
"""
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from measure import run


@dataclasses.dataclass
class Place:
    """`tree` is None where only one image can be kept."""
    disk: pathlib.Path
    tree: pathlib.Path | None = None


class Vault:
    """A vault with a key and a machine state of its own below `directory`."""
    name = "vaultfs"

    def __init__(self, directory, binaries, options=""):
        self.bin, self.at, self.mount_point, self.options = binaries, directory / "vault", directory / "mnt", options
        self.environment = os.environ | {"VAULTFS_HOME": str(directory / "home"), "VAULTFS_RUNTIME_DIR": str(directory / "run")}
        self.mount_point.mkdir(parents=True)
        self.make_key()
        self.ctl("vault", "create", self.at, "--key", "bench/key")

    def make_key(self):
        self.ctl("keyvault", "create", "bench")
        self.ctl("key", "create", "bench/key", "--bits", "2048")

    def words(self, *words):
        return [self.bin / "vaultctl", "--json", *words]

    def ctl(self, *words):
        return json.loads(run(*self.words(*words), env=self.environment) or b"{}")

    @contextlib.contextmanager
    def mounted(self):
        options = "commit=manual,log=/dev/null" + self.options
        run(self.bin / "vaultfs", self.at, self.mount_point, "-o", options, env=self.environment)
        try:
            item = self.mount_point / "item"
            item.mkdir(exist_ok=True)
            yield Place(item / "disk", item)
        finally:
            run(self.bin / "umount.fuse.vaultfs", self.mount_point, timeout=300)

    def daemon_peak_bytes(self):
        """VmHWM of the daemon that serves this vault."""
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[0].endswith(b"/vaultfs") and str(self.at).encode() in words:
                    return int(re.search(r"VmHWM:\s+(\d+) kB", (entry / "status").read_text()).group(1)) * 1024
        sys.exit("bench: the daemon is not to be found")

    def close(self):
        pass


class PasswordStore:
    """What gocryptfs and securefs have in common: a directory of ciphertext, a mount point and a password."""

    def __init__(self, directory):
        self.at, self.mount_point = directory / "cipher", directory / "plain"
        self.at.mkdir(parents=True)
        self.mount_point.mkdir()
        self.initialise(directory)

    @contextlib.contextmanager
    def mounted(self):
        self.mount()
        try:
            yield Place(self.mount_point / "disk", self.mount_point)
        finally:
            run("umount", self.mount_point)

    def close(self):
        pass


class Gocryptfs(PasswordStore):
    name = "gocryptfs"

    def initialise(self, directory):
        self.password = directory / "password"
        self.password.write_text("for the bench only\n")
        run("gocryptfs", "-q", "-init", "-scryptn", "10", "-passfile", self.password, self.at)

    def mount(self):
        run("gocryptfs", "-q", "-passfile", self.password, self.at, self.mount_point)


class Securefs(PasswordStore):
    name = "securefs"

    def initialise(self, directory):
        run("securefs", "create", "--pbkdf", "pkcs5-pbkdf2-hmac-sha256", "--rounds", "1000", "--pass", "for the bench only", self.at)

    def mount(self):
        run("securefs", "mount", "--background", "--log", "/dev/null", "--pass", "for the bench only", self.at, self.mount_point)
        wait_for_mount(self.mount_point)


class LuksExport:
    """One LUKS image that qemu-storage-daemon exports by FUSE; it has room for `size` bytes."""
    name = "qemu LUKS export"

    def __init__(self, directory, size):
        directory.mkdir(parents=True)
        self.image, self.disk = directory / "image.luks", directory / "disk"
        self.disk.touch()
        self.secret = f"secret,id=password,data=for-the-bench-only"
        # qemu-img first measures how fast its key derivation is, and gives up where a turn of that takes no time that it can see.
        create = ["qemu-img", "create", "-q", "--object", self.secret, "-f", "luks", "-o", "key-secret=password,iter-time=100", self.image, str(size)]
        for _ in range(4):
            if subprocess.run(create, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0:
                return
        run(*create)

    @contextlib.contextmanager
    def mounted(self):
        daemon = subprocess.Popen(
            ["qemu-storage-daemon", "--object", self.secret, "--blockdev", f"driver=file,node-name=file,filename={self.image}", "--blockdev",
             "driver=luks,node-name=disk,file=file,key-secret=password", "--export",
             f"type=fuse,id=export,node-name=disk,mountpoint={self.disk},writable=on"], stdin=subprocess.DEVNULL)
        try:
            wait_for_mount(self.disk)
            yield Place(self.disk)
        finally:
            daemon.send_signal(signal.SIGTERM)
            if daemon.wait(timeout=60) not in (0, -signal.SIGTERM):
                sys.exit("bench: qemu-storage-daemon failed")

    def close(self):
        pass


class NullFs:
    """The null file system of this directory. Its contents live as long as its process, until close()."""
    name = "null"

    def __init__(self, directory, program):
        self.mount_point = directory / "null"
        self.mount_point.mkdir(parents=True)
        self.daemon = subprocess.Popen([program, self.mount_point, "-f", "-o", "default_permissions"], stdin=subprocess.DEVNULL)
        wait_for_mount(self.mount_point)

    @contextlib.contextmanager
    def mounted(self):
        yield Place(self.mount_point / "disk", self.mount_point)

    def close(self):
        run("umount", self.mount_point)
        self.daemon.wait(timeout=60)


class PlainDirectory:
    """No encryption, no FUSE: the file system underneath."""
    name = "plain file"

    def __init__(self, directory):
        self.at = directory / "plain"
        self.at.mkdir(parents=True)

    @contextlib.contextmanager
    def mounted(self):
        yield Place(self.at / "disk", self.at)

    def close(self):
        pass


def wait_for_mount(path):
    """Until something is mounted there, at most 30 s."""
    for _ in range(300):
        if any(line.split()[4] == str(path) for line in open("/proc/self/mountinfo")):
            return
        time.sleep(0.1)
    sys.exit(f"bench: nothing was mounted on {path}")
