"""A person with a laptop: an agent, mail to send, and what nobody may learn. One for each scenario or test."""
import base64
import itertools
import json
import os
import time

import postern
from netlab import LAPTOP, RELAY

USER = "ada"
PASSWORD = "correct horse battery staple"
SENDER = "ada@example.org"
RECIPIENT = "bob@destination.example"
WORDS = "Meet me at the postern."      # in every body
HEAD = f"From: Ada <{SENDER}>\nTo: Bob <{RECIPIENT}>\nSubject: {{subject}}\nMessage-ID: <{{subject}}@example.org>\n\n{WORDS}\n"
LINE = "The sea is calm tonight, the tide is full, the moon lies fair upon\n"


def make_message(subject, octets=0):
    head = HEAD.format(subject=subject)
    return head + LINE * max(0, -(-(octets - len(head)) // (len(LINE) + 1)))


def secrets(subjects=()):
    """What nobody but the relay may hear, as octets in lower case."""
    words = [PASSWORD, WORDS, LINE.strip(), SENDER, RECIPIENT, LAPTOP, "AUTH ", "MAIL FROM", *subjects,
             base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(), base64.b64encode(PASSWORD.encode()).decode()]
    return [word.lower().encode() for word in words]


class Mailer:
    """A mail program that stays open on the laptop."""

    def __init__(self, lab):
        self.lab = lab
        self.process = lab.laptop.start(["/usr/bin/python3", os.path.join(postern.FOLDER, "submit.py"), "--wait"], ready=b"ready", takes_orders=True)

    def submit(self, listen, message):
        path = os.path.join(self.lab.folder, "outbox")
        with open(path, "w", encoding="utf-8") as file:
            file.write(message)
        host, port = listen.rsplit(":", 1)
        self.process.order(json.dumps({"host": host, "port": port, "from": SENDER, "to": [RECIPIENT], "file": path}))


class Traveller:
    numbers = itertools.count(1)

    def __init__(self, lab, relay, destination, mailer):
        self.lab, self.relay, self.destination, self.mailer = lab, relay, destination, mailer
        self.agent = None
        self.sent = []          # subjects
        self.arrived = set()
        self.last_arrival_at = None     # time.monotonic
        lab.roam("hotel")
        lab.calm()

    def make(self, pin=None, user=USER):
        """The agent, set up but not started: for settings."""
        if not self.agent:
            folder = os.path.join(self.lab.folder, f"agent-{next(self.numbers)}")
            self.agent = postern.Agent(self.lab.laptop, folder, RELAY, user, PASSWORD, pin=pin or self.relay.pin())

    def start(self, **how):
        self.make(**how)
        self.agent.start()

    def send(self, octets=0):
        """Gives a message to the agent, which need not have been started before its first mail: a subject that is its own."""
        if not self.agent or not self.agent.process:
            self.start()
        subject = f"letter-{next(self.numbers)}-"
        self.mailer.submit(self.agent.listen, make_message(subject, octets))
        self.sent.append(subject)
        return subject

    def expect_arrival(self, *subjects, within_s=postern.WAIT_S):
        """These messages (default: all that have not come yet) arrive, once each, and both queues know. The last one's octets."""
        missing = set(subjects or self.sent) - self.arrived
        until, octets = time.monotonic() + within_s, b""
        while missing:
            self.last_arrival_at, arrival = self.destination.next_at(max(0.05, until - time.monotonic()))
            octets = arrival["octets"]
            found = [s for s in missing if f"Subject: {s}\r\n".encode() in octets]
            assert found, f"not expected: {arrival['octets'][:300]!r}"
            assert arrival["from"] == SENDER and arrival["to"] == [RECIPIENT]
            missing.discard(found[0])
            self.arrived.add(found[0])
        if len(self.arrived) == len(self.sent):
            self.agent.wait_handed_over(len(self.sent))
        return octets

    def expect_nothing_given_away(self, *ports):
        """The middleboxes on these ports learned no credential and no word of mail."""
        for port in ports:
            heard = self.lab.heard(port)
            assert [s for s in secrets(self.sent) if s in heard.lower()] == [], f"given away on {port}: {heard!r}"

    def leave(self):
        """The agent ends, and the places are as they were."""
        self.lab.wake(0)
        for venue in self.lab.venues.values():
            venue.calm()
            venue.forget_heard()
        if self.agent:
            self.agent.stop()
        self.lab.forget_captures()
        assert not self.destination.has_more(), "a message arrived twice, or one that nobody sent"
