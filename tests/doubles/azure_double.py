#!/usr/bin/env python3
"""A strict double of Azure Key Vault (REST 7.4), of its login service and of a machine's metadata service (IMDS).

  azure_double.py DIRECTORY       certificates are made in DIRECTORY, app.pem is an application's

Written from the documented shapes, and from what was reported of the real service: a disabled version does not unwrap but
still wraps; a version outside its dates unwraps; nextLink carries another api-version; error codes come as innererror or
innerError. The greeting has the ports of the three servers: {"port", "authority_port", "metadata_port", "ca"}.
Beyond rest_double.py's, its commands are:
  {"do": "create", "name": N, "kty": T, "key_size": B, "nbf": …, "exp": …, "managed": …}   a new key or version; {"version"}
  {"do": "attributes", "name": N, "version": V, "enabled": …}     as an administrator changes them
  {"do": "remove", "name": N}                                     a key with all its versions, for good
  {"do": "policy", "name": N, "lifetimeActions": …, "attributes": …}   as the portal sets it, which knows months and years
  {"do": "vault", "soft_delete": …, "purge_protection": …, "page_size": …, "inner_name": …}
  {"do": "deny", "on": …}                                         no identity has any permission
  {"do": "challenge", "header": H}                                what a 401 says; null: the proper text
  {"do": "identity", "present": …, "selector": {NAME: VALUE}}     the machine's identities: the system-assigned one, and a
                                                                  user-assigned one that the selector names
  {"do": "application", "tenant": T, "client_id": I, "secret": S, "disabled": …}
  {"do": "tokens", "lifetime": SECONDS, "audience": A, "forget": true}   audience: what new tokens are good for
  {"do": "state"}                                                 {"tokens": number given so far, "policies": {NAME: …}}
"""
import json
import os
import re
import secrets
import sys
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

import rest_double
from azure_identities import Identities
from azure_rotation import Rotation
from azure_text import decode, encode
from rest_double import Refusal, Violation

HOST = "office.vault.localhost"
OAEP = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
NAME = r"([0-9A-Za-z-]{1,127})"
VERSION = r"([0-9a-f]{32})"


class Version:
    def __init__(self, rsa_keys, kty, bits, created, nbf, exp, managed):
        self.id = secrets.token_hex(16)
        self.kty, self.created, self.nbf, self.exp, self.managed = kty, created, nbf, exp, managed
        self.updated, self.enabled = created, True
        if kty.startswith("RSA"):
            self.key = rsa_keys.give(bits)
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())


class Azure(Identities, Rotation, rest_double.Service):
    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.authority_port = self.port = 0

    def reset(self):
        super().reset()
        self.keys, self.deleted = {}, {}  # name → [Version], oldest first
        self.soft_delete = self.purge_protection = True
        self.page_size, self.inner_name = 25, "innererror"
        self.pages = {}  # skip token → (what is listed, where to go on)
        self.denied = False
        self.reset_identities()
        self.reset_rotation()

    # --- answers ---

    def error(self, status, code, message, inner=None, headers=None):
        error = {"code": code, "message": message}
        if inner:
            error[self.inner_name] = {"code": inner}
        return Refusal(status, {"error": error}, headers)

    def violation_answer(self, text):
        return 400, {"error": {"code": "BadParameter", "message": f"the double does not know: {text}"}}

    def handle(self, request):
        request.query = urllib.parse.parse_qs(request.query_text, strict_parsing=bool(request.query_text))
        if any(len(values) != 1 for values in request.query.values()):
            raise Violation("a query has a parameter twice")
        request.query = {name: values[0] for name, values in request.query.items()}
        if request.role == "metadata":
            return self.metadata(request)
        if request.role == "authority":
            return self.log_in(request)
        return self.key_vault(request)

    # --- the key vault ---

    def key_vault(self, request):
        if request.headers.get("host") != f"{HOST}:{self.port}":
            raise Violation("the host")
        self.check_token(request)
        if self.denied:
            raise self.error(403, "Forbidden", "The user does not have permission", "AccessDenied")
        skip = request.query.pop("$skiptoken", None)
        version = request.query.pop("api-version", None)
        if skip is not None:
            if version != "2016-10-01" or request.query or request.method != "GET":
                raise Violation("a next page that was not given")
            return self.page(*self.pages.pop(skip))
        if version != "7.4":
            raise Violation(f"api-version {version}")
        self.run_policies()
        for method, pattern, operation in (
            ("GET", "/keys", self.list_keys),
            ("GET", f"/keys/{NAME}/versions", self.list_versions),
            ("GET", f"/keys/{NAME}(?:/{VERSION})?", self.read),
            ("POST", f"/keys/{NAME}/create", self.create),
            ("POST", f"/keys/{NAME}/rotate", self.rotate),
            ("GET", f"/keys/{NAME}/rotationpolicy", self.rotation_policy),
            ("PUT", f"/keys/{NAME}/rotationpolicy", self.rotation_policy),
            ("PATCH", f"/keys/{NAME}/{VERSION}", self.update),
            ("POST", f"/keys/{NAME}/{VERSION}/(wrapkey|unwrapkey)", self.transform),
            ("DELETE", f"/keys/{NAME}", self.delete),
            ("GET", f"/deletedkeys/{NAME}", self.read_deleted),
            ("POST", f"/deletedkeys/{NAME}/recover", self.recover),
            ("DELETE", f"/deletedkeys/{NAME}", self.purge),
        ):
            match = re.fullmatch(pattern, request.path)
            if match and method == request.method:
                if operation not in (self.list_keys, self.list_versions) and request.query:
                    raise Violation("a query that is not documented")
                return operation(request, *match.groups())
        raise Violation("an undocumented path")

    def kid(self, name, version=None):
        tail = "" if version is None else "/" + version.id
        return f"https://{HOST}:{self.port}/keys/{name}{tail}"

    def recovery_level(self):
        if not self.soft_delete:
            return "Purgeable"
        return "Recoverable" if self.purge_protection else "Recoverable+Purgeable"

    def attributes(self, version):
        attributes = {
            "enabled": version.enabled,
            "created": version.created,
            "updated": version.updated,
            "recoveryLevel": self.recovery_level(),
            "recoverableDays": 90 if self.soft_delete else 0,
            "exportable": False,
        }
        if version.nbf is not None:
            attributes["nbf"] = version.nbf
        if version.exp is not None:
            attributes["exp"] = version.exp
        return attributes

    def bundle(self, name, version):
        key = {"kid": self.kid(name, version), "kty": version.kty, "key_ops": ["wrapKey", "unwrapKey"]}
        if version.kty.startswith("RSA"):
            numbers = version.key.public_key().public_numbers()
            key["n"] = encode(numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big"))
            key["e"] = "AQAB"
        bundle = {"key": key, "attributes": self.attributes(version), "tags": {}}
        if version.managed:
            bundle["managed"] = True
        return bundle

    def page(self, items, begin):
        size = self.page_size
        body = {"value": items[begin : begin + size], "nextLink": None}
        if begin + size < len(items):
            skip = secrets.token_urlsafe(12)
            self.pages[skip] = (items, begin + size)
            path = "/keys" if "/" not in items[0]["kid"].partition("/keys/")[2] else "/keys/any/versions"
            body["nextLink"] = f"https://{HOST}:{self.port}{path}?api-version=2016-10-01&$skiptoken={skip}"
        return 200, {}, body

    def item(self, kid, version):
        item = {"kid": kid, "attributes": self.attributes(version), "tags": {}}
        if version.managed:
            item["managed"] = True
        return item

    def list_of(self, request, items):
        request.no_body()
        wanted = request.query.pop("maxresults", None)
        if request.query or (wanted is not None and not (wanted.isdigit() and 1 <= int(wanted) <= 25)):
            raise Violation("the query of a list")
        if wanted is not None:
            return 200, {}, {"value": items[: int(wanted)], "nextLink": None}
        return self.page(items, 0)

    def list_keys(self, request):
        items = [self.item(self.kid(name), versions[-1]) for name, versions in sorted(self.keys.items())]
        return self.list_of(request, items)

    def list_versions(self, request, name):
        # In the order of the ids, which are random, and without an error for a key that is missing.
        versions = sorted(self.keys.get(name, []), key=lambda version: version.id)
        return self.list_of(request, [self.item(self.kid(name, version), version) for version in versions])

    def find(self, name, version=None):
        for candidate in reversed(self.keys.get(name, [])):
            if version in (None, candidate.id):
                return candidate
        shown = name if version is None else f"{name}/{version}"
        raise self.error(404, "KeyNotFound", f"A key with (name/id) {shown} was not found in this key vault.")

    def read(self, request, name, version):
        request.no_body()
        return 200, {}, self.bundle(name, self.find(name, version))

    def create(self, request, name):
        body = request.json(["kty"], ["key_size", "key_ops", "attributes", "tags"])
        attributes = body.get("attributes", {})
        if set(attributes) - {"enabled", "nbf", "exp"} or body["kty"] not in ("RSA", "RSA-HSM", "EC", "EC-HSM"):
            raise Violation("the attributes or the type of a new key")
        if name in self.deleted:
            text = f"Key {name} is currently in a deleted but recoverable state"
            raise self.error(409, "Conflict", text, "ObjectIsDeletedButRecoverable")
        bits = body.get("key_size", 2048)
        version = self.make(name, body["kty"], bits, attributes.get("nbf"), attributes.get("exp"))
        return 200, {}, self.bundle(name, version)

    def make(self, name, kty="RSA", bits=2048, nbf=None, exp=None, managed=False):
        version = Version(self.rsa_keys, kty, bits, self.now(), nbf, exp, managed)
        self.keys.setdefault(name, []).append(version)
        return version

    def rotate(self, request, name):
        request.no_body()
        self.find(name)
        return 200, {}, self.bundle(name, self.rotate_now(name))

    def rotate_now(self, name):
        newest = self.find(name)
        return self.make(name, newest.kty, newest.key.key_size, exp=self.expiry_of_new(name))

    def update(self, request, name, version):
        body = request.json([], ["attributes", "key_ops", "tags"])
        attributes = body.get("attributes", {})
        if set(attributes) - {"enabled", "nbf", "exp"}:
            raise Violation("attributes that can't be changed")
        found = self.find(name, version)
        for attribute, value in attributes.items():
            setattr(found, attribute, value)
        found.updated = self.now()
        return 200, {}, self.bundle(name, found)

    def transform(self, request, name, version, verb):
        body = request.json(["alg", "value"])
        found = self.find(name, version)
        if body["alg"] != "RSA-OAEP-256" or not found.kty.startswith("RSA"):
            raise self.error(400, "BadParameter", "Key and signing algorithm are incompatible")
        try:
            value = decode(body["value"])
        except ValueError:
            raise Violation("the value is not base64url without padding") from None
        if verb == "wrapkey":
            # Enabled or not, as reported in azure-sdk-for-python issue 45342.
            if found.exp is not None and found.exp <= self.now():
                raise self.error(403, "Forbidden", "Operation wrapKey is not allowed on an expired key.", "KeyExpired")
            if found.nbf is not None and found.nbf > self.now():
                text = "Operation wrapKey is not allowed on a key that is not yet valid."
                raise self.error(403, "Forbidden", text, "KeyNotYetValid")
            result = found.key.public_key().encrypt(value, OAEP)
        else:
            if not found.enabled:
                raise self.error(403, "Forbidden", "Operation unwrapKey is not allowed on a disabled key.", "KeyDisabled")
            try:
                result = found.key.decrypt(value, OAEP)
            except ValueError:
                raise self.error(400, "BadParameter", "Property  has invalid value") from None
        return 200, {}, {"kid": self.kid(name, found), "value": encode(result)}

    def deleted_bundle(self, name):
        if name not in self.deleted:
            raise self.error(404, "KeyNotFound", f"Deleted Key not found: {name}")
        now = self.now()
        return {
            "recoveryId": f"https://{HOST}:{self.port}/deletedkeys/{name}",
            "deletedDate": now,
            "scheduledPurgeDate": now + 90 * 86400,
            **self.bundle(name, self.deleted[name][-1]),
        }

    def delete(self, request, name):
        request.no_body()
        self.find(name)
        self.deleted[name] = self.keys.pop(name)
        bundle = self.deleted_bundle(name)
        if not self.soft_delete:
            del self.deleted[name]
        return 200, {}, bundle

    def read_deleted(self, request, name):
        request.no_body()
        return 200, {}, self.deleted_bundle(name)

    def recover(self, request, name):
        request.no_body()
        self.deleted_bundle(name)
        self.keys[name] = self.deleted.pop(name)
        return 200, {}, self.bundle(name, self.keys[name][-1])

    def purge(self, request, name):
        request.no_body()
        self.deleted_bundle(name)
        if self.purge_protection:
            text = 'Operation "purge" is not allowed because purge protection is enabled for this vault.'
            raise self.error(403, "Forbidden", text, "ForbiddenByPolicy")
        del self.deleted[name]
        self.policies.pop(name, None)
        return 204, {}, None

    # --- commands ---

    def command(self, command):
        what = command.pop("do")
        if what == "create":
            size, managed = command.get("key_size", 2048), command.get("managed", False)
            dates = command.get("nbf"), command.get("exp")
            return {"version": self.make(command["name"], command.get("kty", "RSA"), size, *dates, managed).id}
        if what == "attributes":
            self.find(command["name"], command["version"]).enabled = command["enabled"]
        elif what == "policy":
            self.put_policy(command.pop("name"), command)
        elif what == "remove":
            del self.keys[command["name"]]
            self.policies.pop(command["name"], None)
        elif what in ("vault", "application"):
            for name, value in command.items():
                if not hasattr(self, name):
                    raise ValueError(name)
                setattr(self, name, value)
        elif what == "deny":
            self.denied = command["on"]
        elif what == "challenge":
            self.challenge = command["header"]
        elif what == "identity":
            self.identity_present = command.get("present", True)
            self.selector = command.get("selector")
        elif what == "tokens":
            self.lifetime = command.get("lifetime", self.lifetime)
            self.token_audience = command.get("audience", self.token_audience)
            if command.get("forget"):
                self.tokens.clear()
        elif what == "state":
            return {"tokens": self.token_count, "policies": self.policies}
        else:
            raise ValueError(what)
        return {}


def main():
    directory = sys.argv[1]
    rest_double.make_certificates(directory, HOST)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    application = rest_double.certificate("application", "application", key, key, False, [])
    rest_double.write_pem(os.path.join(directory, "app.pem"), application, key)
    service = Azure(directory)
    context = rest_double.tls_context(directory)
    service.port = rest_double.start(service, context, role="key vault")
    service.authority_port = rest_double.start(service, rest_double.tls_context(directory), role="authority")
    greeting = {
        "port": service.port,
        "authority_port": service.authority_port,
        "metadata_port": rest_double.start(service, role="metadata"),
        "ca": os.path.join(directory, "ca.pem"),
    }
    print(json.dumps(greeting), flush=True)
    rest_double.serve_commands(service)


main()
