"""Hashes, ciphers and field-wise reading, for reader.py: the standard library, the openssl program (RSA) and, by ctypes, libcrypto (AES-GCM),
libsodium, libzstd and libxxhash."""

import ctypes
import hashlib
import hmac
import struct
import subprocess

crypto = ctypes.CDLL("libcrypto.so.3")
sodium = ctypes.CDLL("libsodium.so.23")
zstd = ctypes.CDLL("libzstd.so.1")
xxhash = ctypes.CDLL("libxxhash.so.0")


MIB = 1 << 20


def need(condition, what):
    if not condition:
        raise ValueError(what)


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

    def flag(self):
        value = self.u8()
        need(value < 2, "a flag that is neither 0 nor 1")
        return value == 1

    def text(self): return self.blob().decode("utf-8", "surrogateescape")
    def left(self): return len(self.data) - self.at
    def end(self): need(self.left() == 0, "bytes behind the end")


def argon2id(passphrase, salt, memory_kib, passes):
    key = ctypes.create_string_buffer(32)
    failed = sodium.crypto_pwhash(key, ctypes.c_ulonglong(32), passphrase, ctypes.c_ulonglong(len(passphrase)), salt,
                                  ctypes.c_ulonglong(passes), ctypes.c_size_t(memory_kib * 1024), 2)  # 2: Argon2id, version 0x13
    need(failed == 0, "Argon2id")
    return key.raw
