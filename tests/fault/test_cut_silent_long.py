"""A line that falls silent: nobody is told that the connection has ended, and nothing is acknowledged any more. Each such cut takes the agent half a minute, so all modes wait at the same time."""
import pytest
from lines import MODES
from test_cut import begin_cut, end_cut, make_case, measure, positions, spread  # noqa: F401

pytestmark = pytest.mark.long
NPLACES = 8


def test_a_line_that_falls_silent(make_case):  # noqa: F811
    cases, places = {mode: make_case(mode=mode) for mode in MODES}, {}
    for mode, case in cases.items():
        known = positions(measure(case), nbody=12, nclear=12)
        places[mode] = [known[i] for i in spread(0, len(known) - 1, NPLACES)]
    for n in range(NPLACES):
        subjects = {mode: begin_cut(case, *places[mode][n], "hole") for mode, case in cases.items()}
        for mode, case in cases.items():
            ncut = end_cut(case, subjects[mode], f"at {places[mode][n]} by silence, {mode}")
            assert ncut > 0 or n == NPLACES - 1, f"{mode} at {places[mode][n]}"     # a hand-over that is shorter by an octet has no last place
    for case in cases.values():
        case.judge()
