"""Transactions with a name (RFC 1845, schema/link.md CHECKPOINT and XOUTCOME): what is kept of a half, who goes on with it, and what is said again."""
import base64
import contextlib
import re
import smtplib
import sqlite3
import time

import pytest
from OpenSSL import SSL

from relay_support import make_message, wait_for
from test_relay_devices import Wire, enrol

NAME = "<1.0.0123456789abcdef@laptop.example>"
ANNA, BOB, CARL = "anna@example.org", "bob@dest.example", "carl@dest.example"
HEADER = f"From: {ANNA}\r\nTo: {BOB}\r\nSubject: large\r\n\r\n".encode()
CHUNK = 65536


def body_of(octets):
    """Lines of 64 octets, each of its own."""
    return b"".join(b"%062d\r\n" % i for i in range(octets // 64))


LARGE = HEADER + body_of(1_000_000)


class Session(Wire):
    """A client that says what it is told to, and half of it if need be. device: (id, token); None: anna's password."""

    def __init__(self, relay, device=None, helo="laptop.example", user="anna", mode="tls"):
        super().__init__(relay)
        if device:
            replies = self.say(f"EHLO {helo}", self.auth(*device), replies=3)
        else:
            plain = base64.b64encode(f"\0{user}\0secret".encode()).decode()
            replies = self.say(f"EHLO {helo}", f"AUTH PLAIN {plain}", replies=3)
        assert [code for code, _ in replies] == [220, 250, 235], replies

    def __exit__(self, *_):
        with contextlib.suppress(SSL.Error, OSError):
            super().__exit__()

    def mail(self, name=NAME, size=len(LARGE), sender=ANNA, more=""):
        return self.say(f"MAIL FROM:<{sender}> SIZE={size}{more} TRANSID={name}")[0]

    def offset(self, **mail):
        code, text = self.mail(**mail)
        assert code == 355, (code, text)
        return int(text.split()[0])

    def rcpt(self, *addresses):
        return [code for code, _ in self.say(*[f"RCPT TO:<{address}>" for address in addresses])]

    def chunk(self, octets, last=False):
        self.tls.sendall(f"BDAT {len(octets)}{' LAST' if last else ''}\r\n".encode() + octets)
        return self.reply()

    def whole(self, octets, chunk=CHUNK):
        """By BDAT, to the end; the last reply."""
        for at in range(0, len(octets), chunk):
            reply = self.chunk(octets[at:at + chunk], at + chunk >= len(octets))
            assert reply[0] == 250 or at + chunk >= len(octets), reply
        return reply if octets else self.chunk(b"", True)

    def data(self, octets, ends=True):
        """By DATA; dots are stuffed here. Without its end it gives no reply."""
        assert self.say("DATA")[0][0] == 354
        stuffed = b"".join(b"." + line if line.startswith(b".") else line for line in octets.splitlines(keepends=True))
        self.tls.sendall(stuffed + (b".\r\n" if ends else b""))
        return self.reply() if ends else None

    def begin(self, octets, to=(BOB,), **mail):
        """A new transaction of which only so many octets come, by BDAT."""
        reply = self.mail(**mail)
        assert reply[0] == 250, reply
        assert self.rcpt(*to) == [250] * len(to)
        for at in range(0, octets, CHUNK):
            assert self.chunk(LARGE[at:min(at + CHUNK, octets)])[0] == 250
        return self

    def cut(self, relay):
        """Without a word; until the relay has noticed."""
        before = len(relay.log("transaction-suspended"))
        self.__exit__()
        wait_for(lambda: len(relay.log("transaction-suspended")) > before, "the relay to keep the half")


def item_of(reply):
    code, text = reply
    assert code == 250, reply
    return re.search(r"queued as ([0-9a-z]{13})", text).group(1)


def wait_alone(relay):
    wait_for(lambda: relay.json("status")["sessions"] == 0, "all sessions to end")


# Nothing is delivered from here: the destination has no address that answers.
NOWHERE = {"zone": "dest.example MX 10 mx.dest.example\nmx.dest.example A 127.0.0.1\n", "mx_port": 1}


@pytest.fixture
def relay(make_relay):
    relay = make_relay(**NOWHERE, conf=["delivery.schedule = 1h"])
    relay.add_account("anna", "secret", ANNA, "second@example.org")
    return relay


def assert_once(relay, item, to=(BOB,)):
    [entry] = relay.queue()
    assert entry["id"] == item and [recipient["address"] for recipient in entry["to"]] == list(to)
    return entry


# ---- as RFC 1845 has it ----

def test_a_client_of_rfc_1845_by_data(relay):
    with relay.client() as client:
        client.ehlo()
        assert client.esmtp_features["checkpoint"] == ""
    first = Session(relay)
    assert first.mail()[0] == 250 and first.rcpt(BOB) == [250]
    first.data(LARGE[:400_000], ends=False)
    first.cut(relay)
    with Session(relay) as second:
        offset = second.offset()
        assert LARGE[:offset].endswith(b"\r\n") and 0 < offset <= 400_000
        item = item_of(second.data(LARGE[offset:]))  # no RCPT: they are known
    assert_once(relay, item)
    with Session(relay) as third:  # the reply was lost
        assert third.offset() == len(LARGE)
        assert item_of(third.data(b"")) == item
    assert_once(relay, item)


def test_dots_are_counted_once(relay):
    message = HEADER + b".\r\n..\r\n.dot\r\n" * 2000
    first = Session(relay)
    assert first.mail(size=len(message))[0] == 250 and first.rcpt(BOB) == [250]
    first.data(message[:9_000], ends=False)
    first.cut(relay)
    with Session(relay) as second:
        offset = second.offset(size=len(message))
        assert message[:offset].endswith(b"\r\n")
        item = item_of(second.data(message[offset:]))
    assert relay.entry(item)["size"] > len(message)


def test_by_bdat_after_a_cut(relay):
    first = Session(relay).begin(CHUNK * 3 + 10)
    first.cut(relay)
    wait_for(lambda: relay.json("status")["halves"]["octets"] >= CHUNK * 3, "the half to be on the disk")
    assert relay.json("status")["halves"]["count"] == 1
    with Session(relay) as second:
        offset = second.offset()
        assert offset == (CHUNK * 3 + 10 - len(HEADER)) // 64 * 64 + len(HEADER)
        item = item_of(second.whole(LARGE[offset:]))
    entry = assert_once(relay, item)
    assert relay.json("status")["halves"] == {"count": 0, "octets": 0}
    relay.wait_log("transaction-resumed", item=item)
    relay.wait_log("transaction-suspended", item=item)
    assert entry["size"] >= len(LARGE)


def test_each_state_of_a_name_is_traced(make_relay):
    """server/checkpoint.h has the picture."""
    relay = make_relay(conf=["log.level = debug"])
    relay.add_account("anna", "secret", ANNA, "second@example.org")

    def steps():
        return [(line["from"], line["to"]) for line in relay.log("checkpoint")]

    Session(relay).begin(CHUNK * 3).cut(relay)
    assert steps() == [("waiting", "asking"), ("asking", "new")]
    with Session(relay) as again:
        item_of(again.whole(LARGE[again.offset():]))
    with Session(relay) as over:
        over.offset()
    with Session(relay) as other:
        assert other.mail(sender="second@example.org")[0] == 554
    assert steps()[2:] == [("waiting", "asking"), ("asking", "half"), ("waiting", "asking"), ("asking", "over"), ("waiting", "asking"), ("asking", "refused")]


def test_all_of_it_is_here_but_the_end(relay):
    """Every octet by BDAT, and a cut before LAST: a 355 that names all of them, of a half, which the same command ends as it answers for one that is over."""
    first = Session(relay).begin(len(LARGE))
    first.cut(relay)
    assert relay.queue() == [] and relay.json("status")["halves"]["count"] == 1
    with Session(relay) as second:
        assert second.offset() == len(LARGE)
        told = second.chunk(b"", True)
    with Session(relay) as third:
        assert third.offset() == len(LARGE) and third.chunk(b"", True) == told
    assert_once(relay, item_of(told))


def test_what_arrives_is_what_was_sent(make_relay, make_sink):
    sink = make_sink()
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port)
    relay.add_account("anna", "secret", ANNA)
    first = Session(relay).begin(CHUNK * 3 + 10)
    first.cut(relay)
    second = Session(relay)
    assert second.chunk(LARGE[second.offset():700_000])[0] == 250
    second.cut(relay)
    with Session(relay) as third:
        item_of(third.whole(LARGE[third.offset():]))
    message = sink.wait_message()
    header, _, body = message.octets.partition(b"\r\n\r\n")
    assert body == LARGE[len(HEADER):]
    assert header.count(b"\r\nMessage-ID:") == 1 and header.count(b"Received:") == 1
    assert len(sink.messages) == 1


def test_the_original_reply_again(relay):
    with Session(relay) as first:
        assert first.mail()[0] == 250 and first.rcpt(BOB) == [250]
        told = first.whole(LARGE)
        assert first.offset() == len(LARGE)  # in the same session, too
        assert first.chunk(b"", True) == told
    relay.stop()
    relay.start()
    with Session(relay) as second:
        assert second.offset() == len(LARGE)
        assert second.chunk(b"", True) == told
    relay.wait_log("answered-again", item=item_of(told))
    assert_once(relay, item_of(told))


def test_killed_and_started_again(relay):
    with Session(relay) as first:
        first.begin(CHUNK * 6)
        relay.kill()
    relay.start()
    with Session(relay) as second:
        offset = second.offset()
        assert CHUNK * 6 - offset <= 2 * CHUNK  # the one that was gathered, and the one on its way to the disk
        item = item_of(second.whole(LARGE[offset:]))
    assert_once(relay, item)


def test_a_silent_client_is_written_down(relay):
    """No second session, no end: the kill loses nothing that came a second before."""
    with Session(relay) as first:
        first.begin(40_000)
        with contextlib.closing(sqlite3.connect(f"file:{relay.path('relay.db')}?mode=ro", uri=True)) as db:
            wait_for(lambda: db.execute("SELECT sum(octets) > 40000 FROM checkpoint").fetchone()[0], "the half to be on the disk")
        assert not relay.log("transaction-suspended")
        relay.kill()
    relay.start()
    with Session(relay) as second:
        assert 40_000 - second.offset() < 64


def test_over_another_port(relay):
    first = Session(relay).begin(CHUNK * 2)
    first.cut(relay)
    with relay.client("starttls", "anna", "secret") as second:
        second.ehlo("laptop.example")
        code, text = second.docmd(f"MAIL FROM:<{ANNA}> SIZE={len(LARGE)} TRANSID={NAME}")
        assert code == 355
        offset = int(text.split()[0])
        assert second.docmd("DATA")[0] == 354
        second.send(LARGE[offset:] + b".\r\n")
        code, text = second.getreply()
    assert_once(relay, item_of((code, text.decode())))


def test_rset_quit_and_ehlo_keep_it(relay):
    with Session(relay) as session:
        session.begin(CHUNK)
        assert session.say("RSET")[0][0] == 250
        offset = session.offset()
        assert offset > CHUNK - 64 - len(HEADER)
        session.chunk(LARGE[offset:CHUNK * 2])
        assert session.say("EHLO laptop.example")[0][0] == 250
        again = session.offset()
        assert again > offset
        session.chunk(LARGE[again:CHUNK * 3])
        assert session.say("QUIT")[0][0] == 221
    with Session(relay) as last:
        offset = last.offset()
        assert offset > again
        assert_once(relay, item_of(last.whole(LARGE[offset:])))


def test_a_small_one_goes_between(relay):
    """The pause of schema/link.md: a small message overtakes, in the same session."""
    with Session(relay) as session:
        session.begin(CHUNK)
        small = make_message()
        assert session.say("RSET")[0][0] == 250
        assert session.mail(name="<small@laptop.example>", size=len(small))[0] == 250 and session.rcpt(CARL) == [250]
        assert session.chunk(small, True)[0] == 250
        item_of(session.whole(LARGE[session.offset():]))
    assert len(relay.queue()) == 2


# ---- the name and what it stands for ----

@pytest.mark.parametrize("change", [{"size": len(LARGE) + 1}, {"sender": "second@example.org"}, {"more": " BODY=8BITMIME"}, {"more": " SMTPUTF8"},
                                    {"more": " RET=HDRS"}, {"more": " ENVID=other"}], ids=str)
def test_changed_parameters_are_refused(relay, change):
    first = Session(relay).begin(CHUNK)
    first.cut(relay)
    with Session(relay) as second:
        code, text = second.mail(**change)
        assert (code, text[:5]) == (554, "5.5.4")
        assert second.say("DATA")[0][0] == 503
        item = item_of(second.whole(LARGE[second.offset():]))  # nothing has changed
        assert second.mail(**change)[0] == 554
    assert_once(relay, item)


def test_recipients_repeated_omitted_and_foreign(relay):
    first = Session(relay).begin(CHUNK, to=(BOB, CARL))
    first.cut(relay)
    with Session(relay) as second:
        offset = second.offset()
        assert second.rcpt(CARL, "dora@dest.example", BOB) == [250, 452, 250]
        item = item_of(second.whole(LARGE[offset:]))
        assert_once(relay, item, (BOB, CARL))
        assert second.offset() == len(LARGE)
        replies = second.say(f"RCPT TO:<{BOB}>", "RCPT TO:<dora@dest.example>")
        assert replies[0][0] == 250 and replies[1][0] == 452 and replies[1][1].startswith("4.5.3")
        assert item_of(second.chunk(b"", True)) == item
        assert second.offset() == len(LARGE) and second.rcpt(CARL) == [250]  # only one of them is asked for again
        assert item_of(second.chunk(b"", True)) == item
    assert_once(relay, item, (BOB, CARL))


def test_a_lowered_limit_puts_none_off_who_is_on_record(relay):
    """What was taken, and what was begun, for more recipients than are taken today."""
    many = [f"r{n}@dest.example" for n in range(104)]
    with Session(relay) as session:
        assert session.mail()[0] == 250 and session.rcpt(*many) == [250] * 104
        taken = session.whole(LARGE)
        session.begin(CHUNK, to=many, name="<half@laptop.example>")
    relay.stop()
    relay.set_conf("relay.conf", {"limits.recipients": ["100"]})
    relay.start()
    with Session(relay) as session:
        assert session.offset() == len(LARGE)
        assert session.rcpt(*many, "more@dest.example") == [250] * 104 + [452]
        assert session.chunk(b"", True) == taken
        offset = session.offset(name="<half@laptop.example>")
        assert session.rcpt("more@dest.example", *many) == [452] + [250] * 104
        item = item_of(session.whole(LARGE[offset:]))
    assert {entry["id"]: [to["address"] for to in entry["to"]] for entry in relay.queue()} == {item_of(taken): many, item: many}


def test_a_recipient_of_the_empty_sender_is_judged_first(relay):
    with Session(relay) as session:
        assert session.mail(sender="")[0] == 250 and session.rcpt(ANNA) == [250]
        session.chunk(LARGE[:CHUNK])
        assert session.say("RSET")[0][0] == 250
        session.offset(sender="")
        assert session.rcpt(ANNA, BOB, "second@example.org") == [250, 550, 452]


def test_not_a_name(relay):
    with Session(relay) as session:
        for name in ("laptop", "<laptop>", "<a@b c>", "<@b>", "<" + "x" * 80 + "@b>"):
            assert session.mail(name=name)[0] == 501
        assert session.say(f"MAIL FROM:<{ANNA}> XWHOLE")[0][0] == 501
        assert session.mail()[0] == 250


# ---- whose it is ----

def test_two_devices_see_nothing_of_each_other(relay):
    laptop, desk = enrol(relay, "laptop"), enrol(relay, "desk")
    first = Session(relay, laptop).begin(CHUNK)
    first.cut(relay)
    with Session(relay, desk) as other:
        other.begin(CHUNK * 2)  # the same name, and 250
        assert other.say(f"XOUTCOME {NAME}")[0][0] == 503
        assert other.say("RSET")[0][0] == 250
        desks = item_of(other.whole(LARGE[other.offset():]))
    with Session(relay, laptop) as mine:
        assert mine.say(f"XOUTCOME {NAME}")[0][0] == 550
        offset = mine.offset()
        assert offset < CHUNK + 1
        laptops = item_of(mine.whole(LARGE[offset:]))
    assert {entry["id"] for entry in relay.queue()} == {desks, laptops} and desks != laptops


def test_a_device_enrolled_since_sees_what_was_begun_before(relay):
    """The laptop has lost its token, logs in by the password and enrols again; nobody has revoked the old one."""
    old, other = enrol(relay, "laptop"), enrol(relay, "desk")
    with Session(relay, old, helo="a.example") as session:
        session.begin(CHUNK)
        assert session.say("RSET")[0][0] == 250
        assert session.mail(name="<whole@laptop.example>")[0] == 250
        assert session.rcpt(BOB) == [250]
        taken = item_of(session.whole(LARGE))
    new = enrol(relay, "laptop")
    relay.kill()  # and its time is counted on from the last hour
    relay.start()
    with Session(relay, new, helo="b.example") as session:
        assert outcome(session, "<whole@laptop.example>")[0] == 250
        assert session.mail(name="<whole@laptop.example>")[0] == 355
        assert session.say("RSET")[0][0] == 250
        resumed = item_of(session.whole(LARGE[session.offset():]))
        session.begin(CHUNK, name="<later@laptop.example>")
        assert session.say("RSET")[0][0] == 250
    for device in (old, other):
        with Session(relay, device, helo="a.example") as session:
            assert session.mail(name="<later@laptop.example>")[0] == 250
    with Session(relay, other, helo="b.example") as session:
        assert session.mail(name="<whole@laptop.example>")[0] == 250
    assert {entry["id"] for entry in relay.queue()} == {taken, resumed}


def test_the_password_sees_all(relay):
    laptop = enrol(relay)
    first = Session(relay, laptop).begin(CHUNK)
    first.cut(relay)
    with Session(relay, helo="elsewhere.example") as owner:
        item = item_of(owner.whole(LARGE[owner.offset():]))
    assert_once(relay, item)
    relay.add_account("ben", "secret", ANNA)
    with Session(relay, user="ben") as stranger:
        assert stranger.mail()[0] == 250


def test_the_name_of_ehlo_is_part_of_it(relay):
    laptop = enrol(relay)
    first = Session(relay, helo="a.example").begin(CHUNK)
    first.cut(relay)
    with Session(relay, laptop, helo="b.example") as other:
        assert other.mail()[0] == 250
    with Session(relay, laptop, helo="a.example") as same:
        assert same.mail()[0] == 355


def test_a_device_that_was_revoked_leaves_its_halves(relay):
    old = enrol(relay)
    first = Session(relay, old, helo="postern-agent").begin(CHUNK)
    first.cut(relay)
    relay.run("device", "revoke", old[0])
    with Session(relay, enrol(relay), helo="postern-agent") as again:
        item = item_of(again.whole(LARGE[again.offset():]))
    assert_once(relay, item)


def test_a_revoked_device_names_nothing(relay):
    device = enrol(relay)
    with Session(relay, device) as session:
        session.begin(CHUNK)
        assert session.say("RSET")[0][0] == 250
        relay.run("device", "revoke", device[0])
        assert session.mail()[0] == 421


def test_after_xdevice_it_is_still_by_password(relay):
    laptop = enrol(relay)
    first = Session(relay, laptop, helo="a.example").begin(CHUNK)
    first.cut(relay)
    with Session(relay, helo="b.example") as session:
        assert session.say("XDEVICE second")[0][0] == 250
        assert session.mail()[0] == 355


# ---- one at a time ----

def test_who_names_it_takes_it_away(relay):
    """The old one is silent, and lives for all the relay knows: its end is not waited for."""
    with Session(relay) as old, Session(relay) as new:
        old.begin(CHUNK * 2)
        offset = new.offset()
        assert offset > CHUNK
        assert new.chunk(LARGE[offset:CHUNK * 4])[0] == 250
        old.tls.sendall(f"BDAT {len(LARGE) - 2 * CHUNK} LAST\r\n".encode() + LARGE[2 * CHUNK:])
        code, text = old.reply()
        assert code == 451 and text.startswith("4.3.0") and "Another session" in text
        assert old.say("NOOP")[0][0] == 250
        item = item_of(new.whole(LARGE[CHUNK * 4:]))
    assert_once(relay, item)


def hold_writer(relay):
    """Until the connection that it gives is closed, the relay writes nothing down, and reads no more of a body than it may hold."""
    held = contextlib.closing(sqlite3.connect(relay.path("relay.db"), isolation_level=None))
    held.thing.execute("BEGIN IMMEDIATE")
    return held


def test_what_a_dead_session_has_brought_is_read_first(relay):
    """Its connection has ended behind half a megabyte that lies in its socket, when another asks how much is here."""
    old = Session(relay).begin(CHUNK * 2)
    end = CHUNK * 2 + 700_000
    with Session(relay) as new:
        with hold_writer(relay):
            old.tls.sendall(f"BDAT {len(LARGE) - CHUNK * 2} LAST\r\n".encode() + LARGE[CHUNK * 2:end])
            old.__exit__()
            new.tls.sendall(f"MAIL FROM:<{ANNA}> SIZE={len(LARGE)} TRANSID={NAME}\r\n".encode())
        code, text = new.reply()
        assert code == 355 and end - 16384 - 64 <= int(text.split()[0]) <= end, (code, text)  # but for a TLS record, and a line
        item = item_of(new.whole(LARGE[int(text.split()[0]):]))
    assert_once(relay, item)


def test_who_waits_for_another_and_dies_is_waited_for_by_nobody(relay):
    old, dead = Session(relay).begin(CHUNK * 2), Session(relay)
    with Session(relay) as new:
        with hold_writer(relay):
            old.tls.sendall(f"BDAT {len(LARGE) - CHUNK * 2} LAST\r\n".encode() + LARGE[CHUNK * 2:CHUNK * 2 + 700_000])
            old.__exit__()
            for session in (dead, new):
                session.tls.sendall(f"MAIL FROM:<{ANNA}> SIZE={len(LARGE)} TRANSID={NAME}\r\n".encode())
            dead.__exit__()
        code, text = new.reply()
        assert code == 355 and int(text.split()[0]) >= CHUNK * 2 + 700_000 - 16384 - 64, (code, text)
        item = item_of(new.whole(LARGE[int(text.split()[0]):]))
    assert_once(relay, item)


def test_who_lost_it_can_not_forget_it(make_relay):
    relay = make_relay(conf=["limits.message_size = 300K"])
    relay.add_account("anna", "secret", ANNA)
    Session(relay).begin(CHUNK * 2, size=0).cut(relay)
    with Session(relay) as old, Session(relay) as new:
        old.offset(size=0)
        offset = new.offset(size=0)
        assert old.chunk(LARGE[offset:offset + 300 * 1024], True)[0] == 552
        assert old.say("NOOP")[0][0] == 250
        item_of(new.chunk(LARGE[offset:offset + CHUNK], True))


def test_of_two_that_end_it_one_does(relay):
    with Session(relay) as one, Session(relay) as two:
        for session in (one, two):
            assert session.mail()[0] == 250 and session.rcpt(BOB) == [250]
        replies = [session.whole(HEADER + b"small\r\n") for session in (one, two)]
        assert sorted(code for code, _ in replies) == [250, 451]
    [item] = [item_of(reply) for reply in replies if reply[0] == 250]
    assert_once(relay, item)


def test_a_race_has_one_winner(relay):
    """Both send all they have before either hears a word."""
    message = make_message()
    sessions = [Session(relay) for _ in range(6)]
    for session in sessions:
        head = f"MAIL FROM:<{ANNA}> SIZE={len(message)} TRANSID={NAME} XWHOLE\r\nRCPT TO:<{BOB}>\r\nBDAT {len(message)} LAST\r\n"
        session.tls.sendall(head.encode() + message)
    last = [[session.reply() for _ in range(3)][-1] for session in sessions]
    assert {code for code, _ in last} <= {250, 451}
    assert len({text for code, text in last if code == 250}) == 1  # who hears 250 hears of the same message
    [entry] = relay.queue()
    assert entry["id"] == item_of(next(reply for reply in last if reply[0] == 250))
    for session in sessions:
        session.__exit__()


# ---- XWHOLE ----

def flight(session, octets, **mail):
    """All in one piece; the codes, and the last reply."""
    sender = mail.pop("sender", ANNA)
    head = f"MAIL FROM:<{sender}> SIZE={len(octets)} TRANSID={NAME} XWHOLE\r\nRCPT TO:<{BOB}>\r\nRCPT TO:<{CARL}>\r\nBDAT {len(octets)} LAST\r\n"
    session.tls.sendall(head.encode() + octets)
    replies = [session.reply() for _ in range(4)]
    return [code for code, _ in replies], replies[-1]


def test_whole_the_first_time_and_every_time_after(relay):
    message = make_message()
    with Session(relay) as session:
        codes, told = flight(session, message)
        assert codes == [250] * 4
        assert flight(session, message) == (codes, told)
    relay.kill()
    relay.start()
    with Session(relay) as session:
        assert flight(session, message) == (codes, told)
        assert flight(session, message + b"x\r\n")[0] == [554, 503, 503, 503]  # another SIZE
        assert session.say(f"MAIL FROM:<{ANNA}> SIZE={len(message)} TRANSID={NAME} XWHOLE", "RCPT TO:<dora@dest.example>")[1][0] == 452
    assert_once(relay, item_of(told), (BOB, CARL))


def test_whole_drops_the_half(relay):
    first = Session(relay).begin(CHUNK * 2)  # with BOB alone
    first.cut(relay)
    with Session(relay) as second:
        codes, told = flight(second, LARGE)
        assert codes == [250] * 4
    assert_once(relay, item_of(told), (BOB, CARL))


# ---- what is forgotten ----

def test_a_bare_line_feed_is_forgotten(relay):
    first = Session(relay)
    assert first.mail()[0] == 250 and first.rcpt(BOB) == [250]
    first.tls.sendall(b"DATA\r\n")
    assert first.reply()[0] == 354
    first.tls.sendall(LARGE[:200_000] + b"bare\nfeed\r\n.\r\n")
    assert first.reply()[0] in (500, 550)
    assert first.is_over()
    with Session(relay) as second:
        assert second.mail()[0] == 250


def test_a_bare_line_feed_and_a_cut_are_forgotten(relay):
    first = Session(relay)
    assert first.mail()[0] == 250 and first.rcpt(BOB) == [250]
    first.data(LARGE[:200_000] + b"bare\nfeed\r\n", ends=False)
    first.__exit__()
    wait_alone(relay)
    with Session(relay) as second:
        assert second.mail()[0] == 250
    assert not relay.log("transaction-suspended")


def test_a_foreign_author_is_forgotten(relay):
    message = LARGE.replace(b"From: anna@", b"From: eve@", 1)
    with Session(relay) as session:
        assert session.mail(size=len(message))[0] == 250 and session.rcpt(BOB) == [250]
        assert session.whole(message)[0] == 550
        assert session.mail(size=len(message))[0] == 250


def test_resumed_pieces_keep_to_the_largest_size(make_relay):
    relay = make_relay(conf=["limits.message_size = 300K"])
    relay.add_account("anna", "secret", ANNA)
    first = Session(relay).begin(CHUNK * 2, size=0)
    first.cut(relay)
    for _ in range(2):
        session = Session(relay)
        offset = session.offset(size=0)
        assert session.chunk(LARGE[offset:offset + CHUNK])[0] == 250
        session.cut(relay)
    with Session(relay) as last:
        offset = last.offset(size=0)
        assert offset > CHUNK * 3
        assert last.chunk(LARGE[offset:offset + 120 * 1024], True)[0] == 552
    assert relay.queue() == []
    with Session(relay) as again:
        assert again.mail(size=0)[0] == 250  # forgotten


def make_relay_with_halves(make_relay, limit):
    """Three of anna's, of two chunks each, one after another; and their names."""
    relay = make_relay(conf=[limit])
    relay.add_account("anna", "secret", ANNA)
    names = [f"<{i}@laptop.example>" for i in range(3)]
    for name in names:
        Session(relay).begin(CHUNK * 2, name=name).cut(relay)
    return relay, names


def test_a_device_has_so_many_halves(make_relay):
    relay, names = make_relay_with_halves(make_relay, "limits.half_bodies = 2")
    with Session(relay) as session:
        assert session.mail(name=names[0])[0] == 250
        assert session.say("RSET")[0][0] == 250
        assert [session.mail(name=name)[0] for name in names[1:] if session.say("RSET")] == [355, 355]


def test_and_of_so_many_octets(make_relay):
    relay, names = make_relay_with_halves(make_relay, "limits.half_octets = 256K")
    with Session(relay) as session:
        codes = [session.mail(name=name)[0] for name in names if session.say("RSET")]
    assert codes[0] == 250 and codes[-1] == 355


def test_names_are_swept_in_the_relays_own_time(make_relay):
    relay = make_relay(**NOWHERE)
    relay.add_account("anna", "secret", ANNA)
    Session(relay).begin(CHUNK * 2).cut(relay)
    relay.stop()
    for served_ms, code in ((2 * 86400_000, 355), (8 * 86400_000, 355), (16 * 86400_000, 250)):  # seven days from when it was last touched
        with contextlib.closing(sqlite3.connect(relay.path("relay.db"))) as db, db:
            assert db.execute("UPDATE setting SET value = ? WHERE name = 'served-ms'", (b"%d" % served_ms,)).rowcount == 1
        relay.start()  # sweeps
        with Session(relay) as session:
            assert session.mail()[0] == code
        relay.stop()
        with contextlib.closing(sqlite3.connect(relay.path("relay.db"))) as db:
            [[value]] = db.execute("SELECT value FROM setting WHERE name = 'served-ms'")
            assert served_ms <= int(value) < served_ms + 3600_000
    relay.start()


def touched(relay):
    with contextlib.closing(sqlite3.connect(relay.path("relay.db"))) as db:
        return [at for at, in db.execute("SELECT touched_at FROM checkpoint")]


def test_a_name_is_touched_when_it_is_committed(relay):
    with Session(relay) as session:
        session.begin(CHUNK * 2)
        wait_for(lambda: touched(relay), "the first chunk to be written")
        begun = touched(relay)[0]
        session.whole(LARGE[CHUNK * 2:])
        [committed] = touched(relay)
        assert committed > begun


def test_a_full_disk_is_not_now(make_relay):
    relay = make_relay(conf=["limits.database_size = 1M"])
    relay.add_account("anna", "secret", ANNA)
    large = HEADER + body_of(3_000_000)
    with Session(relay) as session:
        assert session.mail(size=0)[0] == 250 and session.rcpt(BOB) == [250]
        code, text = session.data(large)
        assert (code, text[:5]) == (452, "4.3.1")
    with Session(relay) as again:
        assert again.mail(size=0)[0] == 355    # what is here of it stays
    assert relay.queue() == []


@pytest.mark.parametrize("ends", ["body", "commit"])
def test_a_full_disk_in_mid_body_keeps_what_is_on_it(make_relay, ends):
    """Whether a piece finds no room, or only the message as a whole: 452, and when there is room the sender goes on where the half ends."""
    relay = make_relay(**NOWHERE, conf=["limits.database_size = 1M", "delivery.schedule = 1h"])
    relay.add_account("anna", "secret", ANNA)
    large = HEADER + body_of(3_000_000)
    with Session(relay) as session:
        assert session.mail(size=len(large))[0] == 250 and session.rcpt(BOB) == [250]
        if ends == "body":
            code, text = session.whole(large)
            assert (code, text[:5]) == (452, "4.3.1")
        else:    # piece by piece, each on the disk before the next, until one is refused
            for at in range(0, len(large), CHUNK):
                code, text = session.chunk(large[at:at + CHUNK])
                if code != 250:
                    break
            code, text = (code, text) if code != 250 else session.chunk(b"", True)
            assert (code, text[:5]) == (452, "4.3.1")
    [kept] = wait_for(lambda: relay.log("transaction-suspended"), "the relay to keep the half")
    assert relay.json("status")["halves"]["count"] == 1
    relay.stop()
    relay.set_conf("relay.conf", {"limits.database_size": ["0"]})
    relay.start()
    with Session(relay) as again:
        offset = again.offset(size=len(large))
        assert 0 < offset < len(large) and offset == int(kept["octets"]), (offset, kept)
        item = item_of(again.whole(large[offset:]))
    assert_once(relay, item)


def test_halves_keep_no_mail_out(make_relay):
    """Two that do not fit beside each other: whole mail of others is taken, the one begun first comes to its end, and nobody is refused for ever."""
    relay = make_relay(**NOWHERE, conf=["limits.database_size = 3M", "delivery.schedule = 1h"])
    large, half = {}, 1_400_000
    for user in ("anna", "carl", "dora"):
        relay.add_account(user, "secret", f"{user}@example.org")
        large[user] = f"From: {user}@example.org\r\nTo: {BOB}\r\n\r\n".encode() + body_of(2_400_000)

    def go_on(user, until):
        mail = {"name": f"<{user}@x>", "size": len(large[user]), "sender": f"{user}@example.org"}
        with Session(relay, user=user) as session:
            code, text = session.mail(**mail)
            at = int(text.split()[0]) if code == 355 else 0
            if code == 250:
                assert session.rcpt(BOB) == [250]
            while code in (250, 355) and at < until:
                code, text = session.chunk(large[user][at:at + CHUNK], at + CHUNK >= len(large[user]))
                at += CHUNK
        return code

    assert [go_on("anna", half), go_on("carl", half)] == [250, 250]
    assert relay.json("status")["halves"]["count"] == 2
    assert go_on("anna", len(large["anna"])) == 250
    relay.wait_log("half-body-dropped", reason="there was no room for other mail")
    assert go_on("carl", len(large["carl"])) == 452    # beside anna's, which waits
    message = make_message(sender="dora@example.org")
    with Session(relay, user="dora") as session:
        assert session.mail(name="<dora@x>", size=len(message), sender="dora@example.org")[0] == 250 and session.rcpt(BOB) == [250]
        assert session.whole(message)[0] == 250
    assert len(relay.queue()) == 2


def test_what_is_told_of_a_half_is_on_the_disk(relay):
    """The log says so when it is, and says what a 355 will."""
    first = Session(relay).begin(3 * CHUNK + 1000)
    first.cut(relay)
    [told] = relay.log("transaction-suspended")
    relay.kill()
    relay.start()
    with Session(relay) as second:
        assert second.offset() == int(told["octets"]) > 3 * CHUNK
        assert told["user"] == "anna" and relay.log("transaction-resumed", item=told["item"])


def test_the_keeper_sees_and_drops_halves(relay):
    assert relay.json("queue", "halves") == [] and "no halves" in relay.run("queue", "halves").stdout
    first = Session(relay).begin(3 * CHUNK, to=(BOB, CARL))
    first.cut(relay)
    [half] = relay.json("queue", "halves")
    assert set(half) == {"id", "account", "device", "octets", "recipients", "receiving"} and half["receiving"] is False
    assert half["account"] == "anna" and half["device"] == "" and half["octets"] > 2 * CHUNK and half["recipients"] == 2
    assert relay.run("queue", "halves").stdout.startswith(half["id"])
    with Session(relay) as second:
        assert second.offset() > 2 * CHUNK    # somebody goes on with it
        assert relay.run("queue", "remove", half["id"], check=False).returncode == 65  # that is for messages
        assert relay.json("queue", "drop", half["id"]) == {"id": half["id"]}
        assert relay.json("queue", "halves") == [] and relay.json("status")["halves"]["count"] == 0
        code, text = second.whole(LARGE[3 * CHUNK:])
        assert code == 451 and "or it was removed here" in text
    assert relay.run("queue", "drop", half["id"], check=False).returncode == 65
    with Session(relay) as third:
        assert third.mail()[0] == 250 and third.rcpt(BOB) == [250]
        assert_once(relay, item_of(third.whole(LARGE)))


def test_the_keeper_does_not_drop_what_is_being_received(relay):
    first = Session(relay).begin(3 * CHUNK)
    [half] = wait_for(lambda: relay.json("queue", "halves"), "the first octets")
    assert half["receiving"] is True
    assert relay.run("queue", "halves").stdout.endswith("for 1 recipient, being received\n")
    refused = relay.run("queue", "drop", half["id"], check=False)
    assert refused.returncode == 75 and "is being received at this moment" in refused.stderr, refused
    item = item_of(first.whole(LARGE[3 * CHUNK:]))
    first.__exit__()
    late = relay.run("queue", "drop", half["id"], check=False)  # it has become a message, for which there was a 250
    assert late.returncode == 65 and "a message by now" in late.stderr
    assert_once(relay, item)


def test_one_half_alone_is_bounded_too(make_relay):
    relay = make_relay(**NOWHERE, conf=["limits.half_octets = 128K", "delivery.schedule = 1h"])
    assert "message_size" in relay.log("half-octets-small")[0]["reason"]
    relay.add_account("anna", "secret", ANNA)
    Session(relay).begin(4 * CHUNK).cut(relay)
    [half] = relay.json("queue", "halves")
    assert CHUNK < half["octets"] <= 128 * 1024 and half["receiving"] is False
    with Session(relay) as second:
        offset = second.offset()
        assert CHUNK < offset <= 128 * 1024
        assert_once(relay, item_of(second.whole(LARGE[offset:])))


# ---- XOUTCOME ----

def outcome(session, name=NAME, first=None):
    """The lines of the answer, without codes; or the code."""
    session.tls.sendall(f"XOUTCOME {name}{'' if first is None else f' {first}'}\r\n".encode())
    lines = []
    while True:
        line = session.line()
        if not line.startswith("250"):
            return int(line[:3]), line[4:]
        lines.append(line[4:].removeprefix("2.0.0 "))
        if line[3] == " ":
            return 250, lines


def test_what_became_of_it(make_relay, make_sink):
    sink = make_sink()
    zone = f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\nlater.example MX 10 mx.dest.example\nno.example MX 0 .\n"
    relay = make_relay(zone=zone, mx_port=sink.port, conf=["delivery.schedule = 1h"])
    relay.add_account("anna", "secret", ANNA)
    sink.replies[("RCPT", "carl@later.example")] = ["451 4.7.1 greylisted"]
    to = [BOB, "carl@later.example", "dora@no.example"]
    message = make_message()
    with Session(relay) as session:
        assert outcome(session)[0] == 550
        assert session.mail(size=len(message))[0] == 250 and session.rcpt(*to) == [250] * 3
        item = item_of(session.whole(message))
        wait_for(lambda: [r["state"] for r in relay.entry(item)["to"]] == ["delivered", "queued", "bounced"]
                 and relay.entry(item)["to"][1]["reply"], "the three fates")
        code, lines = outcome(session)
        assert code == 250 and len(lines) == 5
        assert lines[0] == "3 recipients from 0" and lines[-1] == "end"
        states = [line.split(" ", 5) for line in lines[1:4]]
        assert [(s[0], s[3]) for s in states] == list(zip(("delivered", "queued", "bounced"), to))
        assert states[0][5].startswith("250 2.0.0 Ok: taken") and "mx.dest.example" in states[0][4]
        assert "greylisted" in states[1][5] and int(states[1][2]) > time.time()
        assert states[2][2] == "0"
        assert outcome(session, first=2)[1][0] == "3 recipients from 2"
        assert outcome(session, first=7) == (250, ["3 recipients from 7", "end"])
        assert outcome(session, "<other@laptop.example>")[0] == 550
        assert outcome(session, "other")[0] == 501


def test_what_a_person_removed_stays_known_and_gone(relay):
    message = make_message()
    with Session(relay) as session:
        codes, told = flight(session, message)
        assert codes == [250] * 4
        assert outcome(session)[1][0] == "2 recipients from 0"
        relay.run("queue", "remove", item_of(told))
        assert outcome(session) == (250, ["0 recipients from 0", "end"])
        assert flight(session, message) == ([250] * 4, told)
    assert relay.queue() == []


def test_a_half_has_no_outcome(relay):
    with Session(relay) as session:
        session.begin(CHUNK)
        assert session.say("RSET")[0][0] == 250
        assert outcome(session)[0] == 550


def test_the_epoch_is_the_databases(make_relay):
    told = []
    for _ in range(2):
        relay = make_relay()
        for _ in range(2):
            with relay.client() as client:
                client.ehlo()
                told.append(client.esmtp_features["xoutcome"])
            relay.stop()
            relay.start()
    assert told[0] == told[1] != told[2] == told[3]
    epoch, seconds = told[0].split()
    assert re.fullmatch(r"[a-z0-9]{16}", epoch) and seconds == str(7 * 86400)


def test_nothing_of_it_in_the_clear(relay):
    with relay.client("starttls") as client:
        client.ehlo()
        assert "checkpoint" in client.esmtp_features
    with smtplib.SMTP(*relay.address("starttls")) as client:
        client.ehlo()
        assert "checkpoint" not in client.esmtp_features and "xoutcome" not in client.esmtp_features


def test_binary_goes_on_anywhere(relay):
    octets = HEADER + bytes(range(256)) * 1000
    first = Session(relay)
    assert first.mail(size=len(octets), more=" BODY=BINARYMIME")[0] == 250 and first.rcpt(BOB) == [250]
    assert first.chunk(octets[:100_001])[0] == 250
    first.cut(relay)
    with Session(relay) as second:
        assert second.offset(size=len(octets), more=" BODY=BINARYMIME") == 100_001
        item = item_of(second.whole(octets[100_001:]))
        assert_once(relay, item)


def test_a_plain_message_needs_no_name(relay):
    """And leaves no half when it is cut."""
    with Session(relay) as session:
        assert session.say(f"MAIL FROM:<{ANNA}>")[0][0] == 250 and session.rcpt(BOB) == [250]
        session.chunk(LARGE[:CHUNK * 3])
    wait_alone(relay)
    assert not relay.log("transaction-suspended")


def test_who_may_not_send_any_more_hears_of_what_was_taken(relay):
    """The right is judged for what is new and for a half; what is over gets its reply again."""
    with Session(relay) as session:
        assert session.mail()[0] == 250 and session.rcpt(BOB) == [250]
        taken = session.whole(LARGE)
        session.begin(CHUNK, name="<half@laptop.example>")
        assert session.say("RSET")[0][0] == 250
    relay.stop()
    database = sqlite3.connect(relay.path("relay.db"))
    with database:
        database.execute("DELETE FROM send_as WHERE address = ?", (ANNA,))
    database.close()
    relay.start()
    with Session(relay) as session:
        assert session.offset() == len(LARGE)
        assert session.rcpt(BOB) == [250]
        assert session.chunk(b"", True) == taken
        for name in ("<half@laptop.example>", "<new@laptop.example>"):
            code, text = session.mail(name=name)
            assert code == 550 and text.startswith("5.7.1"), text
