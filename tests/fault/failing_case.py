"""A disk that fails under a whole program (failing.c): which operations on its database, from which one on, how; and mail that goes from a laptop by a relay to its destination meanwhile.

    disk = FailingDisk(folder)
    start(case, case.relay, disk)                   the relay anew, on that disk
    disk.fail(FSYNC, nth=3, is_lasting=True)        ... the third fsync from now on, and all after it
    disk.mend()
"""
import dataclasses
import mmap
import os
import smtplib
import struct
import time

from daemon import BUILD, wait_for

PRELOAD = os.path.join(BUILD, "tests", "fault", "failing.so")
CONTROL = "<QQQIII"         # failing.c, struct control
WRITE, SYNC, TRUNCATE, READ = 1, 2, 4, 8
EIO, ENOSPC, SHORT = range(3)
SIZE = 100_000              # two pieces
QUIET_S = 0.5               # a disk that fails for ever and is asked no more for so long has shown what it does


@dataclasses.dataclass(frozen=True)
class Fault:
    name: str
    operations: int
    how: int


FAULTS = {fault.name: fault for fault in (
    Fault("eio", WRITE | SYNC | TRUNCATE, EIO), Fault("full", WRITE | TRUNCATE, ENOSPC), Fault("short", WRITE, SHORT), Fault("fsync", SYNC, EIO),
    Fault("read", READ, EIO))}


class FailingDisk:
    def __init__(self, folder):
        self.path = os.path.join(str(folder), "failing")
        with open(self.path, "wb") as file:
            file.write(bytes(struct.calcsize(CONTROL)))
        with open(self.path, "r+b") as file:
            self.control = mmap.mmap(file.fileno(), struct.calcsize(CONTROL))
        self.environment = {**os.environ, "LD_PRELOAD": PRELOAD, "POSTERN_FAILING": self.path}

    def fail(self, fault, nth, is_lasting=False):
        """nth 0: none, they are counted only."""
        self.control[:] = struct.pack(CONTROL, 0, 0, nth, fault.operations, fault.how, is_lasting)

    def mend(self):
        """Gives how often it failed."""
        self.control[16:24] = bytes(8)
        return self.failed

    @property
    def count(self):
        return struct.unpack_from("<Q", self.control, 0)[0]

    @property
    def failed(self):
        return struct.unpack_from("<Q", self.control, 8)[0]


def start(case, daemon, disk):
    """What the test itself starts (queue list and the like) has a disk that works."""
    assert daemon.stop() == 0
    daemon.environment = disk.environment
    daemon.start()
    daemon.environment = None
    case.reconnect()
    disk.fail(FAULTS["eio"], 0)


def try_send(case, size=SIZE):
    """(its subject, whether the agent has taken it). A refusal says that it is for now only, and a session that could not even be refused ended."""
    subject, message = case.message(size)
    try:
        case.agent.send(message=message)
    except smtplib.SMTPResponseException as refusal:
        assert 400 <= refusal.smtp_code < 500, refusal
        return subject, False
    except AssertionError as refusal:       # of MAIL or RCPT
        assert "(4" in str(refusal), refusal
        return subject, False
    except (OSError, smtplib.SMTPException):
        return subject, False
    return subject, True


def wait_shown(case, disk, subject, was_taken):
    """Until the fault has met something, and a disk that stays broken has been asked all it will be; or until all went well before it."""
    def is_over():
        return not was_taken or (case.arrived(subject) and case.is_over())
    wait_for(lambda: disk.failed or is_over(), lambda: "the fault, or the end of the hand-over", patience_s=60)
    seen, since = disk.count, time.monotonic()
    while disk.failed and not is_over() and time.monotonic() < since + QUIET_S:
        if disk.count != seen:
            return          # it tries again, so it has seen the fault
        time.sleep(0.01)


def hand_over(case, disk, fault, nth, is_lasting):
    """One message, the disk failing. Whether it failed; the message is judged."""
    case.wire.forget()
    disk.fail(fault, nth, is_lasting)
    subject, was_taken = try_send(case)
    wait_shown(case, disk, subject, was_taken)
    failed = disk.mend()
    if not was_taken:
        assert failed, f"{subject} was refused although nothing had failed"
        return failed, subject, False
    case.wait_arrived(subject)
    return failed, subject, True


def drop_refused(case, refused):
    """What was not taken may be nowhere, for no 250 was said; if it is somewhere after all (its 250 was lost on the way), once."""
    for subject in refused:
        if not case.arrived(subject):
            del case.sent[subject]


def fail_at_each(case, daemon, disk, fault, is_lasting, first=1, step=1):
    """Until a hand-over has no more operations of the kind. Gives how often the disk failed. The program is never started again."""
    process = daemon.process
    refused, nfaults, nth, failed = [], 0, first, True
    while failed:
        failed, subject, was_taken = hand_over(case, disk, fault, nth, is_lasting)
        if not was_taken:
            refused.append(subject)
        nfaults += bool(failed)
        nth += step
    case.wait_arrived(case.send(1000))      # and with nothing failing, all is as before
    assert daemon.process is process and process.poll() is None, "the program has ended"
    wait_for(lambda: not case.agent.unrelayed() and not case.relay.queue(), "both queues to empty", patience_s=60)
    drop_refused(case, refused)
    case.judge(relay_died=daemon is case.relay)
    return nfaults
