"""Sections 3 and 4 of docs/format.md, for reader.py: what the segments hold."""

import struct

from reader_container import Container
from reader_primitives import MIB, Reader, hmac256, need, sha256, xxh64


class Segments:
    def __init__(self, vault):
        self.vault, self.segments, self.patches, self.closed_reads = vault, {}, set(), set()
        self.places = {}  # ChunkId -> [(segment, offset)], the newest segment first
        self.lengths = {}
        for ending in ("seg", "open"):
            for number, path in vault.numbered("segments", ending):
                segment = Container(vault, path, "segment", number)
                last = vault.epochs[segment.epoch]["last_segment"]
                need(last is None or number <= last, f"{path}: its epoch is closed")
                need(last is None or ending == "seg" or vault.head.format == 1, f"{path}: left open in an epoch that is closed")
                self.segments[number] = segment
                if ending == "seg":
                    self.lengths[number] = len(segment.data)
                self.read_footer(segment, number) if ending == "seg" else self.walk(segment, number)
        for places in self.places.values():
            places.sort(reverse=True)

    def read_footer(self, segment, number):
        trailer = segment.data[-32:]
        need(trailer[:8] == b"VSEGEND1" and xxh64(trailer[:24]) == trailer[24:], "segment trailer")
        footer_at, count = struct.unpack("<QQ", trailer[8:24])
        kind, _, _, _, _, plain, behind = segment.record(footer_at)
        need(kind == 3 and behind == len(segment.data) - 32, "segment footer")
        footer, before = Reader(plain), 0
        entries = footer.u32()
        need(entries <= count, "segment footer: more records than the trailer counts")
        for _ in range(entries):
            chunk, kind, at, stored, length = footer.take(32), footer.u8(), footer.u64(), footer.u32(), footer.u32()
            need(before < at and at % 8 == 0 and at + stored <= footer_at and kind in (1, 2, 4) and length, "segment footer: entry")
            self.places.setdefault(chunk, []).append((number, at))
            before = at
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
            self.places.setdefault(chunk, []).append((number, at))
            at = behind

    def read_index(self, heads, newest):
        """Section 4.3: the newest that counts must tell the truth. Returns how many entries it has; None without one."""
        chain, at = {}, newest
        while at:
            chain[(at.generation, at.digest)] = at
            at = heads.stored.get(at.generation - 1)
        for number, path in reversed(self.vault.numbered("index", "index")):
            index = Container(self.vault, path, "index", number)
            fields = Reader(index.stream())
            if index.epoch != max(self.vault.epochs) or fields.u32() != 0xFFFFFFFF:
                continue
            named = chain.get((fields.u64(), fields.take(32)))
            if named:
                return self.check_index(fields, named.highest_segment)
        return None

    def check_index(self, fields, highest):
        listed = [(fields.u64(), fields.u64()) for _ in range(fields.u32())]
        need(listed == sorted(listed), "index: segments out of order")
        good = {number for number, length in listed if number <= highest and self.lengths.get(number) == length}
        stored = {}
        for chunk, places in self.places.items():
            stored.setdefault(chunk[:16], set()).update(places)
        keys, patches = set(), set()
        for _ in range(fields.u64()):
            key, number, at, _, _, kind = fields.take(16), fields.u64(), fields.u64(), fields.u32(), fields.u32(), fields.u8()
            need(key not in keys and kind & 0x3F in (1, 2, 4), "index: entry")
            need(number not in good or (number, at) in stored.get(key, ()), "index: a record that is not there")
            keys.add(key)
            if kind & 0x3F == 4:
                patches.add(key)
        if fields.left():
            count = fields.u64()
            need(count, "index: no bases")
            for _ in range(count):
                need(fields.take(16) in patches, "index: the base of no patch")
                fields.take(16)
        fields.end()
        return len(keys)

    def record(self, chunk_id):
        """(type, plaintext) of a record that has this id, whatever else is stored of it."""
        failure = ValueError("no segment has a chunk that is referred to")
        for number, at in self.places.get(chunk_id, ()):
            try:
                segment = self.segments[number]
                kind, _, _, _, found, plain, _ = segment.record(at)
                leaves = b"".join(sha256(plain[leaf : leaf + 32768]) for leaf in range(0, len(plain), 32768))
                need(found == chunk_id == hmac256(self.vault.chunk_id_key, struct.pack("<BQ", kind, len(plain)) + leaves), "ChunkId")
                if self.vault.is_closed(segment.epoch):
                    self.closed_reads.add(chunk_id)
                return kind, plain
            except (ValueError, struct.error) as problem:
                failure = problem
        raise failure

    def map_page(self, page_id):
        kind, plain = self.record(page_id)
        need(kind == 2 and len(plain) == 8192, "map page")
        return plain

    def chunk(self, chunk_id):
        """A chunk or, by section 4.4, a patch."""
        kind, plain = self.record(chunk_id)
        if kind == 1:
            need(len(plain) <= MIB, "chunk: length")
            return plain
        need(kind == 4, "a record that is no content")
        header = Reader(plain[:4096])
        base, length, zero, bitmap = header.take(32), header.u32(), header.u32(), int.from_bytes(header.take(32), "little")
        pages = [page for page in range(256) if bitmap >> page & 1]
        need(zero == 0 and not any(plain[72:4096]) and 1 <= length <= MIB and pages and pages[-1] * 4096 < length, "patch: header")
        need(len(plain) == 4096 * (1 + len(pages)), "patch: pages")
        below = b""
        if any(base):
            base_kind, below = self.record(base)
            need(base_kind == 1, "patch: a base that is no chunk")
        content = bytearray(below[:length].ljust(256 * 4096, b"\0"))
        for index, page in enumerate(pages, 1):
            content[page * 4096 : page * 4096 + 4096] = plain[index * 4096 : index * 4096 + 4096]
        need(pages[-1] * 4096 + 4096 <= length or not any(content[length : pages[-1] * 4096 + 4096]), "patch: padding")
        self.patches.add(chunk_id)
        return bytes(content[:length])
