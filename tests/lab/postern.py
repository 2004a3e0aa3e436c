"""Our two programs and a recipient's server, as objects that run on a host of netlab.py or on the machine itself.

    relay = Relay(host, folder, smarthost="smtp://203.0.113.25:25")
    relay.add_account("ada", "secret", "ada@example.org"); relay.start()
    agent = Agent(laptop, folder, server="relay.example", user="ada", password="secret", pin=relay.pin()); agent.start()
    agent.submit("ada@example.org", "bob@destination.example", text)
    agent.status()["way"]; agent.queue(); relay.queue()

Each has a folder of its own, and a log of what it said on stderr there.
"""
import copy
import json
import os
import re
import shutil
import signal
import time

from hosts import Failed

FOLDER = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(FOLDER))
BUILD = os.environ.get("POSTERN_BUILD") or os.path.join(TOP, "build")
WAIT_S = 20
HANDED_OVER = ("relayed", "delivered", "bounced")   # states of what the relay has; the last two when it has told
STOP_S = 60     # a relay waits for sessions in mid-message, which a laptop may have left behind
POLL_S = 0.02
PROXY_SETTINGS = [name for name in os.environ if name.lower().endswith("_proxy")]    # this machine's are nobody's business in there


def are_built():
    return all(os.access(os.path.join(BUILD, name), os.X_OK) for name in ("postern-relay", "postern-agent"))


def wait_until(claim, what, within_s=WAIT_S):
    """The first true value of claim(), which is asked again and again."""
    until = time.monotonic() + within_s
    while True:
        value = claim()
        if value:
            return value
        if time.monotonic() > until:
            raise Failed(f"not within {within_s} s: {what() if callable(what) else what}")
        time.sleep(POLL_S)


def configure(path, section, **keys):
    """Sets keys of an INI file; a list becomes repeated lines. Keys that stand there already are replaced."""
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    heads = [i for i, line in enumerate(lines) if re.match(rf"\[{section}\]\s*$", line)]
    if not heads:
        lines += ["", f"[{section}]"]
        heads = [len(lines) - 1]
    end = next((i for i in range(heads[0] + 1, len(lines)) if lines[i].startswith("[")), len(lines))
    kept = [line for line in lines[heads[0] + 1:end] if re.split(r"\s*=", line, maxsplit=1)[0] not in keys]
    new = [f"{key} = {value}" for key, values in keys.items() for value in (values if isinstance(values, list) else [values])]
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines[:heads[0] + 1] + new + kept + lines[end:]) + "\n")


class Program:
    """postern-relay or postern-agent, with its --dir."""

    def __init__(self, name, host, folder):
        self.host = host
        self.folder = folder
        self.binary = os.path.join(BUILD, f"postern-{name}")
        self.config = os.path.join(folder, f"{name}.conf")
        self.log = os.path.join(folder, "log")
        self.process = None
        self.environment = ["env", *(word for name in PROXY_SETTINGS for word in ("-u", name))]   # words before the command of `run`
        os.makedirs(folder, mode=0o700)

    def command(self, *words, stdin="", check=True):
        """postern-NAME WORDS --dir ...; its output."""
        return self.host.run([self.binary, *words, "--dir", self.folder], stdin=stdin, check=check)

    def json(self, *words):
        return json.loads(self.command(*words, "--json").stdout)

    def set(self, section, **keys):
        configure(self.config, section, **keys)

    def start(self):
        """Until it says that it has started: only then are all its doors open. (To ask it would not do: without a daemon, a command opens
        the database itself, and holds the lock that the daemon wants.)"""
        already = len(self.said())
        self.process = self.host.start([*self.environment, self.binary, "run", "--dir", self.folder], log=self.log)
        wait_until(lambda: self._has_started(already), lambda: f"{self.binary} starts\n{self.process.tail()}")

    def _has_started(self, already):
        if not self.process.is_running():
            raise Failed(f"{self.binary} ended with exit code {self.process.popen.returncode}\n{self.process.tail()}")
        return "event=started" in self.said()[already:]

    def reload(self):
        self.process.signal(signal.SIGHUP)

    def stop(self):
        if self.process:
            code = self.process.stop(STOP_S)
            tail, self.process = self.process.tail(), None
            if code != 0:
                raise Failed(f"{self.binary} ended with exit code {code} after SIGTERM\n{tail}")

    def said(self):
        """Its log so far."""
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def status(self):
        return self.json("status")

    def queue(self):
        """Every message it knows of, finished ones too."""
        return self.json("queue", "list", "--all")


class Relay(Program):
    def __init__(self, host, folder, name="relay.example", smarthost=None):
        super().__init__("relay", host, folder)
        self.command("init", "--name", name, *(["--smarthost", smarthost] if smarthost else []))
        # The addresses of the test networks are for documentation, and so are not public ones.
        self.set("delivery", allow_private="yes")

    def add_account(self, name, password, *send_as):
        words = [word for sender in send_as for word in ("--send-as", sender)]
        self.command("account", "add", name, *words, stdin=password + "\n")

    def pin(self):
        return self.command("key", "show").stdout.split()[0]


class Agent(Program):
    def __init__(self, host, folder, server, user, password, pin=None, ca=None, listen="127.0.0.1:2525"):
        super().__init__("agent", host, folder)
        self.listen = listen
        proof = ["--pin", pin] if pin else ["--ca", ca] if ca else []
        self.command("setup", "--server", server, "--user", user, *proof, stdin=password + "\n")
        self.set("local", listen=listen)
        self.set("queue", patience="1s")    # between searches that find no way

    def clone(self, folder):
        """A second one that knows what this one knows, which must not run."""
        other = copy.copy(self)
        shutil.copytree(self.folder, folder)
        other.folder, other.process = folder, None
        other.config, other.log = os.path.join(folder, "agent.conf"), os.path.join(folder, "log")
        with open(self.config, encoding="utf-8") as file:
            text = file.read().replace(self.folder + "/", folder + "/")
        with open(other.config, "w", encoding="utf-8") as file:
            file.write(text)
        return other

    def submit(self, sender, recipient, message):
        """By SMTP, as a mail program would."""
        host, port = self.listen.rsplit(":", 1)
        self.host.run(["/usr/bin/python3", os.path.join(FOLDER, "submit.py"), host, port, sender, recipient], stdin=message)

    def sendmail(self, *words, message):
        self.host.run([self.binary, "sendmail", "--dir", self.folder, *words], stdin=message)

    def wait_for_network(self, state, within_s=WAIT_S):
        """Its status once the network is in that state."""
        def claim():
            status = self.status()
            return status if status["network"] == state else None
        return wait_until(claim, lambda: f"network {state}: {json.dumps(self.status(), indent=1)}\n{self.process.tail()}", within_s)

    def wait_handed_over(self, count, within_s=WAIT_S):
        """Its count messages, once the relay has all of them, whatever it has told about them since."""
        def claim():
            entries = self.queue()
            return entries if len(entries) == count and all(entry["state"] in HANDED_OVER for entry in entries) else None
        return wait_until(claim, lambda: f"{count} messages with the relay: {json.dumps(self.queue(), indent=1)}\n{self.process.tail()}", within_s)

    def wait_for_states(self, *states, within_s=WAIT_S):
        """Its messages, oldest first, once they are in these states."""
        def claim():
            entries = self.queue()
            return entries if [entry["state"] for entry in entries] == list(states) else None
        return wait_until(claim, lambda: f"states {states}: {json.dumps(self.queue(), indent=1)}\n{self.process.tail()}", within_s)

    def verdicts(self):
        """{port: verdict} of the last search; of a port's addresses the best word."""
        best = {}
        for way in self.status()["ways"]:
            if best.get(way["port"], "untried") in ("untried", "unreachable", "dropped") or way["verdict"] == "open":
                best[way["port"]] = way["verdict"]
        return best


class Destination:
    def __init__(self, host, folder, address="0.0.0.0", port=25):
        self.process = host.start(["/usr/bin/python3", os.path.join(FOLDER, "destination.py"), "--folder", folder, "--address", address,
                                   "--port", port], ready=b"ready", log=folder + ".log")

    def next(self, within_s=WAIT_S):
        """The next message to arrive: its envelope, and "octets"."""
        return self.next_at(within_s)[1]

    def next_at(self, within_s=WAIT_S):
        """The same with the time of its arrival (time.monotonic)."""
        at, line = self.process.next_line_at(within_s)
        if line is None:
            raise Failed(f"the destination's server has ended\n{self.process.tail()}")
        arrival = json.loads(line)
        with open(arrival["file"], "rb") as file:
            arrival["octets"] = file.read()
        return at, arrival

    def has_more(self):
        return self.process.has_said_more()
