"""Cut anywhere, through a SOCKS5 proxy: from its own dialogue on."""
import pytest
from test_cut import make_case  # noqa: F401
from test_cut_long import cut_hundreds

pytestmark = pytest.mark.long


@pytest.mark.parametrize("mode", ["socks5", "socks5-login"])
def test_every_record_and_hundreds_of_octets(make_case, mode):  # noqa: F811
    cut_hundreds(make_case(mode=mode), mode)
