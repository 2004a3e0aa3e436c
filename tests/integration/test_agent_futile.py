"""What no further attempt mends: a copy that is damaged on the disk, and a limit that was lowered when the relay had the message already."""
import shutil
import sqlite3

import pytest

from agent_support import pin_of
from daemon import free_port
from relay_support import make_message


@pytest.fixture
def sink(make_sink):
    return make_sink()


@pytest.fixture
def relay(make_relay, sink):
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port, listen=[f"127.0.0.1:{free_port()} tls"])
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


@pytest.fixture
def agent(make_agent, relay):
    return make_agent(pin=pin_of(relay), ways=[f"{relay.address('tls')[1]} tls"])


def flip_a_bit(agent, seq):
    database = sqlite3.connect(agent.path("agent.db"))
    with database:
        (octets,) = database.execute("SELECT octets FROM chunk WHERE seq = ?", (seq,)).fetchone()
        damaged = bytearray(octets)
        damaged[500] ^= 1
        database.execute("UPDATE chunk SET octets = ? WHERE seq = ?", (bytes(damaged), seq))
    database.close()


def test_a_damaged_message_is_held_with_words(relay, sink, agent):
    relay.stop()
    damaged = agent.send(message=make_message(subject="damaged", body="a" * 150_000))
    agent.stop()
    flip_a_bit(agent, 1)
    agent.start()
    sound = agent.send(message=make_message(subject="sound", body="b" * 150_000))
    relay.start()
    entry = agent.wait_state(damaged, "held")
    assert "damaged in the local store" in entry["to"][0]["reply"]
    sink.wait_message()
    agent.wait_state(sound, "delivered", "relayed")
    assert [message.header("Subject") for message in sink.messages] == ["sound"]
    assert len(agent.log("message-held")) == 1


@pytest.mark.parametrize("octets", [300_000, 70_000])
def test_a_limit_lowered_later_bounces_nothing_that_the_relay_has(relay, sink, agent, octets):
    relay.stop()
    id = agent.send(message=make_message(subject="large", body="a" * octets))
    agent.stop()
    shutil.copytree(agent.folder, str(agent.folder) + ".before")
    relay.start()
    agent.start()
    sink.wait_message()
    agent.stop()
    shutil.rmtree(agent.folder)
    shutil.copytree(str(agent.folder) + ".before", agent.folder)  # as if it had never learned of it
    relay.stop()
    relay.conf["limits.message_size"] = ["64K"]
    relay.write_conf()
    relay.start()
    agent.start()
    agent.wait_state(id, "relayed", "delivered")
    assert len(sink.messages) == 1
    other = agent.send(message=make_message(subject="new", body="a" * octets))
    assert "552" in agent.wait_state(other, "bounced")["to"][0]["reply"]
