#!/usr/bin/env python3
"""Reads the recovery points and the working tree of a vault with nothing but docs/format.md: the proof that the page is exact enough.

    reader.py VAULT --key KEY.pem --passphrase-file F [--recovery-file R] [--escrow-key KEY.pem]

KEY.pem is the exported private key of a version that has a slot, F the passphrase of it, of the escrow key and of the
recovery file. A vault with suite 2 wants the recovery file, or the escrow key if its escrow slot holds the infrastructure
key. Prints JSON: {"points": point -> path -> type, size and SHA-256 of each file, "tree": the same of the working tree}.
Any byte that is not as the page says ends it with an exception. Written from the page, not from the code (section 9.2 came
into the page together with its reader).
"""

import argparse
import datetime
import hashlib
import json
import pathlib
import struct
import sys

from reader_container import Container
from reader_keyring import Keyring
from reader_primitives import Reader, hkdf, hmac256, need, sha256, xxh64
from reader_tree import MIB, WorkingTree


class Vault(Keyring):
    def __init__(self, path, options):
        super().__init__(path, options)
        self.open_head()
        self.index_segments()
        self.catalogue_points = self.read_catalogue()

    def open_head(self):
        before = None
        for generation, path in self.numbered("heads", "head"):
            data = path.read_bytes()
            head = Reader(data)
            need(len(data) == 266 and head.take(8) == b"VAULTFHD" and head.u16() == 1 and head.take(16) == self.id, f"{path}")
            need(head.u64() == generation, f"{path}: generation")
            head.u64()
            need(head.take(32) == (before or data[42:74]), f"{path}: the chain of heads is broken")
            before = sha256(data)
        head.i64()
        keyring, keyring_digest = head.u64(), head.take(32)
        need((keyring, keyring_digest) in ((self.keyring_generation, self.keyring_digest), (self.keyring_generation - 1, self.keyring_predecessor)),
             "the newest head names another keyring")
        self.checkpoint_number, self.checkpoint_digest = head.u64(), head.take(32)
        head.u64()
        self.synced_lsn = head.u64()
        head.u64(), head.take(32), head.u64()
        head_key = hkdf(self.epochs[head.u64()]["dek"], self.id, b"vaultfs/1 head epoch", 32)
        need(hmac256(head_key, self.root_mac(b"vaultfs/1 head mac", data[:234])) == data[234:], "head: MAC")

    # --- Sections 5, 9: checkpoint, journals, catalogue ---

    def read_catalogue(self):
        first_journal, cut, points, tree = 1, 0, {}, Reader(b"")
        if self.checkpoint_number:
            path = self.path / f"checkpoints/{self.checkpoint_number:016x}.checkpoint"
            need(sha256(path.read_bytes()) == self.checkpoint_digest, "checkpoint: digest")
            string = Reader(Container(self, path, "checkpoint", self.checkpoint_number).stream())
            first_journal, cut, _ = string.u64(), string.u64(), string.u64()
            section = Reader(string.take(string.u64()))
            section.u64(), section.u64()
            self.apply_changes(section, points)
            tree = Reader(string.take(string.u64()))
            string.end()
        self.tree = WorkingTree(tree, self)
        reached = 0
        for number, path in self.numbered("journal", "journal"):
            if number >= first_journal:
                reached = self.replay(Container(self, path, "journal", number), cut, reached, points)
        need(reached >= self.synced_lsn or cut >= self.synced_lsn, "the journal ends before what the head names")
        return points

    def replay(self, journal, cut, reached, points):
        at, base, first = 160, 0, True
        while at < len(journal.data):
            try:
                kind, found_base, lsn, synced, _, plain, behind = journal.record(at)
            except (ValueError, struct.error):
                need(not first, "journal: the first record is damaged")
                self.need_unsynced_tail(journal, at, reached)
                break
            entries = Reader(plain)
            if kind == 17:
                need(entries.u64() == lsn == synced == reached and behind == len(journal.data), "journal: end")
                break
            count = entries.u32()
            need(kind == 16 and count and found_base == base, "journal: record out of place")
            for index in range(count):
                room, entry = entries.u8(), Reader(entries.blob())
                need((room == 0) == first, "journal: a wrong room")
                if first:
                    continues, _ = entry.u64(), entry.u64()
                    need(continues == reached or reached <= continues <= cut, "journal: a gap")
                    reached, first = continues, False
                need(lsn + index == reached + 1 and (index or synced < lsn), "journal: LSN")
                reached += 1
                if room == 1 and reached > cut:
                    self.apply_changes(entry, points)
                elif room == 2 and reached > cut:
                    self.tree.apply(reached, entry)
            entries.end()
            frame_power = journal.data[at + 6]
            base += (len(plain) + (1 << frame_power) - 1) >> frame_power
            at = behind
        return reached

    @staticmethod
    def need_unsynced_tail(journal, at, reached):
        for later in range(at + 8, len(journal.data) - 87, 8):
            if journal.data[later : later + 4] == b"VREC":
                try:
                    need(journal.record(later)[3] <= reached, "journal: synced entries are lost")
                except struct.error:
                    pass
                except ValueError as problem:
                    if "lost" in str(problem):
                        raise

    @staticmethod
    def apply_changes(changes, points):
        while changes.left():
            kind = changes.u8()
            if kind == 1:
                changes.blob(), changes.i64(), changes.u8()
            elif kind == 2:
                point = {"number": changes.u64(), "item": changes.text(), "created": changes.i64(), "cut": changes.u64(),
                         "digest": changes.take(32), "length": changes.u64()}
                changes.u8(), changes.u64(), changes.u64()
                points[point["number"]] = point
            elif kind == 3:
                changes.u64(), changes.u8(), changes.u8(), changes.blob(), changes.u64(), changes.i64(), changes.i64()
                changes.u64(), changes.u64(), changes.u64(), changes.blob()
            elif kind == 4:
                points.pop(changes.u64(), None)
            elif kind == 5:
                number, file = changes.u64(), changes.u64()
                need(file > number, "catalogue: a manifest's file of before its point")
                if number in points:
                    points[number]["file"] = file
            elif kind == 6:
                changes.u64(), changes.u64(), changes.i64()
            elif kind == 8:
                for _ in range(changes.u32()):
                    changes.take(16), changes.u8(), changes.u64(), changes.i64()
            elif kind == 9:
                changes.take(16 * changes.u32())
            else:
                need(kind == 7 and changes.u8() in (0, 1), "catalogue: unknown change")

    # --- Sections 3, 4: segments ---

    def index_segments(self):
        self.records, self.segments, self.patches = {}, {}, set()
        for ending in ("seg", "open"):
            for number, path in self.numbered("segments", ending):
                segment = Container(self, path, "segment", number)
                last = self.epochs[segment.epoch]["last_segment"]
                need(last is None or number <= last, f"{path}: its epoch is closed")
                self.segments[number] = segment
                if ending == "seg":
                    self.read_footer(segment, number)
                else:
                    self.walk(segment, number)

    def read_footer(self, segment, number):
        trailer = segment.data[-32:]
        need(trailer[:8] == b"VSEGEND1" and xxh64(trailer[:24]) == trailer[24:], "segment trailer")
        at, count = struct.unpack("<QQ", trailer[8:24])
        kind, _, _, _, _, plain, behind = segment.record(at)
        need(kind == 3 and behind == len(segment.data) - 32, "segment footer")
        footer = Reader(plain)
        need(footer.u32() == count, "segment footer: count")
        for _ in range(count):
            chunk, kind, at, _, _ = footer.take(32), footer.u8(), footer.u64(), footer.u32(), footer.u32()
            self.records[chunk] = (number, at, kind)
        footer.end()

    def walk(self, segment, number):
        at = 160
        while at + 88 <= len(segment.data):
            try:
                kind, _, _, _, chunk, _, behind = segment.record(at)
            except (ValueError, struct.error):
                at += 8
                continue
            if kind == 3:
                break
            self.records[chunk] = (number, at, kind)
            at = behind

    def chunk(self, chunk_id, wanted):
        number, at, _ = self.records[chunk_id]
        kind, _, _, _, found, plain, _ = self.segments[number].record(at)
        leaves = b"".join(sha256(plain[leaf : leaf + 32768]) for leaf in range(0, len(plain), 32768))
        need(kind == wanted and found == chunk_id == hmac256(self.chunk_id_key, struct.pack("<BQ", kind, len(plain)) + leaves), "ChunkId")
        return plain

    def content(self, chunk_id):
        """A chunk or, by section 4.4, a patch."""
        if self.records[chunk_id][2] == 1:
            return self.chunk(chunk_id, 1)
        plain = self.chunk(chunk_id, 4)
        header = Reader(plain[:4096])
        base, length, zero, bitmap = header.take(32), header.u32(), header.u32(), int.from_bytes(header.take(32), "little")
        pages = [page for page in range(256) if bitmap >> page & 1]
        need(zero == 0 and not any(plain[72:4096]) and 1 <= length <= MIB and pages and pages[-1] * 4096 < length, "patch: header")
        need(len(plain) == 4096 * (1 + len(pages)), "patch: pages")
        content = bytearray((self.chunk(base, 1) if any(base) else b"")[:length].ljust(256 * 4096, b"\0"))
        for index, page in enumerate(pages, 1):
            content[page * 4096 : page * 4096 + 4096] = plain[index * 4096 : index * 4096 + 4096]
        need(pages[-1] * 4096 + 4096 <= length or not any(content[length : pages[-1] * 4096 + 4096]), "patch: padding")
        self.patches.add(chunk_id)
        return bytes(content[:length])

    # --- Section 10: recovery points ---

    def manifest(self, point):
        file = point.get("file", point["number"])
        path = self.path / f"points/{file:016x}.point"
        container = Container(self, path, "manifest", file)
        need(sha256(container.data) == point["digest"] and len(container.data) == point["length"], "manifest: digest")
        kind, _, _, _, _, inventory, at = container.record(160)
        need(kind == 34, "manifest: inventory")
        string = Reader(container.stream(at))
        need(string.u64() == point["number"] and string.text() == point["item"] and string.i64() == point["created"]
             and string.u64() == point["cut"], "manifest: not the catalogue's point")
        root = string.u64()
        need(string.take(32) == sha256(inventory), "manifest: another inventory")
        inodes = {}
        for _ in range(string.u32()):
            number, inode = self.read_inode(string)
            inodes[number] = inode
        string.end()
        return root, inodes

    @staticmethod
    def read_inode(string):
        number, kind = string.u64(), string.u8()
        inode = {"kind": kind, "mode": string.u32(), "owner": [string.u32(), string.u32()], "links": string.u32()}
        string.u64()
        inode["size"], _, inode["mtime"], _ = string.u64(), string.i64(), string.i64(), string.i64()
        if kind == 1:
            inode["form"] = string.u8()
            inode["ids"] = [string.take(32) for _ in range(string.u32())]
        elif kind == 2:
            inode["entries"] = [(string.text(), string.u64()) for _ in range(string.u32())]
        elif kind == 3:
            inode["target"] = string.text()
        for _ in range(string.u32()):
            string.blob(), string.blob()
        return number, inode

    def chunk_ids(self, inode):
        ids = inode["ids"]
        if inode["form"] == 0:
            need(len(ids) == (inode["size"] + MIB - 1) // MIB, "chunks")
            return ids
        need(len(ids) == (inode["size"] + 256 * MIB - 1) // (256 * MIB), "map pages")
        pages = [self.chunk(page, 2) if any(page) else bytes(8192) for page in ids]
        need(all(len(page) == 8192 for page in pages), "map page length")
        return [page[at : at + 32] for page in pages for at in range(0, 8192, 32)]

    def file_digest(self, inode):
        if "chunks" in inode:
            content = inode["chunks"]
        else:
            ids = self.chunk_ids(inode)
            content = lambda place: self.content(ids[place]) if any(ids[place]) else b""
        digest = hashlib.sha256()
        for place in range((inode["size"] + MIB - 1) // MIB):
            wanted = min(MIB, inode["size"] - place * MIB)
            digest.update(content(place)[:wanted].ljust(wanted, b"\0"))
        return digest.hexdigest()

    def describe(self, inodes, number):
        inode = inodes[number]
        kind = {1: "file", 2: "directory", 3: "symlink", 4: "fifo", 5: "socket", 6: "character device", 7: "block device"}[inode["kind"]]
        entry = {"type": kind, "mode": f"{inode['mode']:04o}", "owner": inode["owner"]}
        if kind != "directory":
            entry["links"] = inode["links"]
        if kind == "symlink":
            entry["target"] = inode["target"]
        if kind == "file":
            entry |= {"mtime": f"{inode['mtime'] // 10**9}.{inode['mtime'] % 10**9:09d}", "size": inode["size"], "sha256": self.file_digest(inode)}
        return entry

    def point_files(self, point):
        return self.walk_tree(*self.manifest(point))

    def walk_tree(self, root, inodes):
        found, waiting = {}, [("", root)]
        while waiting:
            prefix, number = waiting.pop()
            for name, inode in inodes[number]["entries"]:
                found[prefix + name] = self.describe(inodes, inode)
                if inodes[inode]["kind"] == 2:
                    waiting.append((prefix + name + "/", inode))
        return dict(sorted(found.items()))


def point_id(point):
    created = datetime.datetime.fromtimestamp(point["created"] // 10**9, datetime.timezone.utc)
    return f"{point['number']:06d}-{created:%Y%m%dT%H%M%SZ}"


def compare(points, wanted):
    """What differs; of an entry only the members that are expected count."""
    differences = [] if wanted else ["nothing is expected"]
    for point in sorted(set(wanted) | set(points)):
        here, there = points.get(point, {}), wanted.get(point, {})
        for path in sorted(set(here) | set(there)):
            found = {name: here.get(path, {}).get(name) for name in there.get(path, {})}
            if path not in here or not found or found != there[path]:
                differences.append(f"{point} {path}: read {here.get(path)}, expected {there.get(path)}")
    return differences


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("vault", type=pathlib.Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--passphrase-file", required=True)
    parser.add_argument("--recovery-file")
    parser.add_argument("--escrow-key", help="private key of the escrow recipient: opens the vault instead of --key")
    parser.add_argument("--expect", type=pathlib.Path, help="expected.json: compare with the points of the vault of this name")
    parser.add_argument("--least-patches", type=int, default=0, help="the example is there to show as many patches")
    options = parser.parse_args()
    vault = Vault(options.vault, options)
    points = {point_id(point): vault.point_files(point) for _, point in sorted(vault.catalogue_points.items())}
    tree = vault.tree.describe(vault)
    if not options.expect:
        json.dump({"points": points, "tree": tree}, sys.stdout, indent=1)
        return 0
    expected = json.loads(options.expect.read_text())[options.vault.name]
    differences = compare(points, expected["points"])
    if "tree" in expected:
        differences += compare({"working tree": tree}, {"working tree": expected["tree"]})
    entries = len(tree) + sum(map(len, points.values()))
    if len(vault.patches) < options.least_patches:
        differences.append(f"only {len(vault.patches)} patches were read")
    print("\n".join(differences) or f"{options.vault.name}: {entries} entries of {len(points)} points and the working tree are as expected")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
