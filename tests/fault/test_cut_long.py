"""Cut anywhere, at every position of test_cut.py and in more dialogues: some minutes."""
import pytest
from test_cut import cut_everywhere, make_case, positions, measure, cut_at, HOWS  # noqa: F401

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    ncuts = cut_everywhere(make_case(mode=mode), nbody=300)
    print(f"{mode}: {ncuts} cuts, each message once")
    assert ncuts >= 300


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_line_that_falls_silent(make_case, mode):  # noqa: F811
    """Nobody is told that the connection has ended."""
    case = make_case(mode=mode)
    places = positions(measure(case), 12)[::6]
    for side, at in places:
        cut_at(case, side, at, "hole")
    case.judge()


def test_a_laptop_that_the_relay_does_not_know(make_case):  # noqa: F811
    """The first hand-over of all, by password, with the token asked behind it: an agent of its own for each cut."""
    case = make_case()
    case.wire.forget()
    case.wait_arrived(case.send(30_000))
    whole = case.wire.connections[0]
    for n, (side, at) in enumerate(positions(whole, 20)[::3]):
        case.agent = case.new_agent()
        cut_at(case, side, at, HOWS[n % len(HOWS)], size=30_000)
    case.judge()
