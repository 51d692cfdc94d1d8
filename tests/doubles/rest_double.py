"""What the strict doubles of key services have in common: a server on loopback with TLS, and a control channel.

The test that starts a double writes one JSON object a line to its standard input and reads one line back for each; the
double ends when its input does, so it never outlives the test. The first line it writes says where it listens:
  {"port": 40123, "ca": "/…/ca.pem"}

Commands that every double knows:
  {"do": "fault", "kind": KIND, "times": N, "path": REGEX, …}   what the next N requests (-1: all) to such a path meet:
      drop       the connection is closed without an answer
      hang       no answer, until the fault is cleared
      status     "status", and if given "headers" and "body"
      cut        half of the proper answer, then the end of the connection
      malformed  200 with a text that is no JSON
      oversized  200 with more than 1 MiB of JSON, without a length in front
      redirect   307 to "location"
  {"do": "heal"}             no fault any more
  {"do": "delay", "seconds": S}   that long before each answer
  {"do": "reset"}            everything is as after the start, but for ports and certificates
  {"do": "time", "now": T}   the double's clock stands at T (Unix seconds); without "now" it runs again
  {"do": "report"}           {"requests": [METHOD PATH, …], "violations": […]} since the last report. A violation is a
                             request that the service's documentation does not allow; its answer is an error too.
Everything else is the double's own.
"""
import datetime
import http.server
import ipaddress
import json
import os
import re
import socket
import ssl
import sys
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


class Refusal(Exception):
    """An answer other than success."""

    def __init__(self, status, body, headers=None):
        super().__init__(status)
        self.status, self.body, self.headers = status, body, headers or {}


class Violation(Exception):
    """A request that the documentation of the service does not allow."""


def certificate(subject, issuer, issuer_key, key, authority, names):
    now = datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def write_pem(path, *objects):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for thing in objects:
            if isinstance(thing, x509.Certificate):
                out.write(thing.public_bytes(serialization.Encoding.PEM))
            else:
                out.write(
                    thing.private_bytes(
                        serialization.Encoding.PEM,
                        serialization.PrivateFormat.PKCS8,
                        serialization.NoEncryption(),
                    )
                )


def make_certificates(directory, host="localhost"):
    """An authority (ca.pem), the server's certificate with its key (server.pem), and a client's (client.pem, client.key)."""
    ca_key, key, client_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
    ca = certificate("double's authority", "double's authority", ca_key, ca_key, True, [])
    names = [x509.DNSName(host), x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server = certificate("localhost", "double's authority", ca_key, key, False, names)
    client = certificate("vaultfs", "double's authority", ca_key, client_key, False, [])
    write_pem(os.path.join(directory, "ca.pem"), ca)
    write_pem(os.path.join(directory, "server.pem"), server, key)
    write_pem(os.path.join(directory, "client.pem"), client)
    write_pem(os.path.join(directory, "client.key"), client_key)


class RsaKeys:
    """Private keys, each given out once until all are taken back: making one takes longer than most tests."""

    def __init__(self):
        self.spare, self.given = {}, []

    def give(self, bits):
        spare = self.spare.setdefault(bits, [])
        key = spare.pop() if spare else rsa.generate_private_key(public_exponent=65537, key_size=bits)
        self.given.append(key)
        return key

    def take_back(self):
        for key in self.given:
            self.spare[key.key_size].append(key)
        self.given = []


class Service:
    """The state of a double. Subclasses answer requests by handle() and commands by command()."""

    def __init__(self):
        self.lock = threading.RLock()  # guards everything here and in subclasses
        self.healed = threading.Condition(self.lock)
        self.rsa_keys = RsaKeys()
        self.reset()

    def reset(self):
        """Makes all state anew; subclasses extend it."""
        self.rsa_keys.take_back()
        self.fault = None
        self.delay = 0
        self.fixed_now = None
        self.requests = []
        self.violations = []

    def now(self):
        return int(time.time() if self.fixed_now is None else self.fixed_now)

    def handle(self, request):
        """(status, headers, body object or None) for a Request; may raise Refusal or Violation."""
        raise NotImplementedError

    def violation_answer(self, text):
        """(status, body object) that the service gives to a request that it can't understand."""
        raise NotImplementedError

    def command(self, command):
        raise NotImplementedError

    def take_fault(self, path):
        with self.lock:
            fault = self.fault
            if fault is None or not re.search(fault.get("path", ""), path):
                return None
            if fault.get("times", -1) == 0:
                return None
            if fault.get("times", -1) > 0:
                fault["times"] -= 1
            return fault

    def common_command(self, command):
        with self.lock:
            what = command["do"]
            if what == "fault":
                self.fault = command
            elif what == "heal":
                self.fault = None
                self.healed.notify_all()
            elif what == "delay":
                self.delay = command["seconds"]
            elif what == "reset":
                self.reset()
                self.healed.notify_all()
            elif what == "time":
                self.fixed_now = command.get("now")
            elif what == "report":
                report = {"requests": self.requests, "violations": self.violations}
                self.requests, self.violations = [], []
                return report
            else:
                return self.command(command) or {}
            return {}


class Request:
    def __init__(self, method, target, headers, body, role=None):
        self.method, self.headers = method, headers
        self.role = role  # which of the double's servers was asked
        self.path, _, self.query_text = target.partition("?")
        self.body = body

    def json(self, required, optional=()):
        """The body, which must be a JSON object of exactly these members."""
        if self.headers.get("content-type", "").split(";")[0] != "application/json":
            raise Violation("the content type is not application/json")
        try:
            body = json.loads(self.body)
        except ValueError:
            raise Violation("the body is no JSON") from None
        if not isinstance(body, dict):
            raise Violation("the body is no JSON object")
        for name in body:
            if name not in required and name not in optional:
                raise Violation(f"unknown field {name}")
        for name in required:
            if name not in body:
                raise Violation(f"missing field {name}")
        return body

    def no_body(self):
        if self.body:
            raise Violation("a body where none is documented")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service = None
    role = None

    def log_message(self, *_):
        pass

    def reply(self, status, headers, payload, cut=False):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if payload is not None:
            self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload or b"")))
        self.end_headers()
        if payload:
            self.wfile.write(payload[: len(payload) // 2] if cut else payload)
        if cut:
            self.close_connection = True

    def meet(self, fault):
        kind = fault["kind"]
        if kind == "hang":
            with self.service.lock:
                while self.service.fault is fault:
                    self.service.healed.wait()
        if kind in ("drop", "hang"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif kind == "status":
            body = fault.get("body")
            payload = None if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
            self.reply(fault["status"], fault.get("headers", {}), payload)
        elif kind == "redirect":
            self.reply(307, {"Location": fault["location"]}, None)
        elif kind == "malformed":
            self.reply(200, {}, b'{"data":{"keys":[')
        elif kind == "oversized":
            self.send_response(200)
            self.send_header("Connection", "close")
            self.end_headers()
            self.close_connection = True
            self.wfile.write(b'{"data":"' + b"x" * (2 << 20) + b'"}')
        else:
            raise ValueError(kind)

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length), self.role)
        with self.service.lock:
            self.service.requests.append(f"{request.method} {self.path}")
            delay = self.service.delay
        time.sleep(delay)
        fault = self.service.take_fault(request.path)
        if fault is not None and fault["kind"] != "cut":
            self.meet(fault)
            return
        out_headers, body = {}, None
        with self.service.lock:
            try:
                status, out_headers, body = self.service.handle(request)
            except Refusal as refusal:
                status, out_headers, body = refusal.status, refusal.headers, refusal.body
            except Violation as violation:
                self.service.violations.append(f"{request.method} {self.path}: {violation}")
                status, body = self.service.violation_answer(str(violation))
        payload = None if body is None else json.dumps(body).encode()
        self.reply(status, out_headers, payload, cut=fault is not None)

    def do_GET(self):
        try:
            self.answer()
        except OSError:
            self.close_connection = True

    do_POST = do_PUT = do_PATCH = do_DELETE = do_LIST = do_GET


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        pass  # a client that breaks a connection off


def start(service, context=None, role=None):
    """A server for the service on a free port of 127.0.0.1, over TLS if there is a context; its port."""
    handler = type("ServiceHandler", (Handler,), {"service": service, "role": role})
    server = Server(("127.0.0.1", 0), handler)
    if context is not None:
        # The handshake is done by the connection's own thread.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def tls_context(directory, want_client=False):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "server.pem"))
    if want_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(os.path.join(directory, "ca.pem"))
    return context


def serve_commands(service):
    for line in sys.stdin:
        try:
            reply = service.common_command(json.loads(line))
        except Exception as error:  # the test is told, and fails
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), flush=True)
