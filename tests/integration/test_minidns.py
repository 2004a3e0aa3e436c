"""The name server of the tests answers as its zone says; what the other tests build upon."""
import socket
import struct
import subprocess
import sys

import minidns
import pytest

ZONE = """
# a domain with everything
a.example   MX      10 mx.a.example
a.example   MX/60   20 mx2.a.example
mx.a.example A      192.0.2.1
mx.a.example AAAA   2001:db8::1
alias.example CNAME a.example
*.wild.example A    192.0.2.7
long.example TXT    %s
bad.example SERVFAIL
half.example A      192.0.2.2
half.example REFUSED AAAA
gone.example SILENT
liar.example LIE
tcp.example TRUNCATE
tcp.example A       192.0.2.3
_submissions._tcp.a.example SRV 0 5 465 mx.a.example
""" % ("x" * 600)


def query(name, kind, number=7):
    return struct.pack("!HHHHHH", number, 0x0100, 1, 0, 0, 0) + minidns.wire_name(name) + struct.pack("!HH", minidns.TYPES[kind], 1)


def ask(name, kind, is_tcp=True):
    """(rcode, answers, truncated) straight from the zone."""
    reply = minidns.answer(minidns.Zone(ZONE), query(name, kind), is_tcp)
    if reply is None:
        return None
    number, flags, nquestions, nanswers, nauthority, _ = struct.unpack_from("!HHHHHH", reply)
    assert (number, flags & 0x8180, nquestions) == (7, 0x8180, 1)
    assert nauthority == (1 if nanswers == 0 and flags & 15 in (0, 3) and not flags & 0x0200 else 0)
    return flags & 15, nanswers, bool(flags & 0x0200)


@pytest.mark.parametrize("name, kind, expected", [
    ("A.Example", "MX", (0, 2, False)),
    ("alias.example", "MX", (0, 3, False)),
    ("mx.a.example", "AAAA", (0, 1, False)),
    ("a.example", "A", (0, 0, False)),
    ("example", "A", (0, 0, False)),
    ("none.example", "A", (3, 0, False)),
    ("x.wild.example", "A", (0, 1, False)),
    ("x.wild.example", "MX", (0, 0, False)),
    ("_submissions._tcp.a.example", "SRV", (0, 1, False)),
    ("bad.example", "MX", (2, 0, False)),
    ("half.example", "A", (0, 1, False)),
    ("half.example", "AAAA", (5, 0, False)),
    ("gone.example", "A", None),
])
def test_answers(name, kind, expected):
    assert ask(name, kind) == expected


def test_truncation():
    assert ask("long.example", "TXT", is_tcp=False) == (0, 0, True)
    assert ask("long.example", "TXT", is_tcp=True) == (0, 1, False)
    assert ask("tcp.example", "A", is_tcp=False) == (0, 0, True)
    assert ask("tcp.example", "A", is_tcp=True) == (0, 1, False)


def test_a_lie_is_about_another_name():
    reply = minidns.answer(minidns.Zone(ZONE), query("liar.example", "A"), False)
    assert minidns.read_question(reply)[0] != "liar.example"


@pytest.mark.parametrize("line", ["a.example", "a.example MX", "a.example MX mx", "a.example A ::1", "a.example A 1.2.3", "a.example LOC x", "a SILENT LOC"])
def test_bad_zones_are_refused(line):
    with pytest.raises(ValueError, match="zone line 1"):
        minidns.Zone(line)


@pytest.mark.parametrize("message", [b"", b"\0" * 11, b"\0" * 12, query("a.example", "A")[:-1], b"\0" * 12 + b"\xc0\x0c" + b"\0" * 8])
def test_broken_queries_get_no_answer(message):
    assert minidns.answer(minidns.Zone(ZONE), message, False) is None


def exchange(port, message):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        udp.sendto(message, ("127.0.0.1", port))
        return udp.recv(65535)


def test_both_transports_and_a_change_on_the_fly():
    with minidns.MiniDNS(ZONE) as dns:
        assert exchange(dns.port, query("mx.a.example", "A"))[-4:] == bytes([192, 0, 2, 1])
        with socket.create_connection(("127.0.0.1", dns.port), timeout=10) as tcp:
            message = query("tcp.example", "A")
            tcp.sendall(struct.pack("!H", len(message)) + message)
            length = struct.unpack("!H", tcp.recv(2, socket.MSG_WAITALL))[0]
            assert tcp.recv(length, socket.MSG_WAITALL)[-4:] == bytes([192, 0, 2, 3])
        assert dns.questions == [("mx.a.example", "A", "udp"), ("tcp.example", "A", "tcp")]
        dns.set_zone("mx.a.example A 192.0.2.9")
        assert exchange(dns.port, query("mx.a.example", "A"))[-4:] == bytes([192, 0, 2, 9])


def test_the_program_follows_its_file(tmp_path):
    zone = tmp_path / "zone"
    zone.write_text("a.example A 192.0.2.1\n")
    with subprocess.Popen([sys.executable, minidns.__file__, zone], stdout=subprocess.PIPE, text=True) as program:
        try:
            word, address, port = program.stdout.readline().split()
            assert (word, address) == ("listening", "127.0.0.1")
            assert exchange(int(port), query("a.example", "A"))[-4:] == bytes([192, 0, 2, 1])
            zone.write_text("a.example A 192.0.2.22\n")
            assert exchange(int(port), query("a.example", "A"))[-4:] == bytes([192, 0, 2, 22])
        finally:
            program.terminate()
