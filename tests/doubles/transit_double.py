#!/usr/bin/env python3
"""A strict double of the Transit secrets engine, written from its documented API (Vault 1.x, OpenBao 2.x).

  transit_double.py DIRECTORY [--client-certificate]     certificates are made in DIRECTORY

It does as the engine does where a client could be fooled: encrypting under a missing key creates it; versions below
min_decryption_version vanish from the list of a key's versions; base64 is decoded leniently; an RSA ciphertext that does
not open is an internal error (500). Beyond rest_double.py's, its commands are:
  {"do": "create", "name": N, "type": T, "derived": false}   {"do": "rotate", "name": N}   {"do": "remove", "name": N}
  {"do": "config", "name": N, "min_decryption_version": …, "min_encryption_version": …, "min_available_version": …}
  {"do": "server", "sealed": …, "standby": …, "initialized": …}
  {"do": "deny", "on": …}                              every token's policies deny everything
  {"do": "credentials", "token": …, "role_id": …, "secret_id": …, "lease": SECONDS, "namespace": …,
   "uses": logins left to the secret id}
  {"do": "expire-logins"}                              no token of a login is known any more
  {"do": "state"}                                      {"keys": {NAME: latest version}, "logins": number so far, "tokens": of logins, not revoked}
"""
import base64
import datetime
import json
import os
import re
import secrets
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import rest_double
from rest_double import Refusal, Violation

OAEP = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
NAME = r"([A-Za-z0-9][A-Za-z0-9_.-]*)"


def refuse(status, *texts):
    return Refusal(status, {"errors": list(texts)})


def lenient_base64(text):
    """As Go's base64.StdEncoding: line breaks are skipped, spare bits ignored."""
    return base64.b64decode(text.replace("\r", "").replace("\n", ""), validate=True)


class Version:
    def __init__(self, kind, created, rsa_keys):
        self.created = created
        if kind.startswith("rsa-"):
            self.key = rsa_keys.give(int(kind[4:]))
        else:
            self.key = os.urandom(32)


class Key:
    def __init__(self, name, kind, derived, now, rsa_keys):
        self.name, self.kind, self.derived = name, kind, derived
        self.versions = {1: Version(kind, now, rsa_keys)}
        self.min_decryption, self.min_encryption, self.min_available = 1, 0, 0

    @property
    def latest(self):
        return max(self.versions)

    def is_rsa(self):
        return self.kind.startswith("rsa-")

    def description(self):
        listed = {}
        for number, version in self.versions.items():
            if number < self.min_decryption:
                continue
            if self.is_rsa():
                made = datetime.datetime.fromtimestamp(version.created, datetime.timezone.utc)
                public = version.key.public_key().public_bytes(
                    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
                )
                listed[str(number)] = {
                    "creation_time": made.strftime("%Y-%m-%dT%H:%M:%S.123456789Z"),
                    "name": self.kind,
                    "public_key": public.decode(),
                }
            else:
                listed[str(number)] = version.created
        return {
            "name": self.name,
            "type": self.kind,
            "derived": self.derived,
            "exportable": False,
            "allow_plaintext_backup": False,
            "deletion_allowed": False,
            "auto_rotate_period": 0,
            "imported_key": False,
            "keys": listed,
            "latest_version": self.latest,
            "min_available_version": self.min_available,
            "min_decryption_version": self.min_decryption,
            "min_encryption_version": self.min_encryption,
            "supports_encryption": True,
            "supports_decryption": True,
            "supports_derivation": not self.is_rsa(),
            "supports_signing": self.is_rsa(),
        }


class Transit(rest_double.Service):
    def reset(self):
        super().reset()
        self.keys = {}
        self.token, self.role_id, self.secret_id = "hvs.the-root-token-of-the-double", None, None
        self.namespace, self.lease, self.uses = None, 3600, None
        self.logins = {}  # token → time of expiry
        self.login_count = 0
        self.sealed = self.standby = self.denied = self.ignores_associated_data = False
        self.initialized = True

    # --- requests ---

    def violation_answer(self, text):
        return 400, {"errors": [f"the double does not know: {text}"]}

    def handle(self, request):
        if request.query_text not in ("", "list=true"):
            raise Violation("an undocumented query")
        if request.path == "/v1/sys/health":
            return self.health(request)
        if self.sealed or not self.initialized:
            raise refuse(503, "Vault is sealed")
        if self.standby:
            raise refuse(500, "local node not active but active cluster node not found")
        if request.headers.get("x-vault-namespace") != self.namespace:
            raise refuse(404, f'no handler for route "{request.path[4:]}". route entry not found.')
        if request.path == "/v1/auth/approle/login":
            return self.log_in(request)
        if request.path == "/v1/auth/token/revoke-self":
            return self.revoke(request)
        if not request.path.startswith("/v1/transit/"):
            raise refuse(404, f'no handler for route "{request.path[4:]}". route entry not found.')
        self.check_token(request)
        for method, pattern, operation in (
            ("GET", "keys", self.list),
            ("GET", "keys/" + NAME, self.read),
            ("POST", "keys/" + NAME, self.create),
            ("POST", "keys/" + NAME + "/rotate", self.rotate),
            ("POST", "keys/" + NAME + "/config", self.config),
            ("POST", "encrypt/" + NAME, self.encrypt),
            ("POST", "decrypt/" + NAME, self.decrypt),
        ):
            match = re.fullmatch("/v1/transit/" + pattern, request.path)
            if match and method == request.method:
                if (operation == self.list) != (request.query_text == "list=true"):
                    raise Violation("list=true belongs to the list of keys")
                return operation(request, *match.groups())
        raise Violation("an undocumented path")

    def health(self, request):
        if request.method != "GET" or "x-vault-token" in request.headers:
            raise Violation("health is asked by GET, without a token")
        status = 501 if not self.initialized else 503 if self.sealed else 429 if self.standby else 200
        state = {"initialized": self.initialized, "sealed": self.sealed, "standby": self.standby}
        return status, {}, state

    def check_token(self, request):
        token = request.headers.get("x-vault-token")
        if not token:
            raise Violation("no X-Vault-Token")
        known = token == self.token or self.logins.get(token, 0) > self.now()
        if self.denied or not known:
            raise refuse(403, "1 error occurred:\n\t* permission denied\n\n")

    def log_in(self, request):
        if request.method != "POST" or "x-vault-token" in request.headers:
            raise Violation("a login is a POST without a token")
        body = request.json(["role_id", "secret_id"])
        if self.role_id is None or (body["role_id"], body["secret_id"]) != (self.role_id, self.secret_id):
            raise refuse(400, "invalid role or secret ID")
        if self.uses is not None:
            if self.uses == 0:
                raise refuse(400, "invalid secret id")
            self.uses -= 1
        token = "hvs." + secrets.token_urlsafe(24)
        self.login_count += 1
        self.logins[token] = self.now() + self.lease
        auth = {
            "client_token": token,
            "accessor": secrets.token_hex(8),
            "policies": ["default", "vaultfs"],
            "lease_duration": self.lease,
            "renewable": True,
        }
        return 200, {}, {"request_id": secrets.token_hex(16), "data": None, "auth": auth}

    def revoke(self, request):
        token = request.headers.get("x-vault-token")
        if request.method != "POST" or not token:
            raise Violation("a token is revoked by a POST with it")
        request.no_body()
        if token == self.token:
            raise Violation("the owner's token was revoked")
        if self.logins.pop(token, 0) <= self.now():
            raise refuse(403, "permission denied")
        return 204, {}, None

    def success(self, data):
        envelope = {"request_id": secrets.token_hex(16), "lease_id": "", "renewable": False, "lease_duration": 0}
        return 200, {}, {**envelope, "data": data, "wrap_info": None, "warnings": None, "auth": None}

    def find(self, name, text="encryption key not found"):
        if name not in self.keys:
            raise refuse(400, text)
        return self.keys[name]

    def list(self, request):
        request.no_body()
        if not self.keys:
            raise refuse(404)
        return self.success({"keys": sorted(self.keys)})

    def read(self, request, name):
        request.no_body()
        if name not in self.keys:
            raise refuse(404)
        return self.success(self.keys[name].description())

    def create(self, request, name):
        body = request.json(["type"])
        if name not in self.keys:
            self.make(name, body["type"])
        return self.success(self.keys[name].description())

    def make(self, name, kind, derived=False):
        if kind not in ("aes256-gcm96", "rsa-2048", "rsa-3072", "rsa-4096", "ed25519", "chacha20-poly1305"):
            raise refuse(400, f"unknown key type {kind}")
        self.keys[name] = Key(name, kind, derived, self.now(), self.rsa_keys)

    def rotate(self, request, name):
        request.no_body()
        self.turn(self.find(name, "key not found"))
        return 204, {}, None

    def turn(self, key):
        key.versions[key.latest + 1] = Version(key.kind, self.now(), self.rsa_keys)

    def config(self, request, name):
        body = request.json([], ["min_decryption_version", "min_encryption_version"])
        self.configure(self.find(name, f"no existing key named {name} could be found"), body)
        return self.success(self.keys[name].description())

    def configure(self, key, body):
        decryption = body.get("min_decryption_version", key.min_decryption) or 1
        encryption = body.get("min_encryption_version", key.min_encryption)
        available = body.get("min_available_version", key.min_available)
        if decryption > key.latest:
            raise refuse(
                400, f"cannot set min decryption version of {decryption}, latest key version is {key.latest}"
            )
        if encryption > key.latest:
            raise refuse(
                400, f"cannot set min encryption version of {encryption}, latest key version is {key.latest}"
            )
        if 0 < encryption < decryption:
            raise refuse(400, "cannot set min encryption/decryption values; min encryption version is too low")
        if available > min(decryption, encryption) and available:
            raise refuse(400, "min decryption version should not be less then min available version")
        key.min_decryption, key.min_encryption, key.min_available = decryption, encryption, available
        for version in range(1, available):
            key.versions.pop(version, None)

    def associated_data(self, body, key):
        if "associated_data" not in body or self.ignores_associated_data:  # as Vault before 1.13
            return None
        if key.is_rsa():
            raise refuse(400, f"'[0].associated_data' provided for non-AEAD cipher suite {key.kind}")
        return base64.b64decode(body["associated_data"], validate=True)

    def encrypt(self, request, name):
        body = request.json(["plaintext"], ["associated_data", "key_version"])
        if name not in self.keys:
            self.make(name, "aes256-gcm96")
        key = self.keys[name]
        if not isinstance(body["plaintext"], str) or not isinstance(body.get("key_version", 0), int):
            raise Violation("a field of a wrong type")
        plaintext = base64.b64decode(body["plaintext"], validate=True)
        version = body.get("key_version", 0) or key.latest
        if version > key.latest:
            raise refuse(400, "requested version for encryption is higher than the latest key version")
        if version < key.min_encryption:
            raise refuse(400, "requested version for encryption is less than the minimum encryption key version")
        if key.derived:
            raise refuse(400, "missing 'context' for key derivation; the key was created using a derived key")
        if version < key.min_decryption:
            raise refuse(400, "no such key version")
        associated = self.associated_data(body, key)
        if key.is_rsa():
            sealed = key.versions[version].key.public_key().encrypt(plaintext, OAEP)
        else:
            nonce = os.urandom(12)
            sealed = nonce + AESGCM(key.versions[version].key).encrypt(nonce, plaintext, associated)
        text = base64.b64encode(sealed).decode()
        return self.success({"ciphertext": f"vault:v{version}:{text}", "key_version": version})

    def decrypt(self, request, name):
        body = request.json(["ciphertext"], ["associated_data"])
        key = self.find(name)
        ciphertext = body["ciphertext"]
        if not ciphertext.startswith("vault:v"):
            raise refuse(400, "invalid ciphertext: no prefix")
        number, colon, text = ciphertext[7:].partition(":")
        if not colon:
            raise refuse(400, "invalid ciphertext: wrong number of fields")
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise refuse(400, "invalid ciphertext: version number could not be decoded")
        version = int(number) or 1
        if version > key.latest:
            raise refuse(400, "invalid ciphertext: version is too new")
        if version < key.min_decryption:
            raise refuse(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            sealed = lenient_base64(text)
        except ValueError:
            raise refuse(400, "invalid ciphertext: could not decode base64") from None
        plaintext = self.open(key, key.versions[version].key, sealed, self.associated_data(body, key))
        return self.success({"plaintext": base64.b64encode(plaintext).decode()})

    def open(self, key, secret, sealed, associated):
        if key.is_rsa():
            try:
                return secret.decrypt(sealed, OAEP)
            except ValueError:
                text = "failed to RSA decrypt the ciphertext: crypto/rsa: decryption error"
                raise refuse(500, f"1 error occurred:\n\t* {text}\n\n") from None
        if len(sealed) < 12:
            raise refuse(400, "invalid ciphertext length")
        try:
            return AESGCM(secret).decrypt(sealed[:12], sealed[12:], associated)
        except InvalidTag:
            raise refuse(400, "cipher: message authentication failed") from None

    # --- commands ---

    def command(self, command):
        what = command["do"]
        if what == "create":
            self.make(command["name"], command["type"], command.get("derived", False))
        elif what == "rotate":
            self.turn(self.keys[command["name"]])
        elif what == "remove":
            del self.keys[command["name"]]
        elif what == "config":
            self.configure(self.keys[command["name"]], command)
        elif what == "server":
            self.sealed = command.get("sealed", False)
            self.standby = command.get("standby", False)
            self.initialized = command.get("initialized", True)
            self.ignores_associated_data = command.get("ignores_associated_data", False)
        elif what == "deny":
            self.denied = command["on"]
        elif what == "credentials":
            for name in ("token", "role_id", "secret_id", "lease", "namespace", "uses"):
                if name in command:
                    setattr(self, name, command[name])
        elif what == "expire-logins":
            self.logins.clear()
        elif what == "state":
            return {
                "keys": {name: key.latest for name, key in self.keys.items()},
                "logins": self.login_count,
                "tokens": len(self.logins),
            }
        else:
            raise ValueError(what)
        return {}


def main():
    directory = sys.argv[1]
    rest_double.make_certificates(directory)
    service = Transit()
    context = rest_double.tls_context(directory, want_client="--client-certificate" in sys.argv[2:])
    port = rest_double.start(service, context)
    print(json.dumps({"port": port, "ca": os.path.join(directory, "ca.pem")}), flush=True)
    rest_double.serve_commands(service)


main()
