"""The two halves of the tests of kill -9 and of power cuts.

write TARGET NOTES SEED: writes blocks at random places until an error, fsyncs now and then. Notes each write before it is
made ("offset seed length") and each fsync after it returned ("synced N", N writes so far).
check TARGET NOTES [WRITES]: every byte must be that of its last synced write, or of a later write to the same place. With
WRITES, what was synced after so many counts as not synced.
"""
import os
import random
import sys

AREA = 24 << 20
LENGTHS = [1, 100, 4096, 4096, 4096, 65536, 1 << 20, (1 << 20) + 17]


def block(seed, length):
    return random.Random(seed).randbytes(length)


def write(target, notes, seed):
    dice = random.Random(int(seed))
    fd = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    writes = 0
    with open(notes, "a", buffering=1) as log:
        try:
            while True:
                length, offset, block_seed = dice.choice(LENGTHS), dice.randrange(AREA), dice.getrandbits(60)
                log.write(f"{offset} {block_seed} {length}\n")
                os.pwrite(fd, block(block_seed, length), offset)
                writes += 1
                if dice.random() < 0.15:
                    os.fsync(fd)
                    log.write(f"synced {writes}\n")
        except OSError:
            pass  # the daemon was killed


def whose(found, at, writes, synced):
    """Of which writes these bytes are, and which writes reach there."""
    words = ["zeros"] if not any(found) else []
    for number, (offset, seed, length) in enumerate(writes):
        if offset <= at < offset + length:
            same = block(seed, length)[at - offset :][: len(found)]
            words.append(f"write {number} [{offset}, {offset + length})" + (" is there" if found.startswith(same) else ""))
    return f"{synced} were synced; " + ", ".join(words)


def check(target, notes, at_most=None):
    writes, synced = [], 0
    with open(notes) as lines:
        for words in map(str.split, lines):
            if words[0] == "synced":
                synced = int(words[1])
            elif len(words) == 3:
                writes.append(tuple(map(int, words)))
    if at_most is not None:
        synced = min(synced, int(at_most))
    durable, later = bytearray(AREA + (2 << 20)), []
    for number, (offset, seed, length) in enumerate(writes):
        if number < synced:
            durable[offset : offset + length] = block(seed, length)
        else:
            later.append((offset, block(seed, length)))
    with open(target, "rb") as file:
        data = file.read()
    if len(data) < max((offset + length for offset, _, length in writes[:synced]), default=0):
        sys.exit("the file is shorter than what was synced")
    if len(data) > len(durable):
        sys.exit("the file is longer than anything that was written")
    # Whole pieces of later writes first: most of what is there of them. Looking at each byte takes long.
    for offset, content in later:
        for begin in range(offset, min(offset + len(content), len(data)), 4096):
            piece = content[begin - offset :][:4096]
            if data[begin : begin + 4096].startswith(piece):
                durable[begin : begin + len(piece)] = piece
    for page in range(0, len(data), 4096):
        end = min(page + 4096, len(data))
        if data[page:end] == durable[page:end]:
            continue
        near = [(o, b) for o, b in later if o < end and page < o + len(b)]
        for at in range(page, end):
            if data[at] != durable[at] and not any(o <= at < o + len(b) and b[at - o] == data[at] for o, b in near):
                sys.exit(f"byte {at} is neither what was synced nor what was written later: " + whose(data[at : at + 64], at, writes, synced))
    print(f"{synced} of {len(writes)} writes were synced and are there")


{"write": write, "check": check}[sys.argv[1]](*sys.argv[2:])
