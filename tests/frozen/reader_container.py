"""Section 2 of docs/format.md, for reader.py: containers, records, streams."""

import hmac
import struct

from reader_primitives import Reader, aes_gcm_open, decompress, hkdf, need, sha256, xchacha_open, xxh64, xxh128

KINDS = {"segment": 1, "journal": 2, "checkpoint": 3, "manifest": 4, "activity": 5, "index": 6}
TYPES = (1, 2, 3, 4, 16, 17, 32, 33, 34, 48)


class Container:
    def __init__(self, vault, path, kind, number):
        self.data = path.read_bytes()
        header = Reader(self.data[:160])
        need(header.take(8) == b"VAULTFSC" and xxh128(self.data[:144]) == self.data[144:160], f"{path}: header")
        self.version = header.u16()
        need(self.version in (1, 2) and header.u8() == KINDS[kind] and header.u8() == vault.suite, f"{path}: version, kind or suite")
        epoch = header.u32()
        need(epoch and header.take(16) == vault.id and header.u64() == number > 0, f"{path}: another vault or number")
        salt, commitment, outer_commitment = header.take(32), header.take(32), header.take(32)
        need(not any(header.take(8)), f"{path}: not zero")
        self.context, self.vault, self.epoch = self.data[:40], vault, epoch
        self.key = self.derive(vault.epochs[epoch]["dek"], salt, b"vaultfs/1 container key", commitment)
        if vault.suite == 2:
            self.outer = self.derive(vault.infrastructure_key, salt, b"vaultfs/1 infrastructure key", outer_commitment)
        else:
            need(not any(outer_commitment), f"{path}: outer commitment")

    def derive(self, ikm, salt, label, commitment):
        okm = hkdf(ikm, salt, label + b"\0" + self.context, 64)
        need(hmac.compare_digest(okm[32:], commitment), "key commitment")
        return okm[:32]

    def record_key(self, salt):
        if self.version == 1:
            need(not any(salt), "record salt")
            return self.key
        need(any(salt), "record salt")
        return hmac.new(self.key, b"vaultfs/2 record key" + b"\0" + salt + b"\1", "sha256").digest()

    def record(self, at):
        """The record at this offset, opened: (type, nonce base, sequence, synced, ChunkId, plaintext, offset behind it)."""
        header = self.data[at : at + 88]
        need(len(header) == 88 and header[:4] == b"VREC" and xxh64(header[:80]) == header[80:], "record header")
        kind, flags, frame_power, zero, base, sequence, synced, chunk, length, frames, payload, zero2 = struct.unpack("<BBBBQQQ32sIIII", header[4:80])
        if kind in (1, 2, 4):
            salt, sequence, synced = header[16:32], 0, 0
        else:
            salt, chunk = header[32:48], bytes(32)
            need(not any(header[48:64]), "zeros behind a record's salt")
        end = at + 88 + payload
        need(kind in TYPES and zero == 0 and zero2 == 0 and flags == (kind == 34) and 12 <= frame_power <= 20, "record type, flags or frame size")
        need(1 <= length <= 16 << 20 and (synced == 0 or kind in (16, 17)), "record length or sequence")
        need(xxh128(self.data[at:end]) == self.data[end : end + 16], "record checksum")
        behind = (end + 16 + 7) // 8 * 8
        need(len(self.data) >= behind and not any(self.data[end + 16 : behind]), "record padding")
        body = self.data[at + 88 : end]
        if kind == 34:
            need(frames == 0 and base == 0 and len(body) == length and not any(salt), "clear record")
            return kind, base, sequence, synced, chunk, body, behind
        need(frames == (length + (1 << frame_power) - 1) >> frame_power, "frame count")
        table = struct.unpack(f"<{frames}I", body[: 4 * frames])
        key = self.record_key(salt)
        place, plain = 4 * frames, b""
        tags = 16 * self.vault.suite
        for index, entry in enumerate(table):
            size = (entry & 0x7FFFFFFF) + tags
            frame = body[place : place + size]
            place += size
            counter = struct.pack("<Q", base + index)
            aad = self.context + header[:72] + struct.pack("<II", index, entry)
            if self.vault.suite == 2:
                frame = xchacha_open(self.outer, salt + counter, aad, frame)
            content = aes_gcm_open(key, bytes(4) + counter, aad, frame)
            wanted = min(1 << frame_power, length - (index << frame_power))
            need(0 < len(content) < wanted if entry >> 31 else len(content) == wanted, "frame table")
            plain += decompress(content, wanted) if entry >> 31 else content
            need(len(plain) == min(length, (index + 1) << frame_power), "frame length")
        need(place == len(body), "payload length")
        return kind, base, sequence, synced, chunk, plain, behind

    def stream(self, at=160):
        """Section 2.3."""
        parts, count = [], 0
        while True:
            kind, _, number, _, _, plain, at = self.record(at)
            count += 1
            need(number == count and kind in (32, 33), "stream part")
            if kind == 33:
                break
            parts.append(plain)
        string = b"".join(parts)
        need(plain == struct.pack("<QQ", len(parts), len(string)) + sha256(string), "stream end")
        need(at == len(self.data), "bytes behind a stream")
        return string
