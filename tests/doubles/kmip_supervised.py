"""Keeps a test's server from outliving the test: when standard input ends, the whole process group is killed.

Standard input also carries commands, one a line; each is answered by one line, "ok …" or "error …".
"""

import os
import signal
import sys
import threading


def supervise(commands):
    """Starts to read commands: a dict of name to function(*words). Returns at once."""
    def work():
        for line in sys.stdin:
            words = line.split()
            try:
                result = commands[words[0]](*words[1:])
                answer = "ok" if result is None else "ok " + str(result)
            except Exception as error:  # the test shows it
                answer = "error " + " ".join(str(error).split())
            say(answer)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=work, daemon=True).start()


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
