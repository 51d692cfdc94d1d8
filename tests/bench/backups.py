"""A real disk image: backed up on three days, by the command and by dd into the mount, and restored; beside restic and borg."""
import os
import shutil
import time

from images import make_image, make_next_day
from measure import MIB, occupied, run, seconds, turns
from stores import Vault

TITLE = "backup"
STEPS = ("day 1", "day 2", "day 3, unchanged", "restore")
TARGETS = {"restic": {"day 1": 3.5, "day 2": 5, "day 3, unchanged": 8, "restore": 3}, "borg": {"day 1": 3, "restore": 5}}


class Ours:
    def __init__(self, directory, binaries, *options):
        directory.mkdir(parents=True)
        self.vault, self.options = Vault(directory, binaries), options
        self.at = self.vault.at

    def backup(self, image, day):
        return seconds(*self.vault.words("backup", "run", self.at, "vm", "--disk", f"disk.img={image}", *self.options), env=self.vault.environment)

    def restore(self, target):
        return seconds(*self.vault.words("restore", self.at, "vm", "--to", target / "disk.img"), env=self.vault.environment)


class Restic:
    def __init__(self, directory):
        self.at = directory / "repository"
        directory.mkdir(parents=True)
        self.environment = os.environ | {"RESTIC_REPOSITORY": str(self.at), "RESTIC_PASSWORD": "bench",
                                         "RESTIC_CACHE_DIR": str(directory / "cache")}
        run("restic", "init", "--repository-version", "2", env=self.environment)
        self.sparse = ["--sparse"] if b"--sparse" in run("restic", "restore", "--help") else []  # since restic 0.15

    def backup(self, image, day):
        # The same path on all days, as on a real machine.
        link = self.at.parent / "disk.img"
        link.unlink(missing_ok=True)
        os.link(image, link)
        return seconds("restic", "backup", "--quiet", "--force", link, env=self.environment)

    def restore(self, target):
        return seconds("restic", "restore", "latest", *self.sparse, "--target", target, env=self.environment)


class Borg:
    def __init__(self, directory):
        self.at = directory / "repository"
        directory.mkdir(parents=True)
        self.environment = os.environ | {"BORG_REPO": str(self.at), "BORG_PASSPHRASE": "bench", "BORG_BASE_DIR": str(directory),
                                         "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
        run("borg", "init", "--encryption=repokey", env=self.environment)

    def backup(self, image, day):
        # Without its files cache: the image of a running machine always has another time of change.
        return seconds("borg", "create", "--sparse", "--files-cache=disabled", "--chunker-params", "fixed,4194304", f"::day{day}", image.name,
                       env=self.environment, cwd=image.parent)

    def restore(self, target):
        return seconds("borg", "extract", "--sparse", "::day3", env=self.environment, cwd=target)


def through_the_mount(directory, bench, image):
    """Seconds of dd into a new vault's mount, with the commit."""
    store = Vault(directory, bench.binaries)
    with store.mounted() as place:
        started = time.monotonic()
        run("dd", f"if={image}", f"of={place.disk}", "bs=1M", "conv=sparse,fsync", "status=none")
        store.ctl("backup", "commit", store.at, "item")
        took = time.monotonic() - started
    shutil.rmtree(directory)
    return took


def measure(report, bench):
    first, second = (bench.directory / day / "disk.img" for day in ("day1", "day2"))
    for image in (first, second):
        image.parent.mkdir()
    if bench.image:
        run("cp", "--sparse=always", bench.image, first)
    else:
        make_image(first, bench.image_mib * MIB)
    make_next_day(first, second)
    makers = {"vaultfs": lambda place: Ours(place, bench.binaries), "restic": Restic, "borg": Borg,
              "fast": lambda place: Ours(place, bench.binaries, "--compression", "fast")}
    times = {name: {step: [] for step in STEPS} for name in makers}
    sizes = {name: {} for name in makers}
    mounted = []
    for turn, order in turns(makers, bench.rounds):
        for name in order:
            directory = bench.directory / f"{name}-{turn}"
            store = makers[name](directory)
            for day, image in enumerate((first, second, second), 1):
                times[name][STEPS[day - 1]].append(store.backup(image, day))
                sizes[name][day] = occupied(store.at)
            target = directory / "restored"
            target.mkdir()
            times[name]["restore"].append(store.restore(target))
            if turn == 0:
                [restored] = target.rglob("disk.img")
                run("cmp", second, restored)
            shutil.rmtree(directory)
        mounted.append(through_the_mount(bench.directory / f"mounted-{turn}", bench, first))
    used = f"{occupied(first) // MIB} MiB image"
    for step in STEPS:
        what = f"restore the {used}" if step == "restore" else f"backup run of the {used}, {step}"
        report.compare(what, "s", times["vaultfs"][step], {peer: (times[peer][step], TARGETS[peer].get(step)) for peer in TARGETS}, "less")
    report.compare(f"backup run of the {used}, day 1, --compression fast", "s", times["fast"]["day 1"], {"restic": (times["restic"]["day 1"], 5)}, "less")
    report.compare("stored on day 1, --compression fast", "MiB", [sizes["fast"][1] / MIB], {"restic": ([sizes["restic"][1] / MIB], round(1 / 1.2, 3))}, "less")
    report.compare("dd of it into the mount and commit, day 1", "s", mounted, {"restic": (times["restic"]["day 1"], 2.5)}, "less")
    mine = {day: size / MIB for day, size in sizes["vaultfs"].items()}
    for peer, target in (("restic", round(1 / 1.03, 3)), ("borg", None)):
        theirs = {day: size / MIB for day, size in sizes[peer].items()}
        report.compare("stored on day 1", "MiB", [mine[1]], {peer: ([theirs[1]], target)}, "less")
        report.compare("new on day 2", "MiB", [mine[2] - mine[1]], {peer: ([theirs[2] - theirs[1]], target)}, "less")
