#!/usr/bin/env python3
"""Searches the memory of a process for byte strings: memory_search.py PID SECRETS.json

SECRETS.json is {name: hex}. Prints JSON {name: {"count": N, "where": [mapping, …]}} of those that are there. Reads all
that the process has mapped for itself, also what it locked or made unreadable to itself (/proc/PID/mem asks for no page's
protection); not the kernel's page cache, nor files mapped for reading. Answers 77 where the kernel does not let it.
"""

import json
import sys

STEP = 1 << 24


def mappings(pid):
    with open(f"/proc/{pid}/maps") as maps:
        for line in maps:
            span, access, _, _, inode, *name = line.split(maxsplit=5)
            begin, end = (int(word, 16) for word in span.split("-"))
            name = name[0].strip() if name else "anonymous"
            # Pages of files that were only mapped, not written to, are the file's.
            if name in ("[vvar]", "[vsyscall]", "[vdso]") or (inode != "0" and "w" not in access):
                continue
            yield begin, end, f"{name} {access} at {begin:x}"


def resident(pid, begin, end):
    """Ranges of pages that are there; guard pages and what was never touched are left out."""
    page = 4096
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        pagemap.seek(begin // page * 8)
        entries = pagemap.read((end - begin) // page * 8)
    start = None
    for index in range(len(entries) // 8 + 1):
        there = index < len(entries) // 8 and entries[index * 8 + 7] & 0xC0  # present or swapped
        if there and start is None:
            start = index
        elif not there and start is not None:
            yield begin + start * page, begin + index * page
            start = None


def count_in(data, needle, end):
    """How often it begins before `end`, without a copy of the data."""
    last = min(len(data), end + len(needle) - 1)
    count, at = 0, data.find(needle, 0, last)
    while at >= 0:
        count += 1
        at = data.find(needle, at + 1, last)
    return count


def main():
    pid = int(sys.argv[1])
    with open(sys.argv[2]) as file:
        secrets = {name: bytes.fromhex(text) for name, text in json.load(file).items()}
    overlap = max(map(len, secrets.values())) - 1
    found = {}
    try:
        memory = open(f"/proc/{pid}/mem", "rb", buffering=0)
    except PermissionError:
        sys.exit(77)
    with memory:
        for begin, end, name in mappings(pid):
            for first, last in resident(pid, begin, end):
                at = first
                while at < last:
                    try:
                        memory.seek(at)
                        data = memory.read(min(STEP + overlap, last - at))
                    except OSError:
                        break  # unmapped since
                    if not data:
                        break
                    for secret, needle in secrets.items():
                        # What lies in the overlap is the next step's.
                        count = count_in(data, needle, STEP)
                        if count:
                            entry = found.setdefault(secret, {"count": 0, "where": []})
                            entry["count"] += count
                            if name not in entry["where"]:
                                entry["where"].append(name)
                    at += STEP
    json.dump(found, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
