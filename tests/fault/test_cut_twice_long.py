"""Cut twice in one hand-over: the whole grid of the places that matter directly, a part of it in each other mode; and again with the relay's death for the first cut."""
import pytest
from lines import MODES
from test_cut_twice import cut_grid, make_case  # noqa: F401

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", MODES)
def test_two_cuts(make_case, mode):  # noqa: F811
    every = 1 if mode == "tls" else 2
    part = slice(MODES.index(mode) % every, None, every)
    npairs, ntwice = cut_grid(make_case(mode=mode), part, part)
    print(f"{mode}: {npairs} pairs of places, {ntwice} cut twice, each message once")
    assert npairs >= (120 if mode == "tls" else 25) and ntwice >= npairs * 2 // 3


def test_the_relay_dies_and_then_the_connection(make_case):  # noqa: F811
    npairs, ntwice = cut_grid(make_case(), slice(0, None, 2), slice(0, None, 2), by_death=True)
    print(f"{npairs} pairs of places, {ntwice} cut twice, each message once")
    assert npairs >= 25 and ntwice >= npairs * 2 // 3
