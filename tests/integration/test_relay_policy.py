"""What the relay takes: from nobody without a login, only in the sender's own name, and only what is a message."""
import email
import email.policy
import re
import smtplib
import socket

import pytest

from relay_support import PATIENCE_S, expect, make_message, submit, wait_for


@pytest.fixture
def sink(make_sink):
    return make_sink()


@pytest.fixture
def relay(make_relay, sink):
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\nexample.org A {sink.host}\n", mx_port=sink.port)
    relay.add_account("anna", "secret", "anna@example.org", "@example.net")
    return relay


# Ways in which open relays were tricked, after the well-known lists.
RECIPIENTS = [
    "bob@dest.example", "bob%dest.example@relay.example", "bob%dest.example", "bob%dest.example@[127.0.0.1]", '"bob@dest.example"', '"bob%dest.example"',
    "bob@dest.example@relay.example", '"bob@dest.example"@relay.example', "bob@dest.example@[127.0.0.1]", "@relay.example:bob@dest.example",
    "@[127.0.0.1]:bob@dest.example", "dest.example!bob", "dest.example!bob@relay.example", "dest.example!bob@[127.0.0.1]", "postmaster",
]
SENDERS = ["", "anna@example.org", "postmaster@relay.example", "root@localhost", "spam@[127.0.0.1]", "@"]


@pytest.mark.parametrize("mode", ["tls", "starttls"])
@pytest.mark.parametrize("is_secured", [True, False])
def test_nobody_relays_without_a_login(relay, mode, is_secured):
    host, port = relay.address(mode)
    if mode == "tls" and not is_secured:
        pytest.skip("a TLS port speaks TLS")
    for sender in SENDERS:
        for recipient in RECIPIENTS:
            client = relay.client(mode) if is_secured else smtplib.SMTP(host, port, timeout=PATIENCE_S)
            with client:
                client.ehlo()
                code, text = client.docmd(f"MAIL FROM:<{sender}>")
                assert code in (501, 530, 553), (sender, code, text)
                code, text = client.docmd(f"RCPT TO:<{recipient}>")
                assert code in (501, 503, 530), (recipient, code, text)
                code, text = client.docmd("DATA")
                assert code in (503, 530, 554), (code, text)
                break  # the other recipients need no sender, see below
        with (relay.client(mode) if is_secured else smtplib.SMTP(host, port, timeout=PATIENCE_S)) as client:
            client.ehlo()
            for recipient in RECIPIENTS[:10]:
                code, _ = client.docmd(f"RCPT TO:<{recipient}>")
                assert code >= 500
    assert relay.queue("--all") == []


def test_senders(relay):
    with relay.client(user="anna", password="secret") as client:
        for sender in ("anna@example.org", "ANNA@EXAMPLE.ORG", "whoever@example.net", '"anna"@example.org'):
            expect(client.mail(sender), 250)
            client.rset()
        for sender in ("bob@example.org", "anna@sub.example.org", "x@sub.example.net", "anna@example.com", "anna@example.org@example.net"):
            code, text = client.mail(sender)
            assert code in (501, 550, 553), (sender, code, text)
            client.rset()
        words = expect(client.mail("bob@example.org"), 550, "5.7.1")
        assert "anna" in words and "anna@example.org" in words and "@example.net" in words and "bob@example.org" in words


def test_the_empty_sender_reaches_only_oneself(relay, sink):
    with relay.client(user="anna", password="secret") as client:
        expect(client.mail(""), 250)
        expect(client.rcpt("bob@dest.example"), 550, "5.7.1")
        expect(client.rcpt("anna@example.org"), 250)
        expect(client.data(make_message("anna@example.org", "anna@example.org")), 250)
    assert sink.wait_message(to=["anna@example.org"]).sender in ("", None, "<>")


FROM_FIELDS = [
    ("From: anna@example.org", 250), ("From: Anna <anna@example.org>", 250), ("From: =?utf-8?q?B=C3=B6b?= <anna@example.org>", 250),
    ("from: anna@example.org", 250), ("From: a@example.net, anna@example.org\r\nSender: anna@example.org", 250), ("From:\r\n anna@example.org", 250),
    ("From: bob@example.org", 550), ("From: anna@example.org, bob@dest.example\r\nSender: anna@example.org", 550), ("From: Bob <bob@dest.example>", 550),
    ('From: "anna@example.org" <bob@dest.example>', 550), ("From: anna@example.org\r\nFrom: bob@dest.example", 554), ("From: bob@dest.example\r\nFrom: anna@example.org", 554),
    ("From: anna@example.org (bob) <bob@dest.example>", 554), ("From: <anna@example.org> <bob@dest.example>", 554), ("From: friends: bob@dest.example;", 550),
    ("From : bob@dest.example", 550), ("From: anna@example.org\0", 554), ("From: =?utf-8?q?anna=40example.org?=", 554), ("From: @dest.example:anna@example.org", 554), ("X-From: bob", 554),
    ("From: anna@example.org\r\nSender: Anna <anna@example.org>", 250), ("From: anna@example.org\r\nSender: bob@dest.example", 550),
    ("Sender: bob@dest.example\r\nFrom: anna@example.org", 550), ("From: anna@example.org\r\nResent-From: bob@dest.example", 250),
    ("From: anna@example.org\r\nSender: anna@example.org\r\nSender: bob@dest.example", 554),
    ("From:", 554), ("From: anna@example.org\rFrom: bob@dest.example", 554), ("\u0046rom: bob@dest.example", 550),
]


@pytest.mark.parametrize("field, code", FROM_FIELDS)
def test_authors(relay, sink, field, code):
    message = (field + "\r\nTo: bob@dest.example\r\nSubject: x\r\n\r\nbody\r\n").encode()
    with relay.client(user="anna", password="secret") as client:
        expect(client.mail("anna@example.org"), 250)
        expect(client.rcpt("bob@dest.example"), 250)
        assert client.docmd("DATA")[0] == 354
        client.send(message + b".\r\n")
        got, text = client.getreply()
        # "550" stands for any refusal of the author, "554" for any of the form
        assert got == 250 if code == 250 else got in (550, 554), (got, text)
    if code == 250:
        sink.wait_messages(1)
    else:
        assert relay.queue("--all") == []


def test_the_message_tells_nothing_of_where_it_comes_from(relay, sink):
    message = b"From: anna@example.org\r\nTo: bob@dest.example\r\nBcc: carl@dest.example\r\nReturn-Path: <x@y.example>\r\nSubject: x\r\n\r\nbody\r\n"
    relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"], message)
    got = sink.wait_message()
    assert got.helo == "relay.example"
    text = got.octets.decode()
    assert "secret-laptop" not in text and "127.0.0.1" not in text and "Bcc" not in text and "Return-Path" not in text
    received = got.message.get_all("Received")
    assert len(received) == 1 and re.match(r"by relay\.example with ESMTPSA id [0-9a-z]{13}", " ".join(received[0].split())), received
    assert re.fullmatch(r"<[0-9a-z.]+@relay\.example>", got.header("Message-ID")) and got.header("Date")


def test_what_is_there_is_kept(relay, sink):
    message = (b"From: anna@example.org\r\nTo: bob@dest.example\r\nMessage-ID: <mine@example.org>\r\nDate: Mon, 2 Jan 2006 15:04:05 +0000\r\nSubject:   odd \r\n"
               b"\t folding\r\n\r\n.leading dot\r\n..two\r\nlast\r\n")
    relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"], message)
    assert sink.wait_message().octets.endswith(message)


def test_recipients(relay):
    with relay.client(user="anna", password="secret") as client:
        expect(client.mail("anna@example.org"), 250)
        for bad in ("bob", "bob@", "@dest.example", "bob@dest example", "bob@-dest.example", "a" * 65 + "@dest.example"):
            code, _ = client.docmd(f"RCPT TO:<{bad}>")
            assert code in (501, 550, 553), (bad, code)


@pytest.mark.parametrize("verb", ["GET / HTTP/1.1", "POST / HTTP/1.1", "CONNECT a.example:25 HTTP/1.1"])
def test_http_is_hung_up_on(relay, verb):
    host, port = relay.address("starttls")
    with socket.create_connection((host, port), timeout=PATIENCE_S) as raw:
        raw.sendall(f"{verb}\r\nHost: relay.example\r\n\r\nMAIL FROM:<anna@example.org>\r\n".encode())
        text = b""
        while piece := raw.recv(4096):
            text += piece
    assert b"250" not in text and text.count(b"\r\n") <= 2, text


def test_limits(make_relay):
    relay = make_relay(conf=["limits.message_size = 64K", "limits.recipients = 100"])
    relay.add_account("anna", "secret", "anna@example.org")
    with relay.client(user="anna", password="secret") as client:
        client.ehlo()
        assert client.esmtp_features["size"] == "65536"
        expect(client.mail("anna@example.org", ["SIZE=65537"]), 552)
        expect(client.mail("anna@example.org"), 250)
        for number in range(100):
            expect(client.rcpt(f"user{number}@dest.example"), 250)
        expect(client.rcpt("one-more@dest.example"), 452)
        client.rset()
        expect(client.mail("anna@example.org"), 250)
        expect(client.rcpt("bob@dest.example"), 250)
        expect(client.data(make_message(body=("y" * 70 + "\n") * 1000)), 552)
        expect(client.noop(), 250)
    assert relay.queue("--all") == []


def test_eight_bits_and_utf8(relay, sink):
    text = "From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: gr\u00fc\u00dfe\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nsch\u00f6n\r\n".encode()
    with relay.client(user="anna", password="secret") as client:
        client.ehlo()
        submit(client, "anna@example.org", ["bob@dest.example"], text, ["BODY=8BITMIME", "SMTPUTF8"])
    got = sink.wait_message()
    header, _, body = text.partition(b"\r\n\r\n")
    assert header in got.octets and got.octets.endswith(body) and "SMTPUTF8" in [option.upper() for option in got.mail_options]
    assert email.message_from_bytes(got.octets, policy=email.policy.SMTPUTF8)["Subject"] == "gr\u00fc\u00dfe"


def test_many_messages_over_one_session(relay, sink):
    with relay.client(user="anna", password="secret") as client:
        ids = {submit(client, "anna@example.org", ["bob@dest.example"], make_message(subject=str(number))) for number in range(50)}
    assert len(ids) == 50
    sink.wait_messages(50)
    assert sorted(int(message.header("Subject")) for message in sink.messages) == list(range(50))
    assert len(sink.handler_object.sessions) <= 10
    wait_for(lambda: relay.queue() == [], "an empty queue")
