"""What the benches share: small C tools, counters of the kernel, and the report."""
import datetime
import json
import mmap
import os
import re
import statistics
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lab"))
from hosts import HERE, Failed  # noqa: E402
from postern import TOP, wait_until  # noqa: E402

FOLDER = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(TOP, "build", "bench")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
SENDER, RECIPIENT, USER, PASSWORD = "ada@bench.example", "bob@sink.example", "ada", "a long secret"


# ---- tools

def build(name):
    """tests/bench/NAME.c, built when it is newer than its program."""
    source, program = os.path.join(FOLDER, f"{name}.c"), os.path.join(OUT, name)
    os.makedirs(OUT, exist_ok=True)
    if not os.path.exists(program) or os.path.getmtime(program) < os.path.getmtime(source):
        HERE.run(["gcc", "-std=c17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-o", program, source, "-lssl", "-lcrypto"], within_s=120)
    return program


class Sink:
    """Where mail goes; count() of what has come."""

    def __init__(self, host, folder, port):
        self.port = port
        path = os.path.join(folder, f"sink-{port}")
        self.process = host.start([build("sink"), str(port), path], ready=b"ready")
        with open(path, "rb") as file:
            self._page = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

    def count(self):
        return struct.unpack("=Q", self._page)[0]

    def wait_for(self, count, within_s=120):
        wait_until(lambda: self.count() >= count, lambda: f"{count} messages at the sink, of which {self.count()} came", within_s)


def load(host, port, user=USER, within_s=180, **options):
    """Runs the load generator; its report."""
    words = [f"{name}={value}" for name, value in options.items()]
    done = host.run([build("load"), f"port={port}", f"user={user}", f"password={PASSWORD}", f"from={SENDER}", f"to={RECIPIENT}", *words],
                    check=False, within_s=within_s)
    if done.returncode != 0:
        raise Failed(f"load on port {port}: {done.stdout}{done.stderr}")
    return json.loads(done.stdout)


# ---- what the kernel knows of processes

def family(pid):
    """A process and all that come from it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as file:
                    children.setdefault(int(file.read().rsplit(")", 1)[1].split()[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):
                pass
    found, queue = [], [pid]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def cpu_s(pid):
    """User and system time of the family, of its ended members too."""
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/stat", encoding="ascii", errors="replace") as file:
                total += sum(map(int, file.read().rsplit(")", 1)[1].split()[11:15]))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return total * TICK_S


def memory_kb(pid, field="Pss"):
    """Of the family: Pss counts shared pages once, Rss in each process."""
    total = 0
    for member in family(pid):
        try:
            with open(f"/proc/{member}/smaps_rollup", encoding="ascii") as file:
                total += int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.M)[1])
        except (FileNotFoundError, ProcessLookupError, TypeError):
            pass
    return total


def status_of(pid, field):
    """A number of /proc/PID/status, such as VmHWM in KB."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return int(re.search(rf"^{field}:\s+(\d+)", file.read(), re.M)[1])


def forget_peak(pid):
    """VmHWM starts anew."""
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def wakeups(pid):
    """How often its threads have gone to sleep or were sent there."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii", errors="replace") as file:
            total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", file.read())))
    return total


# ---- the report

class Report:
    """Figures as they come, as a table and as lines of JSON in build/bench/results.jsonl."""

    def __init__(self):
        commit = subprocess.run(["git", "-C", TOP, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
        self._frame = {"at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "commit": commit or None}
        os.makedirs(OUT, exist_ok=True)
        self._file = open(os.path.join(OUT, "results.jsonl"), "a", encoding="utf-8")
        self.missed = []

    def title(self, text):
        print(f"\n{text}", flush=True)

    def note(self, text):
        print(f"  {text}", flush=True)

    def line(self, name, columns, **figures):
        """One row of the table, and its figures for the file."""
        print(f"  {name:<34}" + "".join(f"{column:>19}" for column in columns), flush=True)
        if figures:
            self._file.write(json.dumps({**self._frame, "name": name, **figures}) + "\n")
            self._file.flush()

    def target(self, name, value, limit, is_floor=False, unit=""):
        """A promise, and whether it was kept."""
        is_met = value >= limit if is_floor else value <= limit
        words = f"{name}: {value:.3g}{unit}; promised: at {'least' if is_floor else 'most'} {limit:g}{unit}"
        self.line(f"=> {'met' if is_met else 'MISSED'}: {words}", [], value=value, limit=limit, met=is_met)
        if not is_met:
            self.missed.append(words)


def median(values):
    return statistics.median(values)
