"""Devices: XDEVICE, logging in by a token (HT-SHA-256-EXPR, schema/link.md), everything in one flight, listings and revoking."""
import base64
import hmac
import os
import re
import socket
import sqlite3
import struct

import pytest
from OpenSSL import SSL

from relay_support import EX_DATAERR, EX_USAGE, PATIENCE_S, make_message, wait_for

MECHANISM = "HT-SHA-256-EXPR"


@pytest.fixture
def relay(make_relay):
    relay = make_relay(conf=["login.failures_per_address = 3", "login.failures_per_account = 0"])
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


class Wire:
    """A client inside TLS that says whole flights, and knows what its channel is bound by (RFC 9266)."""

    def __init__(self, relay, version=SSL.TLS1_3_VERSION, session=None):
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        plain = socket.create_connection(relay.address("tls"), timeout=PATIENCE_S)
        plain.settimeout(None)  # the kernel minds the time: with a timeout of Python's, reads would only say "want read"
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", PATIENCE_S, 0))
        self.tls = SSL.Connection(context, plain)
        self.tls.set_connect_state()
        if session:
            self.tls.set_session(session)
        self.tls.do_handshake()
        self.exporter = self.tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        self.waiting = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.tls.sock_shutdown(socket.SHUT_RDWR)
        self.tls.close()

    def line(self):
        while b"\r\n" not in self.waiting:
            self.waiting += self.tls.recv(65536)
        line, self.waiting = self.waiting.split(b"\r\n", 1)
        return line.decode()

    def reply(self):
        """(code, text of the last line)"""
        while True:
            line = self.line()
            if line[3] == " ":
                return int(line[:3]), line[4:]

    def say(self, *lines, replies=None):
        self.tls.sendall("".join(f"{line}\r\n" for line in lines).encode())
        return [self.reply() for _ in range(len(lines) if replies is None else replies)]

    def proof(self, token, role):
        return hmac.digest(token, role + self.exporter, "sha256")

    def auth(self, device, token):
        return f"AUTH {MECHANISM} " + base64.b64encode(device.encode() + b"\0" + self.proof(token, b"Initiator")).decode()

    def login(self, device, token):
        """Greeting, EHLO, AUTH; the code of the last. A 235 must bring the relay's own proof."""
        (greeting, _), (hello, _), (code, text) = self.say("EHLO postern-agent", self.auth(device, token), replies=3)
        assert (greeting, hello) == (220, 250)
        if code == 235:
            assert text == "2.7.0 " + base64.b64encode(self.proof(token, b"Responder")).decode()
        return code

    def is_over(self):
        try:
            return not self.tls.recv(1)
        except (SSL.ZeroReturnError, SSL.SysCallError):
            return True


def test_the_vectors_of_the_specification():
    """schema/link.md against another implementation of HMAC and base64."""
    with open(os.path.join(os.path.dirname(__file__), "../../schema/link.md"), encoding="utf-8") as file:
        rows = {row.group(1): row.groups()[1:] for row in re.finditer(r"^\| ([^|]+) \| `([^`]+)` \| `([^`]+)` \|$", file.read(), re.M)}
    token = bytes(range(32))
    for i, exporter in enumerate((bytes(range(0x80, 0xa0)), b"\x01\x02\x00\xff")):
        initiator, responder = (hmac.digest(token, role + exporter, "sha256") for role in (b"Initiator", b"Responder"))
        assert rows["initiator"][i] == initiator.hex() and rows["responder"][i] == responder.hex()
        assert base64.b64decode(rows["AUTH's argument"][i]) == b"k3v9x2m8q4w7n5p1\0" + initiator
        assert base64.b64decode(rows["235's text"][i]) == responder


def xdevice(client, label="laptop"):
    code, text = client.docmd("XDEVICE", label)
    assert code == 250, text
    id, token = re.fullmatch(r"2\.0\.0 ([a-z2-9]{16}) (\S+)", text.decode()).groups()
    token = base64.b64decode(token, validate=True)
    assert len(token) == 32
    return id, token


def enrol(relay, label="laptop", user="anna", password="secret"):
    with relay.client(user=user, password=password) as client:
        assert "xdevice" in client.esmtp_features
        return xdevice(client, label)


def flight(wire, device, token, message=None):
    """All that a message needs, in one piece, as an agent sends it before it has heard anything; gives the codes."""
    message = message or make_message()
    commands = ["EHLO postern-agent", wire.auth(device, token), f"MAIL FROM:<anna@example.org> SIZE={len(message)}", "RCPT TO:<bob@dest.example>",
                f"BDAT {len(message)} LAST"]
    wire.tls.sendall("".join(f"{command}\r\n" for command in commands).encode() + message)
    return [wire.reply() for _ in range(6)]


def test_a_device_sends_in_one_flight(relay):
    id, token = enrol(relay, "Anna's+20laptop+20+C3+A4")
    with Wire(relay) as wire:
        replies = flight(wire, id, token)
        assert [code for code, _ in replies] == [220, 250, 235, 250, 250, 250], replies
        assert replies[2][1] == "2.7.0 " + base64.b64encode(wire.proof(token, b"Responder")).decode()
        assert "queued as" in replies[5][1]
    relay.wait_log("auth", result="ok", user="anna", device=id, mechanism=MECHANISM)
    relay.wait_log("message-queued", user="anna")
    enrolled = relay.wait_log("device-enrolled", user="anna", device=id)
    assert enrolled["label"] == "Anna's laptop ä"
    log = "\n".join(relay.log_lines)
    assert base64.b64encode(token).decode() not in log and token.hex() not in log
    [device] = relay.json("device", "list")
    assert (device["id"], device["account"], device["label"]) == (id, "anna", "Anna's laptop ä")
    assert device["created"] == device["seen"]  # it is kept to the hour


def test_what_is_wrong_hears_the_same(relay):
    id, token = enrol(relay)
    answers = set()
    other = bytes([token[0] ^ 1]) + token[1:]
    for device, guess in ((id, other), ("nobody", token), ("a" * 200, token), (id.upper(), token)):
        with Wire(relay) as wire:
            answers.add(tuple(wire.say("EHLO x", wire.auth(device, guess), replies=3)[2]))
    assert len(answers) == 1 and answers.pop()[0] == 535


def test_a_proof_of_another_channel_is_refused(relay):
    id, token = enrol(relay)
    with Wire(relay) as mine, Wire(relay) as his:
        command = mine.auth(id, token)
        assert his.say("EHLO x", command, replies=3)[2][0] == 535
        assert mine.say("EHLO x", command, replies=3)[2][0] == 235


def test_a_resumed_channel_has_a_binding_of_its_own(relay):
    id, token = enrol(relay)
    with Wire(relay) as first:
        assert first.login(id, token) == 235
        ticket, command = first.tls.get_session(), first.auth(id, token)
    for line, code in ((command, 535), (None, 235)):
        with Wire(relay, session=ticket) as wire:
            assert SSL._lib.SSL_session_reused(wire.tls._ssl) == 1
            assert wire.say("EHLO x", line or wire.auth(id, token), replies=3)[2][0] == code


def test_a_flood_of_guesses_slows_no_device(relay):
    """The address is full of wrong passwords and tokens: nobody else is heard from there, the enrolled laptop is."""
    id, token = enrol(relay)
    relay.add_account("ben", "secret", "ben@example.org")
    for _ in range(4):
        with Wire(relay) as wire:
            assert wire.login("nobody", token) == 535
    with relay.client() as client:
        client.ehlo()
        client.user, client.password = "ben", "secret"
        code, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0ben\0secret").decode())
        assert code == 454
    with Wire(relay) as wire:
        assert wire.login(id, token) == 235


def test_a_refused_flight_leaves_the_session(relay):
    id, token = enrol(relay)
    with Wire(relay) as wire:
        replies = flight(wire, id, bytes(32), b"QUIT\r\n" * 50)
        assert [code for code, _ in replies] == [220, 250, 535, 530, 503, 503], replies
        assert wire.say("AUTH PLAIN " + base64.b64encode(b"\0anna\0secret").decode())[0][0] == 235
        assert [code for code, _ in wire.say("MAIL FROM:<anna@example.org>", "NOOP")] == [250, 250]


def test_one_device_a_session_and_none_by_token(relay):
    with relay.client(user="anna", password="secret") as client:
        id, token = xdevice(client)
        assert client.docmd("XDEVICE", "again")[0] == 503
    with Wire(relay) as wire:
        assert wire.login(id, token) == 235
        assert wire.say("XDEVICE another")[0][0] == 503
    assert len(relay.json("device", "list")) == 1


def test_without_the_exporter_there_is_no_token_to_use(relay):
    id, token = enrol(relay)
    with Wire(relay, SSL.TLS1_2_VERSION) as wire:
        wire.reply()
        wire.tls.sendall(b"EHLO x\r\n")
        lines = [wire.line()]
        while lines[-1][3] == "-":
            lines.append(wire.line())
        [offer] = [line for line in lines if "AUTH" in line]
        assert "SCRAM-SHA-256-PLUS" in offer and MECHANISM not in offer
        assert wire.say(wire.auth(id, token))[0][0] == 504


def test_revoking_ends_its_sessions(relay):
    (mine, my_token), (stolen, its_token) = enrol(relay, "mine"), enrol(relay, "stolen")
    with Wire(relay) as wire, Wire(relay) as other:
        assert wire.login(stolen, its_token) == 235 and other.login(mine, my_token) == 235
        assert [code for code, _ in wire.say("MAIL FROM:<anna@example.org>", "RSET")] == [250, 250]
        assert relay.run("device", "revoke", stolen).stdout == f"{stolen}: done\n"
        code, text = wire.say("MAIL FROM:<anna@example.org>")[0]
        assert code == 421 and "revoked" in text
        assert wire.is_over()
        assert other.say("MAIL FROM:<anna@example.org>")[0][0] == 250
    with Wire(relay) as wire:
        assert wire.login(stolen, its_token) == 535
    done = relay.run("device", "revoke", stolen, mine, check=False)
    assert done.returncode == EX_DATAERR and f"no device {stolen}" in done.stderr and f"{mine}: done" in done.stdout
    assert relay.json("device", "list") == []


def test_a_revoked_device_is_told_nothing_any_more(relay):
    """XOUTCOME looks at the account as MAIL does."""
    (mine, my_token), (stolen, its_token) = enrol(relay, "mine"), enrol(relay, "stolen")
    with Wire(relay) as wire, Wire(relay) as other, relay.client(user="anna", password="secret") as person:
        assert wire.login(stolen, its_token) == 235 and other.login(mine, my_token) == 235
        assert wire.say("XOUTCOME <a@laptop.example>")[0][0] == 550
        relay.run("device", "revoke", stolen)
        code, text = wire.say("XOUTCOME <a@laptop.example>")[0]
        assert code == 421 and "revoked" in text
        assert wire.is_over()
        assert [code for code, _ in other.say("XOUTCOME <a@laptop.example>", "MAIL FROM:<anna@example.org>", "RSET", "XOUTCOME <a@laptop.example>")] == [550, 250, 250, 550]
        relay.run("account", "disable", "anna")
        assert person.docmd("XOUTCOME", "<a@laptop.example>")[0] == 421
        assert other.say("XOUTCOME <a@laptop.example>")[0][0] == 421
        person.close()


def test_a_new_password_shuts_devices_out(relay):
    relay.add_account("ben", "secret", "ben@example.org")
    (id, token), (bens, bens_token) = enrol(relay), enrol(relay, user="ben")
    with Wire(relay) as wire, relay.client(user="anna", password="secret") as thief:
        assert wire.login(id, token) == 235
        relay.run("account", "passwd", "anna", stdin="better\n")
        assert wire.say("MAIL FROM:<anna@example.org>")[0][0] == 421
        thief.docmd("RSET")
        code, text = thief.docmd("XDEVICE", "thief")  # the password that it proved is the password no more
        assert code == 421 and b"log in again" in text
        thief.close()
    with Wire(relay) as wire:
        assert wire.login(id, token) == 535
    with Wire(relay) as wire:
        assert wire.login(bens, bens_token) == 235
    assert [device["id"] for device in relay.json("device", "list")] == [bens]


def test_a_look_at_the_account_proves_no_password(relay):
    """MAIL makes a session look its account up again; what it may enrol still hangs on the password that it proved."""
    with relay.client(user="anna", password="secret") as thief:
        relay.run("account", "passwd", "anna", stdin="better\n")
        assert thief.docmd("MAIL", "FROM:<anna@example.org>")[0] == 250
        thief.docmd("RSET")
        assert thief.docmd("XDEVICE", "thief")[0] == 421
        thief.close()
    assert relay.json("device", "list") == []


def test_disabled_and_removed_accounts(relay):
    id, token = enrol(relay)
    relay.run("account", "disable", "anna")
    with Wire(relay) as wire:
        assert wire.login(id, token) == 525
    relay.run("account", "enable", "anna")
    with Wire(relay) as wire:
        assert wire.login(id, token) == 235
        relay.run("account", "remove", "anna")
        assert wire.say("MAIL FROM:<anna@example.org>")[0][0] == 421
    with Wire(relay) as wire:
        assert wire.login(id, token) == 535
    assert relay.json("device", "list") == []


def test_the_stalest_of_many_goes(relay):
    devices = [enrol(relay, f"number+20{i}") for i in range(33)]
    assert [device["id"] for device in relay.json("device", "list")] == sorted((id for id, _ in devices[1:]), key=[id for id, _ in devices].index)
    relay.wait_log("device-dropped", user="anna", device=devices[0][0])
    with Wire(relay) as wire:
        assert wire.login(*devices[0]) == 535
    with Wire(relay) as wire:
        assert wire.login(*devices[1]) == 235


def test_listing_and_revoking_without_a_relay(relay):
    relay.add_account("ben", "secret", "ben@example.org")
    (annas, token), (bens, _) = enrol(relay), enrol(relay, "Ben's+20box", user="ben")
    relay.stop()
    assert [device["id"] for device in relay.json("device", "list")] == [annas, bens]
    assert [device["id"] for device in relay.json("device", "list", "--account", "BEN")] == [bens]
    shown = relay.run("device", "list", "--account", "ben").stdout
    assert bens in shown and "Ben's box" in shown and annas not in shown
    assert "no devices" in relay.run("device", "list", "--account", "carol").stdout
    assert relay.run("device", "list", "--account", "not a name", check=False).returncode == EX_USAGE
    assert relay.run("device", "revoke", check=False).returncode == EX_USAGE
    assert relay.run("device", "revoke", bens).returncode == 0
    database = sqlite3.connect(relay.path("relay.db"))
    database.execute("UPDATE device SET seen_at = 1000")
    database.commit()
    database.close()
    relay.start()
    with Wire(relay) as wire:
        assert wire.login(annas, token) == 235
    def seen():
        [device] = relay.json("device", "list")
        return not device["seen"].startswith("1970") and device["seen"] >= device["created"]
    wait_for(seen, lambda: f"the device being seen; there is {relay.json('device', 'list')}")
