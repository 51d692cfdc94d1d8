"""Data under a closed data key beside the same data under the newest one: a cold read in sequence, and random 4 KiB reads of chunks
that were touched before (decision 14). Re-encryption takes the difference away."""
import os
import shutil

from measure import MIB, random_file, run, seconds, turns
from random_access import fio
from stores import Vault

TITLE = "closed-epoch"
DEPTHS = (1, 16)
TURNS = 8  # of random reads in a round, while both are mounted: what is so short is disturbed alike


def touch(disk, size):
    """One page of every chunk."""
    with open(disk, "rb", buffering=0) as file:
        for place in range(0, size, MIB):
            # Not in sequence for who watches out for it: that would read ahead.
            os.pread(file.fileno(), 4096, (place // MIB * 7919 * MIB) % size)


def measure(report, bench):
    size, amount = bench.random_mib * MIB, bench.random_mib * MIB // 16
    source = random_file(bench.directory / "random", size)
    speeds = {name: {"read": [], **{depth: [] for depth in DEPTHS}} for name in ("closed", "current", "re-encrypted")}
    for turn, order in turns(("closed", "current"), bench.rounds):
        stores = {}
        for name in order:
            store = stores[name] = Vault(bench.directory / f"{name}-{turn}", bench.binaries)
            with store.mounted() as place:
                run("dd", f"if={source}", f"of={place.disk}", "bs=1M", "conv=fsync", "status=none")
            if name == "closed":
                store.ctl("key", "new-epoch", store.at)

        def read(name, kind):
            with stores[name].mounted() as place:  # a new process: nothing is known
                took = seconds("dd", f"if={place.disk}", "of=/dev/null", "bs=1M", "status=none")
                speeds[kind]["read"].append(size / took / 1e6)

        for name in order:
            read(name, name)
        with stores[order[0]].mounted() as first, stores[order[1]].mounted() as second:
            disks = dict(zip(order, (first.disk, second.disk)))
            for disk in disks.values():
                touch(disk, size)
            for depth in DEPTHS:
                took = {name: 0 for name in order}  # seconds for each read
                for _, in_turn in turns(order, TURNS):
                    for name in in_turn:
                        took[name] += 1 / fio(disks[name], "read", depth, size, amount // TURNS)
                for name in order:
                    speeds[name][depth].append(TURNS / took[name])
        stores["closed"].ctl("reencrypt", stores["closed"].at, "--no-grace")
        read("closed", "re-encrypted")
        for name in order:
            shutil.rmtree(bench.directory / f"{name}-{turn}")
    source.unlink()
    closed, current = speeds["closed"], speeds["current"]
    report.compare(f"read under a closed data key, cold, {bench.random_mib} MiB, dd bs=1M", "MB/s", closed["read"],
                   {"newest data key": (current["read"], 0.5)}, "more")
    for depth in DEPTHS:
        report.compare(f"random 4 KiB read under a closed data key, touched before, depth {depth}", "/s", closed[depth],
                       {"newest data key": (current[depth], 0.8)}, "more")
    report.compare("the first read again, after reencrypt", "MB/s", speeds["re-encrypted"]["read"], {"newest data key": (current["read"], None)},
                   "more")
