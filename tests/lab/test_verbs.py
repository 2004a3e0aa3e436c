"""More of what networks do, verb by verb, and what the wire remembers of it. No program of ours takes part."""
import json
import re
import time

import pytest

import capture
import tools
from hosts import Failed
from netlab import RELAY, RELAY_ADDRESSES

PYTHON = "/usr/bin/python3"
# Servers on the relay's host: 443 speaks TLS and echoes, 4000 echoes, 587 is a mail server with STARTTLS that knows nothing else.
SERVERS = """
import socket, socketserver, ssl, sys, threading
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1])
context.set_alpn_protocols(["smtp", "http/1.1"])
class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while octets := self.request.recv(65536):
            self.request.sendall(octets)
class SecretEcho(Echo):
    def setup(self):
        self.request = context.wrap_socket(self.request, server_side=True)
class Mail(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.sendall(b"220 relay.example ESMTP\\r\\n")
        while line := self.request.recv(1000):
            known = line[:4] in (b"EHLO", b"STAR")
            self.request.sendall(b"250-relay.example\\r\\n250 STARTTLS\\r\\n" if known else b"500 5.5.2 What?\\r\\n")
class Server(socketserver.ThreadingTCPServer):
    address_family, allow_reuse_address, daemon_threads = socket.AF_INET6, True, True
    def handle_error(self, *_): pass
for port, handler in ((443, SecretEcho), (4000, Echo), (587, Mail)):
    threading.Thread(target=Server(("::", port), handler).serve_forever).start()
print("ready", flush=True)
"""
# Says some octets to ADDRESS:PORT, over TLS with ALPN when one is named, and waits for as many: prints trouble, or how many came and after how many ms.
TALK = """
import errno, json, socket, ssl, sys, time
address, port, octets, alpn, patience = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], float(sys.argv[5])
began, heard = time.monotonic(), 0
try:
    client = socket.create_connection((address, port), patience)
    client.settimeout(patience)
    if alpn:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols([alpn])
        client = context.wrap_socket(client)
    client.sendall(b"x" * octets)
    while heard < octets and (n := len(client.recv(65536))): heard += n
    trouble = None if heard == octets else "closed"
except OSError as error:
    trouble = "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno, str(error))
print(json.dumps([trouble, heard, (time.monotonic() - began) * 1000]))
"""


@pytest.fixture(scope="module")
def servers(lab):
    return lab.relay.start([PYTHON, "-c", SERVERS, lab.foreign_certificate()], ready=b"ready")


@pytest.fixture(autouse=True)
def fresh(lab, servers):
    lab.roam("hotel")
    lab.calm()
    lab.forget_captures()
    yield
    lab.calm()


def talk(lab, port=4000, octets=100, alpn="", address=RELAY_ADDRESSES[0], patience=0.7):
    return json.loads(lab.laptop.run([PYTHON, "-c", TALK, address, port, octets, alpn, patience]).stdout)


def look_up(lab, name=RELAY):
    done = lab.laptop.run([PYTHON, "-c", "import socket, sys\ntry: print(*sorted({i[4][0] for i in socket.getaddrinfo(sys.argv[1], 465)}))\n"
                                         "except OSError as e: print(e.args[0] == socket.EAI_NONAME and 'none' or 'fails')", name])
    return done.stdout.split()


# ---- connections

def test_reset_after_so_many_octets(lab):
    lab.reset_after(1000, 4000)
    assert talk(lab, octets=900)[:2] == [None, 900]
    assert talk(lab, octets=50000)[0] == "ECONNRESET"


def test_reset_after_meets_standing_connections(lab):
    hold = (f"import socket\nc = socket.create_connection(({RELAY_ADDRESSES[0]!r}, 4000), 3)\n"
            "c.sendall(b'x'); c.recv(1); print('stands', flush=True)\ninput()\n"
            "try:\n c.sendall(b'y' * 5000)\n while c.recv(5000): pass\nexcept OSError as e: print(type(e).__name__, flush=True)\n")
    client = lab.laptop.start([PYTHON, "-c", hold], ready=b"stands", takes_orders=True)
    lab.reset_after(1000, 4000)
    client.popen.stdin.write(b"\n")
    client.popen.stdin.flush()
    assert client.next_line() == b"ConnectionResetError"


def test_tls_block_lets_the_rest_pass(lab):
    lab.tls_block(443, 4000)
    assert talk(lab)[0] is None
    assert talk(lab, 443, alpn="smtp")[0] == "timeout"


@pytest.mark.parametrize("alpn,passes", [("smtp", False), ("http/1.1", True)])
def test_alpn_filter(lab, alpn, passes):
    lab.alpn_filter(443)
    assert (talk(lab, 443, alpn=alpn)[0] is None) == passes


def test_refuse_starttls(lab):
    lab.refuse_starttls(587)
    talk_smtp = (f"import socket\nc = socket.create_connection(({RELAY_ADDRESSES[0]!r}, 587), 2)\nprint(c.recv(999))\n"
                 "for line in (b'EHLO x', b'STARTTLS'):\n c.sendall(line + b'\\r\\n'); print(c.recv(999))\n")
    assert lab.laptop.run([PYTHON, "-c", talk_smtp]).stdout.splitlines()[1:] == [
        repr(b"250-relay.example\r\n250 STARTTLS\r\n"), repr(b"454 4.7.0 TLS not available\r\n")]


def test_mtu_hole(lab):
    lab.mtu_hole(600, 4000)
    assert talk(lab, octets=400)[0] is None
    assert talk(lab, octets=5000)[0] == "timeout"
    assert talk(lab, 443, octets=5000, alpn="smtp")[0] is None


# ---- the line

def test_cut_and_mend(lab):
    lab.cut()
    assert talk(lab)[0] == "timeout"
    lab.mend()
    assert talk(lab)[0] is None


def test_rate(lab):
    lab.rate(800)       # 100,000 octets a second
    trouble, heard, ms = talk(lab, octets=30000, patience=5)
    assert (trouble, heard) == (None, 30000)
    assert ms >= 300


@pytest.mark.long
def test_loss(lab):
    lab.loss(100)
    assert talk(lab)[0] == "timeout"
    lab.loss(10)
    assert talk(lab, octets=100000, patience=10)[0] is None


def test_one_family_only(lab):
    lab.ipv6_only()
    assert talk(lab)[0] == "ENETUNREACH" and talk(lab, address=RELAY_ADDRESSES[1])[0] is None
    assert look_up(lab) == sorted(RELAY_ADDRESSES)
    lab.ipv4_only()
    assert talk(lab)[0] is None and talk(lab, address=RELAY_ADDRESSES[1])[0] == "ENETUNREACH"
    assert look_up(lab) == sorted(RELAY_ADDRESSES)


# ---- names, portals, proxies

@pytest.mark.parametrize("how,answer", [("honest", sorted(RELAY_ADDRESSES)), ("nxdomain", ["none"]), ("servfail", ["fails"])])
def test_names(lab, how, answer):
    lab.hijack_dns(how)
    assert look_up(lab) == answer


def test_a_portals_names(lab):
    lab.hijack_dns("portal")
    assert look_up(lab) == look_up(lab, "www.example") == [lab.venue.gateways[0]]


def test_a_silent_resolver(lab):
    lab.hijack_dns("silent")
    with open(lab.laptop.resolver_file, "a", encoding="ascii") as file:
        file.write("options timeout:1 attempts:1\n")
    assert look_up(lab) == ["fails"]


@pytest.mark.parametrize("tls,clear,secret", [("page", "http", "fails"), ("certificate", "none", "http"), ("silent", "none", "fails"), ("pass", "none", "echo")])
def test_captive(lab, tls, clear, secret):
    """What 443 does to who speaks in the clear, and inside TLS; 80 is the portal's always, names too."""
    lab.captive(tls)
    ask = ("import socket, ssl, sys\ntry:\n c = socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.7); c.settimeout(0.7)\n"
           " if sys.argv[3]:\n  x = ssl.create_default_context(); x.check_hostname = False; x.verify_mode = ssl.CERT_NONE; c = x.wrap_socket(c)\n"
           " c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); said = c.recv(999)\n print('http' if b'302' in said else 'echo' if said[:3] == b'GET' else 'none')\n"
           "except OSError: print('none' if not sys.argv[3] else 'fails')\n")

    def met(port, is_secret=""):
        return lab.laptop.run([PYTHON, "-c", ask, RELAY_ADDRESSES[0], port, is_secret]).stdout.strip()

    assert met(80) == met(4000) == "http" and look_up(lab) == [lab.venue.gateways[0]]
    assert (met(443), met(443, "tls")) == (clear, secret)
    lab.login()
    assert talk(lab)[0] is None and look_up(lab) == sorted(RELAY_ADDRESSES)


CONNECT = ("import base64, socket, sys\nc = socket.create_connection((sys.argv[1], 3128), 3)\n"
           "word = base64.b64encode(sys.argv[3].encode()).decode()\n"
           "c.sendall(f'CONNECT relay.example:{sys.argv[2]} HTTP/1.1\\r\\nHost: relay.example\\r\\nProxy-Authorization: Basic {word}\\r\\n\\r\\n'.encode())\n"
           "print(c.recv(999).split()[1].decode())\n")


def test_http_proxy_only(lab):
    lab.proxy_only("http", "anna", "secret")

    def connect(port, credentials):
        return lab.laptop.run([PYTHON, "-c", CONNECT, lab.venue.gateways[0], port, credentials]).stdout.strip()

    assert talk(lab)[0] == "timeout"
    assert (connect(443, "anna:secret"), connect(443, "anna:wrong"), connect(587, "anna:secret")) == ("200", "401", "403")


def test_socks_proxy_only(lab):
    lab.proxy_only("socks")
    greet = f"import socket\nc = socket.create_connection(({lab.venue.gateways[0]!r}, 1080), 3)\nc.sendall(b'\\x05\\x01\\x00')\nprint(c.recv(9).hex())\n"
    assert lab.laptop.run([PYTHON, "-c", greet]).stdout.strip() == "0500"
    assert talk(lab)[0] == "timeout"


# ---- sleep

def test_sleep_and_wake(lab):
    clock = "import time\nwhile True: print(time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC), flush=True); time.sleep(0.02)\n"
    sleeper = lab.laptop.start(["env", *lab.sleeper_environment(), PYTHON, "-c", clock])
    before = float(sleeper.next_line())
    lab.sleep(sleeper)
    time.sleep(0.2)
    while sleeper.has_said_more():
        sleeper.next_line()
    with pytest.raises(Failed):
        sleeper.next_line(within_s=0.3)
    assert talk(lab)[0] == "timeout"    # the machine is asleep
    lab.wake(3600)
    assert talk(lab)[0] is None
    assert 3590 < float(sleeper.next_line()) - before < 3610
    sleeper.kill()


# ---- what the wire remembers

def test_flights_are_counted(lab):
    """A SYN, then five questions, each asked after the answer to the one before."""
    lab.latency(60)
    ask = (f"import socket\nc = socket.create_connection(({RELAY_ADDRESSES[1]!r}, 4000), 3)\n"
           "c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)\n"
           "for i in range(5):\n for part in (b'one', b'two'): c.sendall(part)\n heard = b''\n while len(heard) < 6: heard += c.recv(9)\nc.close()\n")
    lab.laptop.run([PYTHON, "-c", ask])
    connection, = capture.read(lab.captures())
    assert connection.flights(0.06) == 6
    assert connection.said == b"onetwo" * 5 and connection.heard == 30
    assert connection.laptop_fin_at and not connection.ended_rudely


def test_a_rude_end_is_noticed(lab):
    rude = (f"import socket, struct\nc = socket.create_connection(({RELAY_ADDRESSES[0]!r}, 4000), 3)\n"
            "c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0)); c.close()\n")
    lab.laptop.run([PYTHON, "-c", rude])
    connection, = capture.read(lab.captures())
    assert connection.ended_rudely


@pytest.mark.long
def test_lost_and_repeated_octets_are_told_once(lab):
    lab.loss(20)
    assert talk(lab, octets=40000, patience=20)[0] is None
    connection = capture.read(lab.captures())[-1]
    assert connection.said == b"x" * 40000


@pytest.mark.long
def test_unanswered_syns_are_seen(lab):
    lab.drop(4000)
    assert talk(lab, patience=1.5)[0] == "timeout"
    connection, = capture.read(lab.captures())
    assert len(connection.syns) == 2 and not connection.is_established


def test_every_verb_is_in_the_manual():
    """The list at the top of netlab.py has all that a scenario can say of a network."""
    import netlab
    import scenario
    listed = set(re.findall(r"lab\.(\w+)\(", netlab.__doc__))
    assert set(scenario.NETWORK) <= listed
    assert tools.wire().endswith("wire")
