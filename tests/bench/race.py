"""The race: three of four ports silently dropped, 50 ms a round trip; from its start to the relay's 250, beside clients that are told the open port."""
import os
import shutil
import time

from kit import PASSWORD, RECIPIENT, SENDER, USER, Failed, median
from netlab import PORTS, RELAY, Lab
from postern import Agent, Destination, Relay

ROUND_TRIP_MS = 50
RATIO = 1.5
MODES = {465: "tls", 587: "starttls", 2525: "starttls", 25: "starttls"}
MESSAGE = f"From: <{SENDER}>\nTo: <{RECIPIENT}>\nSubject: race\n\n" + ("x" * 76 + "\n") * 52


class Timing:
    """One agent, fresh, so that it remembers nothing of the network."""
    numbers = iter(range(1, 10000))

    def __init__(self, lab, relay, ways):
        self.agent = Agent(lab.laptop, os.path.join(lab.folder, f"agent-{next(self.numbers)}"), RELAY, USER, PASSWORD, pin=relay.pin())
        self.agent.set("relay", way=ways)
        self.agent.set("log", level="debug")
        self.process = lab.laptop.start([self.agent.binary, "run", "--dir", self.agent.folder], ready=b"event=started", log="stdout")

    def run(self):
        """ms from the start of the race to the relay's 250."""
        self.agent.submit(SENDER, RECIPIENT, MESSAGE)
        began = self._when(b"to=searching")
        ended = self._when(b"status=relayed")
        self.process.stop()
        return (ended - began) * 1000

    def _when(self, words):
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
        file.write(f"account default\nhost {RELAY}\nport {port}\nfrom {SENDER}\ntls on\ntls_starttls {'off' if port == 465 else 'on'}\ntls_certcheck off\n"
                   f"auth plain\nuser {USER}\npassword {PASSWORD}\n")
    os.chmod(path, 0o600)
    began = time.monotonic()
    lab.laptop.run(["msmtp", "-C", path, RECIPIENT], stdin=MESSAGE)
    return (time.monotonic() - began) * 1000


def bench(report, rounds, factor):
    del factor
    report.title(f"race: three of four ports dropped, {ROUND_TRIP_MS} ms a round trip; ms from its start to the relay's 250 (medians of {rounds})")
    with Lab() as lab:
        lab.roam("hotel")
        lab.latency(ROUND_TRIP_MS)
        Destination(lab.destination, os.path.join(lab.folder, "destination"))
        relay = Relay(lab.relay, os.path.join(lab.folder, "relay"), RELAY, smarthost="smtp://203.0.113.25:25")
        relay.add_account(USER, PASSWORD, SENDER)
        relay.start()
        has_msmtp = shutil.which("msmtp") is not None
        report.line("open port", ["agent, 4 ways", "agent, told", "ratio", "msmtp, told" if has_msmtp else ""])
        worst = 0
        for port in PORTS:
            lab.only(port)
            times = {"raced": [], "told": [], "msmtp": []}
            for _ in range(rounds):
                times["raced"].append(Timing(lab, relay, [f"{p} {MODES[p]}" for p in PORTS]).run())
                times["told"].append(Timing(lab, relay, [f"{port} {MODES[port]}"]).run())
                if has_msmtp:
                    times["msmtp"].append(time_msmtp(lab, port))
            raced, told = median(times["raced"]), median(times["told"])
            msmtp = f"{median(times['msmtp']):.0f}" if has_msmtp else ""
            report.line(f"  {port} {MODES[port]}", [f"{raced:.0f}", f"{told:.0f}", f"{raced / told:.2f}", msmtp], bench="race", port=port, **times)
            worst = max(worst, raced / told)
        relay.stop()
    report.target("race, as a multiple of being told", worst, RATIO, unit="x")
