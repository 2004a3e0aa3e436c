"""Kill anywhere: at every single system call of a hand-over: some minutes for each program."""
import pytest
from test_kill import case, kill_at_each  # noqa: F401

pytestmark = pytest.mark.long


@pytest.mark.parametrize("program", ["agent", "relay"])
def test_every_call(case, program):  # noqa: F811
    nkills = kill_at_each(case, getattr(case, program), 1, 1)
    print(f"{program}: killed at each of {nkills} calls")
    assert nkills >= 100
