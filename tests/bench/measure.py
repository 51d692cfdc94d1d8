"""Running programs, timing them, and the table of what came out: rows with ratios, targets and verdicts."""
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time

MIB = 1 << 20


def run(*words, **options):
    """Runs a program; its output is shown only if it fails. Returns stdout."""
    options.setdefault("stdin", None if "input" in options else subprocess.DEVNULL)
    if options["stdin"] is None:
        del options["stdin"]
    result = subprocess.run([str(word) for word in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    if result.returncode != 0:
        sys.exit(f"bench: {' '.join(map(str, words))} ended with {result.returncode}:\n{result.stderr.decode(errors='replace')}")
    return result.stdout


def seconds(*words, **options):
    """How long a program took, from start to end."""
    started = time.monotonic()
    run(*words, **options)
    return time.monotonic() - started


def occupied(path):
    """Bytes that all below a directory occupies."""
    return int(run("du", "-s", "--block-size=1", path).split()[0])


def random_file(path, size):
    """A file of `size` incompressible bytes, made once for all rounds."""
    with open(path, "wb") as file:
        for place in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - place)))
    return path


def warm_memory(directory, size):
    """The first touch of a virtual machine's memory is slow: fill as much of it as will be used, then free it."""
    with open(directory / "warm", "wb") as file:
        for _ in range(size // (16 * MIB) + 1):
            file.write(b"\1" * (16 * MIB))
    (directory / "warm").unlink()


def turns(names, rounds):
    """The candidates' order in each round: everybody is first in turn."""
    names = list(names)
    for turn in range(rounds):
        first = turn % len(names)
        yield turn, names[first:] + names[:first]


@dataclasses.dataclass
class Row:
    """One line of the table. `ratio` > 1: vaultfs is better; `rounds`: the ratio of each round."""
    section: str
    what: str
    ours: float
    unit: str
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    target: float | None = None
    most: float | None = None
    verdict: str = ""
    rounds: list = dataclasses.field(default_factory=list)


class Report:
    """Collects rows while the sections run."""

    def __init__(self):
        self.rows, self.missed, self.section = [], [], ""

    def compare(self, what, unit, ours, peers, better):
        """Adds a row for each of `peers`, a dict of name → (figures of each round, target or None). `better` is "more" or
        "less". A ratio is the median of those within a round."""
        for peer, (theirs, target) in peers.items():
            ratios = [o / t if better == "more" else t / o for o, t in zip(ours, theirs)]
            row = Row(self.section, what, statistics.median(ours), unit, peer, statistics.median(theirs), statistics.median(ratios),
                      target, rounds=[round(ratio, 3) for ratio in ratios])
            if target is not None:
                self._judge(row, row.ratio >= target, f"{row.ratio:.2f} times {peer}, wanted {target:g}")
            self.rows.append(row)

    def compare_either(self, what, unit, ours, peers, better):
        """As compare(), but one target met is enough: that of a peer, or the share of what the kernel's interface allows."""
        self.compare(what, unit, ours, {peer: (theirs, None) for peer, (theirs, _) in peers.items()}, better)
        rows = self.rows[-len(peers):]
        for row, (_, target) in zip(rows, peers.values()):
            row.target = target
        met = any(row.ratio >= row.target for row in rows)
        for row in rows:
            row.verdict = "ok" if row.ratio >= row.target else ("not needed" if met else "MISSED")
        if not met:
            self.missed.append(f"{what}: " + ", ".join(f"{row.ratio:.2f} times {row.peer}, wanted {row.target:g}" for row in rows))

    def limit(self, what, value, most, unit):
        """Adds a row for a figure that has an upper bound."""
        row = Row(self.section, what, value, unit, most=most)
        self._judge(row, value <= most, f"{value:,.3g} {unit}, allowed are {most:,.3g}")
        self.rows.append(row)

    def figure(self, what, value, unit):
        """Adds a row without a target."""
        self.rows.append(Row(self.section, what, value, unit))

    def _judge(self, row, met, why):
        row.verdict = "ok" if met else "MISSED"
        if not met:
            self.missed.append(f"{row.what}: {why}")

    def markdown(self):
        lines = ["| what | vaultfs | peer | its figure | ratio (median, > 1: vaultfs is better) | target | |", "| --- | --- | --- | --- | --- | --- | --- |"]
        for row in self.rows:
            target = f"≥ {row.target:g}" if row.target is not None else f"≤ {row.most:,.3g} {row.unit}" if row.most is not None else ""
            theirs = f"{row.theirs:,.4g} {row.unit}" if row.theirs is not None else ""
            ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
            lines.append("| " + " | ".join((row.what, f"{row.ours:,.4g} {row.unit}", row.peer, theirs, ratio, target, row.verdict)) + " |")
        return "\n".join(lines)

    def json(self, about):
        """All rows with the ratios of each round, and what the caller says of machine and versions."""
        return json.dumps({**about, "rows": [dataclasses.asdict(row) for row in self.rows], "missed": self.missed}, indent=1, ensure_ascii=False)
