"""Where every test runner writes down what it counted.

A line "SUITE PASSED FAILED SKIPPED" is appended to the file that POSTERN_RESULTS names (build/test-results without it),
in one write, so that runners may run side by side. `tests/support/summary` adds the lines up. SUITE is one word; it begins
with the variant of the build ("asan:") where that is not the usual one.
"""
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD") or os.path.join(TOP, "build")


def variant():
    """"asan:" when the tests of build/asan run, "" for those of build."""
    name = os.path.basename(os.path.normpath(BUILD))
    return "" if name == "build" else name + ":"


def append(suite, passed, failed, skipped):
    path = os.environ.get("POSTERN_RESULTS") or os.path.join(TOP, "build", "test-results")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    line = f"{variant()}{suite.replace(' ', '_')} {passed} {failed} {skipped}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def count_words(passed, failed, skipped):
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")


def report(suite, mark, passed, failed, skipped, seconds, output=""):
    """One line for a suite; its output below only when there is something to see."""
    append(suite, passed, failed, skipped)
    words = count_words(passed, failed, skipped)
    print(f"  {mark:<5} {variant() + suite:<44} {words} ({seconds:.1f} s)", flush=True)
    if output:
        print("".join(f"        {line}\n" for line in output.rstrip().splitlines()), end="", flush=True)


def finish(name, totals):
    """The closing line of a runner, and its exit code."""
    print(f"{name}: {count_words(*totals)}", flush=True)
    return 1 if totals[1] else 0


if __name__ == "__main__":
    sys.exit("results.py is a module of run-tests and run-pytest")
