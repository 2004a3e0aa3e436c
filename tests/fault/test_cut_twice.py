"""Cut twice in one hand-over: the connection in which the message is gone on with is cut as well, at each of the places that matter in it, for each of those of the first one. The first cut may be the relay's death.

The quick part takes a few pairs; `make check-fault` the whole grid (test_cut_twice_long.py)."""
from custody_case import CHUNK
from test_cut import HOWS, SIZE, end_cut, make_case, measure, spread  # noqa: F401


def interesting(connection):
    """(side, octets): after each of the replies, with an octet of the last one to the body, so that the relay has all and the laptop does not know; within the body, and short of its end; and at once."""
    ends = connection.server_records.ends
    places = [("to_client", end) for end in ends[-8:-2]]         # the last two are the farewell
    places += [("to_client", ends[-4] + 1), ("to_server", 1)]
    places += [("to_server", at) for at in spread(connection.to_server // 8, connection.to_server - 150, 6)]
    return sorted(set(places))


class Death:
    """The relay's, by SIGKILL, when it has read the octets that the first connection is to carry; it is there again before the laptop hears of it."""

    def __init__(self, case, side, at):
        self.case, self.side, self.at, self.is_done = case, side, at, False
        case.wire.on_piece = self.look

    def look(self, connection):
        if not self.is_done and connection is self.case.wire.connections[0] and getattr(connection, self.side) >= self.at:
            self.is_done = True
            connection.wait_read()
            self.case.relay.kill()
            self.case.relay.start()
            self.case.reconnect()


def begin(case, first, how, by_death):
    case.line.forget()      # a second cut that no connection has taken: the laptop knew by then that all was taken
    case.settle()
    case.line.forget()
    case.wire.cut(**{first[0]: first[1]}, how=how)
    case.wire.on_piece = lambda connection: None
    if by_death:
        Death(case, *first)


def measure_second(case, first, how, by_death):
    """(which it is, the connection) in which the message is gone on with after that cut, behind any that lost a race to it; None: there is none, the laptop knew by then that it was taken."""
    begin(case, first, how, by_death)
    end_cut(case, case.send(SIZE), f"at {first}", spare=CHUNK * by_death)
    carried = [(n, connection) for n, connection in enumerate(case.wire.connections) if n and len(connection.server_records.ends) >= 6]
    return carried[0] if carried and case.wire.connections[0].was_cut else None


def cut_twice(case, first, n, second, hows, by_death):
    begin(case, first, hows[0], by_death)
    for _ in range(1, n):
        case.wire.cut()     # not this one
    case.wire.cut(**{second[0]: second[1]}, how=hows[1])
    # A relay that is killed may lose the piece that it gathers and the one that is on its way to the disk (schema/link.md).
    return end_cut(case, case.send(SIZE), f"at {first}, then at {second}, by {hows}", spare=CHUNK * by_death)


def cut_grid(case, firsts, seconds, by_death=False):
    """firsts, seconds: which of the places, as slices. Gives how many pairs there were, and how many of them were cut twice."""
    npairs, ntwice = 0, 0
    for i, first in enumerate(interesting(measure(case))[firsts]):
        how = HOWS[i % 2]
        n, whole = measure_second(case, first, how, by_death) or (0, None)
        for k, second in enumerate(interesting(whole)[seconds] if whole else []):
            ntwice += cut_twice(case, first, n, second, (how, HOWS[(i + k) // 2 % 2]), by_death) == 2
            npairs += 1
    case.judge(relay_died=by_death)
    return npairs, ntwice


def test_a_sample_of_two_cuts(make_case):  # noqa: F811
    npairs, ntwice = cut_grid(make_case(), slice(1, None, 4), slice(2, None, 5))
    assert npairs >= 8 and ntwice >= npairs * 2 // 3


def test_the_relay_dies_and_then_the_connection(make_case):  # noqa: F811
    npairs, ntwice = cut_grid(make_case(), slice(7, None, 6), slice(2, None, 8), by_death=True)
    assert npairs >= 2 and ntwice >= npairs - 1
