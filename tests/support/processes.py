"""Runs commands with a time limit, each in a process group of its own, so that what it started ends with it."""
import os
import signal
import subprocess
import tempfile
import time

live = set()  # processes running now; end_all() ends them when we are told to stop


class Outcome:
    """code: exit code, or minus the signal; None when it had to be stopped at the time limit."""

    def __init__(self, code, output, seconds):
        self.code = code
        self.output = output
        self.seconds = seconds

    def words(self, limit_s):
        if self.code is None:
            return f"stopped: not finished after {limit_s} s"
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exit code {self.code}"


def run(command, limit_s, env=None, cwd=None):
    began = time.monotonic()
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   env=env, cwd=cwd, start_new_session=True)
        live.add(process)
        try:
            code = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            code = None
        end_group(process)
        live.discard(process)
        out.seek(0)
        output = out.read().decode(errors="replace")
    return Outcome(code, output, time.monotonic() - began)


def end_group(process):
    """Ends what is left of the group; also after a good run, for a test's forgotten child holds ports and files."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def end_all(number, _frame):
    for process in list(live):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    os._exit(128 + number)


def end_all_when_told():
    """Ctrl-C or SIGTERM ends every test at once. Called from the main thread, before the first run()."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_all)
