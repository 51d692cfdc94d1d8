"""The login service of the double of Azure Key Vault, and the metadata service (IMDS) of the machine that asks it: who is
known to them, and the tokens that they give out."""
import hashlib
import json
import os
import secrets
import urllib.parse

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

from azure_text import AUDIENCE, decode, encode
from rest_double import Refusal, Violation


class Identities:
    """Half of the double's state; the other has now(), error(), directory and authority_port."""

    def reset_identities(self):
        self.challenge = None
        self.identity_present, self.selector = True, None
        self.tenant, self.client_id, self.secret = "contoso.example", "00000000-1111-2222-3333-444444444444", None
        self.disabled = False
        self.tokens, self.lifetime, self.token_count = {}, 3600, 0  # token → (audience, time of expiry)
        self.token_audience = None
        self.assertions = set()

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

    # --- at the key vault ---

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
