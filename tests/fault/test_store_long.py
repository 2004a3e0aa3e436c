"""The store's fault tests with many more seeds than `make check` has time for. Those that make much work for a disk: test_store_kill_long.py, test_store_disk_long.py."""
import os
import subprocess

import pytest

pytestmark = pytest.mark.long
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))


def run_seeds(name, seeds):
    run = subprocess.run([os.path.join(BUILD, "tests", name)], env={**os.environ, "POSTERN_SEEDS": str(seeds)},
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace", check=False)
    assert run.returncode == 0, run.stdout[-4000:]


@pytest.mark.parametrize("name, seeds", [("fault/oom_store", 400), ("property/prop_store", 60), ("property/prop_names", 60)])
def test_many_seeds(name, seeds):
    run_seeds(name, seeds)
