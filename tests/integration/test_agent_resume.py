"""Large mail on lines that break: it goes on where it was, arrives once, and lets small mail pass. Agent and relay are real; the line is a proxy that counts octets."""
import contextlib
import select
import sqlite3

import pytest

from agent_support import Service, pin_of
from cutting_proxy import CuttingProxy
from daemon import free_port, wait_for
from relay_support import make_message

MEGABYTE = 1 << 20
CHUNK = 64 * 1024
OVERHEAD = 16 * 1024    # of a connection: handshake, EHLO, AUTH, envelope
ZONE = "dest.example MX 10 mx.dest.example\nmx.dest.example A {host}\nexample.org MX 10 mx.dest.example\n"


def big_message(octets, subject="big"):
    line = b"0123456789abcdef" * 4 + b"\r\n"
    head = f"From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: {subject}\r\n\r\n".encode()
    return head + line * (octets // len(line))


@pytest.fixture
def house(make_relay, make_sink, make_agent):
    """A destination, a relay, a line, an agent."""
    class House:
        proxies = []

        def open(self, cuts=(), relay_conf=(), agent_conf=None, start=True, proxy=CuttingProxy):
            self.sink = make_sink()
            self.relay = make_relay(zone=ZONE.format(host=self.sink.host), mx_port=self.sink.port, conf=relay_conf, listen=[f"127.0.0.1:{free_port()} tls"])
            self.relay.add_account("anna", "secret", "anna@example.org")
            self.proxy = proxy(self.relay.address("tls")[1], cuts)
            self.proxies.append(self.proxy)
            self.agent = make_agent(pin=pin_of(self.relay), ways=[f"{self.proxy.port} tls"], conf=agent_conf, start=start)
            return self

        def send_to_gate(self, message, octets):
            """Stops the line when so many octets have passed; the message's id."""
            self.proxy.set_gate(octets)
            id = self.agent.send(message=message)
            self.proxy.wait_at_gate()
            return id

        def send_half(self, message, octets):
            """The same, and the relay has them on its disk, but for what may still be on its way."""
            id = self.send_to_gate(message, octets)

            def look():
                with contextlib.closing(sqlite3.connect(f"file:{self.relay.path('relay.db')}?mode=ro", uri=True)) as database:
                    return database.execute("SELECT count(*) FROM chunk").fetchone()[0] * CHUNK >= octets - 4 * CHUNK
            wait_for(look, f"{octets} octets at the relay")
            return id

        def assert_arrives_once(self, id):
            self.agent.wait_state(id, "relayed", "delivered")
            assert len(self.sink.wait_messages(1)) == 1
    opened = House()
    yield opened
    for proxy in opened.proxies:
        proxy.close()


def tls_octets(octets):
    """A record of TLS 1.3 has 16 KiB at most and 22 octets more."""
    return octets + octets // 2048


def test_ten_cuts_and_no_octet_twice_but_for_a_chunk_each(house):
    message = big_message(5 * MEGABYTE)
    house.open(cuts=[500_000] * 10)
    id = house.agent.send(message=message)
    house.agent.wait_state(id, "relayed", "delivered")
    house.sink.wait_messages(1)
    assert house.proxy.connections == 11    # each while the relay still reads what the one before has brought
    assert house.proxy.octets <= tls_octets(len(message)) + 10 * CHUNK + 11 * OVERHEAD
    assert house.sink.messages[0].octets.endswith(message[-5 * MEGABYTE // 2:])
    assert len(house.sink.messages) == 1


def test_cuts_before_a_chunk_is_whole_get_it_through_too(house):
    """30,000 octets a connection, and no reply to a chunk is ever heard."""
    message = big_message(300_000)
    house.open(cuts=[30_000] * 40)
    id = house.agent.send(message=message)
    house.agent.wait_state(id, "relayed", "delivered")
    assert house.proxy.octets <= tls_octets(len(message)) + house.proxy.connections * OVERHEAD
    assert len(house.sink.wait_messages(1)) == 1


def test_a_small_message_overtakes(house):
    message = big_message(10 * MEGABYTE)
    house.open()
    large = house.send_to_gate(message, 2 * MEGABYTE)
    entry = house.agent.entry(large)
    assert entry["state"] == "sending" and 0 < entry["progress"]["octets"] < entry["progress"]["of"] == entry["size"]
    assert f"sending      {large}, " in house.agent.run("status").stdout
    small = house.agent.send(message=make_message(subject="small"))
    house.proxy.set_gate(None)
    house.sink.wait_messages(2)
    assert [m.header("Subject") for m in house.sink.messages] == ["small", "big"]
    house.agent.wait_state(small, "relayed", "delivered")
    entry = house.agent.wait_state(large, "relayed", "delivered")
    assert entry["progress"] is None
    assert house.proxy.octets <= tls_octets(len(message)) + CHUNK + OVERHEAD


def test_many_large_ones_on_a_line_that_breaks_go_one_after_the_other(house):
    """More than the relay keeps halves of: were each cut to begin another one, the relay would drop the first, and none would ever arrive."""
    messages = [big_message(MEGABYTE - 200_000 + 400_000 * (i % 2), subject=f"big{i}") for i in range(6)]    # on both sides of what makes way for others
    house.open(cuts=[400_000] * 20, relay_conf=["limits.half_bodies = 2"])
    house.proxy.set_gate(0)
    ids = [house.agent.send(message=m) for m in messages]
    house.proxy.set_gate(None)
    for id in ids:
        house.agent.wait_state(id, "relayed", "delivered")
    house.sink.wait_messages(6)
    assert sorted(m.header("Subject") for m in house.sink.messages) == [f"big{i}" for i in range(6)]
    assert house.proxy.octets <= sum(tls_octets(len(m)) for m in messages) + house.proxy.connections * (CHUNK + OVERHEAD)
    assert not house.relay.log("half-body-dropped")


class DyingProxy(CuttingProxy):
    """A line that dies of each larger flight of the agent's, before anything of it has passed."""

    def _forth(self, near, far, limit):
        with contextlib.suppress(OSError):
            while 0 < len(octets := self.flight(near)) <= 3000:
                far.sendall(octets)

    @staticmethod
    def flight(near):
        """All that comes without a longer pause."""
        octets = near.recv(64 * 1024)
        while octets and len(octets) <= 3000 and select.select([near], [], [], 0.02)[0]:
            more = near.recv(64 * 1024)
            if not more:
                break
            octets += more
        return octets


def test_one_that_never_gets_through_lets_the_others_go(house):
    house.open(agent_conf={"queue.schedule": ["1h"]}, proxy=DyingProxy)
    house.agent.send(message=big_message(600_000))
    wait_for(lambda: house.proxy.connections > 1, "the first death")
    ids = [house.agent.send(message=make_message(subject=f"small{i}")) for i in range(3)]
    for id in ids:
        house.agent.wait_state(id, "relayed", "delivered")


def test_progress_is_told_of_what_was_interrupted(house):
    house.open()
    id = house.send_half(big_message(5 * MEGABYTE), 2 * MEGABYTE)
    house.relay.kill()
    wait_for(lambda: house.agent.entry(id)["state"] != "sending", "the end of the session")
    entry = house.agent.entry(id)
    assert MEGABYTE // 2 < entry["progress"]["octets"] <= 2 * MEGABYTE and entry["progress"]["of"] == entry["size"]
    words = house.agent.run("queue", "show", id).stdout
    assert " of 5.2 MB\n" in words and "sent " in words
    house.relay.start()
    house.proxy.set_gate(None)
    house.assert_arrives_once(id)


@pytest.mark.parametrize("cut", [3000, 6500, 8000, 9500, 11000, 13000])
def test_everybody_once_with_many_recipients(house, cut):
    """More recipients than the relay takes at a time, and the line breaks in or between the transactions."""
    house.open(cuts=[cut] * 2, relay_conf=["limits.recipients = 100"])
    to = [f"r{i}@dest.example" for i in range(250)]
    id = house.agent.send(to=to)
    house.agent.wait_state(id, "relayed", "delivered")
    wait_for(lambda: sum(len(m.to) for m in house.sink.messages) >= 250, "all recipients")
    assert sorted(address for m in house.sink.messages for address in m.to) == sorted(to)


def test_an_agent_killed_in_mid_message_asks_and_goes_on(house):
    message = big_message(5 * MEGABYTE)
    house.open()
    id = house.send_half(message, 3 * MEGABYTE)
    house.agent.kill()
    house.proxy.set_gate(None)
    house.agent.start()
    house.assert_arrives_once(id)
    assert house.proxy.octets <= tls_octets(len(message)) + 2 * (CHUNK + OVERHEAD) + 8 * CHUNK    # what was on its way


def test_a_relay_killed_in_mid_message_goes_on(house):
    message = big_message(5 * MEGABYTE)
    house.open()
    id = house.send_half(message, 3 * MEGABYTE)
    house.relay.kill()
    house.relay.start()
    house.proxy.set_gate(None)
    house.assert_arrives_once(id)
    assert house.proxy.octets <= tls_octets(len(message)) + 2 * (CHUNK + OVERHEAD) + 8 * CHUNK


def test_a_foreign_service_gets_it_whole_and_without_a_name(make_agent, tmp_path):
    message = big_message(2 * MEGABYTE)
    service = Service(tmp_path)
    proxy = CuttingProxy(service.port, [MEGABYTE])
    try:
        agent = make_agent(**{**service.agent_options(), "ways": [f"{proxy.port} tls"]})
        id = agent.send(message=message)
        agent.wait_state(id, "relayed")
        assert len(service.messages) == 1 and proxy.octets > len(message) + MEGABYTE
        assert not [option for option in service.messages[0].mail_options if "TRANSID" in option.upper() or "XWHOLE" in option.upper()]
    finally:
        proxy.close()
        service.close()


def test_one_that_is_too_large_bounces_with_both_numbers_before_its_first_octet(house):
    house.open(relay_conf=["limits.message_size = 100000"])
    id = house.agent.send(message=big_message(300_000))
    house.agent.wait_state(id, "bounced")
    report = house.sink.wait_message(to=["anna@example.org"])
    words = "552 5.3.4 The message has 300.2 KB, the next hop takes at most 100.0 KB"
    assert words in " ".join(report.octets.decode().split()), report.octets.decode()
    assert house.proxy.octets < 4 * OVERHEAD
