"""Memory and rest: the agent with nothing to do, a message of 50 MB through both programs, idle sessions."""
import os
import subprocess
import time

from hosts import World
from kit import PASSWORD, RECIPIENT, SENDER, USER, Sink, build, forget_peak, memory_kb, status_of, wakeups
from peers import Postern, Postfix, postfix_obstacle
from postern import Agent, wait_until
from throughput import hosts_file

REST_S = 10
REST_KB, LARGE_KB = 8 * 1024, 32 * 1024
LARGE = 50 * 1000 * 1000
SMALL_MESSAGE = f"From: <{SENDER}>\nTo: <{RECIPIENT}>\nSubject: small\n\nHello.\n"


def make_pair(world):
    """Sink, relay, and an agent that reaches it, on one host."""
    host = world.host("bench", hosts_file(world))
    sink = Sink(host, world.folder, 2600)
    peer = Postern(host, world.folder, sink.port)
    agent = Agent(host, os.path.join(world.folder, "agent"), "127.0.0.1", USER, PASSWORD, pin=peer.relay.pin())
    agent.set("relay", way=f"{peer.port} tls")
    return sink, peer, agent


def rest(report, rounds, factor):
    del rounds, factor
    report.title(f"rest: with nothing to do, over {REST_S} s, after a first message")
    with World() as world:
        sink, peer, agent = make_pair(world)
        agent.set("relay", way=f"{peer.port} tls", keep_warm="1s")
        agent.start()
        agent.submit(SENDER, RECIPIENT, SMALL_MESSAGE)
        sink.wait_for(1)
        wait_until(lambda: agent.status()["state"] == "resting", "the agent comes to rest")
        time.sleep(1)
        report.line("", ["resident KB", "own KB (PSS)", f"wake-ups in {REST_S} s"])
        pids = {"postern-agent": agent.process.popen.pid, "postern-relay": peer.pid}
        before = {name: wakeups(pid) for name, pid in pids.items()}
        time.sleep(REST_S)
        woken = {name: wakeups(pid) - before[name] for name, pid in pids.items()}
        for name, pid in pids.items():
            rss, pss = memory_kb(pid, "Rss"), memory_kb(pid)
            report.line(f"  {name}", [str(rss), str(pss), str(woken[name])], bench="rest", program=name, rss_kb=rss, pss_kb=pss, wakeups=woken[name])
        resident = memory_kb(pids["postern-agent"], "Rss")
        agent.stop()
        peer.stop()
    report.target("agent at rest, resident", resident / 1024, REST_KB / 1024, unit=" MB")
    report.target("agent at rest, wake-ups", woken["postern-agent"], 0)


def large(report, rounds, factor):
    """The peak is forgotten after a first small message on the same session, so that no password hash is in it."""
    del rounds, factor
    report.title(f"large: a message of {LARGE // 1000000} MB, from the mail program through both to a sink")
    with World() as world:
        sink, peer, agent = make_pair(world)
        agent.start()
        agent.submit(SENDER, RECIPIENT, SMALL_MESSAGE)
        sink.wait_for(1)
        agent.wait_handed_over(1)
        pids = {"postern-agent": agent.process.popen.pid, "postern-relay": peer.pid}
        for pid in pids.values():
            forget_peak(pid)
        body = f"From: <{SENDER}>\nTo: <{RECIPIENT}>\nSubject: large\n\n" + ("x" * 76 + "\n") * (LARGE // 78)
        began = time.monotonic()
        agent.submit(SENDER, RECIPIENT, body)
        sink.wait_for(2)
        seconds = time.monotonic() - began
        report.line("", ["peak resident KB", "seconds in all"])
        peaks = {name: status_of(pid, "VmHWM") for name, pid in pids.items()}
        for name, peak in peaks.items():
            report.line(f"  {name}", [str(peak), f"{seconds:.1f}"], bench="large", program=name, peak_kb=peak, seconds=seconds)
        agent.stop()
        peer.stop()
    for name, peak in peaks.items():
        report.target(f"{name}, peak", peak / 1024, LARGE_KB / 1024, unit=" MB")


def idle(report, rounds, factor):
    """User space only: what the kernel keeps for a socket is the same for all."""
    del rounds
    report.title("idle: sessions over TLS, logged in, that say nothing")
    with World() as world:
        host = world.host("bench", hosts_file(world))
        sink = Sink(host, world.folder, 2600)
        peers = [(Postern(host, world.folder, sink.port), int(400 * factor))]
        if not postfix_obstacle():
            peers.insert(0, (Postfix(host, world.folder, sink.port), int(50 * factor)))
        report.line("", ["sessions", "KB each (PSS)"])
        for peer, count in peers:
            each = idle_kb(host, peer, count)
            report.line(f"  {peer.name}", [str(count), f"{each:.1f}"], bench="idle", peer=peer.name, sessions=count, kb_each=each)
            peer.stop()


def idle_kb(host, peer, count):
    words = [build("load"), f"port={peer.port}", f"user={peer.user}", f"password={PASSWORD}", f"from={SENDER}", f"to={RECIPIENT}", "mode=idle"]
    host.run([*words, "sessions=1"])        # what is set up once, at the first session
    time.sleep(0.5)
    before = memory_kb(peer.pid)
    command, descriptors = host.words(words + [f"sessions={count}"])
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=descriptors)
    try:
        if process.stdout.readline().split() != ["idle", str(count)]:
            raise RuntimeError(f"{count} idle sessions did not come about")
        return (memory_kb(peer.pid) - before) / count
    finally:
        process.stdin.close()
        process.wait(30)
        process.stdout.close()
