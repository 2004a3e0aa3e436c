"""Cut anywhere: a laptop that the relay does not know, in every mode, each at other places."""
import pytest
from lines import MODES
from test_cut_strangers import cut_strangers, make_case, new_laptop  # noqa: F401

pytestmark = pytest.mark.long
EVERY = 2


@pytest.mark.parametrize("mode", MODES)
def test_a_laptop_that_the_relay_does_not_know(make_case, mode):  # noqa: F811
    nplaces, ncuts = cut_strangers(make_case(mode=mode), new_laptop, MODES.index(mode) % EVERY, EVERY)
    print(f"{mode}: {nplaces} places, {ncuts} cuts, each message once")
    assert nplaces >= 30 and ncuts >= nplaces * 90 // 100
