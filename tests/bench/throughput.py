"""Relaying: messages of 4 KiB over TLS with AUTH, 20 sessions at once, on to a sink; beside Postfix, in turns."""
import os
import time

from hosts import World
from kit import Sink, cpu_s, load, median
from peers import Postern, Postfix, postfix_obstacle
from postern import wait_until

SESSIONS, SIZE = 20, 4096
VARIANTS = ("many messages a session", "one message a session")
# How many messages make a second or two of work.
TOTAL = {("Postfix", 0): 1500, ("Postfix", 1): 400, ("postern-relay", 0): 15000, ("postern-relay", 1): 1000}
SPEED_UP, CPU_SHARE = 5, 0.2


def measure(peer, sink, variant, factor):
    total = int(TOTAL[peer.name, variant] * factor)
    settle(peer)
    before, cpu_before, began = sink.count(), cpu_s(peer.pid), time.monotonic()
    report = load(peer.host, peer.port, peer.user, sessions=SESSIONS, total=total, each=1 if variant else total // SESSIONS, size=SIZE)
    sink.wait_for(before + total)
    delivered_s = time.monotonic() - began
    settle(peer)
    return {"accepted_s": report["accepted"] / report["wall_s"], "delivered_s": total / delivered_s,
            "cpu_ms": (cpu_s(peer.pid) - cpu_before) / total * 1000, "p50_ms": report["p50_ms"], "p99_ms": report["p99_ms"],
            "generator_cpu_ms": report["cpu_s"] / total * 1000}


def settle(peer):
    """Until it has done what remains after the last delivery."""
    def is_quiet():
        before = cpu_s(peer.pid)
        time.sleep(0.25)
        return cpu_s(peer.pid) - before <= 0.011
    wait_until(is_quiet, f"{peer.name} comes to rest", 30)


def bench(report, rounds, factor):
    report.title(f"relay: {SIZE // 1024} KiB over TLS + AUTH PLAIN, {SESSIONS} sessions, delivered to a sink (medians of {rounds})")
    with World() as world:
        host = world.host("bench", hosts_file(world))
        sink = Sink(host, world.folder, 2600)
        obstacle = postfix_obstacle()
        peers = ([] if obstacle else [Postfix(host, world.folder, sink.port)]) + [Postern(host, world.folder, sink.port)]
        if obstacle:
            report.note(f"without Postfix: {obstacle}")
        results = {}
        for _ in range(rounds):
            for variant in range(len(VARIANTS)):
                for peer in peers:
                    results.setdefault((peer.name, variant), []).append(measure(peer, sink, variant, factor))
        for peer in peers:
            peer.stop()
    show(report, results)


def hosts_file(world):
    path = os.path.join(world.folder, "hosts")
    with open(path, "w", encoding="ascii") as file:
        file.write("127.0.0.1 localhost relay.example\n::1 localhost\n")
    return path


def show(report, results):
    middles = {key: {figure: median([one[figure] for one in runs]) for figure in runs[0]} for key, runs in results.items()}
    for variant, words in enumerate(VARIANTS):
        report.line(words, ["accepted/s", "delivered/s", "CPU ms/message", "p50 ms", "p99 ms"])
        for (name, at), m in middles.items():
            if at == variant:
                report.line(f"  {name}", [f"{m['accepted_s']:.0f}", f"{m['delivered_s']:.0f}", f"{m['cpu_ms']:.3f}", f"{m['p50_ms']:.1f}", f"{m['p99_ms']:.1f}"],
                            bench="relay", variant=words, peer=name, rounds=results[name, at], **m)
    ours, theirs = middles["postern-relay", 0], middles.get(("Postfix", 0))
    if theirs:
        report.target("delivered/s, as a multiple of Postfix", ours["delivered_s"] / theirs["delivered_s"], SPEED_UP, is_floor=True, unit="x")
        report.target("CPU a message, of Postfix's", ours["cpu_ms"] / theirs["cpu_ms"], CPU_SHARE, unit="x")
