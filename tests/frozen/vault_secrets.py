#!/usr/bin/env python3
"""Derives the secrets of a vault, so that a test can look for them where they must not be.

    vault_secrets.py VAULT --key KEY.pem --passphrase-file F [--recovery-file R] [--escrow-key KEY.pem]

KEY.pem and F as for reader.py, whose reading of docs/format.md this uses. Prints JSON {name: hex}: the root key, the
chunk-id key, the DEK of each epoch, the key of the newest keyring and what it is sealed under, the infrastructure key
if there is one, and the key of each container (segments, journals, checkpoints, manifests, activity log).
The vault may be in use: only files that never change are read whole; of containers the header, which is written first.
"""

import argparse
import json
import pathlib
import struct
import sys

from reader_container import Container
from reader_keyring import Keyring
from reader_primitives import hkdf

FOLDERS = {"segments": "segment", "journal": "journal", "checkpoints": "checkpoint", "points": "manifest", "activity": "activity"}


class Secrets(Keyring):
    def __init__(self, path, options):
        super().__init__(path, options)
        self.found = {"root key": self.root_key, "chunk-id key": self.chunk_id_key, "keyring key": self.keyring_key}
        if self.suite == 2:
            self.found["infrastructure key"] = self.infrastructure_key
        for number, epoch in self.epochs.items():
            self.found[f"DEK {number}"] = epoch["dek"]
        self.add_sealing_key()
        for folder, kind in FOLDERS.items():
            for file in sorted((path / folder).glob("*.*")):
                self.add_container(kind, file)

    def unwrap(self, slot, generation):
        key = super().unwrap(slot, generation)
        self.keyring_key = key or getattr(self, "keyring_key", None)
        return key

    def unwrap_by_escrow(self):
        self.keyring_key = super().unwrap_by_escrow()
        return self.keyring_key

    def add_sealing_key(self):
        """Section 7: what the sealed part of the newest keyring is encrypted under."""
        info = b"vaultfs/1 keyring key\0" + self.id + struct.pack("<Q", self.keyring_generation)
        self.found["keyring's sealing key"] = hkdf(self.keyring_key, self.salt, info, 32)

    def add_container(self, kind, file):
        number = int(file.name.split(".")[0], 16)
        if file.stat().st_size < 160:
            return  # made just now
        container = Container(self, file, kind, number)
        self.found[f"key of {kind} {number}"] = container.key
        if self.suite == 2:
            self.found[f"outer key of {kind} {number}"] = container.outer


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("vault", type=pathlib.Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--passphrase-file", required=True)
    parser.add_argument("--recovery-file")
    parser.add_argument("--escrow-key")
    options = parser.parse_args()
    json.dump({name: secret.hex() for name, secret in Secrets(options.vault, options).found.items()}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
