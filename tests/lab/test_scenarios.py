"""The core scenarios, and the rules of the language. All scenarios, in a table: make check-lab."""
import os
import subprocess
import sys

import pytest

import scenario as language
from traveller import Mailer

SCENARIOS = language.load_all()
CORE = [one for one in SCENARIOS if "core" in one.tags]


@pytest.fixture(scope="module")
def stage(lab, relay, destination):
    return language.Stage(lab, relay, destination, Mailer(lab))


@pytest.mark.parametrize("scenario", CORE, ids=lambda one: one.name)
def test_core(stage, scenario):
    trouble = stage.play(scenario).trouble
    assert not trouble, f"{scenario.title}\n{trouble}"


def test_a_broken_rule_is_noticed(stage, tmp_path):
    """A scenario that expects what does not happen fails, and names the line."""
    path = tmp_path / "wrong.scenario"
    path.write_text("title What never happens\nat hotel\nonly 587\nsend\narrives\nway 465\n", encoding="ascii")
    stage.patience_s = 0.5
    try:
        trouble = stage.play(language.load(path)).trouble
    finally:
        del stage.patience_s
    assert trouble.startswith("line 6: way 465")


@pytest.mark.parametrize("text,words", [
    ("at hotel\nsend\narrives\n", "has a title"),
    ("title Nothing is expected\nat hotel\nsend\n", "expects something"),
    ("title A typing error\nat hotel\nsned\narrives\n", ":3: nobody knows the verb 'sned'"),
    ("title Too little is said\ndrop\narrives\n", ":2: drop takes 1"),
    ("title A quote stands open\nsays \"that\narrives\n", ":2: No closing"),
])
def test_what_is_no_scenario(tmp_path, text, words):
    path = tmp_path / "wrong.scenario"
    path.write_text(text, encoding="ascii")
    with pytest.raises(language.Unreadable) as error:
        language.load(path)
    assert words in str(error.value)


def test_run_names_the_line_of_a_typing_error_and_no_more(tmp_path):
    path = tmp_path / "wrong.scenario"
    path.write_text("title A typing error\nat hotel\nsned\narrives\n", encoding="ascii")
    here = os.path.dirname(language.__file__)
    program = f"import runpy, scenario; scenario.FOLDER = {str(tmp_path)!r}; runpy.run_path({os.path.join(here, 'run')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-B", "-c", program], env={**os.environ, "PYTHONPATH": here}, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{path}:3: nobody knows the verb 'sned'\n"), done


def test_every_verb_has_a_scenario():
    used = {verb for one in SCENARIOS for _, verb, _ in one.steps}
    assert set(language.VERBS) - used == set()


def test_numbers_are_unique():
    assert len({one.name[:2] for one in SCENARIOS}) == len(SCENARIOS)
