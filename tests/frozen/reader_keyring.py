"""Sections 6, 7 and 12 of docs/format.md, for reader.py: vault header, keyring, recovery file."""

import hmac
import pathlib
import struct

from reader_head import Heads
from reader_primitives import Reader, aes_gcm_open, argon2id, hkdf, hmac256, need, rsa_oaep_open, sha256


def blob(data):
    return struct.pack("<I", len(data)) + data


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
    key = argon2id(passphrase, salt, memory_kib, passes)
    keys = Reader(open_box(key, box.take(box.left()), b"vaultfs/1 recovery file", clear))
    found = {}
    while keys.left():
        platform_key = keys.take(16)
        found[platform_key] = keys.take(32)
    return found


class Keyring:
    """Header and keyring of a vault: identity and secrets."""

    def __init__(self, path, options):
        self.path, self.options = path, options
        self.header = (path / "vault.header").read_bytes()
        need(sha256(self.header[:-32]) == self.header[-32:], "vault header: digest")
        header = Reader(self.header[:-32])
        need(header.take(8) == b"VAULTFSH" and header.u16() == 1, "vault header")
        self.id, _, self.suite, _, self.fingerprint = header.take(16), header.i64(), header.u8(), header.text(), header.take(32)
        self.infrastructure_id = header.take(16)
        header.end()
        need(self.suite in (1, 2) and any(self.infrastructure_id) == (self.suite == 2), "vault header: suite")
        self.heads = Heads(self)
        self.open_keyring()
        if self.suite == 2:
            self.find_infrastructure_key()

    def find_infrastructure_key(self):
        """Out of the recovery file, or the escrow slot: both, if both are there."""
        found = []
        if getattr(self.options, "recovery_file", None):
            passphrase = pathlib.Path(self.options.passphrase_file).read_bytes().rstrip(b"\n")
            found.append(recovery_keys(pathlib.Path(self.options.recovery_file), passphrase, self.id, self.fingerprint)[self.infrastructure_id])
        if getattr(self.options, "escrow_key", None) and "infrastructure_key" in self.escrow_slot:
            found.append(self.unwrap_for_escrow("infrastructure_key", 4, self.infrastructure_id.hex().encode()))
        need(found and len(set(found)) == 1, "no infrastructure key, or two")
        self.infrastructure_key = found[0]

    def numbered(self, folder, ending):
        """(number, path) of a kind's files, ascending."""
        return sorted((int(file.name.split(".")[0], 16), file) for file in (self.path / folder).glob(f"*.{ending}"))

    def is_closed(self, epoch):
        return self.epochs[epoch]["last_segment"] is not None

    def newest_keyring(self):
        """Section 7.4, without a pin."""
        for generation, path in reversed(self.numbered("keyrings", "keyring")):
            data = path.read_bytes()
            if self.heads.names_keyring(generation, sha256(data), data[34:66]):
                return generation, data
        raise ValueError("no keyring that a head names")

    def open_keyring(self):
        self.keyring_generation, data = self.newest_keyring()
        need(sha256(data[:-32]) == data[-32:], "keyring: digest")
        self.keyring_digest = sha256(data)
        clear = Reader(data[:-64])
        need(clear.take(8) == b"VAULTFSK", "keyring")
        version = clear.u16()
        need(version in range(1, 7) and clear.take(16) == self.id, "keyring")
        self.with_history = version >= 4
        version = (version - 1) % 3 + 1  # 4, 5 and 6 are 1, 2 and 3 with more fields
        generation = clear.u64()
        self.keyring_predecessor, header_digest = clear.take(32), clear.take(32)
        need(generation == self.keyring_generation and header_digest == sha256(self.header), "keyring: generation or header")
        slots_at = clear.at
        slots = [self.read_slot(clear) for _ in range(clear.u32())]
        self.escrow_slot = None
        if version >= 2:
            self.escrow_slot = {"fingerprint": clear.take(32), "wrapped_in": clear.u64(), "wrapped": clear.blob()}
        if version == 3:
            need(self.suite == 2, "keyring: an infrastructure key with suite 1")
            self.escrow_slot["infrastructure_key"] = clear.blob()
        clear_bytes, slots_bytes = data[: clear.at], data[slots_at : clear.at]
        self.salt, commitment, sealed = clear.take(32), clear.take(32), clear.take(clear.left())
        if getattr(self.options, "escrow_key", None):
            keyring_key = self.unwrap_by_escrow()
        else:
            keyring_key = next(filter(None, (self.unwrap(slot, generation) for slot in slots)), None)
        need(keyring_key, "the key opens no slot")
        okm = hkdf(keyring_key, self.salt, b"vaultfs/1 keyring key\0" + self.id + struct.pack("<Q", generation), 64)
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

    def unwrap_by_escrow(self):
        need(self.escrow_slot, "the vault has no escrow key")
        return self.unwrap_for_escrow("wrapped", 3, b"")

    def unwrap_for_escrow(self, name, kind, key):
        slot = self.escrow_slot
        context = self.id + struct.pack("<QB", slot["wrapped_in"], kind) + blob(b"") + blob(key) + blob(slot["fingerprint"].hex().encode())
        content = rsa_oaep_open(self.options.escrow_key, self.options.passphrase_file, slot[name])
        need(content and len(content) == 65 and content[0] == 1 and content[33:] == sha256(context), "escrow: another context")
        return content[1:33]

    def read_secrets(self, secrets, slots_bytes):
        self.root_key, self.chunk_id_key = secrets.take(32), secrets.take(32)
        self.epochs = {}
        for _ in range(secrets.u32()):
            number, _, closed, last = secrets.u64(), secrets.i64(), secrets.flag(), secrets.u64()
            need(number > max(self.epochs, default=0) and (closed or last == 0), "keyring: epochs")
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
            if self.with_history:
                secrets.u64(), secrets.u8()
        self.incarnation = secrets.u64()
        if self.escrow_slot:
            need(sha256(secrets.blob()) == self.escrow_slot["fingerprint"], "escrow: another recipient")
            secrets.i64()
        if self.with_history:
            secrets.u8(), secrets.take(16)
            secrets.u8(), secrets.u64(), secrets.blob(), secrets.blob(), secrets.i64()
        need(secrets.take(32) == sha256(slots_bytes), "keyring: slots")
        secrets.end()

    def root_mac(self, label, data):
        return hmac256(hkdf(self.root_key, b"", label, 32), data)
