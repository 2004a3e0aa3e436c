"""Cut anywhere, at every position of test_cut.py, directly to the relay; through proxies: test_cut_http_long.py, test_cut_socks_long.py, test_cut_inside_long.py. Some minutes each."""
import pytest
from lines import DIRECT
from test_cut import HOWS, cut_at, cut_everywhere, make_case, positions  # noqa: F401

pytestmark = pytest.mark.long


def cut_hundreds(case, mode):
    nplaces, ncuts = cut_everywhere(case, nbody=250, nclear=80)
    print(f"{mode}: {nplaces} places, {ncuts} cuts, each message once")
    assert nplaces >= 300 and ncuts >= nplaces * 95 // 100


@pytest.mark.parametrize("mode", DIRECT)
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    cut_hundreds(make_case(mode=mode), mode)


def test_a_laptop_that_the_relay_does_not_know(make_case):  # noqa: F811
    """The first hand-over of all, by password, with the token asked behind it: an agent of its own for each cut."""
    case = make_case()
    case.line.forget()
    case.wait_arrived(case.send(30_000))
    whole = case.wire.connections[0]
    for n, (side, at) in enumerate(positions(whole, nbody=20, nclear=0)[::3]):
        case.agent = case.new_agent()
        cut_at(case, side, at, HOWS[n % len(HOWS)], size=30_000)
    case.judge()
