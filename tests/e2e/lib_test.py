"""tests/e2e/lib.sh: whatever fails in a test fails the test, also where the shell would look away, and the test then ends
soon and leaves nothing behind."""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

LIB = pathlib.Path(__file__).resolve().parent / "lib.sh"
# A stand-in that answers every question alike.
VAULTCTL = """#!/bin/sh
[ "$1" = --json ] || exit 20
echo '{"yes": true, "no": false, "nothing": null, "word": "w", "list": []}'
"""
# what a test does, and its exit code (None: any but 0)
SCRIPTS = [
    ("assert_eq 1 1", 0),
    ("assert_eq 1 2", None),
    ("false", None),
    ("fail wrong", None),
    ("skip 'not here'", 77),
    ("if false; then say no; fi; false || say 'that is all right'; x=$(false) || x=1", 0),
    # Among a command's words nobody looks at the exit code.
    ('assert_eq "$(false)" ""', None),
    ('say "it went $(fail wrong)"', None),
    ('say "it went $(false; echo well)"', None),
    ('say "$(say "$(false)")"', None),
    ('[[ $(fail wrong) == "" ]]', None),
    ("read -r word rest < <(false; echo word rest)", None),
    ("for word in $(false); do say no; done", None),
    ('look() { ctl show; }\nsay "$(look)"', None),
    # One value, which is there.
    ('assert_eq "$(jctl .word show)" w', 0),
    ('assert_eq "$(jctl .yes show)" true', 0),
    ('assert_eq "$(jctl .no show)" false', 0),
    ('assert_eq "$(jctl \'.nothing | type\' show)" null', 0),
    ('assert_eq "$(jctl \'.list | length\' show)" 0', 0),
    ('assert_eq "$(jctl .nothing show)" null', None),
    ('assert_eq "$(jctl .missing show)" ""', None),
    ('assert_eq "$(jctl \'.list[]\' show)" ""', None),
    # What fails while it has files open and others at work.
    ('exec 5>"$scratch/open"\nsleep 1000 &\necho $! >"$AT/pid"\nfail wrong', None),
    ('(trap "" TERM; while :; do sleep 1; done) &\necho $! >"$AT/pid"\nfalse', None),
    ('sleep 1000 &\necho $! >"$AT/pid"', 0),
    ("wait_until 0 false", None),
    ("wait_until 1 true", 0),
    ("[[ $(patience 10) -ge 10 ]]", 0),
]


def is_there(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


wrong = []
with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as directory:
    at = pathlib.Path(directory)
    vaultctl = at / "bin" / "vaultctl"
    vaultctl.parent.mkdir()
    vaultctl.write_text(VAULTCTL)
    vaultctl.chmod(0o755)
    (at / "tmp").mkdir()
    environment = {**os.environ, "VAULTFS_BIN": str(vaultctl.parent), "TMPDIR": str(at / "tmp"), "AT": directory,
                   "VAULTFS_TIME_FACTOR": "1"}
    for body, code in SCRIPTS:
        script = at / "test.sh"
        script.write_text(f". {LIB}\n{body}\n")
        (at / "pid").unlink(missing_ok=True)
        began = time.monotonic()
        with open(at / "said", "w") as said:  # no pipe, which would end with whatever is left behind
            got = subprocess.run(["bash", script], env=environment, stdout=said, stderr=said).returncode
        said = (at / "said").read_text()
        took = time.monotonic() - began
        if (got == 0) if code is None else (got != code):
            wrong.append(f"{body!r} ended with {got}: {said}")
        if (code is None) != ("FAILED" in said):
            wrong.append(f"{body!r} said: {said}")
        if took > 60:
            wrong.append(f"{body!r} took {took:.0f} s")
        if left := list((at / "tmp").iterdir()):
            wrong.append(f"{body!r} left {left}")
        if (at / "pid").exists() and is_there(pid := int((at / "pid").read_text())):
            wrong.append(f"{body!r} left a process behind")
            os.kill(pid, signal.SIGKILL)
if wrong:
    sys.exit("\n".join(wrong))
