"""Fixtures: one lab, relay and destination a file, one fresh agent a test."""
import os
import sys

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hosts import Unavailable  # noqa: E402
from netlab import Lab, RELAY  # noqa: E402
import postern  # noqa: E402
from traveller import PASSWORD, SENDER, USER, Mailer, Traveller  # noqa: E402


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


@pytest.fixture(scope="module")
def mailer(lab):
    return Mailer(lab)


@pytest.fixture
def traveller(lab, destination, relay, mailer):
    traveller = Traveller(lab, relay, destination, mailer)
    yield traveller
    traveller.leave()
