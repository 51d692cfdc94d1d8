#!/usr/bin/env python3
"""Prints what is below a directory as JSON: path -> type, and for files size and SHA-256; modes, owners, times."""

import hashlib
import json
import os
import stat
import sys


def describe(path):
    status = os.lstat(path)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "fifo"}[stat.S_IFMT(status.st_mode)]
    entry = {"type": kind, "mode": f"{stat.S_IMODE(status.st_mode):04o}", "owner": [status.st_uid, status.st_gid]}
    if kind != "directory":
        entry["links"] = status.st_nlink
    if kind == "symlink":
        entry["target"] = os.readlink(path)
    if kind == "file":
        entry["mtime"] = f"{status.st_mtime_ns // 10**9}.{status.st_mtime_ns % 10**9:09d}"
        entry["size"] = status.st_size
        with open(path, "rb") as file:
            entry["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return entry


def walk(root):
    found = {}
    for directory, directories, files in os.walk(root):
        for name in directories + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, root)] = describe(path)
    return dict(sorted(found.items()))


json.dump(walk(sys.argv[1]), sys.stdout, indent=1)
