"""The model of custody (custody.pml): spin looks at every state of it, and each mutant of it fails in the way that it must."""
import os
import re
import shutil
import subprocess

import pytest

MODEL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "custody.pml")
FASTEST = {"CHUNKS": 3, "FAULTS": 2, "LOSSES": 1}

pytestmark = pytest.mark.skipif(not (shutil.which("spin") and shutil.which("gcc")), reason="there is no spin, or no gcc")


def search(folder, sizes, mutant=None, is_liveness=False):
    """What the exhaustive search says. A search that was cut short, for whichever reason, is no answer."""
    flags = [f"-D{name}={value}" for name, value in sizes.items()] + ([f"-D{mutant}"] if mutant else []) + (["-DLIVENESS"] if is_liveness else [])
    kind = ["-DNFAIR=3"] if is_liveness else ["-DSAFETY"]
    shutil.copy(MODEL, folder)
    for words in (["spin", *flags, "-a", "custody.pml"], ["gcc", "-w", "-O1" if sizes["FAULTS"] > 2 else "-O0", "-DCOLLAPSE", "-DMEMLIM=4000", *kind, "-o", "pan", "pan.c"]):
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, (words, done.stdout)
    options = ["-a", "-f"] if is_liveness else []
    output = subprocess.run(["./pan", *options, "-m2000000"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout
    if not mutant:
        assert "errors: 0" in output and "not completed" not in output and "max search depth" not in output, output
        print(sizes, "liveness" if is_liveness else "safety", re.search(r"\d[\d.e+]* states, stored", output).group())
    return output


def unreached(output):
    return [line for line in re.findall(r"custody\.pml:\d+, state \d+, \"(.*)\"", output) if line != "-end-"]


def test_never_lost_never_doubled(tmp_path):
    output = search(tmp_path, FASTEST)
    assert not unreached(output), output        # nothing in the model is idle talk


def test_handed_over_when_the_network_stops_failing(tmp_path):
    search(tmp_path, FASTEST, is_liveness=True)


@pytest.mark.long
def test_more_faults_never_lost_never_doubled(tmp_path):
    search(tmp_path, {"CHUNKS": 4, "FAULTS": 5, "LOSSES": 2})


@pytest.mark.long
def test_more_faults_handed_over(tmp_path):
    search(tmp_path, {"CHUNKS": 3, "FAULTS": 3, "LOSSES": 2}, is_liveness=True)


@pytest.mark.parametrize("mutant, violated", [
    ("NO_GENERATION", "written"),               # a session that lost its claim still writes: octets twice, or a gap
    ("WHOLE_BLIND", "taken<=1"),                # XWHOLE does not look at the record
    ("COMMIT_BLIND", "taken<=1"),               # nor does the commit of a message that came in one piece
    ("RESUME_BLIND", "number==pos"),            # the agent goes on where it believes it stopped
    ("DROP_AT_250", "has_copy"),                # the agent drops its copy with the relay's 250, and the relay's disk dies
    ("NO_REFILL", "has_copy"),                  # the agent takes "unknown" for the end
])
def test_the_model_sees(tmp_path, mutant, violated):
    output = search(tmp_path, FASTEST, mutant)
    assert "errors: 1" in output and re.search(rf"assertion violated .*{re.escape(violated)}", output), output


def test_the_model_sees_what_never_comes(tmp_path):
    output = search(tmp_path, FASTEST, "NEVER_ASKS", is_liveness=True)
    assert "acceptance cycle" in output, output
