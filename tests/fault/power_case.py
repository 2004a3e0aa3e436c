"""Runs powercut.py in namespaces of its own, for the tests: whatever happens, no mount, process or loop device of it is left."""
import os
import subprocess
import sys

import pytest

FOLDER = os.path.dirname(os.path.abspath(__file__))
NAMESPACES = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc"]
PYTHON = "/usr/bin/python3"
IMAGES = int(os.environ.get("POSTERN_STATES", "300"))
SECONDS_MOST = max(70, IMAGES // 4)     # of judging one filesystem; six of them stay within eight minutes
NOT_HERE = 77


def inside(*words):
    """(exit code, output) of a Python program in the namespaces; skips where that can't be."""
    probe = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"namespaces for mounts, processes and network: {probe.stderr.strip()}")
    done = subprocess.run([*NAMESPACES, PYTHON, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          errors="replace", check=False)
    if done.returncode == NOT_HERE:
        pytest.skip(done.stdout.strip())
    return done.returncode, done.stdout + (done.stderr[-3000:] if done.returncode else "")


def power_cut(program, filesystem, *options):
    code, output = inside(os.path.join(FOLDER, "powercut.py"), program, filesystem, *options)
    sys.stdout.write(output)
    return code, output


def assert_nothing_lost(program, filesystem):
    broken = os.environ.get("POSTERN_BROKEN")       # to see it fail
    code, output = power_cut(program, filesystem, "--images", str(IMAGES), "--seconds", str(SECONDS_MOST), *(["--broken", broken] if broken else []))
    record_table(output)
    assert code == 0, output


def record_table(output):
    """The table for people, where POSTERN_POWER_TABLE says."""
    path = os.environ.get("POSTERN_POWER_TABLE")
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(output)
