"""Kill anywhere: each program dies as it enters a system call of a hand-over, whichever, and starts again. What the agent acknowledged was taken by the relay exactly once; what it did not,
once at most.

The quick part takes a sample of the calls, `make check-fault` all of them (test_kill_long.py)."""
import os
import smtplib
import subprocess

import pytest
from custody_case import Custody
from daemon import BUILD, wait_for

KILLAT = os.path.join(BUILD, "tests", "fault", "killat")
SIZE = 100_000      # two pieces


class Killer:
    def __init__(self, process, at):
        self.tool = subprocess.Popen([KILLAT, str(process.pid), str(at)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        first = self.tool.stdout.readline().strip()
        if first != "ready":
            self.end()
            pytest.skip(f"no process may be traced here ({first or 'ptrace refused'})")

    def has_killed(self):
        return self.tool.poll() is not None

    def end(self):
        """(whether it has killed, at or after how many calls)."""
        self.tool.stdin.close()
        words = self.tool.stdout.read().split()
        self.tool.wait(30)
        return words[0] == "killed" if words else False, int(words[1]) if words else 0


@pytest.fixture
def case(make_relay, make_agent, make_sink):
    custody = Custody(make_relay, make_agent, make_sink)
    yield custody
    custody.close()


def hand_over(case, daemon, at):
    """One message, the program killed at that call. False: there were not so many."""
    doubtful = False
    case.wire.forget()
    nbefore = case.nrelayed()
    killer = Killer(daemon.process, at)
    subject, message = case.message(SIZE)
    try:
        case.agent.send(message=message)
    except (OSError, smtplib.SMTPException, AssertionError):
        doubtful = True
    wait_for(lambda: killer.has_killed() or (case.arrived(subject) and case.is_over(nbefore)), "its end, or the message's arrival", patience_s=60)
    was_killed, _ = killer.end()
    if was_killed:
        daemon.wait_exit()
        daemon.start()
        case.reconnect()
    assert was_killed or not doubtful, "the agent refused a message although nobody killed it"
    return was_killed, subject, doubtful


def kill_at_each(case, daemon, first, step):
    """Until the hand-over has no more calls. Gives how often it was killed."""
    case.wait_arrived(case.send(1000))      # the relay knows the laptop
    doubts, nkills, at, was_killed = [], 0, first, True
    while was_killed:
        was_killed, subject, is_doubtful = hand_over(case, daemon, at)
        if is_doubtful:
            doubts.append(subject)
        else:
            case.wait_arrived(subject)
        nkills += was_killed
        at += step
    wait_for(lambda: not case.agent.unrelayed() and not case.relay.queue(), "both queues to empty", patience_s=60)
    for subject in doubts:
        if not case.arrived(subject):
            del case.sent[subject]
    case.judge(relay_died=daemon is case.relay)
    return nkills


@pytest.mark.parametrize("program", ["agent", "relay"])
def test_a_sample_of_kills(case, program):
    step = int(os.environ.get("POSTERN_KILL_EVERY", "37"))
    nkills = kill_at_each(case, getattr(case, program), 1 + step // 2, step)
    assert nkills >= 5, f"only {nkills} kills: is the hand-over so short?"
