"""ext4 on an image in the mount, loop-mounted: unpacking a large tree into it."""
import os
import shutil
import tarfile
import time

from measure import MIB, run, turns
from stores import Gocryptfs, NullFs, Vault

TITLE = "loop"


def make_archive(path, most):
    """A tar of files of this system, until there are `most` bytes of them."""
    total = 0
    with tarfile.open(path, "w") as archive:
        for base, folders, names in os.walk("/usr/share"):
            folders.sort()
            for name in sorted(names):
                file = os.path.join(base, name)
                if os.path.isfile(file) and not os.path.islink(file):
                    archive.add(file, recursive=False)
                    total += os.path.getsize(file)
                    if total > most:
                        return


def await_detachment(image):
    """The kernel lets go of an image a moment after its file system is unmounted; until then the mount is busy."""
    for _ in range(100):
        if not run("losetup", "-j", image).strip():
            return
        time.sleep(0.1)


def measure(report, bench):
    archive = bench.directory / "tree.tar"
    make_archive(archive, bench.loop_mib * MIB)
    makers = {
        "vaultfs": lambda place: Vault(place, bench.binaries),
        "gocryptfs": Gocryptfs,
        "null": lambda place: NullFs(place, bench.null_fs),
    }
    took = {name: [] for name in makers}
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            directory = bench.directory / f"{name}-{turn}"
            store = makers[name](directory)
            inside = directory / "inside"
            inside.mkdir()
            with store.mounted() as place:
                run("truncate", "-s", f"{4 * bench.loop_mib}M", place.disk)
                run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", place.disk)
                run("mount", "-o", "loop", place.disk, inside)
                try:
                    started = time.monotonic()
                    run("tar", "-xf", archive, "-C", inside)
                    run("sync", "-f", inside)
                    took[name].append(time.monotonic() - started)
                finally:
                    run("umount", inside)
                    await_detachment(place.disk)
            store.close()
            shutil.rmtree(directory)
    archive.unlink()
    report.compare(f"unpack {bench.loop_mib} MiB of files on loop-mounted ext4", "s", took["vaultfs"],
                   {"gocryptfs": (took["gocryptfs"], 2), "null": (took["null"], None)}, "less")
