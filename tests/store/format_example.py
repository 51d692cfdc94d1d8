#!/usr/bin/env python3
"""Prints the worked example of docs/format.md, computed from the page alone and not by vaultfs's code.

Needs python3-cryptography and libxxhash. The test format_example_test.cc compares the page with the code.
"""
import ctypes
import ctypes.util
import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

xxh = ctypes.CDLL(ctypes.util.find_library("xxhash") or "libxxhash.so.0")
xxh.XXH3_64bits.restype = ctypes.c_uint64
xxh.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


xxh.XXH3_128bits.restype = Hash128
xxh.XXH3_128bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh64(data):
    return struct.pack("<Q", xxh.XXH3_64bits(data, len(data)))


def xxh128(data):
    value = xxh.XXH3_128bits(data, len(data))
    return struct.pack(">QQ", value.high, value.low)


def hkdf(key, salt, info, length):
    prk = hmac.new(salt, key, hashlib.sha256).digest()
    out, block = b"", b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac.new(prk, block + info + bytes([i]), hashlib.sha256).digest()
        out += block
    return out[:length]


DEK = bytes(range(0x00, 0x20))
ID_KEY = bytes(range(0x20, 0x40))
SALT = bytes(range(0x40, 0x60))
VAULT = bytes(range(0x60, 0x70))
RECORD_SALTS = {1: bytes(range(0x80, 0x90)), 3: bytes(range(0x90, 0xA0))}
CONTENT = b"vaultfs keeps disk images as sealed chunks.\n"
CHUNK_ID = hmac.new(ID_KEY, struct.pack("<BQ", 1, len(CONTENT)) + hashlib.sha256(CONTENT).digest(), hashlib.sha256).digest()


class Segment:
    def __init__(self, version):
        self.version = version
        self.context = b"VAULTFSC" + struct.pack("<HBBI", version, 1, 1, 1) + VAULT + struct.pack("<Q", 1)
        okm = hkdf(DEK, SALT, b"vaultfs/1 container key" + b"\0" + self.context, 64)
        self.container_key, commitment = okm[:32], okm[32:]
        self.header = self.context + SALT + commitment + bytes(32) + bytes(8)
        self.header += xxh128(self.header)
        self.chunk = self.record(1, 0, CHUNK_ID, CONTENT)
        entries = struct.pack("<I", 1) + CHUNK_ID + struct.pack("<BQII", 1, len(self.header), len(self.chunk), len(CONTENT))
        self.footer = self.record(3, 1, bytes(32), entries)
        self.trailer = b"VSEGEND1" + struct.pack("<QQ", len(self.header) + len(self.chunk), 1)
        self.trailer += xxh64(self.trailer)

    def record_key(self, salt):
        return hmac.new(self.container_key, b"vaultfs/2 record key" + b"\0" + salt + b"\1", hashlib.sha256).digest()

    def record(self, kind, nonce_base, chunk_id, plaintext):
        salt, key = bytes(16), self.container_key
        if self.version == 2:
            salt = RECORD_SALTS[kind]
            key = self.record_key(salt)
        head = b"VREC" + struct.pack("<BBBBQ", kind, 0, 16, 0, nonce_base)
        head += salt + chunk_id if kind == 1 else bytes(16) + salt + bytes(16)
        head += struct.pack("<II", len(plaintext), 1)
        entry = struct.pack("<I", len(plaintext))
        aad = self.context + head + struct.pack("<I", 0) + entry
        frame = AESGCM(key).encrypt(bytes(4) + struct.pack("<Q", nonce_base), plaintext, aad)
        payload = entry + frame
        head += struct.pack("<II", len(payload), 0)
        head += xxh64(head)
        out = head + payload
        out += xxh128(out)
        return out + bytes(-len(out) % 8)


def show(*parts):
    for name, data in parts:
        text = data.hex()
        for i in range(0, len(text), 64):
            print("    %-14s %s" % (name if i == 0 else "", text[i:i + 64]))


print("## 14. Worked example\n")
print("The closed segment 1 of a vault with suite 1, holding one chunk: `" + CONTENT.decode().strip() + "` and a newline, 44 bytes. "
      "DEK of epoch 1:\n`00 01 … 1f`, chunk-id key `20 21 … 3f`, salt `40 41 … 5f`, vault id `60 61 … 6f`, record salts `80 81 … 8f` and "
      "`90 91 … 9f` (the footer's).\nMade by `tests/store/format_example.py` from this page alone; a test compares it with the code. "
      "`record-key` is the chunk's.\n")
new = Segment(2)
show(("container-key", new.container_key), ("record-key", new.record_key(RECORD_SALTS[1])), ("chunk-id", CHUNK_ID),
     ("header", new.header), ("record", new.chunk), ("footer", new.footer), ("trailer", new.trailer))
print("\nThe same in containers of version 1, which readers know for ever:\n")
old = Segment(1)
show(("v1-header", old.header), ("v1-record", old.chunk), ("v1-footer", old.footer), ("v1-trailer", old.trailer))
