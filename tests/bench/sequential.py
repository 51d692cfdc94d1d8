"""1 MiB dd through the mounts: unique incompressible data, the same once more, and a cold read."""
import shutil

from measure import MIB, occupied, random_file, run, seconds, turns
from stores import Gocryptfs, LuksExport, NullFs, Securefs, Vault

TITLE = "sequential"


def measure(report, bench):
    size = bench.sequential_mib * MIB
    source = random_file(bench.directory / "random", size)
    makers = {
        "vaultfs": lambda place: Vault(place, bench.binaries),
        "gocryptfs": Gocryptfs,
        "securefs": Securefs,
        "qemu LUKS export": lambda place: LuksExport(place, 2 * size),
        "null": lambda place: NullFs(place, bench.null_fs),
    }
    speeds = {name: {kind: [] for kind in ("unique", "known", "read")} for name in makers}
    peaks, chunks = [], 0
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            directory = bench.directory / f"{name.split()[0]}-{turn}"
            store = makers[name](directory)

            def put(target, kind):
                took = seconds("dd", f"if={source}", f"of={target}", "bs=1M", "conv=fsync,notrunc", "status=none")
                speeds[name][kind].append(size / took / 1e6)

            with store.mounted() as place:
                put(place.disk, "unique")
                if name in ("vaultfs", "gocryptfs"):
                    put(place.tree / "again", "known")
                if name == "vaultfs":
                    peaks.append(store.daemon_peak_bytes())
            with store.mounted() as place:  # a new process, so its cache is cold
                took = seconds("dd", f"if={place.disk}", "of=/dev/null", "bs=1M", f"count={bench.sequential_mib}", "status=none")
                speeds[name]["read"].append(size / took / 1e6)
                if name == "vaultfs":
                    peaks.append(store.daemon_peak_bytes())
                    chunks = store.ctl("vault", "show", store.at)["chunks"]
                if turn == 0:
                    run("cmp", "-n", str(size), source, place.disk)
            store.close()
            shutil.rmtree(directory)
    source.unlink()

    def rows(what, kind, targets):
        report.compare(f"{what}, {bench.sequential_mib} MiB, dd bs=1M", "MB/s", speeds["vaultfs"][kind],
                       {peer: (speeds[peer]["unique" if kind == "known" else kind], target) for peer, target in targets.items()}, "more")

    rows("write unique data", "unique", {"gocryptfs": 5, "securefs": 3, "qemu LUKS export": 2, "null": 0.6})
    rows("write data that is there already", "known", {"gocryptfs": 8})
    rows("read, cold", "read", {"gocryptfs": 4, "securefs": None, "qemu LUKS export": None, "null": 0.35})
    report.limit("the daemon's peak memory, sequential", max(peaks) / MIB, (300 * MIB + 40 * chunks + 400 * 2) / MIB, "MiB")
