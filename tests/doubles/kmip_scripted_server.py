#!/usr/bin/python3
"""A TLS server that answers as it is told, for what no real KMIP server does when asked to:
kmip_scripted_server.py DIRECTORY PORT

DIRECTORY gets its certificates. PORT 0 takes a free one. Prints "ready PORT".

Commands, see kmip_supervised.py:
  script ACTION…   what is done with the next requests, one action each; forgets what was received
      answer:HEX       that message
      cut:HEX          those bytes, then the connection is closed
      close            closed without a byte
      trickle:HEX      a byte each 20 ms, for ever beginning anew
      hang             nothing, while the connection stays
  then-close ACTION…   the same, but the connection is closed after each answer
  tls MODE         for the next connections: 1.2, 1.3 (at the highest), 1.1, wrong-host, crl-1.2, crl-1.3 (revoked
                   client certificates are refused), silent (no handshake), http (plain text)
  requests         how many came since the last script
  operation N      the operation of the Nth of them (from 0), in hexadecimal
  connections      how many came since the last script
"""

import os
import socket
import ssl
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")  # that TLS 1.1 is out of date is the point of its mode
os.setsid()
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kmip_certificates  # noqa: E402
import kmip_supervised  # noqa: E402

HEADER = 8


class Script:
    """What is to be done and what was seen. `lock` guards all of it."""

    def __init__(self):
        self.lock = threading.Lock()
        self.actions = []
        self.closing = False
        self.requests = []
        self.connections = 0
        self.tls = "1.3"

    def set(self, *actions, closing=False):
        with self.lock:
            self.actions, self.closing, self.requests, self.connections = list(actions), closing, [], 0

    def set_closing(self, *actions):
        self.set(*actions, closing=True)

    def set_tls(self, mode):
        with self.lock:
            self.tls = mode

    def next(self, request):
        with self.lock:
            self.requests.append(request)
            return (self.actions.pop(0) if self.actions else "close"), self.closing


def context(directory, mode):
    name = "wrong-host" if mode == "wrong-host" else "server"
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(os.path.join(directory, name + ".pem"), os.path.join(directory, name + ".key"))
    made.load_verify_locations(os.path.join(directory, "ca.pem"))
    made.verify_mode = ssl.CERT_REQUIRED
    if mode in ("1.2", "crl-1.2"):
        made.maximum_version = ssl.TLSVersion.TLSv1_2
    if mode == "1.1":
        made.set_ciphers("ALL:@SECLEVEL=0")
        made.minimum_version = made.maximum_version = ssl.TLSVersion.TLSv1_1
    if mode.startswith("crl"):
        made.load_verify_locations(os.path.join(directory, "ca.crl"))
        made.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    return made


def receive(connection, size):
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def perform(connection, action):
    """False if the connection is to be closed."""
    name, _, argument = action.partition(":")
    data = bytes.fromhex(argument)
    if name == "answer":
        connection.sendall(data)
        return True
    if name == "cut":
        connection.sendall(data)
    if name == "hang":
        time.sleep(3600)
    while name == "trickle":
        for byte in data:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
    return False


def serve(directory, script, plain):
    try:
        with script.lock:
            script.connections += 1
            mode = script.tls
        if mode == "silent":
            time.sleep(3600)
        if mode == "http":
            plain.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return
        with context(directory, mode).wrap_socket(plain, server_side=True) as connection:
            goes_on = True
            while goes_on:
                header = receive(connection, HEADER)
                request = header + receive(connection, int.from_bytes(header[4:], "big"))
                action, closing = script.next(request)
                goes_on = perform(connection, action) and not closing
    except OSError:
        pass
    finally:
        plain.close()


def main():
    directory, port = sys.argv[1], int(sys.argv[2])
    kmip_certificates.make_all(directory, ["client"])
    script = Script()
    listener = socket.create_server(("127.0.0.1", port))

    def operation(index):
        request = script.requests[int(index)]
        at = request.index(bytes.fromhex("42005c0500000004")) + HEADER
        return "%x" % int.from_bytes(request[at:at + 4], "big")

    kmip_supervised.say("ready %d" % listener.getsockname()[1])
    kmip_supervised.supervise({"script": script.set, "then-close": script.set_closing, "tls": script.set_tls,
                               "requests": lambda: len(script.requests),
                               "connections": lambda: script.connections, "operation": operation})
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(directory, script, connection), daemon=True).start()


if __name__ == "__main__":
    main()
