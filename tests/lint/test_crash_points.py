"""Every crash point of schema/README.md names the tests that make it happen, and they are there and run."""
import glob
import os
import re

TOP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
README = os.environ.get("POSTERN_SCHEMA_README", os.path.join(TOP, "schema", "README.md"))


def crash_points():
    with open(README, encoding="utf-8") as file:
        section = file.read().split("\n## Every crash point\n")[1].split("\n## ")[0]
    rows = [line.strip().strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    head = [cell.strip() for cell in rows[0]]
    assert head[0] == "at" and head[-1] == "made to happen by"
    return [(row[0].strip(), re.findall(r"`(\w+)`", row[-1]), len(row)) for row in rows[2:]], len(head)


def names_that_run():
    """In C those that a list of cmocka's holds, in Python those that pytest collects."""
    names = set()
    for path in glob.glob(os.path.join(TOP, "tests", "*", "**", "*.c"), recursive=True):
        with open(path, encoding="utf-8") as file:
            names.update(re.findall(r"cmocka_unit_test\w*\((\w+)", file.read()))
    for path in glob.glob(os.path.join(TOP, "tests", "*", "test_*.py")):
        with open(path, encoding="utf-8") as file:
            names.update(re.findall(r"^def (test_\w+)\(", file.read(), re.M))
    return names


def test_every_crash_point_is_made_to_happen():
    points, width = crash_points()
    there = names_that_run()
    assert len(points) > 20
    for at, names, cells in points:
        assert cells == width, f"{at}: a cell too many or too few"
        assert names, f"{at}: no test"
        missing = [name for name in names if name not in there]
        assert not missing, f"{at}: no such test as {', '.join(missing)}"
