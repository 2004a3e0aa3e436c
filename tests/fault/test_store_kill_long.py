"""The store's program killed anywhere, with many more seeds: test_store_long.py."""
import pytest
from test_store_long import run_seeds

pytestmark = pytest.mark.long


def test_many_seeds():
    run_seeds("fault/crash_kill", 1500)
