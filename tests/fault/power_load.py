"""What goes on while the disk is recorded: mail of all sizes in several sessions, deliveries, removals; and what the client knows, as marks on the disk.

    taken       the client has read the 250 of a message: id, key (its sender's local part), to, digest and length of its body, and the name of its transaction
                if it has one (schema/link.md, CHECKPOINT)
    stored      what the database held of it then, encrypted or not
    resumed     the relay has said in a 355 that so many octets are here
    removing    somebody is about to remove it
    sunk        the destination has all of a message and is about to say 250
"""
import base64
import contextlib
import hashlib
import os
import random
import re
import sqlite3
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
import agent_support  # noqa: E402
import relay_support  # noqa: E402
from daemon import expect, wait_for  # noqa: E402

SESSIONS = 4
MESSAGES = 13           # of each session
SIZES = (1 << 10, 1 << 10, 4 << 10, 4 << 10, 20 << 10, 70 << 10, 200 << 10, 1 << 20)
LATER, GOOD = "later@dest.example", "good@dest.example"
CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"


def id_number(text):
    number = 0
    for letter in text:
        number = number << 5 | CROCKFORD.index(letter)
    return number


def make_octets(key, size, to, dice):
    """A message whose lines nobody can compress or guess."""
    lines = base64.b64encode(dice.randbytes(size * 57 // 78))
    body = b"\r\n".join(lines[i:i + 76] for i in range(0, len(lines), 76))
    header = f"From: {key}@example.org\r\nTo: {', '.join(to)}\r\nSubject: {key}\r\nMessage-ID: <{key}@example.org>\r\nDate: Sun, 22 Nov 2026 01:00:00 +0000\r\n\r\n"
    return header.encode() + body + b"\r\n"


def body_of(octets):
    return octets.partition(b"\r\n\r\n")[2]


def stored_chunks(database, number):
    """The chunks of a body, in their order, as they lie there."""
    rows = database.execute("SELECT 0, octets FROM body WHERE message = ?1 UNION ALL SELECT seq, octets FROM chunk WHERE message = ?1 ORDER BY 1", (number,))
    return [(seq, bytes(octets)) for seq, octets in rows]


def digest_of(octets):
    return hashlib.sha256(octets).hexdigest()


def take(sink, mark):
    """Makes of a running sink a destination that asks LATER to come again; of what it takes it says so before it says 250."""
    handler = sink.handler_object
    handler.replies[("RCPT", LATER)] = ["451 4.7.1 not now"]
    answer = handler.handle_DATA

    async def handle_DATA(server, session, envelope):
        mark({"event": "sunk", "key": envelope.mail_from.partition("@")[0]})
        return await answer(server, session, envelope)
    handler.handle_DATA = handle_DATA
    return sink


class RelayLoad:
    name = "relay"

    def __init__(self, folder, disk, environment):
        self.disk, self.database = disk, os.path.join(disk.mount, "relay", "relay.db")
        self.sink = take(relay_support.Sink(), disk.mark)
        self.program = relay_support.Relay(
            os.path.join(disk.mount, "relay"), mx_port=self.sink.port, conf=["delivery.schedule = 1s, 2s*100", "delivery.idle_sessions = 5s"],
            zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {self.sink.host}\n")
        self.program.init()
        self.program.add_account("anna", "secret", "@example.org")
        self.program.environment = environment

    def client(self, number):
        return self.program.client("tls" if number % 2 else "starttls", "anna", "secret")

    def close(self):
        problems = self.program.close()
        self.sink.close()
        return problems


class AgentLoad:
    name = "agent"

    def __init__(self, folder, disk, environment):
        self.disk, self.database = disk, os.path.join(disk.mount, "agent", "agent.db")
        self.sink = take(agent_support.Service(folder), disk.mark)
        self.program = agent_support.Agent(os.path.join(disk.mount, "agent"), **self.sink.agent_options(),
                                           conf={"queue.schedule": ["1s, 2s*100"], "log.level": ["info"]})
        self.program.setup()
        self.program.environment = environment

    def client(self, _number):
        client = self.program.client()
        client.ehlo()
        return client

    def close(self):
        problems = self.program.close()
        self.sink.close()
        return problems


LOADS = {"relay": RelayLoad, "agent": AgentLoad}


class Session(threading.Thread):
    """One client after another's manner: some messages in one session, then the next session."""

    def __init__(self, load, number, seed, nmessages):
        super().__init__(daemon=True)
        self.load, self.number, self.nmessages = load, number, nmessages
        self.dice = random.Random(f"{seed} {number}")
        self.trouble, self.count = None, 0

    def run(self):
        try:
            with contextlib.closing(sqlite3.connect(f"file:{self.load.database}?mode=ro", uri=True, timeout=10)) as self.database:
                while self.count < self.nmessages:
                    self.session()
        except Exception as error:      # told by whoever joins
            self.trouble = f"session {self.number}: {type(error).__name__}: {error}"

    def session(self):
        with self.load.client(self.number) as client:
            for _ in range(self.dice.randint(1, 4)):
                self.message(client)
            if client.has_extn("checkpoint"):
                self.half(client)

    def next_message(self):
        self.count += 1
        key = f"m{self.number}-{self.count}"
        to = self.dice.choice(([LATER], [LATER], [LATER, GOOD], [GOOD]))
        size = SIZES[self.count % len(SIZES)] if self.count % 2 else self.dice.choice(SIZES[:5])
        return key, to, make_octets(key, size, to, self.dice)

    def message(self, client):
        key, to, octets = self.next_message()
        if client.has_extn("checkpoint") and self.dice.random() < 0.6:
            name = f"<{key}.{self.dice.getrandbits(100):x}@client.example>"
            self.transaction(client, key, to, octets, [f"TRANSID={name}", "XWHOLE"], name)
        else:
            self.transaction(client, key, to, octets, [], None)

    def transaction(self, client, key, to, octets, options, name):
        code, words = self.bdat(client, key, to, octets, options, 0) if name else self.data(client, key, to, octets)
        assert code == 250, (code, words)
        id = re.search(rb"queued as ([0-9a-z]{13})", words).group(1).decode()
        self.taken(id, key, to, octets, name)
        if self.dice.random() < 0.12:
            self.load.disk.mark({"event": "removing", "id": id})
            self.load.program.run("queue", "remove", id, check=False)   # it may be on its way out

    @staticmethod
    def data(client, key, to, octets):
        expect(client.mail(f"{key}@example.org"), 250)
        for address in to:
            expect(client.rcpt(address), 250)
        return client.data(octets)

    @staticmethod
    def bdat(client, key, to, octets, options, offset):
        """The rest of the message from `offset` on, to a relay that has heard MAIL already if there is an offset."""
        if not offset:
            expect(client.docmd(f"MAIL FROM:<{key}@example.org> {' '.join(options)}"), 250)
        for address in to:
            expect(client.rcpt(address), 250)
        client.sock.sendall(b"BDAT %d LAST\r\n" % (len(octets) - offset) + octets[offset:])
        return client.getreply()

    def taken(self, id, key, to, octets, name):
        """First the mark, then what the database holds: whoever answers too early must not be given the time to become right."""
        mark = {"event": "taken", "id": id, "key": key, "to": to, "body": digest_of(body_of(octets)), "len": len(body_of(octets)), "name": name}
        self.load.disk.mark(mark)
        chunks = stored_chunks(self.database, id_number(id))
        if chunks:
            self.load.disk.mark({"event": "stored", "id": id, "digest": digest_of(b"".join(octets for _, octets in chunks))})

    def half(self, client):
        """A named message that breaks off, and is gone on with in another session."""
        key, to, octets = self.next_message()
        while len(octets) < 150 << 10:
            octets += octets[-(16 << 10):]
        name = f"<{key}.{self.dice.getrandbits(100):x}@client.example>"
        options = [f"TRANSID={name}"]
        expect(client.docmd(f"MAIL FROM:<{key}@example.org> {' '.join(options)}"), 250)
        for address in to:
            expect(client.rcpt(address), 250)
        part = len(octets) * 2 // 3
        client.sock.sendall(b"BDAT %d\r\n" % part + octets[:part])
        assert client.getreply()[0] == 250
        client.close()
        with self.load.client(self.number) as again:
            code, words = again.docmd(f"MAIL FROM:<{key}@example.org> {' '.join(options)}")
            assert code in (250, 355), (code, words)
            offset = int(words.split()[0]) if code == 355 else 0
            assert offset <= part, (offset, part)
            if code == 250:
                expect(again.docmd("RSET"), 250)
            self.load.disk.mark({"event": "resumed", "key": key, "octets": offset})
            code, words = self.bdat(again, key, to, octets, options, offset)
            assert code == 250, (code, words)
            self.taken(re.search(rb"queued as ([0-9a-z]{13})", words).group(1).decode(), key, to, octets, name)


def run_load(load, seed, nmessages):
    """Everything, from the start of the program to its end; the marks `begin` and `end` stand around it."""
    load.disk.mark({"event": "begin"})
    load.program.start()
    sessions = [Session(load, number, seed, nmessages) for number in range(SESSIONS)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(120)
        assert not session.is_alive(), f"session {session.number} does not end; the log:\n" + "\n".join(load.program.log_lines[-20:])
    troubles = [session.trouble for session in sessions if session.trouble]
    assert not troubles, "\n".join(troubles + load.program.log_lines[-20:])
    wait_for(lambda: load.sink.messages, "a delivery")
    load.program.stop()
    load.disk.mark({"event": "end"})
