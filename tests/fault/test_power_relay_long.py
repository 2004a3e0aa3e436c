"""Power cuts under the relay: powercut.py tells what is done."""
import pytest

from power_case import assert_nothing_lost

pytestmark = pytest.mark.long


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs"])
def test_what_was_acknowledged_survives(filesystem):
    assert_nothing_lost("relay", filesystem)
