"""What mounting, committing and memory cost as a vault grows: an image of 1 TiB, of which ever more chunks hold something."""
import os
import time

from measure import MIB
from stores import Vault

TITLE = "growth"
IMAGE_BYTES = 1 << 40
CHANGED = 10_000


def touch_chunks(disk, first, count):
    """Four KiB of new bytes in each of `count` chunks."""
    handle = os.open(disk, os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(handle, IMAGE_BYTES)
    for number in range(first, first + count):
        os.pwrite(handle, os.urandom(4096), number * MIB)
    os.fsync(handle)
    os.close(handle)


def measure(report, bench):
    store = Vault(bench.directory / "growth", bench.binaries)
    present, costs = 0, {}
    for factor in bench.growth_factors:
        count = factor * CHANGED
        with store.mounted() as place:
            touch_chunks(place.disk, present, count - present)
            store.ctl("backup", "commit", store.at, "item")
            present = count
        started = time.monotonic()
        with store.mounted() as place:
            mounted = time.monotonic() - started
            touch_chunks(place.disk, 0, CHANGED)
            started = time.monotonic()
            store.ctl("backup", "commit", store.at, "item")
            committed = time.monotonic() - started
            chunks = store.ctl("vault", "show", store.at)["chunks"]
            costs[factor] = committed
            what = f"{count:,} chunks of a 1 TiB image"
            report.limit(f"mounting a vault with {what}", mounted, 0.5 + chunks / 1e6, "s")
            report.limit(f"the daemon's peak memory with {what}", store.daemon_peak_bytes() / MIB, (300 * MIB + 40 * chunks + 400) / MIB, "MiB")
            if factor == bench.growth_factors[0]:
                report.figure(f"commit of {CHANGED:,} changed chunks among {count:,}", committed, "s")
            else:
                report.limit(f"commit of {CHANGED:,} changed chunks among {count:,}", committed, 1.5 * costs[bench.growth_factors[0]] + 0.2, "s")
