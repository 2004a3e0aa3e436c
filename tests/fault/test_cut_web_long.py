"""Cut anywhere, through a proxy, to port 443 behind it."""
import pytest
from test_cut import make_case  # noqa: F401
from test_cut_long import cut_hundreds

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", ["http-connect-443", "socks5-443"])
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    cut_hundreds(make_case(mode=mode), mode)
