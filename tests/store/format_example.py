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
CONTENT = b"vaultfs keeps disk images as sealed chunks.\n"

context = b"VAULTFSC" + struct.pack("<HBBI", 1, 1, 1, 1) + VAULT + struct.pack("<Q", 1)
okm = hkdf(DEK, SALT, b"vaultfs/1 container key" + b"\0" + context, 64)
container_key, commitment = okm[:32], okm[32:]
header = context + SALT + commitment + bytes(32) + bytes(8)
header += xxh128(header)


def record(kind, nonce_base, chunk_id, plaintext):
    head = b"VREC" + struct.pack("<BBBB", kind, 0, 16, 0) + struct.pack("<QQQ", nonce_base, 0, 0) + chunk_id
    head += struct.pack("<II", len(plaintext), 1)
    entry = struct.pack("<I", len(plaintext))
    aad = context + head + struct.pack("<I", 0) + entry
    frame = AESGCM(container_key).encrypt(bytes(4) + struct.pack("<Q", nonce_base), plaintext, aad)
    payload = entry + frame
    head += struct.pack("<II", len(payload), 0)
    head += xxh64(head)
    out = head + payload
    out += xxh128(out)
    return out + bytes(-len(out) % 8)


chunk_id = hmac.new(ID_KEY, struct.pack("<BQ", 1, len(CONTENT)) + hashlib.sha256(CONTENT).digest(), hashlib.sha256).digest()
chunk = record(1, 0, chunk_id, CONTENT)
entries = struct.pack("<I", 1) + chunk_id + struct.pack("<BQII", 1, len(header), len(chunk), len(CONTENT))
footer = record(3, 1, bytes(32), entries)
trailer = b"VSEGEND1" + struct.pack("<QQ", len(header) + len(chunk), 1)
trailer += xxh64(trailer)

print("## 13. Worked example\n")
print("The closed segment 1 of a vault with suite 1, holding one chunk: `" + CONTENT.decode().strip() + "` and a newline, 44 bytes. "
      "DEK of epoch 1:\n`00 01 … 1f`, chunk-id key `20 21 … 3f`, salt `40 41 … 5f`, vault id `60 61 … 6f`. Made by `tests/store/format_example.py` "
      "from this page\nalone; a test compares it with the code.\n")
for name, data in (("container-key", container_key), ("chunk-id", chunk_id), ("header", header), ("record", chunk),
                   ("footer", footer), ("trailer", trailer)):
    text = data.hex()
    for i in range(0, len(text), 64):
        print("    %-14s %s" % (name if i == 0 else "", text[i:i + 64]))
