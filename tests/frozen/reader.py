#!/usr/bin/env python3
"""Reads the recovery points and the working tree of a vault with nothing but docs/format.md: the proof that the page is exact enough.

    reader.py VAULT --key KEY.pem --passphrase-file F [--recovery-file R] [--escrow-key KEY.pem] [--pin NUMBER:SHA256]
              [--cat POINT:PATH | --cat tree:PATH | --expect expected.json]

KEY.pem is the exported private key of a version that has a slot, F the passphrase of it, of the escrow key and of the
recovery file. A vault with suite 2 wants the recovery file, or the escrow key if its escrow slot holds the infrastructure
key. Prints JSON: {"points": point -> path -> type, size and SHA-256 of each file, "tree": the same of the working tree},
or with --cat the bytes of one file. A file with a chunk that the catalogue knows to be damaged has no SHA-256.
Any byte that is not as the page says ends it with an exception. Written from the page, not from the code (section 9.2 came
into the page together with its reader).
"""

import argparse
import hashlib
import json
import pathlib
import sys

from reader_activity import read_activity
from reader_catalogue import point_id
from reader_container import Container
from reader_journal import History
from reader_keyring import Keyring
from reader_primitives import MIB, Reader, need, sha256
from reader_segments import Segments

TYPES = {1: "file", 2: "directory", 3: "symlink", 4: "fifo", 5: "socket", 6: "character device", 7: "block device"}


class Vault(Keyring):
    def __init__(self, path, options):
        super().__init__(path, options)
        pin = options.pin.split(":") if getattr(options, "pin", None) else None
        self.head = self.heads.newest((int(pin[0]), bytes.fromhex(pin[1])) if pin else None)
        self.segments = Segments(self)
        self.index_entries = self.segments.read_index(self.heads, self.head)
        history = History(self, self.head)
        self.catalogue, self.tree = history.catalogue, history.tree
        self.activity = read_activity(self, self.head)

    # --- Section 10: recovery points ---

    def manifest(self, point):
        path = self.path / f"points/{point['file']:016x}.point"
        container = Container(self, path, "manifest", point["file"])
        need(sha256(container.data) == point["digest"] and len(container.data) == point["length"], "manifest: digest")
        kind, _, _, _, _, inventory, at = container.record(160)
        need(kind == 34, "manifest: inventory")
        self.check_inventory(Reader(inventory))
        string = Reader(container.stream(at))
        need(string.u64() == point["number"] and string.text() == point["item"] and string.i64() == point["created"]
             and string.u64() == point["cut"], "manifest: not the catalogue's point")
        root = string.u64()
        need(string.take(32) == sha256(inventory), "manifest: another inventory")
        inodes, before = {}, 0
        for _ in range(string.u32()):
            number, inode = self.read_inode(string)
            need(number > before, "manifest: inodes out of order")
            inodes[number], before = inode, number
        string.end()
        self.check_tree(root, inodes)
        return root, inodes

    def check_inventory(self, inventory):
        before = 0
        for _ in range(inventory.u32()):
            number, length = inventory.u64(), inventory.u64()
            need(number > before and self.segments.lengths.get(number) == length, "inventory: a segment is missing or of another length")
            before = number
        inventory.end()

    @staticmethod
    def check_tree(root, inodes):
        names, subdirectories = {root: 0}, {}
        for number, inode in inodes.items():
            for _, target in inode.get("entries", ()):
                names[target] = names.get(target, 0) + 1
                if inodes[target]["kind"] == 2:
                    subdirectories[number] = subdirectories.get(number, 0) + 1
        for number, inode in inodes.items():
            if inode["kind"] == 2:
                need(names.get(number) == (number != root) and inode["links"] == 2 + subdirectories.get(number, 0), "manifest: directory")
            else:
                need(names.get(number) == inode["links"], "manifest: link count")

    @staticmethod
    def read_inode(string):
        number, kind = string.u64(), string.u8()
        inode = {"kind": kind, "mode": string.u32(), "owner": [string.u32(), string.u32()], "links": string.u32()}
        string.u64()
        inode["size"], _, inode["mtime"], _ = string.u64(), string.i64(), string.i64(), string.i64()
        need(number and kind in TYPES and inode["mode"] <= 0o7777 and inode["size"] <= (1 << 50 if kind == 1 else 0), "inode")
        if kind == 1:
            inode["form"] = string.u8()
            inode["ids"] = [string.take(32) for _ in range(string.u32())]
            unit, most = (MIB, 8 * MIB) if inode["form"] == 0 else (256 * MIB, 1 << 50)
            need(inode["form"] in (0, 1) and inode["size"] <= most and (inode["form"] == 0 or inode["size"])
                 and len(inode["ids"]) == (inode["size"] + unit - 1) // unit, "inode: form")
        elif kind == 2:
            inode["entries"] = Vault.names(string, string.u64)
        elif kind == 3:
            inode["target"] = string.text()
        inode["attributes"] = Vault.names(string, string.blob)
        return number, inode

    @staticmethod
    def names(string, read_value):
        found = []
        for _ in range(string.u32()):
            name = string.blob()
            need(1 <= len(name) <= 255 and (not found or found[-1][0] < name), "names out of order")
            found.append((name, read_value()))
        return [(name.decode("utf-8", "surrogateescape"), value) for name, value in found]

    def chunk_ids(self, inode):
        if inode["form"] == 0:
            return inode["ids"]
        pages = [self.segments.map_page(page) if any(page) else bytes(8192) for page in inode["ids"]]
        return [page[at : at + 32] for page in pages for at in range(0, 8192, 32)]

    def content(self, inode):
        """A file's bytes, MiB by MiB."""
        if "chunks" in inode:
            content = inode["chunks"]
        else:
            ids = self.chunk_ids(inode)
            content = lambda place: self.segments.chunk(ids[place]) if any(ids[place]) else b""
        for place in range((inode["size"] + MIB - 1) // MIB):
            wanted = min(MIB, inode["size"] - place * MIB)
            yield content(place)[:wanted].ljust(wanted, b"\0")

    def is_known_damage(self, inode):
        ids = self.tree.chunk_ids(inode) if "chunks" in inode else self.chunk_ids(inode)
        return any(chunk[:16] in self.catalogue.damage for chunk in ids)

    def file_digest(self, inode):
        digest = hashlib.sha256()
        try:
            for piece in self.content(inode):
                digest.update(piece)
        except ValueError:
            if not self.is_known_damage(inode):
                raise
            return None
        return digest.hexdigest()

    def describe(self, inode):
        entry = {"type": TYPES[inode["kind"]], "mode": f"{inode['mode']:04o}", "owner": inode["owner"]}
        if inode["kind"] != 2:
            entry["links"] = inode["links"]
        if inode["kind"] == 3:
            entry["target"] = inode["target"]
        if inode["kind"] == 1:
            entry |= {"mtime": f"{inode['mtime'] // 10**9}.{inode['mtime'] % 10**9:09d}", "size": inode["size"], "sha256": self.file_digest(inode)}
        return entry

    @staticmethod
    def walk_tree(root, inodes):
        """path -> inode."""
        found, waiting = {}, [("", root)]
        while waiting:
            prefix, number = waiting.pop()
            for name, target in inodes[number]["entries"]:
                found[prefix + name] = inodes[target]
                if inodes[target]["kind"] == 2:
                    waiting.append((prefix + name + "/", target))
        return dict(sorted(found.items()))

    def trees(self):
        """place -> path -> inode, of each point and of the working tree."""
        points = {point_id(point): self.walk_tree(*self.manifest(point)) for _, point in sorted(self.catalogue.points.items())}
        return points | {"tree": self.walk_tree(1, self.tree.as_manifest(self))}


def compare(found, wanted):
    """What differs; of an entry only the members that are expected count."""
    differences = [] if wanted else ["nothing is expected"]
    for place in sorted(set(wanted) | set(found)):
        here, there = found.get(place, {}), wanted.get(place, {})
        for path in sorted(set(here) | set(there)):
            members = {name: here.get(path, {}).get(name) for name in there.get(path, {})}
            if path not in here or not members or members != there[path]:
                differences.append(f"{place} {path}: read {here.get(path)}, expected {there.get(path)}")
    return differences


def check_expected(vault, found, expected, options):
    tree = found.pop("tree")
    differences = compare(found, expected["points"])
    if "tree" in expected:
        differences += compare({"working tree": tree}, {"working tree": expected["tree"]})
    counts = {"damaged_chunks": len(vault.catalogue.damage), "format": vault.head.format}
    differences += [f"{name}: {counts[name]}" for name in counts if name in expected and expected[name] != counts[name]]
    if len(vault.segments.patches) < options.least_patches:
        differences.append(f"only {len(vault.segments.patches)} patches were read")
    if len(vault.segments.closed_reads) < options.least_closed:
        differences.append(f"only {len(vault.segments.closed_reads)} records of closed epochs were read")
    entries = len(tree) + sum(map(len, found.values()))
    print("\n".join(differences) or f"{vault.path.name}: {entries} entries of {len(found)} points and the working tree are as expected; "
          f"{len(vault.activity)} activity entries")
    return 1 if differences else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("vault", type=pathlib.Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--passphrase-file", required=True)
    parser.add_argument("--recovery-file")
    parser.add_argument("--escrow-key", help="private key of the escrow recipient: opens the vault instead of --key")
    parser.add_argument("--pin", help="a head that the newest one must continue")
    parser.add_argument("--cat", help="the file to write to standard output")
    parser.add_argument("--expect", type=pathlib.Path, help="expected.json: compare with the points of the vault of this name")
    parser.add_argument("--least-patches", type=int, default=0, help="the example is there to show as many patches")
    parser.add_argument("--least-closed", type=int, default=0, help="… and as many records of closed epochs")
    options = parser.parse_args()
    vault = Vault(options.vault, options)
    trees = vault.trees()
    if options.cat:
        place, path = options.cat.split(":", 1)
        for piece in vault.content(trees[place][path]):
            sys.stdout.buffer.write(piece)
        return 0
    found = {place: {path: vault.describe(inode) for path, inode in tree.items()} for place, tree in trees.items()}
    if options.expect:
        return check_expected(vault, found, json.loads(options.expect.read_text())[options.vault.name], options)
    tree = found.pop("tree")
    json.dump({"points": found, "tree": tree}, sys.stdout, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
