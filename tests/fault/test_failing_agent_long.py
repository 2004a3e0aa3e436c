"""Failing parts: every write, fsync and truncation of the agent's database, in every way it can fail, once and until it is mended (test_failing.py). Files of their own, so that each stays within its time."""
import pytest
from test_failing import case, run  # noqa: F401 (a fixture)

pytestmark = pytest.mark.long


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("kind", ["eio", "fsync", "full", "short"])
def test_every_fault(case, tmp_path, kind, is_lasting):  # noqa: F811
    assert run(case, tmp_path, "agent", kind, is_lasting, 1, 1) >= (2 if kind == "fsync" else 8)
