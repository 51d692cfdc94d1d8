"""Section 11 of docs/format.md, for reader.py: the activity log against the head."""

import struct

from reader_container import Container
from reader_primitives import Reader, need, sha256


def read_activity(vault, head):
    """The log's (operation, outcome), in order."""
    chains, entries = [bytes(32)], []
    newest_keyring = (head.keyring_generation, head.keyring_digest) == (vault.keyring_generation, vault.keyring_digest)
    for number, path in vault.numbered("activity", "activity"):
        log, at, first = Container(vault, path, "activity", number), 160, True
        while at < len(log.data):
            try:
                kind, _, sequence, _, _, plain, at = log.record(at)
            except (ValueError, struct.error):
                need(log.data.find(b"VREC", at + 8) < 0, "activity: damage in the midst of a file")
                break
            fields = Reader(plain)
            entry, _ = fields.u64(), fields.i64()
            told = (fields.text(), fields.text())
            fields.blob(), fields.blob(), fields.u32()
            body, chain = plain[: fields.at], fields.take(32)
            fields.end()
            need(kind == 48 and sequence == entry, "activity: record")
            need(not (newest_keyring and vault.is_closed(log.epoch) and entry > head.activity_entries), "activity: of a closed epoch")
            if first:
                need(1 <= entry <= len(chains), "activity: a gap")
                del chains[entry:], entries[entry - 1 :]
            need(entry == len(chains) and chain == sha256(chains[-1] + body), "activity: chain")
            chains.append(chain)
            entries.append(told)
            first = False
    need(len(entries) >= head.activity_entries and chains[head.activity_entries] == head.activity_chain, "activity: not what the head names")
    return entries
