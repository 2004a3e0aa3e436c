"""The lab itself: each verb does to a connection what it says. No program of ours takes part."""
import json
import os
import socket
import ssl

import pytest

from netlab import RELAY_ADDRESSES

# A mail server that greets and answers whatever is said as if it were EHLO.
SERVER = """
import socket, socketserver, sys
class Greeter(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 relay.example ESMTP\\r\\n")
        while self.request.recv(1000):
            self.request.sendall(b"250-relay.example\\r\\n250-PIPELINING\\r\\n250 STARTTLS\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True
server = Server(("::", 587), Greeter)
print("ready", flush=True)
server.serve_forever()
"""
# Connects, hears the greeting (unless told to speak first), says EHLO, hears the answer; prints [trouble or null, all it heard, ms to connect].
CLIENT = """
import errno, json, socket, sys, time
address, port, speaks_first = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "True"
trouble, heard, began = None, "", time.monotonic()
try:
    client = socket.create_connection((address, port), 0.7)
    ms = (time.monotonic() - began) * 1000
    client.settimeout(1.0)
    heard = "" if speaks_first else client.recv(1000).decode()
    client.sendall(b"EHLO laptop\\r\\n")
    heard += client.recv(1000).decode()
except OSError as error:
    ms = (time.monotonic() - began) * 1000
    trouble = "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error))
print(json.dumps([trouble, heard, ms]))
"""
GREETING = "220 relay.example ESMTP\r\n"


@pytest.fixture(scope="module")
def server(lab):
    return lab.relay.start(["/usr/bin/python3", "-c", SERVER], ready=b"ready")


def dial(lab, family=4, port=587, speaks_first=False):
    address = RELAY_ADDRESSES[0 if family == 4 else 1]
    return json.loads(lab.laptop.run(["/usr/bin/python3", "-c", CLIENT, address, str(port), str(speaks_first)]).stdout)


@pytest.fixture(autouse=True)
def fresh(lab, server):
    lab.roam("hotel")
    lab.open_all()


@pytest.mark.parametrize("family", [4, 6])
def test_open(lab, family):
    assert dial(lab, family)[:2] == [None, GREETING + "250-relay.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("verb,trouble", [("drop", "timeout"), ("reject", "ECONNREFUSED"), ("unreachable", "EHOSTUNREACH or EACCES")])
def test_shut(lab, verb, trouble, family):
    getattr(lab, verb)(587)
    assert dial(lab, family)[0] in trouble.split(" or ")
    lab.open(587)
    assert dial(lab, family)[0] is None


def test_only_one_port(lab):
    lab.only(465)
    assert dial(lab, port=587)[0] == "timeout"
    assert dial(lab, port=465)[0] == "ECONNREFUSED"     # nobody listens, and that is heard


@pytest.mark.parametrize("family", [4, 6])
def test_strip_starttls(lab, family):
    lab.strip_starttls(587)
    assert dial(lab, family)[1] in (GREETING, GREETING + "250-relay.example\r\n250 PIPELINING\r\n")
    assert lab.heard(587) == b"EHLO laptop\r\n"


def test_strip_starttls_leaves_the_rest(lab):
    lab.strip_starttls(587)
    assert dial(lab)[1].endswith("250-relay.example\r\n250 PIPELINING\r\n")


def test_mask_starttls(lab):
    lab.mask_starttls(587)
    assert dial(lab)[1].endswith("250-PIPELINING\r\n250 XXXXXXXA\r\n")


def test_foreign_banner(lab):
    lab.foreign_banner(587)
    assert dial(lab)[1].startswith("SSH-2.0-")


def test_captive_answers_where_nobody_listens(lab):
    lab.captive()
    for family in (4, 6):
        assert dial(lab, family, port=2525, speaks_first=True)[1].startswith("HTTP/1.1 302")
        assert dial(lab, family, port=2525)[1] == ""     # who waits for a greeting waits in vain


def test_mitm_has_the_name_but_not_the_key(lab):
    lab.mitm(465)
    talk = ("import socket, ssl\ncontext = ssl.create_default_context(cafile=%r)\n"
            "client = context.wrap_socket(socket.create_connection((%r, 465), 2), server_hostname='relay.example')\n"
            "client.sendall(b'AUTH PLAIN secret\\r\\nQUIT\\r\\n')\nwhile client.recv(1000): pass\n")
    lab.laptop.run(["/usr/bin/python3", "-c", talk % (lab.foreign_certificate(), RELAY_ADDRESSES[0])])
    assert lab.heard(465) == b"AUTH PLAIN secret\r\nQUIT\r\n"


def test_break_ipv6(lab):
    lab.break_ipv6()
    assert dial(lab, 6)[0] == "timeout"
    assert dial(lab, 4)[0] is None


@pytest.mark.parametrize("family", [4, 6])
def test_latency_delays_the_handshake(lab, family):
    lab.latency(80)
    trouble, heard, ms = dial(lab, family)
    assert trouble is None and heard.startswith(GREETING)
    assert ms >= 80, "a SYN and its answer pass the wire too"


def test_large_segments_pass_the_wire_whole(lab):
    """Offloaded segments of 64 KiB and unfinished checksums arrive as they left."""
    receive = ("import hashlib, os, socket\nlistener = socket.create_server(('0.0.0.0', 4000))\nprint('ready', flush=True)\n"
            "connection = listener.accept()[0]\nsum = hashlib.sha256()\nwhile octets := connection.recv(1 << 20): sum.update(octets)\n"
            "print(sum.hexdigest(), flush=True)\n")
    receiver = lab.relay.start(["/usr/bin/python3", "-c", receive], ready=b"ready")
    lab.latency(10)
    done = lab.laptop.run(["/usr/bin/python3", "-c", "import hashlib, os, socket\noctets = os.urandom(8 << 20)\n"
                           f"client = socket.create_connection(('{RELAY_ADDRESSES[0]}', 4000))\nclient.sendall(octets)\nclient.close()\n"
                           "print(hashlib.sha256(octets).hexdigest())"])
    assert receiver.next_line().decode() == done.stdout.strip()


def test_roaming_changes_the_address(lab):
    def address():
        return lab.laptop.run(["ip", "-4", "-o", "addr", "show", "wlan0"]).stdout.split()[3]
    at_hotel = address()
    lab.roam("cafe")
    assert address() != at_hotel
    assert dial(lab)[0] is None


def test_radio_off_and_on(lab):
    lab.radio_off()
    assert dial(lab)[0] == "ENETUNREACH"
    lab.radio_on()
    assert dial(lab, 4)[0] is None and dial(lab, 6)[0] is None


def test_nothing_of_this_machine_is_reachable(lab):
    """The hosts have a loopback of their own: a server of this machine cannot be met by mistake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        probe = f"import socket; socket.create_connection(('127.0.0.1', {listener.getsockname()[1]}), 1)"
        done = lab.laptop.run(["/usr/bin/python3", "-c", probe], check=False)
    assert "ConnectionRefusedError" in done.stderr


def test_the_foreign_certificate_is_self_signed(lab):
    with open(lab.foreign_certificate(), encoding="ascii") as file:
        assert ssl.PEM_cert_to_DER_cert(file.read().split("-----BEGIN PRIVATE KEY-----")[0].strip())
    assert os.path.commonpath([lab.foreign_certificate(), lab.folder]) == lab.folder
