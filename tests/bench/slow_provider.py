"""A key vault that takes 2 s for each call costs the data path nothing.

Two vaults are mounted at the same time, one under a local key, one under a key of the Transit double of tests/doubles, which
waits before each of its answers. Beside both somebody asks for refreshes again and again, so that calls to the key vaults are
always under way. Writing and reading take turns, local slow slow local, in many short rounds: whatever else goes on meets
both alike, and what is left is whether anybody waits for the key vault.
"""
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading

from measure import MIB, random_file, seconds
from stores import Vault

TITLE = "slow-provider"
DELAY_SECONDS = 2
SIZE_MIB = 32  # of each file; one is written twice a round to each vault
DOUBLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "doubles")
TOKEN = "hvs.the-root-token-of-the-double"


class SlowTransit:
    """The double, from now on until the end of the context."""

    def __init__(self, directory):
        directory.mkdir(parents=True)
        self.directory = directory
        # The system's Python has the double's modules.
        self.process = subprocess.Popen(["/usr/bin/python3", os.path.join(DOUBLES, "transit_double.py"), directory],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]

    def ask(self, **command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()  # it ends when its input does
        self.process.wait()


class VaultAtService(Vault):
    """A vault whose key is in the double."""

    def __init__(self, directory, binaries, service):
        self.service = service
        super().__init__(directory, binaries)

    def make_key(self):
        token = self.service.directory / "token"
        with open(os.open(token, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(TOKEN)
        options = {"address": f"https://localhost:{self.service.port}", "ca-file": self.service.directory / "ca.pem",
                   "token-file": token}
        self.ctl("keyvault", "add", "bench", "--provider", "transit",
                 *(word for name, value in options.items() for word in ("--option", f"{name}={value}")))
        self.service.ask(do="create", name="key", type="aes256-gcm96")


@contextlib.contextmanager
def refreshing(vaults):
    """Refreshes of all, one after another each, until the end of the context. An error ends the bench."""
    stop, failed = threading.Event(), []

    def work(vault):
        while not stop.is_set() and not failed:
            done = subprocess.run([str(word) for word in vault.words("encryption", "refresh", vault.at)], env=vault.environment,
                                  stdin=subprocess.DEVNULL, capture_output=True, check=False)
            if done.returncode != 0:
                failed.append(done.stderr.decode(errors="replace"))
            stop.wait(1)  # that of the slow one takes longer than this, that of the other must not hammer

    threads = [threading.Thread(target=work, args=(vault,)) for vault in vaults]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failed:
        sys.exit(f"bench: a refresh failed: {failed[0]}")


def measure_round(places, directory, order):
    """Seconds that writing and reading took at each of the places, which each come twice in the order."""
    # New bytes each time: what a vault has already costs it no encryption.
    sources = {turn: random_file(directory / f"source-{turn}", SIZE_MIB * MIB) for turn in (1, 2)}
    spent, visits = {name: {"write": 0.0, "read": 0.0} for name in places}, dict.fromkeys(places, 0)
    for name in order:
        visits[name] += 1
        disk = places[name].disk
        spent[name]["write"] += seconds("dd", f"if={sources[visits[name]]}", f"of={disk}", "bs=1M", "conv=fsync", "status=none")
        spent[name]["read"] += seconds("dd", f"if={disk}", "of=/dev/null", "bs=1M", "iflag=direct", "status=none")
        disk.unlink()
    return spent


def measure(report, bench):
    directory = bench.directory / "slow-provider"
    speeds = {name: {"write": [], "read": []} for name in ("slow", "local")}
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(SlowTransit(directory / "service"))
        vaults = {"local": Vault(directory / "local", bench.binaries),
                  "slow": VaultAtService(directory / "slow", bench.binaries, service)}
        places = {name: stack.enter_context(vault.mounted()) for name, vault in vaults.items()}
        stack.callback(service.ask, do="delay", seconds=0)  # nothing of the unmounting is measured
        service.ask(do="delay", seconds=DELAY_SECONDS)
        service.ask(do="report")
        stack.enter_context(refreshing(vaults.values()))
        for turn in range(-2, bench.slow_rounds):  # the first two only warm up
            order = ("local", "slow", "slow", "local") if turn % 2 == 0 else ("slow", "local", "local", "slow")
            spent = measure_round(places, directory, order)
            for name, times in spent.items() if turn >= 0 else ():
                for kind, took in times.items():
                    speeds[name][kind].append(2 * SIZE_MIB * MIB / took / 1e6)
        asked = len(service.ask(do="report")["requests"])
    if asked < 4:
        sys.exit(f"bench: the slow key vault was asked {asked} times only: this measures nothing")
    for kind in ("write", "read"):
        report.compare(f"{kind} {2 * SIZE_MIB} MiB while the key vault takes {DELAY_SECONDS} s a call", "MB/s", speeds["slow"][kind],
                       {"vaultfs, local key": (speeds["local"][kind], 0.97)}, "more")
    shutil.rmtree(directory)
