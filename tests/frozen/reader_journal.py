"""Sections 5 and 9 of docs/format.md, for reader.py: checkpoint and journals, which make catalogue and working tree."""

import struct

from reader_catalogue import Catalogue
from reader_container import Container
from reader_primitives import Reader, need, sha256
from reader_tree import WorkingTree


class History:
    """The state that a head names."""

    def __init__(self, vault, head):
        self.vault, self.head = vault, head
        self.catalogue = Catalogue()
        self.first_journal, self.after, tree = 1, 0, Reader(b"")
        if head.checkpoint:
            tree = self.read_checkpoint()
        self.tree = WorkingTree(tree, vault)
        self.reached, self.points_checked = None, head.format == 1
        self.read_chain() if head.format == 2 else self.read_by_number()
        self.check_points(1 << 64)
        need(max(self.reached or 0, self.after) >= head.journal_lsn, "the journals end before what the head names")
        self.tree.finish()

    def read_checkpoint(self):
        head = self.head
        path = self.vault.path / f"checkpoints/{head.checkpoint:016x}.checkpoint"
        data = path.read_bytes()
        need(sha256(data) == head.checkpoint_digest and (head.format == 1 or len(data) == head.checkpoint_bytes), "checkpoint: digest")
        string = Reader(Container(self.vault, path, "checkpoint", head.checkpoint).stream())
        self.first_journal, self.after, _ = string.u64(), string.u64(), string.u64()
        need(self.first_journal, "checkpoint: no first journal")
        self.catalogue.load(Reader(string.take(string.u64())))
        tree = Reader(string.take(string.u64()))
        string.end()
        return tree

    def open(self, number):
        return Container(self.vault, self.vault.path / f"journal/{number:016x}.journal", "journal", number)

    def read_by_number(self):
        """Under a head of format 1."""
        epoch = 0
        closed_end = (self.head.keyring_generation, self.head.keyring_digest) == (self.vault.keyring_generation, self.vault.keyring_digest)
        for number, _ in self.vault.numbered("journal", "journal"):
            if number < self.first_journal:
                continue
            journal = self.open(number)
            need(journal.epoch >= epoch, "journal: an epoch falls")
            need(not (closed_end and number >= self.head.journal and self.vault.is_closed(journal.epoch)), "journal: of a closed epoch")
            epoch = journal.epoch
            Replay(self, journal).run()

    def read_chain(self):
        """Under a head of format 2: the named journal, after its extents."""
        head = self.head
        if head.journal == 0:
            return
        named = self.open(head.journal)
        need(sha256(named.data[:160]) == head.journal_header and named.version == 2, "journal: not the one that the head names")
        need(not self.vault.is_closed(named.epoch), "journal: of a closed epoch")
        for number, length, digest in Replay(self, named).extents:
            if number >= self.first_journal:
                need(number < head.journal, "journal: follows itself")
                journal = self.open(number)
                journal.data = journal.data[:length]
                need(sha256(journal.data) == digest and len(journal.data) == length, "journal: not what the next one followed")
                Replay(self, journal, whole=True).run()
        need(sha256(named.data[: head.journal_bytes]) == head.journal_digest, "journal: not what the head says was synced")
        Replay(self, named, border=head.journal_bytes).run()

    def check_points(self, lsn):
        """Step 7, before the entry of this LSN."""
        if not self.points_checked and lsn > self.head.points_lsn:
            self.points_checked = True
            need(self.catalogue.points_digest() == self.head.points, "the points are not those that the head vouches for")

    def apply(self, lsn, room, entry):
        if lsn <= self.after:
            return
        self.check_points(lsn)
        if room == 1:
            self.catalogue.apply(entry)
        else:
            self.tree.apply(lsn, entry)


class Replay:
    """One journal. `whole`: every record must be valid. `border`: a record must end there."""

    def __init__(self, history, journal, whole=False, border=None):
        self.history, self.journal, self.whole, self.border = history, journal, whole, border
        kind, base, lsn, synced, _, plain, self.at = journal.record(160)
        content = Reader(plain)
        need(kind == 16 and content.u32() == 1 and content.u8() == 0, "journal: first record")
        first = Reader(content.blob())
        content.end()
        self.replayed_to, _ = first.u64(), first.u64()
        self.extents = [(first.u64(), first.u64(), first.take(32)) for _ in range(first.u32() if journal.version == 2 else 0)]
        first.end()
        numbers = [number for number, _, _ in self.extents]
        need(numbers == sorted(set(numbers)), "journal: extents")
        need(lsn == self.replayed_to + 1 and base == 0 and synced <= self.replayed_to, "journal: first record out of place")
        self.reached, self.next_base = lsn, self.frames(160)

    def frames(self, at):
        return struct.unpack("<I", self.journal.data[at + 68 : at + 72])[0]

    def run(self):
        history = self.history
        need(self.replayed_to <= history.after if history.reached is None else
             history.reached == self.replayed_to or history.reached < self.replayed_to <= history.after, "journal: a gap")
        ends = {160, self.at}
        while self.at < len(self.journal.data):
            try:
                record = self.journal.record(self.at)
                need(record[0] in (16, 17), "journal: a record of another type")
            except (ValueError, struct.error):
                need(not self.whole, "journal: a record of an extent is not valid")
                self.need_unsynced_tail()
                break
            if self.take(record):
                break
            ends.add(self.at)
        ends.add(self.at)
        need(self.border is None or self.border in ends, "journal: no record ends where the head's bytes do")
        history.reached = self.reached

    def take(self, record):
        """Whether that was the clean end."""
        kind, base, lsn, synced, _, plain, behind = record
        need(base == self.next_base and synced <= self.reached, "journal: record out of place")
        self.next_base += self.frames(self.at)
        entries = Reader(plain)
        self.at = behind
        if kind == 17:
            need(entries.u64() == lsn == synced == self.reached and behind == len(self.journal.data), "journal: end")
            entries.end()
            return True
        count = entries.u32()
        need(count and lsn == self.reached + 1, "journal: LSN")
        for _ in range(count):
            room, entry = entries.u8(), Reader(entries.blob())
            need(room in (1, 2), "journal: a room of a newer program" if room > 2 else "journal: a wrong room")
            self.reached += 1
            self.history.apply(self.reached, room, entry)
        entries.end()
        return False

    def need_unsynced_tail(self):
        data = self.journal.data
        for later in range(self.at + 8, len(data) - 87, 8):
            if data[later : later + 4] != b"VREC":
                continue
            try:
                record = self.journal.record(later)
            except (ValueError, struct.error):
                continue
            need(record[0] not in (16, 17) or record[3] <= self.reached, "journal: synced entries are lost")
