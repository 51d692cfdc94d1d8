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
  {"do": "vault", "soft_delete": …, "purge_protection": …, "page_size": …, "inner_name": …}
  {"do": "deny", "on": …}                                         no identity has any permission
  {"do": "challenge", "header": H}                                what a 401 says; null: the proper text
  {"do": "identity", "present": …, "selector": {NAME: VALUE}}     the machine's identities: the system-assigned one, and a
                                                                  user-assigned one that the selector names
  {"do": "application", "tenant": T, "client_id": I, "secret": S, "disabled": …}
  {"do": "tokens", "lifetime": SECONDS, "audience": A, "forget": true}   audience: what new tokens are good for
  {"do": "state"}                                                 {"tokens": number given so far}
"""
import base64
import hashlib
import json
import os
import re
import secrets
import sys
import urllib.parse

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

import rest_double
from rest_double import Refusal, Violation

HOST = "office.vault.localhost"
AUDIENCE = "https://vault.localhost"
OAEP = padding.OAEP(mgf=padding.MGF1(algorithm=hashes.SHA256()), algorithm=hashes.SHA256(), label=None)
NAME = r"([0-9A-Za-z-]{1,127})"
VERSION = r"([0-9a-f]{32})"


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def decode(text):
    if not isinstance(text, str) or not re.fullmatch(r"[A-Za-z0-9_-]*", text):
        raise ValueError("not base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Version:
    def __init__(self, rsa_keys, kty, bits, created, nbf, exp, managed):
        self.id = secrets.token_hex(16)
        self.kty, self.created, self.nbf, self.exp, self.managed = kty, created, nbf, exp, managed
        self.updated, self.enabled = created, True
        if kty.startswith("RSA"):
            self.key = rsa_keys.give(bits)
        else:
            self.key = ec.generate_private_key(ec.SECP256R1())


class Azure(rest_double.Service):
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
        self.denied, self.challenge = False, None
        self.identity_present, self.selector = True, None
        self.tenant, self.client_id, self.secret = "contoso.example", "00000000-1111-2222-3333-444444444444", None
        self.disabled = False
        self.tokens, self.lifetime, self.token_count = {}, 3600, 0  # token → (audience, time of expiry)
        self.token_audience = None
        self.assertions = set()

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

    # --- the metadata service ---

    def metadata(self, request):
        if request.method != "GET" or request.path != "/metadata/identity/oauth2/token":
            raise Violation("an undocumented path of the metadata service")
        if request.headers.get("metadata") != "true" or "x-forwarded-for" in request.headers:
            raise Violation("the header Metadata: true is missing, or a proxy stands in between")
        query = dict(request.query)
        if query.pop("api-version", None) != "2018-02-01":
            raise Violation("a wrong api-version of the metadata service")
        audience = query.pop("resource", None)
        if audience != AUDIENCE:
            raise Violation(f"a token for {audience}")
        if set(query) - {"client_id", "object_id", "msi_res_id"} or len(query) > 1:
            raise Violation("a selector that is not documented")
        known = self.identity_present if not query else query == self.selector
        if not known:
            raise Refusal(400, {"error": "invalid_request", "error_description": "Identity not found"})
        token = self.give_token(audience)
        now = self.now()
        return 200, {}, {
            "access_token": token,
            "client_id": self.client_id,
            "expires_in": str(self.lifetime),
            "expires_on": str(now + self.lifetime),
            "ext_expires_in": str(self.lifetime),
            "not_before": str(now),
            "resource": audience,
            "token_type": "Bearer",
        }

    def give_token(self, audience):
        token = "eyJ0." + secrets.token_urlsafe(40) + "." + secrets.token_urlsafe(20)
        self.tokens[token] = (self.token_audience or audience, self.now() + self.lifetime)
        self.token_count += 1
        return token

    # --- the login service ---

    def log_in(self, request):
        if request.method != "POST" or request.query:
            raise Violation("a login is a POST without a query")
        if request.headers.get("content-type") != "application/x-www-form-urlencoded":
            raise Violation("a login is a form")
        tenant = request.path.split("/")[1]
        if request.path != f"/{tenant}/oauth2/v2.0/token":
            raise Violation("an undocumented path of the login service")
        if tenant != self.tenant:
            raise self.login_error(400, "invalid_request", 90002, "Tenant not found")
        form = urllib.parse.parse_qs(request.body.decode(), strict_parsing=True)
        form = {name: values[0] for name, values in form.items()}
        if form.pop("grant_type", None) != "client_credentials" or form.pop("scope", None) != AUDIENCE + "/.default":
            raise Violation("grant_type or scope")
        if form.pop("client_id", None) != self.client_id:
            raise self.login_error(400, "unauthorized_client", 700016, "Application was not found in the directory")
        if self.disabled:
            raise self.login_error(401, "unauthorized_client", 7000112, "Application is disabled")
        if set(form) == {"client_secret"}:
            if self.secret is None or form["client_secret"] != self.secret:
                # As the real service does not: it repeats the secret, which no message may show.
                text = f"Invalid client secret provided: {form['client_secret']}"
                raise self.login_error(401, "invalid_client", 7000215, text)
        elif set(form) == {"client_assertion", "client_assertion_type"}:
            self.check_assertion(form)
        else:
            raise Violation("the fields of the form")
        token = self.give_token(AUDIENCE)
        return 200, {}, {
            "token_type": "Bearer",
            "expires_in": self.lifetime,
            "ext_expires_in": self.lifetime,
            "access_token": token,
        }

    def login_error(self, status, code, number, text):
        return Refusal(
            status,
            {
                "error": code,
                "error_description": f"AADSTS{number}: {text}",
                "error_codes": [number],
                "trace_id": secrets.token_hex(8),
            },
        )

    def check_assertion(self, form):
        if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            raise Violation("client_assertion_type")
        with open(os.path.join(self.directory, "app.pem"), "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
        try:
            signed, _, signature = form["client_assertion"].rpartition(".")
            header, claims = (json.loads(decode(part)) for part in signed.split("."))
            certificate.public_key().verify(
                decode(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256()
            )
        except InvalidSignature:
            raise self.login_error(401, "invalid_client", 700027, "The certificate is not registered") from None
        except ValueError as error:
            raise Violation(f"the assertion: {error}") from None
        der = certificate.public_bytes(serialization.Encoding.DER)
        if header != {"alg": "RS256", "typ": "JWT", "x5t#S256": encode(hashlib.sha256(der).digest())}:
            raise Violation("the assertion's header")
        if set(claims) != {"aud", "iss", "sub", "jti", "iat", "nbf", "exp"}:
            raise Violation("the assertion's claims")
        if claims["aud"] != f"https://localhost:{self.authority_port}/{self.tenant}/oauth2/v2.0/token":
            raise Violation("the assertion's audience")
        if claims["iss"] != self.client_id or claims["sub"] != self.client_id or claims["jti"] in self.assertions:
            raise Violation("the assertion's issuer, subject or id")
        if not claims["nbf"] <= self.now() < claims["exp"] or claims["exp"] - claims["nbf"] > 600:
            raise Violation("the assertion's time")
        self.assertions.add(claims["jti"])

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
        for method, pattern, operation in (
            ("GET", "/keys", self.list_keys),
            ("GET", f"/keys/{NAME}/versions", self.list_versions),
            ("GET", f"/keys/{NAME}(?:/{VERSION})?", self.read),
            ("POST", f"/keys/{NAME}/create", self.create),
            ("POST", f"/keys/{NAME}/rotate", self.rotate),
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

    def check_token(self, request):
        header = request.headers.get("authorization", "")
        audience, expiry = self.tokens.get(header[len("Bearer ") :], (None, 0))
        if not header:
            if request.body:
                raise Violation("a body before the login")
        elif audience == AUDIENCE and expiry > self.now():
            return
        challenge = self.challenge
        if challenge is None:
            authority = f"https://login.windows.net/{self.tenant}"
            challenge = f'Bearer authorization="{authority}", resource="{AUDIENCE}"'
        text = "AKV10000: Request is missing a Bearer or PoP token." if not header else "AKV10022: Invalid audience."
        raise self.error(401, "Unauthorized", text, headers={"WWW-Authenticate": challenge})

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
        newest = self.find(name)
        version = self.make(name, newest.kty, newest.key.key_size)
        return 200, {}, self.bundle(name, version)

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
        elif what == "remove":
            del self.keys[command["name"]]
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
            return {"tokens": self.token_count}
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
