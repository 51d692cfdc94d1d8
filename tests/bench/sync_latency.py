"""How long fsync takes after one 4 KiB write, on a real disk."""
import json
import pathlib
import shutil
import tempfile

from measure import MIB, random_file, run, turns
from stores import PlainDirectory, Vault

TITLE = "fsync"


def latencies(disk, count):
    """Milliseconds: median and 99 % of the fsyncs."""
    result = run("fio", "--name=sync", f"--filename={disk}", "--rw=randwrite", "--bs=4k", "--ioengine=psync", "--fsync=1", "--size=64m",
                 f"--io_size={4 * count}k", "--randrepeat=1", "--output-format=json", "--fallocate=none")
    percentiles = json.loads(result[result.index(b"{"):])["jobs"][0]["sync"]["lat_ns"]["percentile"]
    return percentiles["50.000000"] / 1e6, percentiles["99.000000"] / 1e6


def measure(report, bench):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="vaultfs-bench.", dir=bench.disk_directory))
    bench.clean_up_later(directory)
    source = random_file(bench.directory / "random", 64 * MIB)
    makers = {"vaultfs": lambda place: Vault(place, bench.binaries), "plain file": PlainDirectory}
    figures = {name: [] for name in makers}
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            below = directory / f"{name.split()[0]}-{turn}"
            store = makers[name](below)
            with store.mounted() as place:
                run("dd", f"if={source}", f"of={place.disk}", "bs=1M", "conv=fsync", "status=none")
                run("sync", "-f", directory)  # what is still on its way would be waited for
                figures[name].append(latencies(place.disk, bench.fsyncs))
            shutil.rmtree(below)
    source.unlink()
    for place, word in enumerate(("median", "99 %")):
        ours, theirs = ([each[place] for each in figures[name]] for name in makers)
        report.compare(f"fsync after one 4 KiB write, {word}", "ms", ours, {"plain file": (theirs, round(1 / 1.5, 2))}, "less")
