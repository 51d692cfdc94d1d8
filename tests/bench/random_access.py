"""Random 4 KiB reads and writes by fio (libaio, O_DIRECT) at queue depths 1 and 16 on an image that is there already."""
import json
import shutil

from measure import MIB, random_file, run, turns
from stores import Gocryptfs, NullFs, Vault

TITLE = "random"


def fio(disk, kind, depth, size, amount):
    """Operations a second; a write's time includes the final fsync."""
    result = run("fio", "--name=random", f"--filename={disk}", f"--rw=rand{kind}", "--bs=4k", f"--iodepth={depth}", "--ioengine=libaio",
                 "--direct=1", f"--size={size}", f"--io_size={amount}", "--end_fsync=1", "--randrepeat=1", "--refill_buffers",
                 "--output-format=json", "--fallocate=none")
    return json.loads(result[result.index(b"{"):])["jobs"][0][kind]["iops"]


def measure(report, bench):
    size, amount = bench.random_mib * MIB, bench.random_mib * MIB // 16
    source = random_file(bench.directory / "random", size)
    makers = {
        "vaultfs": lambda place: Vault(place, bench.binaries),
        "gocryptfs": Gocryptfs,
        "null": lambda place: NullFs(place, bench.null_fs),
    }
    kinds = [(kind, depth) for kind in ("read", "write") for depth in (1, 16)]
    figures = {name: {kind: [] for kind in kinds} for name in makers}
    peaks, chunks = [], 0
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            directory = bench.directory / f"{name}-{turn}"
            store = makers[name](directory)
            with store.mounted() as place:
                run("dd", f"if={source}", f"of={place.disk}", "bs=1M", "conv=fsync", "status=none")
            for kind, depth in kinds:
                with store.mounted() as place:
                    figures[name][kind, depth].append(fio(place.disk, kind, depth, size, amount))
                    if name == "vaultfs":
                        peaks.append(store.daemon_peak_bytes())
                        chunks = store.ctl("vault", "show", store.at)["chunks"]
            store.close()
            shutil.rmtree(directory)
    source.unlink()
    for kind, depth in kinds:
        what = f"random 4 KiB {kind}{', cold' if kind == 'read' else ' with a final fsync'}, depth {depth}"
        theirs = {name: figures[name][kind, depth] for name in ("gocryptfs", "null")}
        report.compare_either(what, "/s", figures["vaultfs"][kind, depth],
                              {"gocryptfs": (theirs["gocryptfs"], 2 if kind == "read" else 3), "null": (theirs["null"], 0.6)}, "more")
    report.limit("the daemon's peak memory, random", max(peaks) / MIB, (300 * MIB + 40 * chunks + 400) / MIB, "MiB")
