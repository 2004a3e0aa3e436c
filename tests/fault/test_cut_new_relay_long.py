"""Cut anywhere: a relay that has lost its database, in every mode, each at other places."""
import pytest
from lines import MODES
from test_cut_strangers import cut_strangers, make_case, new_relay  # noqa: F401

pytestmark = pytest.mark.long
EVERY = 4


@pytest.mark.parametrize("mode", MODES)
def test_a_relay_that_has_lost_its_database(make_case, mode):  # noqa: F811
    nplaces, ncuts = cut_strangers(make_case(mode=mode), new_relay, MODES.index(mode) % EVERY, EVERY)
    print(f"{mode}: {nplaces} places, {ncuts} cuts, each message once")
    assert nplaces >= 25 and ncuts >= nplaces * 80 // 100
