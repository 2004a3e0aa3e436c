"""Scenarios: what a network does and what must happen, as files that an operator could write (scenarios/*.scenario; the language is in README.md).

    scenario = load("scenarios/03-one-port-is-left.scenario")     Unreadable, with file and line, when it can't be understood
    Stage(lab, relay, destination, mailer).play(scenario)          an Outcome; it never raises for what the programs did

Every scenario ends with rules that no file has to name: nothing was told to strangers or in the clear, every message arrived at most once, no
connection was reset by the laptop (expect.py).
"""
import glob
import os
import shlex
import time

import postern
from expect import Expectations
from hosts import Failed
from traveller import PASSWORD, SENDER, USER, Mailer, Traveller

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "scenarios")
NETWORK = {     # verbs of the venue: (least, most) words behind them; None: any number
    "drop": (1, None), "reject": (1, None), "unreachable": (1, None), "open": (1, None), "only": (1, None), "close_all": (0, 0), "open_all": (0, 0),
    "strip_starttls": (1, None), "mask_starttls": (1, None), "refuse_starttls": (1, None), "mitm": (1, None), "foreign_banner": (1, 2),
    "tls_block": (1, None), "alpn_filter": (1, None), "reset_after": (2, None), "captive": (0, 1), "login": (0, 0), "hijack_dns": (0, 1),
    "proxy_only": (1, 3), "break_ipv6": (0, 0), "ipv6_only": (0, 0), "ipv4_only": (0, 0), "mtu_hole": (1, None), "latency": (1, 1), "rate": (1, 1),
    "loss": (1, 1), "cut": (0, 0), "mend": (0, 0), "radio_off": (0, 0), "radio_on": (0, 0),
}
ACTIONS = {     # what the traveller and the relay do
    "at": (1, 1), "configure": (3, None), "environment": (1, None), "send": (0, 1), "restart": (0, 0), "flush": (0, 0), "sleep": (0, 0), "wake": (1, 1),
    "stop_relay": (0, 0), "crash_relay": (0, 0), "start_relay": (0, 0), "wrong_pin": (0, 0), "wrong_user": (0, 0), "watch": (2, 2), "under_way": (1, 2),
}
EXPECTATIONS = {
    "arrives": (0, 4), "waits": (0, 0), "network": (1, 4), "way": (1, None), "no_way": (0, 0), "verdict": (2, None), "says": (1, None), "trouble": (1, None), "reason": (1, None), "diagnosis": (1, None),
    "untold": (1, None), "heard": (2, None), "round_trips": (1, 1), "first_syn": (1, 5), "no_syn": (1, None), "probes": (5, 6), "logins": (1, 1),
    "hides_origin": (0, 0), "carried_once": (0, 0),
}
VERBS = {**NETWORK, **ACTIONS, **EXPECTATIONS}
TAGS = ("core", "long")
CAUSES = (set(NETWORK) | {"at", "send", "wake", "start_relay", "restart"}) - {"latency", "rate", "loss"}


class Unreadable(Exception):
    """A scenario file that is not one; the words name file and line."""


class Scenario:
    def __init__(self, path):
        self.path = path
        self.name = os.path.basename(path).removesuffix(".scenario")
        self.title = ""
        self.tags = set()
        self.steps = []         # (line number, verb, words)

    def sleeps(self):
        return any(verb == "sleep" for _, verb, _ in self.steps)


def load(path):
    scenario = Scenario(path)
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                words = line.split() if line.startswith("title ") else shlex.split(line, comments=True)
                if words:
                    add_line(scenario, number, words)
            except ValueError as error:
                raise Unreadable(f"{path}:{number}: {error}") from None
    if not scenario.title or not any(verb in EXPECTATIONS for _, verb, _ in scenario.steps):
        raise Unreadable(f"{path}: a scenario has a title, and expects something")
    return scenario


def add_line(scenario, number, words):
    verb, *rest = words
    if verb == "title":
        scenario.title = " ".join(rest)
    elif verb in TAGS and not rest:
        scenario.tags.add(verb)
    elif verb not in VERBS:
        raise ValueError(f"nobody knows the verb {verb!r}")
    else:
        least, most = VERBS[verb]
        if len(rest) < least or (most is not None and len(rest) > most):
            raise ValueError(f"{verb} takes {least}{f' to {most}' if most != least else ''} words, not {len(rest)}")
        scenario.steps.append((number, verb, [int(word) if word.isdigit() else word for word in rest]))


def load_all():
    return [load(path) for path in sorted(glob.glob(os.path.join(FOLDER, "*.scenario")))]


class Outcome:
    """way, verdict: for the table. trouble: None, or what went wrong, with the evidence."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.way = self.verdict = ""
        self.hand_over_s = None     # of the slowest arrival that was waited for
        self.trouble = None
        self.seconds = 0.0


class Stage(Expectations):
    """Where a scenario is played. The lab, the relay and the destination serve many scenarios; the agent is fresh in each."""

    def __init__(self, lab, relay, destination, mailer):
        self.lab, self.relay, self.destination, self.mailer = lab, relay, destination, mailer

    def play(self, scenario):
        outcome = self.outcome = Outcome(scenario)
        began, where = time.monotonic(), "beginning"
        try:
            self.enter(scenario)
            for number, verb, words in scenario.steps:
                where = f"line {number}: {verb} {' '.join(map(str, words))}"
                self.take(verb, words)
            where = "the rules"
            self.note_status()
            self.expect_rules()
        except (Failed, AssertionError, OSError) as trouble:
            outcome.trouble = f"{where}\n{type(trouble).__name__}: {trouble}\n{self.evidence()}"
        outcome.trouble = outcome.trouble or self.leave()
        outcome.seconds = time.monotonic() - began
        return outcome

    def enter(self, scenario):
        if not self.relay.process:
            self.relay.start()
        self.relay_said_before = len(self.relay.said())
        self.traveller = Traveller(self.lab, self.relay, self.destination, self.mailer)
        self.lab.forget_captures()
        self.caused_at, self.caused_at_wall = time.monotonic(), time.time()
        self.is_sleeper = scenario.sleeps()
        self.pin = self.user = None
        self.submission_s = 0.0

    def leave(self):
        """What the end brought to light, or None."""
        try:
            self.traveller.leave()
            return None
        except (Failed, AssertionError, OSError) as trouble:
            return f"the end\n{type(trouble).__name__}: {trouble}\n{self.evidence()}"

    def take(self, verb, words):
        words = [word.replace("{gateway}", self.lab.venue.gateways[0]) if isinstance(word, str) else word for word in words]
        if verb in NETWORK:
            getattr(self.lab, verb)(*words)
        else:
            getattr(self, f"{'do' if verb in ACTIONS else 'expect'}_{verb}")(*words)
        if verb in CAUSES:
            self.caused_at, self.caused_at_wall = time.monotonic(), time.time()

    @property
    def agent(self):
        if not self.traveller.agent:
            self.make_agent()
        return self.traveller.agent

    def make_agent(self):
        self.traveller.make(**{key: value for key, value in (("pin", self.pin), ("user", self.user)) if value})
        if self.is_sleeper:
            self.traveller.agent.environment += self.lab.sleeper_environment()

    # -- what the traveller and the relay do

    def do_at(self, place):
        self.lab.roam(place)

    def do_configure(self, section, key, *values):
        self.agent.set(section, **{key: [str(value) for value in values]})
        if self.agent.process:
            self.agent.reload()

    def do_environment(self, *settings):
        self.agent.environment += settings

    def do_send(self, octets=0):
        if not self.agent.process:
            self.agent.start()
        began = time.monotonic()
        self.traveller.send(octets)
        self.submission_s = time.monotonic() - began

    def do_restart(self):
        self.agent.stop()
        self.agent.start()

    def do_flush(self):
        self.agent.command("queue", "flush")

    def do_sleep(self):
        self.lab.sleep(self.agent.process)

    def do_wake(self, slept_s):
        self.lab.wake(slept_s)

    def do_stop_relay(self):
        self.relay.stop()

    def do_crash_relay(self):
        self.relay.process.kill()

    def do_start_relay(self):
        self.relay.start()

    def do_wrong_pin(self):
        right = self.relay.pin()
        self.pin = right[:-5] + ("AAAA" if right[-5:-1] != "AAAA" else "BBBB") + "="

    def do_wrong_user(self):
        self.user = "mallory"

    def do_watch(self, seconds, _unit):
        """Time goes by: the one thing that can't be waited for by an event is that nothing happens."""
        time.sleep(seconds)

    def do_under_way(self, octets, _unit="octets"):
        """Until so much of the message has gone over the wire."""
        postern.wait_until(lambda: any(one.bytes_said > octets for one in self.connections_since()), lambda: "a message under way\n" + self.evidence())


def make_stage(lab):
    """The relay, the destination and a mail program in a lab; for play()."""
    lab.roam("hotel")
    destination = postern.Destination(lab.destination, os.path.join(lab.folder, "destination"))
    relay = postern.Relay(lab.relay, os.path.join(lab.folder, "relay"), smarthost="smtp://203.0.113.25:25")
    relay.add_account(USER, PASSWORD, SENDER)
    relay.start()
    return Stage(lab, relay, destination, Mailer(lab))
