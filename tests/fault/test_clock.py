"""The wall clock jumps by ten years, ahead or back, while a program runs or while it does not: no mail bounces, waits for ever, or goes twice, and what is known of it stays known.

The programs run under libfaketime, which moves the wall clock alone: the clocks that nobody sets stay true. The quick part, in `make check`, takes some of the jumps, `make check-fault` all."""
import base64
import glob
import hashlib
import os
import subprocess

import pytest

from agent_support import Service, pin_of
from daemon import expect, free_port, wait_for
from relay_support import make_message

LIBRARIES = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
DEFERRED = "451 4.7.1 come again"
TEN_YEARS = 10 * 365 * 86400

pytestmark = [pytest.mark.skipif(not LIBRARIES, reason="faketime is not installed"),
              pytest.mark.skipif("asan" in os.environ.get("POSTERN_BUILD", ""), reason="the sanitizer wants to be loaded first")]


def jumps(*quick):
    """All four, of which those that are not named quick are left to `make check-fault`."""
    cases = [(step, meanwhile) for step in (TEN_YEARS, -TEN_YEARS) for meanwhile in ("running", "stopped")]
    names = [f"{'ahead' if step > 0 else 'back'}-{meanwhile}" for step, meanwhile in cases]
    assert set(quick) <= set(names), quick
    return pytest.mark.parametrize("step, meanwhile", [pytest.param(*case, id=name, marks=[] if name in quick else [pytest.mark.long]) for case, name in zip(cases, names)])


class Clock:
    """Of one or more programs."""

    def __init__(self, path):
        self.path = str(path)
        self.by = 0
        self.write()

    def write(self):
        with open(self.path + ".new", "w", encoding="ascii") as file:
            file.write(f"{self.by:+d}\n")
        os.rename(self.path + ".new", self.path)

    def environment(self):
        return {**os.environ, "LD_PRELOAD": LIBRARIES[0], "FAKETIME_TIMESTAMP_FILE": self.path, "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1",
                "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def jump(self, step, meanwhile, *daemons):
        """Daemons start in the order given: the relay first, or an agent finds no way and waits for its next look."""
        if meanwhile != "running":
            for daemon in daemons:
                daemon.stop()
        self.by += step
        self.write()
        if meanwhile != "running":
            for daemon in daemons:
                daemon.start()


@pytest.fixture
def clock(tmp_path):
    return Clock(tmp_path / "clock")


@pytest.fixture
def sink(make_sink):
    return make_sink()


@pytest.fixture
def relay(make_relay, sink, clock):
    """With a port that is the same after a restart."""
    relay = make_relay(start=False, zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port, listen=[f"127.0.0.1:{free_port()} tls"])
    relay.environment = clock.environment()
    relay.add_account("anna", "secret", "anna@example.org")
    return relay.start()


@pytest.fixture
def service(tmp_path):
    service = Service(tmp_path)
    yield service
    service.close()


def send(relay, subject="hello"):
    return relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"], make_message(subject=subject))


def tries(daemon, id):
    return len(daemon.log("deferred", item=id))


def wait_tries(daemon, id, n=2):
    """So many more than now."""
    before = tries(daemon, id)
    wait_for(lambda: tries(daemon, id) >= before + n, lambda: f"{id} being tried; the log:\n" + "\n".join([line for line in daemon.log_lines if id in line or "clock" in line][-20:]))


def options_of(service):
    """Its key is pinned: a certificate that an authority vouches for is not good by the wrong clock, and its mail waits until that is right."""
    key = subprocess.run(["openssl", "x509", "-in", service.certificate, "-noout", "-pubkey"], check=True, capture_output=True, timeout=60).stdout
    octets = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True, timeout=60).stdout
    return {"pin": "sha256//" + base64.b64encode(hashlib.sha256(octets).digest()).decode(), "ways": [f"{service.port} tls"]}


def agent_of(make_agent, clock, conf=None, **options):
    agent = make_agent(start=False, conf=conf, **options)
    agent.environment = clock.environment()
    return agent.start()


@jumps("ahead-running", "back-running")
def test_the_relay_goes_on_trying(relay, sink, clock, step, meanwhile):
    sink.replies[("DATA", None)] = [DEFERRED]
    id = send(relay)
    wait_tries(relay, id)
    clock.jump(step, meanwhile, relay)
    wait_tries(relay, id)
    clock.jump(0, "stopped", relay)     # with times of both clocks on its disk
    wait_tries(relay, id)
    del sink.replies[("DATA", None)]
    relay.wait_state(id, "delivered")
    assert [m.sender for m in sink.messages] == ["anna@example.org"]
    assert not relay.log("bounced")


@jumps()
def test_the_relay_goes_on_when_the_clock_is_set_right_again(relay, sink, clock, step, meanwhile):
    sink.replies[("DATA", None)] = [DEFERRED]
    first = send(relay)
    wait_tries(relay, first)
    clock.jump(step, meanwhile, relay)
    second = send(relay)
    wait_tries(relay, second)
    wait_tries(relay, first)
    clock.jump(-step, meanwhile, relay)
    wait_tries(relay, second)
    wait_tries(relay, first)
    del sink.replies[("DATA", None)]
    for id in (first, second):
        relay.wait_state(id, "delivered")
    assert [m.sender for m in sink.messages] == 2 * ["anna@example.org"]


@jumps("ahead-running", "back-stopped")
def test_a_name_stays_known_to_the_relay(relay, clock, step, meanwhile):
    def name_it():
        with relay.client(user="anna", password="secret") as client:
            client.ehlo()
            code, _ = client.docmd("MAIL", "FROM:<anna@example.org> TRANSID=<one.two@laptop.example>")
            if code == 250:
                expect(client.rcpt("bob@dest.example"), 250)
            expect(client.docmd("DATA"), 354)
            client.send(make_message() + b".\r\n" if code == 250 else b".\r\n")
            return code, expect(client.getreply(), 250)
    first, told = name_it()
    clock.jump(step, meanwhile, relay)
    send(relay, "what comes in lets it sweep")
    again, told_again = name_it()
    assert (first, again) == (250, 355) and told == told_again


@jumps("ahead-running")
def test_the_agent_goes_on_trying(make_agent, service, clock, step, meanwhile):
    agent = agent_of(make_agent, clock, **options_of(service))
    service.replies[("DATA", None)] = [DEFERRED]
    id = agent.send()
    wait_tries(agent, id)
    clock.jump(step, meanwhile, agent)
    wait_tries(agent, id)
    clock.jump(0, "stopped", agent)
    wait_tries(agent, id)
    del service.replies[("DATA", None)]
    agent.wait_state(id, "relayed", "delivered")
    assert len(service.messages) == 1


@jumps("ahead-running")
def test_mail_waits_on_while_there_is_no_way(make_agent, service, clock, step, meanwhile):
    """Nobody is asked: the agent itself looks what has waited for too long."""
    service.close()
    agent = agent_of(make_agent, clock, **options_of(service))
    id = agent.send()
    clock.jump(step, meanwhile, agent)
    searches = len(agent.log("no-way"))
    wait_for(lambda: len(agent.log("no-way")) >= searches + 4, lambda: "the agent looking for ways:\n" + "\n".join(agent.log_lines[-20:]))
    second = agent.send()
    again = service.again()
    try:
        for each in (id, second):
            agent.wait_state(each, "relayed", "delivered")
        assert len(again.messages) == 2
    finally:
        again.close()


@jumps("ahead-running")
def test_what_became_of_it_is_asked_all_the_same(make_agent, relay, sink, clock, step, meanwhile):
    agent = agent_of(make_agent, clock, pin=pin_of(relay), ways=[f"{relay.address('tls')[1]} tls"])
    sink.replies[("DATA", None)] = [DEFERRED]
    id = agent.send()
    agent.wait_state(id, "relayed")
    clock.jump(step, meanwhile, relay, agent)
    del sink.replies[("DATA", None)]
    agent.wait_state(id, "delivered")
    assert len(sink.messages) == 1


@jumps("back-running")
def test_a_retry_is_known_and_history_stays_while_it_runs(make_agent, service, clock, step, meanwhile):
    """Over a restart nobody can tell how long ago it was."""
    message = b"Message-ID: <one@example.org>\r\n" + make_message()
    agent = agent_of(make_agent, clock, **options_of(service))
    first = agent.send(message=message)
    agent.wait_state(first, "relayed", "delivered")
    clock.jump(step, meanwhile, agent)
    second = agent.send()
    agent.wait_state(second, "relayed", "delivered")
    if meanwhile == "running":
        assert agent.send(message=message) == first
        assert {e["id"] for e in agent.queue("--all")} == {first, second}
    wait_for(lambda: len(service.messages) == 2, "two messages at the service")
