"""The agent and a relay of ours: the token, the hand-over in one flight, and what becomes of both when the relay is not what it was."""
import os
import signal
import stat

import pytest

from agent_support import pin_of
from daemon import wait_for
from relay_support import make_message

TOKEN_LOGIN = {"result": "ok", "user": "anna", "mechanism": "HT-SHA-256-EXPR"}


@pytest.fixture
def make_pair(make_relay, make_agent, make_sink):
    """(agent, relay): anna's agent with the relay's pin, or (ca) its certificate; each message goes over a session of its own."""
    def make(ca=False):
        sink = make_sink()
        relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port)
        relay.add_account("anna", "secret", "anna@example.org")
        _, port = relay.address("tls")
        identity = {"ca": relay.path("keys/relay.crt"), "name": relay.name} if ca else {"pin": pin_of(relay)}
        return make_agent(ways=[f"{port} tls"], conf={"relay.keep_warm": ["0s"], "queue.patience": ["1h"]}, **identity), relay
    return make


def send(agent):
    agent.wait_state(agent.send(), "relayed")
    wait_for(lambda: agent.status()["state"] == "resting", "rest")


def logins(relay):
    return [line["mechanism"] for line in relay.log("auth", result="ok")]


def is_early(agent):
    """Whether the newest session was proven without a word of the relay's."""
    states = [(line["from"], line["to"]) for line in agent.log("smtp-client-state")]
    return [pair for pair in states if pair[1] == "proven"][-1][0] == "greeting"


def test_after_the_first_login_a_token_and_all_in_one_flight(make_pair):
    agent, relay = make_pair()
    send(agent)
    device = agent.wait_log("device-known")["device"]
    [known] = relay.json("device", "list")
    assert (known["id"], known["account"], known["label"]) == (device, "anna", "laptop")
    assert not is_early(agent)
    for _ in range(2):
        send(agent)
        assert is_early(agent)
    assert logins(relay)[1:] == ["HT-SHA-256-EXPR"] * 2 and len(relay.json("device", "list")) == 1


def test_the_token_outlives_a_restart_and_is_nowhere_but_in_the_database(make_pair):
    agent, relay = make_pair()
    send(agent)
    agent.wait_log("device-known")
    agent.stop()
    assert stat.S_IMODE(os.stat(agent.path("agent.db")).st_mode) == 0o600
    agent.start()
    send(agent)
    assert is_early(agent) and logins(relay)[-1] == "HT-SHA-256-EXPR"


def test_a_revoked_token_costs_one_more_session_and_no_waiting(make_pair):
    agent, relay = make_pair()
    send(agent)
    first = agent.wait_log("device-known")["device"]
    relay.run("device", "revoke", first)
    # Patience is an hour: it must go at once.
    send(agent)
    assert len(agent.log("relay-changed")) == 1 and logins(relay)[-1] != "HT-SHA-256-EXPR"
    assert [way["verdict"] for way in agent.status()["ways"]] == ["open"]
    wait_for(lambda: len(agent.log("device-known")) == 2, "another token")
    second = agent.log("device-known")[-1]["device"]
    assert second != first and [known["id"] for known in relay.json("device", "list")] == [second]
    send(agent)
    assert logins(relay)[-1] == "HT-SHA-256-EXPR" and len(agent.log("relay-changed")) == 1


def test_a_relay_that_offers_less_than_it_did(make_pair):
    agent, relay = make_pair()
    send(agent)
    agent.wait_log("device-known")
    send(agent)
    relay.set_conf("relay.conf", {"limits.message_size": ["100K"]})
    relay.process.send_signal(signal.SIGHUP)
    relay.wait_log("reloaded")
    for _ in range(2):   # the first one breaks off an early session, and so the relay may have it, and is asked whether; the second one is not told of
        too_large = agent.send(message=make_message(body=("y" * 70 + "\n") * 7000))
        assert agent.wait_state(too_large, "bounced")["to"][0]["reply"] == "552 5.3.4 The message has 504.3 KB, the next hop takes at most 102.4 KB"
    send(agent)
    assert len(agent.log("no-way")) == 0


def test_without_a_pin_the_token_is_used_but_nothing_is_said_early(make_pair):
    agent, relay = make_pair(ca=True)
    send(agent)
    device = agent.wait_log("device-known")["device"]
    send(agent)
    assert not is_early(agent) and logins(relay)[-1] == "HT-SHA-256-EXPR"
    # The password is tried in the same session.
    relay.run("device", "revoke", device)
    send(agent)
    assert not agent.log("relay-changed") and logins(relay)[-1] != "HT-SHA-256-EXPR"
    wait_for(lambda: len(agent.log("device-known")) == 2, "another token")


def test_the_ways_that_the_relay_names_are_kept(make_pair):
    agent, relay = make_pair()
    send(agent)
    # One way is configured, not the usual ones: it stays the only one.
    send(agent)
    assert [way["port"] for way in agent.status()["ways"]] == [relay.address("tls")[1]]
