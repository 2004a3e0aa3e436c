"""Cut anywhere, where the two do not know each other: the laptop is a new one, which logs in by password and asks for its token behind the message; or the relay has lost its database, and refuses the token, with the
message's first flight behind it, so that the laptop comes again by password. Each cut meets strangers of its own.

The quick part takes a few places in one mode; `make check-fault` all modes (test_cut_new_laptop_long.py, test_cut_new_relay_long.py)."""
from custody_case import CHUNK
from test_cut import HOWS, SIZE, clear_positions, end_cut, make_case, spread  # noqa: F401


def new_laptop(case):
    assert case.agent.stop() == 0       # else it would ask what became of its mail over the wire that is to be cut
    case.agent = case.new_agent()


def new_relay(case):
    case.lose_database()


def meet(case, make_strange, n, cut):
    """One message between strangers, whose n-th connection is cut. Gives its subject."""
    make_strange(case)
    case.line.forget()
    for _ in range(n):
        case.wire.cut()     # not this one
    case.wire.cut(**cut)
    return case.send(SIZE)


def measure_strangers(case, make_strange):
    """The connections of a hand-over that nobody cuts, without those that were opened for a race and carried nothing."""
    case.wait_arrived(case.send(1000))      # the laptop has a token for the relay to forget
    case.wait_arrived(meet(case, make_strange, 0, {}))
    return [connection for connection in case.wire.connections if connection.to_server]


def places_of(connections):
    """(which connection, side, octets): after each record, one octet before it too where it is the relay's, in the body, and in the clear."""
    places = []
    for n, whole in enumerate(connections):
        places += [(n, "to_client", end - d) for end in whole.server_records.ends for d in (0, 1)]
        places += [(n, "to_server", end) for end in whole.client_records.ends]
        places += [(n, "to_server", at) for at in spread(1, whole.to_server - 1, 8)]
        places += [(n, side, at) for side, at in clear_positions(whole, 2)]
    return sorted({place for place in places if 0 < place[2] <= getattr(connections[place[0]], place[1])})


def cut_strangers(case, make_strange, first, every):
    """How many places it was to be cut at, and at how many it was."""
    places = places_of(measure_strangers(case, make_strange))[first::every]
    ncuts = 0
    for i, (n, side, at) in enumerate(places):
        how = HOWS[i % len(HOWS)]
        subject = meet(case, make_strange, n, {side: at, "how": how})
        # The flight that was refused is no octet that comes again because of the cut.
        ncuts += end_cut(case, subject, f"at {side} {at} of connection {n} by {how}", spare=CHUNK if make_strange is new_relay else 0)
    case.judge()
    return len(places), ncuts


def test_a_laptop_that_the_relay_does_not_know(make_case):  # noqa: F811
    nplaces, ncuts = cut_strangers(make_case(), new_laptop, first=9, every=15)
    assert nplaces >= 4 and ncuts >= nplaces - 1


def test_a_relay_that_has_lost_its_database(make_case):  # noqa: F811
    nplaces, ncuts = cut_strangers(make_case(), new_relay, first=14, every=30)
    assert nplaces >= 3 and ncuts >= nplaces - 1
