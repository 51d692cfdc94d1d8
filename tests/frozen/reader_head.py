"""Section 8 of docs/format.md, for reader.py: heads, and packs of heads."""

from reader_primitives import Reader, hkdf, hmac256, need, sha256

PACK_HEADS = 1024


class Head:
    """One file, decoded; authentic only after check_mac()."""

    def __init__(self, path, number, vault_id):
        self.path, self.data = path, path.read_bytes()
        self.digest = sha256(self.data)
        fields = Reader(self.data)
        need(fields.take(8) == b"VAULTFHD", f"{path}: magic")
        self.format = fields.u16()
        need(self.format in (1, 2), f"{path}: a newer format")
        need(len(self.data) == 266 if self.format == 1 else sha256(self.data[:-32]) == self.data[-32:], f"{path}: length or digest")
        self.packs = None
        self.read_1(fields) if self.format == 1 else self.read_2(fields)
        self.body, self.mac = self.data[: fields.at], fields.take(32)
        need(fields.left() == (0 if self.format == 1 else 32), f"{path}: length")
        need(self.vault_id == vault_id and self.generation == number > 0, f"{path}: belongs elsewhere")
        need(self.incarnation and self.keyring_generation and self.epoch, f"{path}: a zero")

    def read_1(self, fields):
        self.read_begin(fields)
        self.keyring_generation, self.keyring_digest = fields.u64(), fields.take(32)
        self.checkpoint, self.checkpoint_digest = fields.u64(), fields.take(32)
        self.journal, self.journal_lsn = fields.u64(), fields.u64()
        self.activity_entries, self.activity_chain = fields.u64(), fields.take(32)
        self.highest_segment, self.epoch = fields.u64(), fields.u64()

    def read_2(self, fields):
        need(fields.u32() == len(self.data), f"{self.path}: length")
        fields.u64(), fields.u64()
        need(fields.u64() == 0, f"{self.path}: an incompatible feature")
        self.read_begin(fields)
        fields.u64()
        self.keyring_generation, self.keyring_digest, self.epoch = fields.u64(), fields.take(32), fields.u64()
        self.checkpoint, self.checkpoint_bytes, self.checkpoint_digest = fields.u64(), fields.u64(), fields.take(32)
        self.journal, self.journal_header = fields.u64(), fields.take(32)
        self.journal_bytes, self.journal_digest, self.journal_lsn = fields.u64(), fields.take(32), fields.u64()
        self.points_lsn, self.points = fields.u64(), fields.take(32)
        self.activity_entries, self.activity_chain, self.activity_file = fields.u64(), fields.take(32), fields.u64()
        self.highest_segment = fields.u64()
        before = -1
        while fields.at < len(self.data) - 64:
            tag, field = fields.u16(), Reader(fields.blob())
            need(before < tag and len(field.data) <= 4096, f"{self.path}: optional fields")
            before = tag
            if tag == 1:
                self.packs = (field.u64(), field.take(32))
                field.end()

    def read_begin(self, fields):
        self.vault_id, self.generation, self.incarnation = fields.take(16), fields.u64(), fields.u64()
        self.predecessor, self.written = fields.take(32), fields.i64()

    def check_mac(self, vault):
        version = f"vaultfs/{self.format}".encode()
        head_key = hkdf(vault.epochs[self.epoch]["dek"], self.vault_id, version + b" head epoch", 32)
        need(hmac256(head_key, vault.root_mac(version + b" head mac", self.body)) == self.mac, f"{self.path}: MAC")


class Heads:
    """All that are stored, before any key is known."""

    def __init__(self, vault):
        self.vault, self.stored = vault, {}
        for number, path in vault.numbered("heads", "head"):
            self.stored[number] = Head(path, number, vault.id)
        self.keyrings = {(head.keyring_generation, head.keyring_digest) for head in self.stored.values()}

    def names_keyring(self, generation, digest, predecessor):
        """Section 7.4: by its digest, or as a direct successor."""
        return (generation, digest) in self.keyrings or (generation - 1, predecessor) in self.keyrings

    def newest(self, pin):
        """The newest, with the chain behind it; `pin` (number, digest) must be in that."""
        newest = above = self.stored[max(self.stored)]
        newest.check_mac(self.vault)
        known = {newest.generation: newest.digest}
        while above.generation - 1 in self.stored:
            head = self.stored[above.generation - 1]
            need(head.digest == above.predecessor, f"{head.path}: the chain of heads is broken")
            head.check_mac(self.vault)
            need((head.format, head.epoch, head.incarnation) <= (above.format, above.epoch, above.incarnation)
                 and head.epoch <= above.epoch and head.incarnation <= above.incarnation, f"{above.path}: falls behind the one before")
            known[head.generation] = head.digest
            above = head
        known.setdefault(above.generation - 1, above.predecessor)
        packed = self.packed(newest.packs)
        need(all(packed.get(number, digest) in (digest, bytes(32)) for number, digest in known.items()), "a pack tells of other heads")
        if pin:
            need((packed | known).get(pin[0]) == pin[1], "the pinned head is not one that the newest continues")
        self.check_keyring(newest)
        return newest

    def packed(self, at):
        """Section 8.1: number -> digest, from the named pack back to the first."""
        digests = {}
        while at and any(at[1]):
            last, digest = at
            data = (self.vault.path / f"heads/{last:016x}.pack").read_bytes()
            fields = Reader(data[:-32])
            need(sha256(data) == digest and sha256(fields.data) == data[-32:], "pack: not the one that is named")
            need(fields.take(8) == b"VAULTFHP" and fields.u16() == 1 and fields.take(16) == self.vault.id, "pack: header")
            need(fields.u64() == last and last % PACK_HEADS == 0, "pack: number")
            before = fields.take(32)
            need(fields.u32() == PACK_HEADS, "pack: count")
            for number in range(last - PACK_HEADS + 1, last + 1):
                digests[number] = fields.take(32)
            fields.end()
            at = (last - PACK_HEADS, before)
        return digests

    def check_keyring(self, head):
        vault = self.vault
        named = (head.keyring_generation, head.keyring_digest)
        current = max(vault.epochs)
        if named == (vault.keyring_generation, vault.keyring_digest):
            need(head.epoch == current, "the head's epoch is not its keyring's newest")
        else:
            need(named == (vault.keyring_generation - 1, vault.keyring_predecessor), "the newest head names another keyring")
            need(head.epoch <= current, "the head's epoch is above the keyring's")
