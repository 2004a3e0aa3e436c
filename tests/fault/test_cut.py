"""Cut anywhere: the connection from the laptop ends at each octet that matters, in every mode (lines.py), and every message is at its destination exactly once.

The quick part, in `make check`, takes a sample of the positions; `make check-fault` takes them all (test_cut_*long.py)."""
import os
import sqlite3

import pytest
from custody_case import CHUNK, OVERHEAD, Custody
from daemon import wait_for
from lines import MODES

SIZE = 150_000      # three pieces, the last one short
HOWS = ("fin", "rst")      # a line that falls silent takes the agent half a minute each time: test_cut_silent_long.py


def spread(first, last, n):
    return sorted({first + (last - first) * i // max(1, n - 1) for i in range(n)})


def measure(case):
    """The octets of a hand-over that nobody cuts, to a relay that is known: both directions, and where the TLS records end."""
    case.wait_arrived(case.send(1000))      # the relay gives its token
    case.line.forget()
    case.wait_arrived(case.send(SIZE))
    assert len(case.wire.connections) == 1
    return case.wire.connections[0]


def clear_positions(whole, nclear):
    """Before TLS begins, in the proxy's dialogue and in SMTP's: at the end of all that was said at once, every reply among it, and nclear places of each side."""
    places = [(side, end + d) for side, end in whole.turns for d in (-1, 0, 1)]
    for side, records in (("to_client", whole.server_records), ("to_server", whole.client_records)):
        places += [(side, at) for at in spread(1, records.clear, nclear) if at <= records.clear]
    return places


def positions(whole, nbody, nclear):
    """("to_server" or "to_client", octets): after every record of either side, one octet before and behind, nbody places all over, and those in the clear."""
    places = [("to_client", end + d) for end in whole.server_records.ends for d in (-1, 0, 1)]
    places += [("to_server", end + d) for end in whole.client_records.ends for d in (-1, 0, 1)]
    places += [("to_server", at) for at in spread(1, whole.to_server - 1, nbody)]
    places += clear_positions(whole, nclear)
    return sorted({(side, at) for side, at in places if 0 < at <= getattr(whole, side)})


def begin_cut(case, side, at, how, size=SIZE):
    case.line.forget()
    case.wire.cut(**{side: at}, how=how)
    return case.send(size)


def end_cut(case, subject, what, size=SIZE, spare=0):
    """How often it was cut. spare: octets that may come to the relay beside the message, and beside one piece more for each cut."""
    case.wait_arrived(subject)
    ncut, nconnections, octets = sum(c.was_cut for c in case.wire.connections), len(case.wire.connections), case.octets_to_server()
    assert octets <= size + spare + ncut * CHUNK + nconnections * OVERHEAD, f"{octets} octets came to the relay for {size}, cut {what}: {[c.to_server for c in case.wire.connections]}"
    return ncut


def cut_at(case, side, at, how, size=SIZE):
    return end_cut(case, begin_cut(case, side, at, how, size), f"at {side} {at} by {how}", size)


def cut_everywhere(case, nbody, nclear, every=1):
    """How many places there are, and at how many of them it was cut: a hand-over that is shorter by an octet has no last place."""
    whole = measure(case)
    places = sorted({*positions(whole, nbody, nclear)[::every], *whole.turns})
    ncuts = sum(cut_at(case, side, at, HOWS[n % len(HOWS)]) for n, (side, at) in enumerate(places))
    case.judge()
    return len(places), ncuts


@pytest.fixture
def make_case(make_relay, make_agent, make_sink):
    cases = []

    def make(**options):
        cases.append(Custody(make_relay, make_agent, make_sink, **options))
        return cases[-1]
    yield make
    for case in cases:
        case.close()


@pytest.mark.parametrize("mode", MODES)
def test_a_sample_of_cuts(make_case, mode):
    nplaces, ncuts = cut_everywhere(make_case(mode=mode), nbody=8, nclear=4, every=int(os.environ.get("POSTERN_CUT_EVERY", "8")))
    assert ncuts >= nplaces - 1 and nplaces >= 10


def test_the_same_message_is_cut_again_and_again(make_case):
    """Each connection carries about 40,000 octets of 400,000, by turns in another manner."""
    case = make_case()
    measure(case)
    case.line.forget()
    for n in range(9):
        case.wire.cut(to_server=42_000, how=HOWS[n % len(HOWS)])
    size = 400_000
    case.wait_arrived(case.send(size))
    octets = case.octets_to_server()
    assert sum(c.was_cut for c in case.wire.connections) == 9
    assert octets <= size + 9 * 8192 + 10 * OVERHEAD, f"{octets} octets for {size}, although what had arrived was kept"
    case.judge()


class SlowDisk:
    """The relay's writer stands still from the time when a connection that will be cut has carried the first flight of a body until the one after is there: so there is much that the relay has not read."""

    def __init__(self, case, ncuts):
        self.case, self.ncuts, self.locks = case, ncuts, []
        case.wire.on_piece = self.look

    def look(self, connection):
        n = self.case.wire.connections.index(connection)
        if n < self.ncuts and n == len(self.locks) and connection.to_server > 80_000:
            lock = sqlite3.connect(self.case.relay.path("relay.db"), timeout=30, isolation_level=None, check_same_thread=False)
            lock.execute("BEGIN IMMEDIATE")
            self.locks.append(lock)

    def wait(self):
        wire = self.case.wire
        for n in range(self.ncuts):
            wait_for(lambda n=n: len(wire.connections) > n + 1 and wire.connections[n + 1].to_server > 600, f"connection {n + 1} after a cut")
            self.locks[n].close()


def test_a_large_one_is_cut_while_the_relay_still_reads(make_case):
    """The laptop is back before the relay has seen the end of the connection before, or half of what it brought."""
    case = make_case()
    measure(case)
    case.line.forget()
    for _ in range(5):
        case.wire.cut(to_server=560_000)
    disk = SlowDisk(case, 5)
    size = 3_000_000
    subject = case.send(size)
    disk.wait()
    case.wait_arrived(subject)
    octets = case.octets_to_server()
    assert sum(c.was_cut for c in case.wire.connections) == 5
    assert octets <= size + size // 500 + 5 * CHUNK + 6 * OVERHEAD, f"{octets} octets for {size}: {[c.to_server for c in case.wire.connections]}"
    case.judge()
