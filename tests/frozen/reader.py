#!/usr/bin/env python3
"""Reads the recovery points of a vault with nothing but docs/format.md: the proof that the page is exact enough.

    reader.py VAULT --key KEY.pem --passphrase-file F [--recovery-file R]

KEY.pem is the exported private key of a version that has a slot, F the passphrase of it (and of the recovery file, which
a vault with suite 2 wants). Prints JSON: point -> path -> type, size and SHA-256 of each file. Written from the page alone, with
Python's standard library, the openssl program (RSA) and, by ctypes, libcrypto (AES-GCM), libsodium, libzstd and libxxhash.
Any byte that is not as the page says ends it with an exception.
"""

import argparse
import ctypes
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import struct
import subprocess
import sys

MIB = 1 << 20
crypto = ctypes.CDLL("libcrypto.so.3")
sodium = ctypes.CDLL("libsodium.so.23")
zstd = ctypes.CDLL("libzstd.so.1")
xxhash = ctypes.CDLL("libxxhash.so.0")


def need(condition, what):
    if not condition:
        raise ValueError(what)


# --- Primitives ---


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxhash.XXH3_64bits.restype = ctypes.c_uint64
xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
xxhash.XXH3_128bits.restype = Hash128
xxhash.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
zstd.ZSTD_decompress.restype = ctypes.c_size_t
zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t]
for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
    getattr(crypto, name).restype = ctypes.c_void_p
crypto.EVP_CIPHER_CTX_free.argtypes = [ctypes.c_void_p]
crypto.EVP_CIPHER_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_char_p]
crypto.EVP_DecryptInit_ex.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_char_p]
crypto.EVP_DecryptUpdate.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int), ctypes.c_char_p, ctypes.c_int]
crypto.EVP_DecryptFinal_ex.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_int)]


def sha256(data):
    return hashlib.sha256(data).digest()


def hmac256(key, data):
    return hmac.digest(key, data, "sha256")


def hkdf(ikm, salt, info, length):
    prk = hmac256(salt or bytes(32), ikm)
    out, block = b"", b""
    for counter in range(1, length // 32 + 1):
        block = hmac256(prk, block + info + bytes([counter]))
        out += block
    return out


def xxh64(data):
    return xxhash.XXH3_64bits(data, len(data)).to_bytes(8, "little")


def xxh128(data):
    found = xxhash.XXH3_128bits(data, len(data))
    return found.high.to_bytes(8, "big") + found.low.to_bytes(8, "big")


def aes_gcm_open(key, nonce, aad, sealed):
    need(len(sealed) >= 16, "a sealed text without a tag")
    content, tag = sealed[:-16], sealed[-16:]
    context, length = crypto.EVP_CIPHER_CTX_new(), ctypes.c_int()
    out = ctypes.create_string_buffer(len(content) + 16)
    crypto.EVP_DecryptInit_ex(context, crypto.EVP_aes_256_gcm(), None, key, nonce)
    crypto.EVP_DecryptUpdate(context, None, ctypes.byref(length), aad, len(aad))
    crypto.EVP_DecryptUpdate(context, out, ctypes.byref(length), content, len(content))
    crypto.EVP_CIPHER_CTX_ctrl(context, 0x11, 16, tag)  # EVP_CTRL_AEAD_SET_TAG
    good = crypto.EVP_DecryptFinal_ex(context, out, ctypes.byref(length))
    crypto.EVP_CIPHER_CTX_free(context)
    need(good == 1, "AES-256-GCM: authentication failed")
    return out.raw[: len(content)]


def xchacha_open(key, nonce, aad, sealed):
    out, length = ctypes.create_string_buffer(max(len(sealed), 1)), ctypes.c_ulonglong()
    failed = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(
        out, ctypes.byref(length), None, sealed, ctypes.c_ulonglong(len(sealed)), aad, ctypes.c_ulonglong(len(aad)), nonce, key)
    need(failed == 0, "XChaCha20-Poly1305: authentication failed")
    return out.raw[: length.value]


def decompress(frame, length):
    out = ctypes.create_string_buffer(length)
    need(zstd.ZSTD_decompress(out, length, frame, len(frame)) == length, "a zstd frame of another length")
    return out.raw


def rsa_oaep_open(pem, passphrase_file, wrapped):
    """None if the key does not fit."""
    done = subprocess.run(
        ["openssl", "pkeyutl", "-decrypt", "-inkey", pem, "-passin", f"file:{passphrase_file}", "-pkeyopt", "rsa_padding_mode:oaep",
         "-pkeyopt", "rsa_oaep_md:sha256", "-pkeyopt", "rsa_mgf1_md:sha256"], input=wrapped, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


class Reader:
    """Takes fields from the front of a byte string."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        need(self.at + count <= len(self.data), "cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize(form)))[0]

    def u8(self): return self.number("B")
    def u16(self): return self.number("H")
    def u32(self): return self.number("I")
    def u64(self): return self.number("Q")
    def i64(self): return self.number("q")
    def blob(self): return self.take(self.u32())
    def text(self): return self.blob().decode("utf-8", "surrogateescape")
    def left(self): return len(self.data) - self.at
    def end(self): need(self.left() == 0, "bytes behind the end")


def blob(data):
    return struct.pack("<I", len(data)) + data


# --- Section 2: containers ---

KINDS = {"segment": 1, "journal": 2, "checkpoint": 3, "manifest": 4, "activity": 5}


class Container:
    def __init__(self, vault, path, kind, number):
        self.data = path.read_bytes()
        header = Reader(self.data[:160])
        need(header.take(8) == b"VAULTFSC" and xxh128(self.data[:144]) == self.data[144:160], f"{path}: header")
        need(header.u16() == 1 and header.u8() == KINDS[kind] and header.u8() == vault.suite, f"{path}: version, kind or suite")
        epoch = header.u32()
        need(header.take(16) == vault.id and header.u64() == number, f"{path}: another vault or number")
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

    def record(self, at):
        """The record at this offset, opened: (type, nonce base, sequence, synced, ChunkId, plaintext, offset behind it)."""
        header = self.data[at : at + 88]
        need(len(header) == 88 and header[:4] == b"VREC" and xxh64(header[:80]) == header[80:], "record header")
        kind, flags, frame_power, zero, base, sequence, synced, chunk, length, frames, payload, zero2 = struct.unpack("<BBBBQQQ32sIIII", header[4:80])
        end = at + 88 + payload
        need(zero == 0 and zero2 == 0 and flags == (kind == 34), "record flags")
        need(xxh128(self.data[at:end]) == self.data[end : end + 16], "record checksum")
        behind = (end + 16 + 7) // 8 * 8
        need(len(self.data) >= behind and not any(self.data[end + 16 : behind]), "record padding")
        body = self.data[at + 88 : end]
        if kind == 34:
            need(frames == 0 and base == 0 and len(body) == length, "clear record")
            return kind, base, sequence, synced, chunk, body, behind
        need(12 <= frame_power <= 20 and frames == (length + (1 << frame_power) - 1) >> frame_power, "frame count")
        table = struct.unpack(f"<{frames}I", body[: 4 * frames])
        place, plain = 4 * frames, b""
        tags = 16 * self.vault.suite
        for index, entry in enumerate(table):
            size = (entry & 0x7FFFFFFF) + tags
            frame = body[place : place + size]
            place += size
            counter = struct.pack("<Q", base + index)
            aad = self.context + header[:72] + struct.pack("<II", index, entry)
            if self.vault.suite == 2:
                frame = xchacha_open(self.outer, bytes(16) + counter, aad, frame)
            content = aes_gcm_open(self.key, bytes(4) + counter, aad, frame)
            wanted = min(1 << frame_power, length - (index << frame_power))
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


# --- Sections 6 to 8, 12: keys ---


def open_box(key, box, label, aad):
    salt, commitment, sealed = box[:32], box[32:64], box[64:]
    okm = hkdf(key, salt, label + b"\0", 64)
    need(hmac.compare_digest(okm[32:], commitment), "box commitment")
    return aes_gcm_open(okm[:32], bytes(12), aad, sealed)


def recovery_keys(path, passphrase, vault_id, fingerprint):
    data = path.read_bytes()
    need(sha256(data[:-32]) == data[-32:], "recovery file: digest")
    clear = data[:58]
    need(clear == b"VAULTFSR" + struct.pack("<H", 1) + vault_id + fingerprint, "recovery file: of another vault")
    rest = Reader(data[58:-32])
    box = Reader(rest.blob())
    rest.end()
    memory_kib, passes, salt = box.u32(), box.u32(), box.take(16)
    key = ctypes.create_string_buffer(32)
    failed = sodium.crypto_pwhash(key, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)), salt,
                                  ctypes.c_ulonglong(passes), ctypes.c_size_t(memory_kib * 1024), 2)
    need(failed == 0, "Argon2id")
    keys = Reader(open_box(key.raw, box.take(box.left()), b"vaultfs/1 recovery file", clear))
    found = {}
    while keys.left():
        platform_key = keys.take(16)
        found[platform_key] = keys.take(32)
    return found


class Vault:
    def __init__(self, path, options):
        self.path, self.options = path, options
        self.header = (path / "vault.header").read_bytes()
        need(sha256(self.header[:-32]) == self.header[-32:], "vault header: digest")
        header = Reader(self.header[:-32])
        need(header.take(8) == b"VAULTFSH" and header.u16() == 1, "vault header")
        self.id, _, self.suite, _, self.fingerprint = header.take(16), header.i64(), header.u8(), header.text(), header.take(32)
        infrastructure_id = header.take(16)
        header.end()
        if self.suite == 2:
            passphrase = pathlib.Path(options.passphrase_file).read_bytes().rstrip(b"\n")
            self.infrastructure_key = recovery_keys(pathlib.Path(options.recovery_file), passphrase, self.id, self.fingerprint)[infrastructure_id]
        self.open_keyring()
        self.open_head()
        self.catalogue_points = self.read_catalogue()
        self.index_segments()

    def numbered(self, folder, ending):
        """(number, path) of a kind's files, ascending."""
        return sorted((int(file.name.split(".")[0], 16), file) for file in (self.path / folder).glob(f"*.{ending}"))

    def open_keyring(self):
        self.keyring_generation, path = self.numbered("keyrings", "keyring")[-1]
        data = path.read_bytes()
        need(sha256(data[:-32]) == data[-32:], "keyring: digest")
        self.keyring_digest = sha256(data)
        clear = Reader(data[:-64])
        need(clear.take(8) == b"VAULTFSK" and clear.u16() == 1 and clear.take(16) == self.id, "keyring")
        generation = clear.u64()
        self.keyring_predecessor, header_digest = clear.take(32), clear.take(32)
        need(generation == self.keyring_generation and header_digest == sha256(self.header), "keyring: generation or header")
        slots_at = clear.at
        slots = [self.read_slot(clear) for _ in range(clear.u32())]
        clear_bytes, slots_bytes = data[: clear.at], data[slots_at : clear.at]
        salt, commitment, sealed = clear.take(32), clear.take(32), clear.take(clear.left())
        keyring_key = next(filter(None, (self.unwrap(slot, generation) for slot in slots)), None)
        need(keyring_key, "the key opens no slot")
        okm = hkdf(keyring_key, salt, b"vaultfs/1 keyring key\0" + self.id + struct.pack("<Q", generation), 64)
        need(hmac.compare_digest(okm[32:], commitment), "keyring: commitment")
        secrets = aes_gcm_open(okm[:32], bytes(12), sha256(clear_bytes), sealed)
        self.read_secrets(Reader(secrets), slots_bytes)
        need(self.root_mac(b"vaultfs/1 keyring mac", data[:-64]) == data[-64:-32], "keyring: MAC")
        need(hkdf(self.root_key, self.id, b"vaultfs/1 root fingerprint", 32) == self.fingerprint, "foreign root key")

    @staticmethod
    def read_slot(clear):
        slot = {"kind": clear.u8(), "role": clear.u8()}
        for name in ("key_vault", "key", "version", "algorithm", "identity"):
            slot[name] = clear.blob()
        slot["wrapped_in"], slot["wrapped"], slot["link"] = clear.u64(), clear.blob(), clear.blob()
        return slot

    def unwrap(self, slot, generation):
        if slot["kind"] != 1:
            return None
        context = self.id + struct.pack("<QB", slot["wrapped_in"], slot["kind"]) + blob(slot["key_vault"]) + blob(slot["key"]) + blob(slot["version"])
        content = rsa_oaep_open(self.options.key, self.options.passphrase_file, slot["wrapped"])
        if content is None:
            return None
        need(len(content) == 65 and content[0] == 1 and content[33:] == sha256(context), "wrap: another context")
        if slot["role"] == 1:
            return content[1:33]
        return open_box(content[1:33], slot["link"], b"vaultfs/1 keyring link", struct.pack("<Q", generation) + context)

    def read_secrets(self, secrets, slots_bytes):
        self.root_key, self.chunk_id_key = secrets.take(32), secrets.take(32)
        self.epochs = {}
        for _ in range(secrets.u32()):
            number, _, closed, last = secrets.u64(), secrets.i64(), secrets.u8(), secrets.u64()
            self.epochs[number] = {"last_segment": last if closed else None, "dek": secrets.take(32)}
        for _ in range(secrets.u32()):
            secrets.blob(), secrets.take(32)
        secrets.u8(), secrets.blob(), secrets.blob(), secrets.u8(), secrets.blob(), secrets.blob(), secrets.u8()
        secrets.u32(), secrets.u32(), secrets.u32()
        self.versions = []
        for _ in range(secrets.u32()):
            _, _, version, role = secrets.blob(), secrets.blob(), secrets.text(), secrets.u8()
            self.versions.append((version, role))
            secrets.i64(), secrets.i64(), secrets.u64(), secrets.u64(), secrets.u64(), secrets.u8(), secrets.u64(), secrets.u8(), secrets.blob()
        self.incarnation = secrets.u64()
        need(secrets.take(32) == sha256(slots_bytes), "keyring: slots")
        secrets.end()

    def root_mac(self, label, data):
        return hmac256(hkdf(self.root_key, b"", label, 32), data)

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
        first_journal, cut, points = 1, 0, {}
        if self.checkpoint_number:
            path = self.path / f"checkpoints/{self.checkpoint_number:016x}.checkpoint"
            need(sha256(path.read_bytes()) == self.checkpoint_digest, "checkpoint: digest")
            string = Reader(Container(self, path, "checkpoint", self.checkpoint_number).stream())
            first_journal, cut, _ = string.u64(), string.u64(), string.u64()
            section = Reader(string.take(string.u64()))
            section.u64(), section.u64()
            self.apply_changes(section, points)
            string.take(string.u64())
            string.end()
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
            else:
                need(kind == 4, "catalogue: unknown change")
                points.pop(changes.u64(), None)

    # --- Sections 3, 4: segments ---

    def index_segments(self):
        self.records, self.segments = {}, {}
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

    # --- Section 10: recovery points ---

    def manifest(self, point):
        path = self.path / f"points/{point['number']:016x}.point"
        container = Container(self, path, "manifest", point["number"])
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

    def file_digest(self, inode):
        ids = inode["ids"]
        if inode["form"] == 1:
            need(len(ids) == (inode["size"] + 256 * MIB - 1) // (256 * MIB), "map pages")
            pages = [self.chunk(page, 2) if any(page) else bytes(8192) for page in ids]
            ids = [page[at : at + 32] for page in pages for at in range(0, 8192, 32)]
            need(all(len(page) == 8192 for page in pages), "map page length")
        else:
            need(len(ids) == (inode["size"] + MIB - 1) // MIB, "chunks")
        digest = hashlib.sha256()
        for place in range((inode["size"] + MIB - 1) // MIB):
            plain = self.chunk(ids[place], 1) if any(ids[place]) else b""
            wanted = min(MIB, inode["size"] - place * MIB)
            digest.update(plain[:wanted] + bytes(wanted - len(plain[:wanted])))
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
        root, inodes = self.manifest(point)
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
    parser.add_argument("--expect", type=pathlib.Path, help="expected.json: compare with the points of the vault of this name")
    options = parser.parse_args()
    vault = Vault(options.vault, options)
    points = {point_id(point): vault.point_files(point) for _, point in sorted(vault.catalogue_points.items())}
    if not options.expect:
        json.dump(points, sys.stdout, indent=1)
        return 0
    differences = compare(points, json.loads(options.expect.read_text())[options.vault.name]["points"])
    print("\n".join(differences) or f"{options.vault.name}: {sum(map(len, points.values()))} entries of {len(points)} points are as expected")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
