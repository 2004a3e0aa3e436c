"""Fixtures of the travel scenarios: one lab, relay and destination a file, one fresh agent a scenario."""
import base64
import itertools
import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import Unavailable  # noqa: E402
from netlab import Lab, RELAY  # noqa: E402
import postern  # noqa: E402

USER = "ada"
PASSWORD = "correct horse battery staple"
SENDER = "ada@example.org"
RECIPIENT = "bob@destination.example"
WORDS = "Meet me at the postern."      # in every body
MESSAGE = "From: Ada <{sender}>\nTo: Bob <{recipient}>\nSubject: {subject}\nMessage-ID: <{subject}@example.org>\n\n{words}\n"


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than a few seconds; not part of make check")


@pytest.fixture(scope="module")
def lab():
    try:
        world = Lab()
    except Unavailable as reason:
        pytest.skip(f"no network namespaces here: {reason}")
    with world:
        world.roam("hotel")
        yield world


@pytest.fixture(scope="module")
def destination(lab):
    return postern.Destination(lab.destination, os.path.join(lab.folder, "destination"))


@pytest.fixture(scope="module")
def relay(lab, destination):
    if not postern.are_built():
        pytest.skip(f"the programs are not built: make (looked in {postern.BUILD})")
    relay = postern.Relay(lab.relay, os.path.join(lab.folder, "relay"), RELAY, smarthost="smtp://203.0.113.25:25")
    relay.add_account(USER, PASSWORD, SENDER)
    relay.start()
    yield relay
    relay.stop()


class Traveller:
    """A person with a laptop: an agent, and mail to send. One for each scenario."""
    numbers = itertools.count(1)

    def __init__(self, lab, relay, destination):
        self.lab, self.relay, self.destination = lab, relay, destination
        self.agent = None
        self.sent = []

    def start(self, pin=None):
        folder = os.path.join(self.lab.folder, f"agent-{next(self.numbers)}")
        self.agent = postern.Agent(self.lab.laptop, folder, RELAY, USER, PASSWORD, pin=pin or self.relay.pin())
        self.agent.start()

    def send(self):
        """Gives a message to the agent, which has not been started before its first mail: a subject that is its own."""
        if not self.agent:
            self.start()
        subject = f"letter-{next(self.numbers)}"
        self.agent.submit(SENDER, RECIPIENT, MESSAGE.format(sender=SENDER, recipient=RECIPIENT, subject=subject, words=WORDS))
        self.sent.append(subject)
        return subject

    def expect_arrival(self, *subjects, within_s=postern.WAIT_S):
        """These messages arrive, once each, and both queues know. The last one's octets."""
        arrived = {}
        for _ in subjects:
            arrival = self.destination.next(within_s)
            found = [s for s in subjects if f"Subject: {s}\r\n".encode() in arrival["octets"]]
            assert found and found[0] not in arrived, f"not expected: {arrival}"
            assert arrival["from"] == SENDER and arrival["to"] == [RECIPIENT]
            arrived[found[0]] = arrival["octets"]
        self.agent.wait_for_states(*["relayed"] * len(self.sent))
        return arrived[subjects[-1]]

    def expect_nothing_given_away(self, *ports):
        """The middleboxes on these ports were spoken to, and learned no credential and no word of mail."""
        secrets = [PASSWORD, WORDS, SENDER, RECIPIENT, "travellers-laptop", "AUTH ", "MAIL FROM", *self.sent,
                   base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode(), base64.b64encode(PASSWORD.encode()).decode()]
        for port in ports:
            heard = self.lab.heard(port)
            assert [s for s in secrets if s.lower().encode() in heard.lower()] == [], f"given away on {port}: {heard!r}"


@pytest.fixture
def traveller(lab, destination, relay):
    lab.roam("hotel")
    lab.open_all()
    traveller = Traveller(lab, relay, destination)
    yield traveller
    if traveller.agent:
        traveller.agent.stop()
    assert not destination.has_more(), "a message arrived twice, or one that nobody sent"
