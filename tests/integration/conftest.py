"""What the integration tests share: relays of their own, destination servers, names. Everything is on 127.0.0.0/8 and in a folder of the test's.

    def test_something(make_relay, make_sink):
        sink = make_sink()                                   an aiosmtpd on 127.0.0.1 and a port of its own
        relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\\nmx.dest.example A {sink.host}\\n", mx_port=sink.port)
        relay.add_account("anna", "secret", "anna@example.org")
        relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
        message = sink.wait_message()
"""
import subprocess
import sys

import pytest

sys.dont_write_bytecode = True

import agent_support  # noqa: E402
import relay_support  # noqa: E402


@pytest.fixture
def make_relay(tmp_path):
    """Makes and starts a relay (relay_support.Relay); all are stopped at the end, and must have ended well."""
    relays = []

    def make(**options):
        start = options.pop("start", True)
        relay = relay_support.Relay(tmp_path / f"relay{len(relays)}", **options)
        relays.append(relay)
        relay.init()
        if start:
            relay.start()
        return relay

    yield make
    problems = [problem for relay in relays for problem in relay.close()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def make_agent(tmp_path):
    """Makes and starts an agent (agent_support.Agent); all are stopped at the end, and must have ended well."""
    agents = []

    def make(**options):
        start = options.pop("start", True)
        agent = agent_support.Agent(tmp_path / f"agent{len(agents)}", **options)
        agents.append(agent)
        agent.setup()
        if start:
            agent.start()
        return agent

    yield make
    problems = [problem for agent in agents for problem in agent.close()]
    assert not problems, "\n".join(problems)


@pytest.fixture
def service(tmp_path):
    """A submission service that is none of ours (agent_support.Service)."""
    service = agent_support.Service(tmp_path)
    yield service
    service.close()


@pytest.fixture
def make_sink():
    """Makes and starts a destination server (relay_support.Sink)."""
    sinks = []

    def make(**options):
        sink = relay_support.Sink(**options)
        sinks.append(sink)
        return sink

    yield make
    for sink in sinks:
        sink.close()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=48m,mode=700", "none", str(place)], capture_output=True).returncode != 0:
        pytest.skip("no right to mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
