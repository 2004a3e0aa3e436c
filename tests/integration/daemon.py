"""What is common to a relay and an agent under test: a folder, commands, a process, its log."""
import fcntl
import json
import os
import re
import select
import shlex
import signal
import smtplib
import socket
import struct
import subprocess
import termios
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(TOP, "build"))
PATIENCE_S = 30


def wait_for(condition, what, patience_s=PATIENCE_S):
    """The condition's first true value; it is asked again and again. what: words, or what gives them."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience_s} s for: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_port(host="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def split_log(line):
    """key=value words of a log line; quoted values keep their blanks."""
    words = shlex.shlex(line, posix=True, punctuation_chars="")
    words.whitespace_split, words.commenters = True, ""
    words.escape = ""
    try:
        return list(words)
    except ValueError:
        return line.split()


class Daemon:
    program = ""        # the path of the executable
    marks = ("Sanitizer", "runtime error", "Assertion")

    def __init__(self, folder):
        self.folder = str(folder)
        self.command, self.environment = [], None   # what the program is started by, its variables
        self.process, self.reader, self.log_lines, self.log_lock = None, None, [], threading.Lock()

    def path(self, name):
        return os.path.join(self.folder, name)

    # ---- commands ----
    def run(self, *words, stdin="", check=True, timeout=60):
        done = subprocess.run([self.program, *words, "--dir", self.folder], input=stdin, capture_output=True, text=True, timeout=timeout, env=self.environment)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def json(self, *words, stdin=""):
        return json.loads(self.run(*words, "--json", stdin=stdin).stdout)

    def set_conf(self, name, values):
        """The file that init or setup wrote, with {"section.key": [values]} in place of what it says of these keys."""
        with open(self.path(name), encoding="utf-8") as file:
            lines = file.read().split("\n")
        kept, section = [], ""
        for line in lines:
            section = line[1:-1] if line.startswith("[") else section
            if f"{section}.{line.partition('=')[0].strip()}" not in values:
                kept.append(line)
        text = "\n".join(kept)
        for key, items in values.items():
            section, _, key_name = key.partition(".")
            new = "".join(f"{key_name} = {item}\n" for item in items)
            assert f"[{section}]\n" in text, section
            text = text.replace(f"[{section}]\n", f"[{section}]\n{new}", 1)
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    # ---- life ----
    def start(self, wait=True, preexec_fn=None):
        self.log_lines = []
        self.process = subprocess.Popen([*self.command, self.program, "run", "--dir", self.folder], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stdin=subprocess.DEVNULL, preexec_fn=preexec_fn, env=self.environment)
        self.reader = threading.Thread(target=self._read_log, args=(self.process.stderr.fileno(), self.log_lines, self.log_lock), daemon=True)
        self.reader.start()
        if wait:
            wait_for(lambda: self.log("started") or self.process.poll() is not None, "the start")
            assert self.process.poll() is None, "it did not start:\n" + "\n".join(self.log_lines)
        return self

    @staticmethod
    def _read_log(pipe, lines, lock):
        """While the lock is free each octet is in the pipe, or among the lines (but for the last one, while it is not whole)."""
        rest = b""
        while select.select([pipe], [], []):
            with lock:
                octets = os.read(pipe, 64 * 1024)
                *whole, rest = (rest + octets).split(b"\n")
                lines.extend(line.decode(errors="replace") for line in (whole if octets else [rest] if rest else []))
            if not octets:
                return

    def _catch_up(self, most_s=5):
        """A reply comes by another way than the log line before it: waits until what was written by now has been read."""
        end = time.monotonic() + most_s
        while self.process and self.reader.is_alive() and time.monotonic() < end:
            with self.log_lock:
                if struct.unpack("i", fcntl.ioctl(self.process.stderr.fileno(), termios.FIONREAD, bytes(4)))[0] == 0:
                    return
            time.sleep(0.001)

    def stop(self, number=signal.SIGTERM, patience_s=60):
        """Sends the signal and gives the exit code."""
        if not self.process:
            return None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.wait_exit(patience_s)

    def kill(self):
        return self.stop(signal.SIGKILL)

    def wait_exit(self, patience_s=30):
        process, self.process = self.process, None
        try:
            code = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "did not end"
        self.reader.join(10)
        process.stderr.close()
        return code

    def close(self):
        """Stops it, and gives what was wrong with that, as words."""
        problems = []
        if self.process:
            code = self.stop()
            if code != 0:
                problems.append(f"{os.path.basename(self.program)} ended with {code}:\n" + "\n".join(self.log_lines[-60:]))
        return problems + [line for line in self.log_lines if any(mark in line for mark in self.marks)]

    # ---- the log ----
    def log(self, event, **fields):
        """Log lines of that event whose fields have those values, each as a dict."""
        found = []
        self._catch_up()
        for line in list(self.log_lines):
            if f"event={event}" not in line:
                continue
            pairs = dict(pair.partition("=")[::2] for pair in split_log(line))
            if pairs.get("event") == event and all(pairs.get(key) == str(value) for key, value in fields.items()):
                found.append(pairs)
        return found

    def wait_log(self, event, **fields):
        return wait_for(lambda: self.log(event, **fields), lambda: f"event={event} {fields} in the log; there is:\n" + "\n".join(self.log_lines[-20:]))[0]

    # ---- the process, as the kernel sees it ----
    def memory_kib(self, what):
        """VmHWM, VmRSS ..."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(rf"^{what}:\s+(\d+) kB", file.read(), re.M).group(1))

    def wake_ups(self):
        """How often its threads have gone to sleep by themselves so far."""
        total = 0
        for thread in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{thread}/status", encoding="ascii") as file:
                total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
        return total


def submit(client, sender, to, message, mail_options=(), rcpt_options=()):
    """One transaction by hand, so that the last reply with its id is seen."""
    expect(client.mail(sender, list(mail_options)), 250)
    for address in to:
        expect(client.rcpt(address, list(rcpt_options)), 250)
    code, text = client.data(message)
    if code != 250:
        raise smtplib.SMTPDataError(code, text)
    return re.search(r"queued as ([0-9a-z]{13})", text.decode()).group(1)


def expect(reply, code, words=""):
    assert reply[0] == code and words.encode() in reply[1], reply
    return reply[1].decode()
