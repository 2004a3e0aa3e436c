"""Failing parts: the disk under one of the two programs fails at an operation of a hand-over, whichever: an error, no room, half a write, a failed fsync, a failed read; once, or until the test mends it.
What the agent acknowledged is at its destination, and the relay has taken it exactly once; what was refused was refused for now; and mail flows again without a restart.

The quick part takes a sample of the operations, `make check-fault` all of them (test_failing_*_long.py)."""
import os

import pytest
from custody_case import Custody
from failing_case import FAULTS, PRELOAD, FailingDisk, fail_at_each, start

pytestmark = pytest.mark.skipif(not os.path.exists(PRELOAD), reason="failing.so is not built")
STEP = int(os.environ.get("POSTERN_FAIL_EVERY", "11"))


@pytest.fixture
def case(make_relay, make_agent, make_sink):
    custody = Custody(make_relay, make_agent, make_sink)
    yield custody
    custody.close()


def run(case, tmp_path, program, kind, is_lasting, first, step):
    daemon, disk = getattr(case, program), FailingDisk(tmp_path)
    start(case, daemon, disk)
    case.wait_arrived(case.send(1000))      # the relay knows the laptop
    return fail_at_each(case, daemon, disk, FAULTS[kind], is_lasting, first, step)


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("program", ["agent", "relay"])
@pytest.mark.parametrize("kind", ["eio", "full"])
def test_a_sample_of_faults(case, tmp_path, program, kind, is_lasting):
    assert run(case, tmp_path, program, kind, is_lasting, 1 + STEP // 2, STEP) >= 2


@pytest.mark.parametrize("is_lasting", [False, True], ids=["once", "lasting"])
def test_reads_of_the_agent(case, tmp_path, is_lasting):
    """They are few. SQLite takes a page that can't be read for a damaged database; the message it belongs to is none the worse when the disk is well again."""
    assert run(case, tmp_path, "agent", "read", is_lasting, 1, 1) >= 1
