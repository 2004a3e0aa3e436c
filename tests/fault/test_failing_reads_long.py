"""Failing parts: every read of either database, once and until it is mended (test_failing.py). Files of their own, so that each stays within its time."""
import pytest
from test_failing import case, run  # noqa: F401 (a fixture)

pytestmark = pytest.mark.long


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("program", ["agent", "relay"])
def test_every_read(case, tmp_path, program, is_lasting):  # noqa: F811
    """The relay's delivery tries a message that it could not read again after half a minute, which makes this long."""
    assert run(case, tmp_path, program, "read", is_lasting, 1, 1) >= 1
