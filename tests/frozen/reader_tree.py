"""Section 9.2 of docs/format.md, for reader.py: the working tree of a checkpoint and of journal entries."""

from reader_primitives import MIB, Reader, need


class WorkingTree:
    """Inodes in the form of read_inode; file content as chunk index -> (ChunkId, [(LSN, begin, end, bytes or None for zeros)])."""

    def __init__(self, section, vault):
        self.inodes = {1: {"kind": 2, "mode": 0o755, "owner": [0, 0], "size": 0, "mtime": 0, "entries": []}}
        self.files = {}
        if section.left():
            need(section.u8() == 1, "working tree: a section of a newer program")
            section.u64()
            for _ in range(section.u32()):
                section.blob(), section.u64()
            for _ in range(section.u32()):
                number, inode = vault.read_inode(section)
                self.inodes[number] = inode
                if inode["kind"] == 1:
                    self.files[number] = {at: (chunk, []) for at, chunk in enumerate(vault.chunk_ids(inode)) if any(chunk)}
            for _ in range(section.u32()):
                self.write(0, section.u64(), section.u64(), section.blob())
            section.end()
        for inode in self.inodes.values():
            if inode["kind"] == 2:
                inode["entries"] = dict(inode["entries"])
            inode["attributes"] = dict(inode.get("attributes", ()))

    def write(self, lsn, inode, offset, data, length=None):
        begin, length = offset % MIB, len(data) if length is None else length
        need(begin + length <= MIB, "working tree: a fragment in two chunks")
        self.files[inode].setdefault(offset // MIB, (bytes(32), []))[1].append((lsn, begin, begin + length, data))

    def zero(self, lsn, inode, begin, end):
        chunks = self.files[inode]
        for at in [at for at in chunks if begin <= at * MIB and (at + 1) * MIB <= end]:
            del chunks[at]
        for at in {begin // MIB, end // MIB}:
            first, last = max(begin, at * MIB), min(end, (at + 1) * MIB)
            if first < last and last - first < MIB:
                self.write(lsn, inode, first, None, last - first)

    def apply(self, lsn, entry):
        version = entry.u8()
        need(version in (1, 2), "working tree: an entry of a newer program")
        for _ in range(entry.u32()):
            kind = entry.u8()
            fields = Reader(entry.blob()) if version == 2 else entry
            self.change(lsn, kind, fields)
            if version == 2:
                fields.end()
        entry.end()

    def change(self, lsn, kind, entry):
        if kind == 10:
            return
        need(1 <= kind <= 12, f"working tree: a change of kind {kind}, of a newer program")
        number = entry.u64()
        inode = self.inodes.get(number)
        if kind == 1:
            made = {"kind": entry.u8(), "mode": entry.u32(), "owner": [entry.u32(), entry.u32()], "size": 0, "entries": {}}
            _, made["mtime"], made["target"] = entry.u64(), entry.i64(), entry.text()
            need(number >= 2 and 1 <= made["kind"] <= 7, "working tree: create")
            if inode is None:
                self.inodes[number] = made
                if made["kind"] == 1:
                    self.files[number] = {}
        elif kind == 2:
            fields = {"mode": entry.u32(), "owner": [entry.u32(), entry.u32()]}
            _, fields["mtime"], _ = entry.i64(), entry.i64(), entry.i64()
            if inode:
                inode |= fields
        elif kind == 3:
            name, target = entry.text(), entry.u64()
            if inode and inode["kind"] == 2 and target in self.inodes:
                inode["entries"][name] = target
        elif kind == 4:
            name = entry.text()
            if inode and inode["kind"] == 2:
                inode["entries"].pop(name, None)
        elif kind in (11, 12):
            name, value = entry.text(), entry.blob() if kind == 11 else None
            if inode:
                extended = inode.setdefault("attributes", {})
                extended.pop(name, None)
                if value is not None:
                    extended[name] = value
        else:
            self.change_content(lsn, kind, number, inode if number in self.files else None, entry)

    def change_content(self, lsn, kind, number, inode, entry):
        if kind == 5:
            _, offset, data = entry.u64(), entry.u64(), entry.blob()
            if inode:
                self.write(lsn, number, offset, data)
        elif kind == 6:
            _, at, chunk, covers = entry.u64(), entry.u64(), entry.take(32), entry.u64()
            if inode:
                fragments = self.files[number].get(at, (None, []))[1]
                self.files[number][at] = (chunk, [fragment for fragment in fragments if fragment[0] > covers])
        elif kind == 7:
            size = entry.u64()
            if inode:
                inode["size"] = min(inode["size"], size)
                self.zero(lsn, number, size, 1 << 60)  # far behind every offset, and a border of chunks
        elif kind == 8:
            begin, end = entry.u64(), entry.u64()
            if inode:
                self.zero(lsn, number, begin, end)
        else:
            _, size = entry.u64(), entry.u64()
            if inode:
                inode["size"] = max(inode["size"], size)

    def finish(self):
        """What has no name goes, and second names of directories."""
        met, waiting = {1}, [1]
        while waiting:
            entries = self.inodes[waiting.pop()]["entries"]
            for name, number in list(entries.items()):
                inode = self.inodes.get(number)
                if inode is None or (inode["kind"] == 2 and number in met):
                    del entries[name]
                    continue
                met.add(number)
                if inode["kind"] == 2:
                    waiting.append(number)
        self.inodes = {number: inode for number, inode in self.inodes.items() if number in met}

    def content(self, vault, number, at):
        """The bytes of one chunk of a file, a whole MiB."""
        chunk, fragments = self.files[number].get(at, (bytes(32), []))
        plain = bytearray(vault.segments.chunk(chunk) if any(chunk) else b"").ljust(MIB, b"\0")
        for _, begin, end, data in fragments:
            plain[begin:end] = bytes(end - begin) if data is None else data
        return bytes(plain)

    def chunk_ids(self, inode):
        return [chunk for chunk, _ in self.files[inode["number"]].values()]

    def as_manifest(self, vault):
        """number -> inode, in the form of Vault.manifest; a file's content is asked for chunk by chunk."""
        links = {}
        for inode in self.inodes.values():
            for target in (inode["entries"].values() if inode["kind"] == 2 else ()):
                links[target] = links.get(target, 0) + 1
        found = {}
        for number, inode in self.inodes.items():
            found[number] = inode | {"number": number, "links": links.get(number, 0)}
            if inode["kind"] == 2:
                found[number]["entries"] = list(inode["entries"].items())
            elif inode["kind"] == 1:
                found[number]["chunks"] = lambda at, number=number: self.content(vault, number, at)
        return found
