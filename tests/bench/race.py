"""The race: any one way open and the rest silently dropped; how much longer it takes than to be told, and how many round trips a hand-over takes."""
import os
import shutil
import time

import capture
from kit import PASSWORD, RECIPIENT, SENDER, USER, Failed, median
from netlab import RELAY, Lab
from postern import Agent, Destination, Relay

ROUND_TRIPS_MS = (50, 300)
UNKNOWN, KNOWN = 1.3, 1.05      # times what it takes when told
COLD, WARM = 3, 1               # round trips on a tls way, with a relay that has been met
MODES = {465: "tls", 443: "tls", 587: "starttls", 2525: "starttls", 25: "starttls"}
KINDS = ("raced", "told", "known", "known_told", "fresh", "fresh_told", "msmtp")
COUNTED_AT_MS = 100
NEWCOMER = "newcomer"           # an account has only so many devices: those of fresh agents must not push out the one that has met the relay
MESSAGE = f"From: <{SENDER}>\nTo: <{RECIPIENT}>\nSubject: race\n\n" + ("x" * 76 + "\n") * 52


class Place:
    """A laptop at home and then in a hotel, a relay, and an agent that has met it at home: the pattern of those that are measured."""

    def __init__(self, lab):
        self.lab = lab
        self.count = 0
        lab.roam("home")
        Destination(lab.destination, os.path.join(lab.folder, "destination"))
        self.relay = Relay(lab.relay, os.path.join(lab.folder, "relay"), RELAY, smarthost="smtp://203.0.113.25:25")
        self.relay.add_account(USER, PASSWORD, SENDER)
        self.relay.add_account(NEWCOMER, PASSWORD, SENDER)
        self.relay.start()
        self.pattern = self.fresh(user=USER)
        timing = Timing(self.pattern)
        timing.hand_over()
        timing.wait_for(b"event=device-known")      # a relay is met when it has given the device its token
        timing.process.stop()
        lab.roam("hotel")

    def _folder(self):
        self.count += 1
        return os.path.join(self.lab.folder, f"agent-{self.count}")

    def fresh(self, way=None, user=NEWCOMER):
        agent = Agent(self.lab.laptop, self._folder(), RELAY, user, PASSWORD, pin=self.relay.pin())
        return told(agent, way)

    def met(self, way=None):
        """One that knows the relay, and of networks only home."""
        return told(self.pattern.clone(self._folder()), way)


def told(agent, way):
    """With a single way, or with all of them."""
    if way:
        agent.set("relay", way=[f"{way} {MODES[way]}"])
    return agent


class Timing:
    """One life of an agent."""

    def __init__(self, agent):
        self.agent = agent
        self.process = agent.host.start([*agent.environment, agent.binary, "run", "--dir", agent.folder], ready=b"event=started", log="stdout")

    def hand_over(self):
        """ms from the message's being queued to the relay's 250, by the agent's log."""
        self.agent.submit(SENDER, RECIPIENT, MESSAGE)
        began = self.wait_for(b"event=message-queued")
        return (self.wait_for(b"status=relayed") - began) * 1000

    def run(self):
        try:
            return self.hand_over()
        finally:
            self.process.stop()

    def wait_for(self, words):
        while True:
            at, line = self.process.next_line_at()
            if line is None:
                raise Failed("the agent ended")
            if words in line:
                return at


def time_msmtp(lab, port):
    """ms of the whole command, which starts a process and ends it."""
    path = os.path.join(lab.folder, "msmtprc")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"account default\nhost {RELAY}\nport {port}\nfrom {SENDER}\ntls on\ntls_starttls {'off' if MODES[port] == 'tls' else 'on'}\n"
                   f"tls_certcheck off\nauth plain\nuser {USER}\npassword {PASSWORD}\n")
    os.chmod(path, 0o600)
    began = time.monotonic()
    lab.laptop.run(["msmtp", "-C", path, RECIPIENT], stdin=MESSAGE)
    return (time.monotonic() - began) * 1000


def measure(place, port, times):
    """One round: each kind once. An agent that comes back is the one that was there before, started anew."""
    raced, knowing = place.met(), place.met(port)
    times["raced"].append(Timing(raced).run())
    times["told"].append(Timing(knowing).run())
    times["known"].append(Timing(raced).run())
    times["known_told"].append(Timing(knowing).run())
    times["fresh"].append(Timing(place.fresh()).run())
    times["fresh_told"].append(Timing(place.fresh(port)).run())
    if shutil.which("msmtp"):
        times["msmtp"].append(time_msmtp(place.lab, port))


def ratio_words(times, what, to):
    one, other = median(times[what]), median(times[to])
    return f"{one:.0f}/{other:.0f} {one / other:.2f}"


def bench(report, rounds, factor):
    del factor
    report.title(f"race: one way open, the rest dropped; ms from queued to the relay's 250, all ways/told the open one, and their ratio (medians of {rounds})")
    worst = {"raced": 0, "known": 0}
    with Lab() as lab:
        place = Place(lab)
        for round_trip_ms in ROUND_TRIPS_MS:
            report.line(f"{round_trip_ms} ms a round trip", ["unknown network", "known network", "fresh agent", "msmtp, told"])
            lab.latency(round_trip_ms)
            for port in MODES:
                lab.only(port)
                times = {kind: [] for kind in KINDS}
                for _ in range(rounds):
                    measure(place, port, times)
                msmtp = f"{median(times['msmtp']):.0f}" if times["msmtp"] else ""
                report.line(f"  {port} {MODES[port]}", [ratio_words(times, "raced", "told"), ratio_words(times, "known", "known_told"),
                                                        ratio_words(times, "fresh", "fresh_told"), msmtp],
                            bench="race", port=port, round_trip_ms=round_trip_ms, **times)
                for what, to in (("raced", "told"), ("known", "known_told")):
                    worst[what] = max(worst[what], median(times[what]) / median(times[to]))
        place.relay.stop()
    report.target("race, unknown network, as a multiple of being told", worst["raced"], UNKNOWN, unit="x")
    report.target("race, known network, as a multiple of being told", worst["known"], KNOWN, unit="x")


# ---- round trips, on the wire

def carrier(lab, since):
    """The connection that said most since then."""
    spoke = [one for one in capture.read(lab.captures()) if one.said_at and one.said_at[-1][0] >= since]
    return max(spoke, key=lambda one: sum(n for at, n in one.said_at if at >= since))


def count_agent(place, port):
    """(cold, warm)."""
    timing, counts = Timing(place.met(port)), []
    try:
        for _ in range(2):
            since = time.time()
            timing.hand_over()
            counts.append(carrier(place.lab, since).flights(COUNTED_AT_MS / 1000, since=since))
    finally:
        timing.process.stop()
    return counts


def count_msmtp(place, port):
    since = time.time()
    time_msmtp(place.lab, port)
    return carrier(place.lab, since).flights(COUNTED_AT_MS / 1000, since=since) - 1     # QUIT is no part of it


def trips(report, rounds, factor):
    del rounds, factor
    report.title("trips: round trips on the wire to hand over 4 KiB to a relay that has been met, from the SYN to its 250")
    cold, warm = 0, 0
    with Lab() as lab:
        place = Place(lab)
        lab.latency(COUNTED_AT_MS)
        report.line("way", ["agent, cold", "agent, warm", "msmtp" if shutil.which("msmtp") else ""])
        for port, mode in MODES.items():
            lab.only(port)
            lab.forget_captures()
            counts = count_agent(place, port)
            msmtp = count_msmtp(place, port) if shutil.which("msmtp") else None
            report.line(f"  {port} {mode}", [str(counts[0]), str(counts[1]), "" if msmtp is None else str(msmtp)],
                        bench="trips", port=port, cold=counts[0], warm=counts[1], msmtp=msmtp)
            cold, warm = max(cold, counts[0] if mode == "tls" else 0), max(warm, counts[1])
        place.relay.stop()
    report.target("round trips, cold, on tls ways", cold, COLD)
    report.target("round trips, warm", warm, WARM)
