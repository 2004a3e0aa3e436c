"""Failing parts, all of them: every operation on either database, in every way it can fail, once and until it is mended (test_failing.py)."""
import pytest
from failing_case import FAULTS, PRELOAD
from test_failing import case, run  # noqa: F401 (a fixture)

pytestmark = pytest.mark.long


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("program", ["agent", "relay"])
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_every_fault(case, tmp_path, program, kind, is_lasting):  # noqa: F811
    least = {"fsync": 2, "read": 1}.get(kind, 8)
    assert run(case, tmp_path, program, kind, is_lasting, 1, 1) >= least
