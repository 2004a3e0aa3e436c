"""Cut anywhere, at every position of test_cut.py, directly to the relay; through proxies: test_cut_http_long.py, test_cut_socks_long.py, test_cut_inside_long.py, test_cut_web_long.py. Some minutes each."""
import pytest
from lines import DIRECT
from test_cut import cut_everywhere, make_case  # noqa: F401

pytestmark = pytest.mark.long


def cut_hundreds(case, mode):
    nplaces, ncuts = cut_everywhere(case, nbody=250, nclear=80)
    print(f"{mode}: {nplaces} places, {ncuts} cuts, each message once")
    assert nplaces >= 300 and ncuts >= nplaces * 95 // 100


@pytest.mark.parametrize("mode", DIRECT)
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    cut_hundreds(make_case(mode=mode), mode)
