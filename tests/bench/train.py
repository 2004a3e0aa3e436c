"""The train: a large mail over a thin line that breaks again and again, beside msmtp with a queue; and what it costs to go on."""
import os
import re
import shutil
import sys
import time

from hosts import World
from kit import FOLDER, PASSWORD, RECIPIENT, SENDER, USER, median
from memory import make_pair
from postern import wait_until

RATE, DELAY_MS, CUT_S = 250_000, 100, 10        # 2 Mbit/s, round trips of 200 ms
SIZE = 20_000_000
WIRE_PORT, PATIENCE_S = 4700, 400
MSMTP_S = 120                                   # so long it is shown that msmtp does not finish
RATIO, RESUME_TRIPS = 1.15, 1.1            # a tenth for what is not the line's
STEP, REST = 400_000, 8_000                     # resume: a message that does not get through before the break; octets that are compared


class ThinLine:
    """The line to the relay, and what its connections carried."""

    def __init__(self, host, to_port, cut_s=0):
        self.process = host.start([sys.executable, os.path.join(FOLDER, "thin.py"), str(WIRE_PORT), str(to_port), str(RATE), str(DELAY_MS), str(cut_s)], ready=b"ready")

    def end(self):
        """(seconds, octets to the relay, "cut" or "closed") of each connection that has ended."""
        self.process.stop()
        found = []
        while (line := self.process.next_line()) is not None:
            found += parse(line)
        return found


def parse(line):
    words = (line or b"").decode().split()
    return [(float(words[0]), int(words[1]), words[3])] if len(words) == 4 else []


def message(size, subject):
    line = "All work and no play makes a thin line rather long, and a train is rarely on time.\n"
    return f"From: <{SENDER}>\nTo: <{RECIPIENT}>\nSubject: {subject}\nMessage-ID: <{subject}@bench.example>\n\n" + line * (size // (len(line) + 1))


class Passenger:
    """The agent on the train; times are from the message's being queued to the relay's 250, by the agent's own log."""

    def __init__(self, world):
        self.sink, self.peer, self.agent = make_pair(world)
        self.agent.set("relay", way=f"{WIRE_PORT} tls", keep_warm="100ms", http_port="0")
        self.agent.set("log", level="info")
        self.host, self.count = self.agent.host, 0

    def send(self, size, subject):
        began = time.monotonic()
        self.agent.submit(SENDER, RECIPIENT, message(size, subject))
        self.count += 1
        self.sink.wait_for(self.count, within_s=PATIENCE_S)
        seconds = time.monotonic() - began
        wait_until(lambda: self.agent.status()["state"] == "resting", "the agent comes to rest", PATIENCE_S)
        time.sleep(2 * DELAY_MS / 1000)
        return seconds

    def delays_ms(self, event):
        """From a message's being queued until that, of each log line of the agent's about it."""
        with open(self.agent.process.log, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if f"event={event} " in line]
        return [int(re.search(r"delay_ms=(\d+)", line).group(1)) for line in lines]

    def over(self, cut_s, size, subject):
        """Seconds, and the line's connections that carried it."""
        line = ThinLine(self.host, self.peer.port, cut_s)
        return self.send(size, subject), line.end()


def msmtp(world, passenger):
    """A queue of its manner: msmtp is tried again until it succeeds. (octets that went over the line, tries, seconds, whether it arrived)."""
    path = os.path.join(world.folder, "msmtprc")
    with open(path, "w", encoding="ascii") as file:
        file.write(f"account default\nhost 127.0.0.1\nport {WIRE_PORT}\nfrom {SENDER}\ntls on\ntls_starttls off\ntls_certcheck off\nauth plain\nuser {USER}\npassword {PASSWORD}\n")
    os.chmod(path, 0o600)
    line = ThinLine(passenger.host, passenger.peer.port, CUT_S)
    began, tries, is_sent = time.monotonic(), 0, False
    while not is_sent and time.monotonic() - began < MSMTP_S:
        tries += 1
        is_sent = passenger.host.run(["msmtp", "-C", path, RECIPIENT], stdin=message(SIZE, "msmtp"), check=False, within_s=PATIENCE_S).returncode == 0
    seconds = time.monotonic() - began
    return sum(c[1] for c in line.end()), tries, seconds, is_sent


def bench(report, rounds, factor):
    del rounds, factor
    report.title(f"train: {SIZE // 1_000_000} MB over {RATE * 8 // 1_000_000} Mbit/s with round trips of {2 * DELAY_MS} ms, cut every {CUT_S} s")
    with World() as world:
        passenger = Passenger(world)
        passenger.agent.start()
        passenger.over(0, 4000, "acquaintance")
        reconnect = median([passenger.over(0, 4000, f"small{n}")[0] for n in range(3)])
        uncut, _ = passenger.over(0, SIZE, "uncut")
        cut, connections = passenger.over(CUT_S, SIZE, "cut")
        ncut = sum(how == "cut" for _, _, how in connections)
        arrived = sum(octets for _, octets, _ in connections)
        report.line("", ["seconds", "MB over the line", "connections"])
        report.line("  agent, never cut", [f"{uncut:.1f}", "", "1"], bench="train", peer="agent", seconds=uncut)
        report.line("  agent, cut", [f"{cut:.1f}", f"{arrived / 1e6:.2f}", str(len(connections))], bench="train", peer="agent-cut", seconds=cut, octets=arrived, cuts=ncut)
        report.note(f"a cold hand-over of 4 KB over that line, which is what a reconnect costs: {reconnect:.2f} s")
        if shutil.which("msmtp"):
            octets, tries, seconds, is_sent = msmtp(world, passenger)
            words = f"{seconds:.0f}" if is_sent else f"not in {seconds:.0f}"
            report.line("  msmtp, tried again and again", [words, f"{octets / 1e6:.2f}", str(tries)], bench="train", peer="msmtp", seconds=seconds, octets=octets, tries=tries, arrived=is_sent)
        passenger.agent.stop()
        passenger.peer.stop()
    report.target(f"cut, less {ncut} reconnects, over uncut", (cut - ncut * reconnect) / uncut, RATIO)


def resume(report, rounds, factor):
    """The line breaks 2 s after it came up, with most of the message at the relay: from there to the relay's 250, beside a cold hand-over of a small message."""
    del factor
    report.title(f"resume: the last {REST // 1000} KB of a message that was broken, beside a message of that size; round trips of {2 * DELAY_MS} ms")
    with World() as world:
        passenger = Passenger(world)
        passenger.agent.start()
        passenger.over(0, 4000, "acquaintance")
        plain, resumed = [], []
        for n in range(rounds):
            octets = passenger.over(0, REST, f"plain{n}")[1][-1][1]
            plain.append(passenger.delays_ms("delivered")[-1] / 1000)
            resumed.append(broken(passenger, f"broken{n}", octets))
        passenger.agent.stop()
        passenger.peer.stop()
    trips = (median(resumed) - median(plain)) * 1000 / (2 * DELAY_MS)
    report.line("", ["ms", "more round trips"])
    report.line("  a message of its own", [f"{median(plain) * 1000:.0f}", ""], bench="resume", kind="plain", seconds=median(plain))
    report.line("  the rest of one", [f"{median(resumed) * 1000:.0f}", f"{trips:.2f}"], bench="resume", kind="resumed", seconds=median(resumed), trips=trips)
    report.target("round trips that going on costs", trips, RESUME_TRIPS)


def broken(passenger, subject, octets):
    """Seconds from the break to the relay's 250. How much is left depends on the moment, so the time that the line takes for what is more than those octets is taken off."""
    last = passenger.over(2, STEP, subject)[1][-1]
    return (passenger.delays_ms("delivered")[-1] - passenger.delays_ms("deferred")[-1]) / 1000 - (last[1] - octets) / RATE
