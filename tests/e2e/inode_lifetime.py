# Names that change while they are used, in the directory given: POSIX wants a name that is renamed over to be found always,
# and an inode that a process still refers to to be there without a name.
import errno
import os
import sys
import threading
import time

os.chdir(sys.argv[1])


def give_up(failure):
    """A thread that fails ends all: by itself it would only print that."""
    sys.__excepthook__(failure.exc_type, failure.exc_value, failure.exc_traceback)
    os._exit(1)


threading.excepthook = give_up


def write_file(name):
    with open(name, "wb") as file:
        file.write(b"x" * 100)


def open_and_close():
    os.close(os.open("f", os.O_RDONLY))


def race(seconds):
    write_file("f")
    stop = threading.Event()
    errors, calls = [], [0]
    uses = [open_and_close, lambda: os.stat("f"), lambda: os.listxattr("f"), lambda: os.chmod("f", 0o644), lambda: os.truncate("f", 50)]

    def replace(number):
        while not stop.is_set():
            write_file(f"new-{number}")
            os.rename(f"new-{number}", "f")

    def use():
        while not stop.is_set():
            for number, function in enumerate(uses):
                try:
                    function()
                except OSError as error:
                    errors.append((number, errno.errorcode[error.errno]))
                calls[0] += 1

    threads = [threading.Thread(target=replace, args=(n,)) for n in range(2)] + [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    limit = time.monotonic() + 60  # a busy machine needs its time
    while calls[0] <= 500 and time.monotonic() < limit:
        time.sleep(0.1)
    stop.set()
    for thread in threads:
        thread.join()
    assert calls[0] > 500, f"only {calls[0]} calls"
    assert not errors, f"{len(errors)} of {calls[0]} calls failed, first {errors[:5]}"
    print(f"{calls[0]} calls while the name was replaced")


def without_a_name():
    os.mkdir("d")
    os.chdir("d")
    os.rmdir("../d")
    assert os.stat(".").st_nlink == 0, "a removed working directory"
    assert os.listdir(".") == []
    try:
        write_file("late")
        raise AssertionError("a removed directory took a file")
    except FileNotFoundError:
        pass
    os.chdir(sys.argv[1])
    path = os.open("f", os.O_PATH)
    os.unlink("f")
    assert os.fstat(path).st_nlink == 0, "a removed file behind O_PATH"
    again = os.open(f"/proc/self/fd/{path}", os.O_RDWR)
    os.pwrite(again, b"still there", 0)
    assert os.pread(again, 11, 0) == b"still there"
    os.close(again)
    os.close(path)


race(float(sys.argv[2]))
without_a_name()
