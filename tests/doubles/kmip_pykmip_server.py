#!/usr/bin/python3
"""PyKMIP's own server, as it is, for the tests: kmip_pykmip_server.py DIRECTORY PORT

DIRECTORY holds its certificates, database and log, and keeps them over restarts. PORT 0 takes a free one. Prints
"ready PORT". Who is known to it is asked of a user directory (PyKMIP's SLUGS connector), which the commands switch, so
that an administrator's decision takes effect while the server goes on.

Commands, see kmip_supervised.py. Those on keys go through PyKMIP's own client, over TLS, as the user of that name:
  create USER NAME [BITS]   an active AES key of 256 bits, which may encrypt and decrypt
  prepare USER NAME [BITS]  one that is not active yet
  activate USER ID
  revoke USER ID superseded|compromise
  destroy USER ID
  state USER ID
  deny, allow               everybody
"""

import http.server
import json
import logging
import os
import sys
import threading
import time
import warnings

warnings.simplefilter("ignore")
os.environ["NO_PROXY"] = "*"
os.setsid()

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import kmip_certificates  # noqa: E402
import kmip_supervised  # noqa: E402
from kmip.core import enums  # noqa: E402
from kmip.pie.client import ProxyKmipClient  # noqa: E402
from kmip.services.server.server import KmipServer  # noqa: E402

CLIENTS = ["user%d" % number for number in range(24)]
known = True


class UserDirectory(http.server.BaseHTTPRequestHandler):
    """Answers what PyKMIP's SLUGS connector asks: is there such a user, and which groups has it."""

    wbufsize = -1  # an answer in one segment: two would cost 40 ms, the peer's delayed acknowledgement

    def do_GET(self):
        body = json.dumps({}).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def allow():
    global known
    known = True


def deny():
    global known
    known = False


def main():
    directory, port = sys.argv[1], int(sys.argv[2])
    kmip_certificates.make_all(directory, CLIENTS)
    in_directory = lambda name: os.path.join(directory, name)  # noqa: E731

    users = http.server.ThreadingHTTPServer(("127.0.0.1", 0), UserDirectory)
    threading.Thread(target=users.serve_forever, daemon=True).start()

    os.makedirs(in_directory("policies"), exist_ok=True)
    with open(in_directory("server.conf"), "w") as conf:
        conf.write("\n".join([
            "[server]", "hostname=127.0.0.1", "port=5696", "certificate_path=" + in_directory("server.pem"),
            "key_path=" + in_directory("server.key"), "ca_path=" + in_directory("ca.pem"), "auth_suite=TLS1.2",
            "policy_path=" + in_directory("policies"), "enable_tls_client_auth=True", "logging_level=INFO",
            "database_path=" + in_directory("pykmip.db"),
            "[auth:slugs]", "enabled=True", "url=http://127.0.0.1:%d/" % users.server_port, ""]))
    with open(in_directory("client.conf"), "w") as conf:
        conf.write("[client]\n")
    server = KmipServer(config_path=in_directory("server.conf"), log_path=in_directory("server.log"))
    server.config.settings["port"] = port
    server.start()
    server._socket.listen(16)
    port = server._socket.getsockname()[1]
    logging.getLogger("kmip").propagate = False

    def as_user(user, action):
        with ProxyKmipClient(hostname="127.0.0.1", port=port, cert=in_directory(user + ".pem"),
                             key=in_directory(user + ".key"), ca=in_directory("ca.pem"),
                             ssl_version="PROTOCOL_TLSv1_2", config_file=in_directory("client.conf"),
                             kmip_version=enums.KMIPVersion.KMIP_1_4) as client:
            return action(client)

    # The client asks for both usages by itself.
    def prepare(user, name, bits="256"):
        return as_user(user, lambda client: client.create(enums.CryptographicAlgorithm.AES, int(bits), name=name))

    def activate(user, uid):
        as_user(user, lambda client: client.activate(uid))

    def create(user, name, *how):
        uid = prepare(user, name, *how)
        activate(user, uid)
        return uid

    def revoke(user, uid, reason):
        code = {"superseded": enums.RevocationReasonCode.SUPERSEDED,
                "compromise": enums.RevocationReasonCode.KEY_COMPROMISE}[reason]
        as_user(user, lambda client: client.revoke(code, uid, compromise_occurrence_date=int(time.time())
                                                   if reason == "compromise" else None))

    def destroy(user, uid):
        as_user(user, lambda client: client.destroy(uid))

    def state(user, uid):
        attributes = as_user(user, lambda client: client.get_attributes(uid, ["State"]))[1]
        return attributes[0].attribute_value.value.name

    kmip_supervised.say("ready %d" % port)
    kmip_supervised.supervise({"create": create, "prepare": prepare, "activate": activate, "revoke": revoke,
                               "destroy": destroy, "state": state, "allow": allow, "deny": deny})
    server.serve()


if __name__ == "__main__":
    main()
