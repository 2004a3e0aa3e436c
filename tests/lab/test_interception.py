"""Networks that meddle: named, never obeyed. No credential and no word of mail reaches who is not the relay; and mail goes when they stop."""
import pytest

from netlab import PORTS

STARTTLS_PORTS = (587, 2525, 25)


def expect_blocked(traveller, verdicts, network="blocked"):
    """A message waits, the network has these verdicts, and nobody learned anything."""
    traveller.send()
    status = traveller.agent.wait_for_network(network)
    found = traveller.agent.verdicts()
    assert {port: found[port] for port in verdicts} == verdicts, status
    assert status["way"] is None
    assert traveller.agent.queue()[-1]["state"] in ("queued", "deferred")
    traveller.expect_nothing_given_away(*verdicts)
    return status


def expect_relief(traveller, port):
    """The port opens, and what waited goes: no restart, no hand on anything."""
    traveller.lab.open(port)
    traveller.expect_arrival(*traveller.sent)
    assert traveller.agent.status()["way"]["port"] == port


@pytest.mark.parametrize("port", STARTTLS_PORTS)
def test_starttls_is_stripped(traveller, lab, port):
    lab.reject(*PORTS)
    lab.strip_starttls(port)
    expect_blocked(traveller, {port: "starttls-missing"})
    assert b"EHLO" in lab.heard(port)
    expect_relief(traveller, port)


@pytest.mark.parametrize("port", STARTTLS_PORTS)
def test_starttls_is_masked(traveller, lab, port):
    lab.reject(*PORTS)
    lab.mask_starttls(port)
    expect_blocked(traveller, {port: "starttls-missing"})
    expect_relief(traveller, port)


@pytest.mark.parametrize("port", [465, 587])
def test_a_strangers_certificate(traveller, lab, port):
    """The impostor has a certificate in the relay's name; the key is what counts."""
    lab.reject(*PORTS)
    lab.mitm(port)
    status = expect_blocked(traveller, {port: "wrong-certificate"})
    assert "stranger" in status["words"]
    expect_relief(traveller, port)


def test_a_meddled_port_costs_nothing_when_another_is_open(traveller, lab):
    lab.mitm(465)
    lab.strip_starttls(587)
    subject = traveller.send()
    traveller.expect_arrival(subject)
    assert traveller.agent.status()["way"]["port"] == 2525
    assert traveller.agent.verdicts()[465] == "wrong-certificate"
    traveller.expect_nothing_given_away(465, 587)


def test_a_captive_portal(traveller, lab):
    lab.captive()
    expect_blocked(traveller, {465: "http"}, network="captive")
    lab.open_all()
    traveller.expect_arrival(*traveller.sent)


def test_something_else_answers(traveller, lab):
    lab.reject(*PORTS)
    lab.foreign_banner(587)
    expect_blocked(traveller, {587: "foreign-banner"}, network="captive")
    expect_relief(traveller, 587)


def test_another_relay_key_than_the_pinned_one(traveller, relay):
    """Not the network but the relay is a stranger: wrong pin."""
    right = relay.pin()
    wrong = right[:-5] + ("AAAA" if right[-5:-1] != "AAAA" else "BBBB") + "="
    before = relay.said()
    traveller.start(pin=wrong)
    traveller.send()
    traveller.agent.wait_for_network("blocked")
    assert set(traveller.agent.verdicts().values()) == {"wrong-certificate"}
    assert traveller.agent.queue()[0]["state"] in ("queued", "deferred")
    # What the relay heard of it since: connections that ended in the handshake, nobody who logged in, no message.
    since = relay.said()[len(before):]
    assert "user=" not in since and "from=" not in since, since
