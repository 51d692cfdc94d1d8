"""Certificates for the KMIP tests, made anew for each directory: nothing secret lies in the repository.

DIRECTORY/ca.pem, other-ca.pem        two authorities that do not know each other
DIRECTORY/server.pem, server.key      for localhost and 127.0.0.1
DIRECTORY/wrong-host.pem, .key        a server certificate for another host
DIRECTORY/NAME.pem, NAME.key          a client of that common name, signed by ca.pem; further ones:
    stranger    signed by other-ca.pem
    no-usage    without the extended key usage that KMIP servers ask for
    expired     which ended yesterday
    revoked     which ca.crl revokes
"""

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)


def subject(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def builder(name, issuer, key, ends=DAY):
    now = datetime.datetime.utcnow()
    return (x509.CertificateBuilder().subject_name(subject(name)).issuer_name(subject(issuer))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - 30 * DAY).not_valid_after(now + ends))


def write(directory, name, certificate, key=None):
    with open(os.path.join(directory, name + ".pem"), "wb") as out:
        out.write(certificate.public_bytes(serialization.Encoding.PEM))
    if key is None:
        return
    path = os.path.join(directory, name + ".key")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        out.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                    serialization.NoEncryption()))


class Authority:
    def __init__(self, directory, name):
        self.directory = directory
        self.name = name
        self.key = ec.generate_private_key(ec.SECP256R1())
        certificate = (builder(name, name, self.key)
                       .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
                       .sign(self.key, hashes.SHA256()))
        write(directory, name, certificate)

    def client(self, name, usage=True, ends=DAY):
        key = ec.generate_private_key(ec.SECP256R1())
        made = builder(name, self.name, key, ends)
        if usage:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        certificate = made.sign(self.key, hashes.SHA256())
        write(self.directory, name, certificate, key)
        return certificate

    def revoke(self, certificate):
        now = datetime.datetime.utcnow()
        revoked = (x509.RevokedCertificateBuilder().serial_number(certificate.serial_number)
                   .revocation_date(now - DAY).build())
        made = (x509.CertificateRevocationListBuilder().issuer_name(subject(self.name)).last_update(now - DAY)
                .next_update(now + DAY).add_revoked_certificate(revoked).sign(self.key, hashes.SHA256()))
        with open(os.path.join(self.directory, self.name + ".crl"), "wb") as out:
            out.write(made.public_bytes(serialization.Encoding.PEM))

    def server(self, file, names):
        key = ec.generate_private_key(ec.SECP256R1())
        made = (builder(file, self.name, key)
                .add_extension(x509.SubjectAlternativeName(names), critical=False)
                .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False))
        write(self.directory, file, made.sign(self.key, hashes.SHA256()), key)


def make_all(directory, clients):
    """Makes what is missing; a directory that has certificates keeps them."""
    if os.path.exists(os.path.join(directory, "server.key")):
        return
    authority = Authority(directory, "ca")
    authority.server("server", [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority.server("wrong-host", [x509.DNSName("elsewhere.example")])
    for client in clients:
        authority.client(client)
    authority.client("no-usage", usage=False)
    authority.client("expired", ends=-DAY)
    authority.revoke(authority.client("revoked"))
    Authority(directory, "other-ca").client("stranger")
