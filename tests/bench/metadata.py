"""Making, asking after, listing and removing many empty files, by one process."""
import os
import shutil
import time

from measure import run, turns
from stores import Gocryptfs, NullFs, Vault

TITLE = "metadata"
STEPS = ("create", "stat", "list", "remove")


def work(directory, count):
    """Seconds of each step."""
    directory.mkdir()
    paths = [f"{directory}/f{n:06}" for n in range(count)]
    times = [time.monotonic()]
    for path in paths:
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    times.append(time.monotonic())
    for path in paths:
        os.stat(path)
    times.append(time.monotonic())
    run("ls", "-l", directory)
    times.append(time.monotonic())
    for path in paths:
        os.unlink(path)
    times.append(time.monotonic())
    return dict(zip(STEPS, (end - begin for begin, end in zip(times, times[1:]))))


def measure(report, bench):
    makers = {
        "vaultfs": lambda place: Vault(place, bench.binaries),
        "gocryptfs": Gocryptfs,
        "null": lambda place: NullFs(place, bench.null_fs),
    }
    took = {name: {step: [] for step in STEPS} for name in makers}
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            directory = bench.directory / f"{name}-{turn}"
            store = makers[name](directory)
            with store.mounted() as place:
                for step, duration in work(place.tree / "many", bench.files).items():
                    took[name][step].append(duration)
            store.close()
            shutil.rmtree(directory)
    totals = {name: [sum(each) for each in zip(*steps.values())] for name, steps in took.items()}
    report.compare_either(f"create, stat, list, remove {bench.files:,} files", "s", totals["vaultfs"],
                          {"gocryptfs": (totals["gocryptfs"], 2), "null": (totals["null"], 0.6)}, "less")
    for step in STEPS:
        report.compare(f"– {step}", "s", took["vaultfs"][step], {name: (took[name][step], None) for name in ("gocryptfs", "null")}, "less")
