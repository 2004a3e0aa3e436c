"""The store on disks that lose power or fail, with many more seeds: test_store_long.py."""
import pytest
from test_store_long import run_seeds

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name, seeds", [("fault/crash_power", 1000), ("fault/ioerr_store", 150)])
def test_many_seeds(name, seeds):
    run_seeds(name, seeds)
