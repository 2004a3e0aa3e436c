"""That the power-cut test can see: flushes arrive where they are counted, and programs that answer too early are found out."""
import os

import pytest

from power_case import FOLDER, inside, power_cut

pytestmark = pytest.mark.long


@pytest.mark.parametrize("filesystem", ["ext4", "xfs", "btrfs"])
def test_a_flush_of_the_filesystem_arrives(filesystem):
    code, output = inside(os.path.join(FOLDER, "power_flush.py"), filesystem)
    assert code == 0, output


@pytest.mark.parametrize("program, broken", [("relay", "nosync"), ("relay", "late"), ("agent", "nosync")])
def test_who_answers_before_the_disk_loses_mail(program, broken):
    code, output = power_cut(program, "ext4", "--images", "40", "--messages", "5", "--broken", broken)
    assert code == 1 and ": LOST" in output, output
