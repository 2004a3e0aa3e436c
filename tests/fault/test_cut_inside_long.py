"""Cut anywhere, through a proxy: STARTTLS inside."""
import pytest
from test_cut import make_case  # noqa: F401
from test_cut_long import cut_hundreds

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", ["http-connect-starttls", "socks5-starttls"])
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    cut_hundreds(make_case(mode=mode), mode)
