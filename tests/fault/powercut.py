#!/usr/bin/python3
"""Power cuts on real filesystems: every 250 that a client has read is there afterwards.

    powercut.py PROGRAM FILESYSTEM[,...] [--images N] [--seconds S] [--messages N] [--seed N] [--broken nosync|late]

PROGRAM (relay or agent) runs with its folder on a filesystem on a disk whose writes and flushes are logged (blocklog.c), clients hand it mail
(power_load.py), and then the disk is set back to moments before and between the flushes: with all writes up to there, without those that were not
flushed, with some of them, in another order, torn. Each image is mounted, so that the filesystem recovers, and its database judged (power_judge.py).
A table tells the count; the exit code is 1 when mail was lost or an image was no filesystem any more, 77 where this machine can't.

It is to run in namespaces of its own (power_case.py does that: mounts, processes, network), which end whatever it leaves. N is of each filesystem; where
they would take more than S seconds some are left out, everywhere."""
import argparse
import os
import random
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import power_disk  # noqa: E402
import power_judge  # noqa: E402
import power_load  # noqa: E402

NOT_HERE = 77
KINDS = ("dropped", "kept", "torn", "subset", "reordered")
PROGRAM_EVERY = 12      # images of which the program itself gives an account
PROBLEMS_SHOWN = 12


def why_not():
    """Why this machine can't, or nothing."""
    if os.geteuid() != 0:
        return "loop devices and mounts need root"
    for path in ("/dev/fuse", "/dev/loop-control"):
        try:
            os.close(os.open(path, os.O_RDWR))
        except OSError as error:
            return f"{path}: {error.strerror}"
    if not os.path.exists(power_disk.BLOCKLOG):
        return f"{power_disk.BLOCKLOG} is not built (libfuse3)"
    return None


def record(load_class, folder, filesystem, options):
    """Runs the program on a recorded disk; gives the path of the log."""
    environment = None
    if options.broken:
        environment = {**os.environ, "LD_PRELOAD": os.path.join(power_disk.BUILD, "tests/fault/nosync.so"), "POSTERN_BROKEN": options.broken}
    disk = power_disk.RecordedDisk(os.path.join(folder, "recorded"), filesystem)
    try:
        load = load_class(folder, disk, environment)
        try:
            power_load.run_load(load, options.seed, options.messages)
        finally:
            problems = load.close()
        assert not problems, "\n".join(problems)
    finally:
        disk.close()
    return disk.log_path, load


def choose(log, nimages, seed):
    """(position, kind), and how many flushes there are. Most stand just before a flush has come to its end, when most was answered and least is safe; without
    what was not flushed first of all; some between the flushes. In the order of the log, for a replay only goes forward."""
    begin, end = log.mark_index("begin"), log.mark_index("end")
    flushes = [i for i in log.flushes if begin < i < end]
    dice = random.Random(seed)
    dropped = [(i, "dropped") for i in dice.sample(flushes, min(len(flushes), nimages // 2))]
    others = [(i, kind) for i in flushes for kind in KINDS[1:]]
    others = dice.sample(others, min(len(others), nimages * 3 // 8))
    between = [(dice.randrange(begin + 1, end), dice.choice(KINDS)) for _ in range(nimages - len(dropped) - len(others))]
    return sorted(dropped + others + between), len(flushes)


class Count:
    def __init__(self, filesystem):
        self.filesystem = filesystem
        self.flushes = self.images = self.asked = self.judged = self.messages = self.named = self.halves = self.unmountable = self.lost = 0
        self.seconds, self.problems = 0.0, []

    def row(self):
        return (f"{self.filesystem:<10} {self.messages:>5} {self.named:>5} {self.flushes:>7} {self.images:>7} {self.asked:>7} {self.judged:>8} {self.halves:>6} "
                f"{self.lost:>6} {self.unmountable:>11} {self.seconds:>8.1f}")

    HEAD = f"{'filesystem':<10} {'250s':>5} {'named':>5} {'flushes':>7} {'images':>7} {'listed':>7} {'judged':>8} {'halves':>6} {'lost':>6} {'unmountable':>11} {'seconds':>8}"


def judge_image(replay, image, log, load, scratch, count):
    known = power_judge.Known(log.marks_before(image.position), [event for _, event in log.marks])
    try:
        with replay.image(image) as mount:
            database = os.path.join(mount, os.path.relpath(load.database, load.disk.mount))
            verdict = power_judge.judge(database, known, scratch)
            problems = verdict.problems
            if verdict.is_unborn or (count.images % PROGRAM_EVERY == 0 and not problems):
                count.asked += 1
                problems += power_judge.judge_program(load.program, os.path.dirname(database), known, verdict.is_unborn)
            count.judged += verdict.judged
            count.halves += verdict.halves
    except OSError as error:
        count.unmountable += 1
        problems = [str(error)]
    count.images += 1
    count.lost += sum("LOST" in problem for problem in problems)
    count.problems += [f"{count.filesystem}: {image}: {problem}" for problem in problems]


def run(filesystem, options, folder):
    count = Count(filesystem)
    began = time.monotonic()
    path, load = record(power_load.LOADS[options.program], folder, filesystem, options)
    load.program.environment = None
    log = power_disk.Log(path)
    count.messages = sum(mark["event"] == "taken" for _, mark in log.marks)
    count.named = sum(mark["event"] == "taken" and mark["name"] is not None for _, mark in log.marks)
    chosen, count.flushes = choose(log, options.images, options.seed)
    scratch = os.path.join(folder, "scratch")
    os.mkdir(scratch)
    replay = power_disk.Replay(os.path.join(folder, "replay"), filesystem, path)
    since = time.monotonic()
    try:
        for n, (position, kind) in enumerate(chosen):
            if (time.monotonic() - since) / options.seconds > (n + 1) / len(chosen):
                continue        # a slow machine leaves out some everywhere, and not the end
            image = power_disk.image_of(log, position, kind, options.seed, power_disk.ATOMIC[filesystem])
            judge_image(replay, image, log, load, scratch, count)
    finally:
        replay.close()
    is_seen = count.flushes >= 20 and count.judged >= count.messages and (options.program == "agent" or (count.named and count.halves))
    if not options.broken and not is_seen:
        count.problems.append("too little was seen to say anything")
    count.seconds = time.monotonic() - began
    return count


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", choices=sorted(power_load.LOADS))
    parser.add_argument("filesystems")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=70)
    parser.add_argument("--messages", type=int, default=power_load.MESSAGES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--broken", choices=("nosync", "late"))
    return parser.parse_args()


def main():
    options = parse_arguments()
    reason = why_not()
    if reason:
        print(reason)
        return NOT_HERE
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(f"postern-{options.program}, seed {options.seed}{', broken: ' + options.broken if options.broken else ''}\n{Count.HEAD}", flush=True)
    bad = 0
    for filesystem in options.filesystems.split(","):
        with tempfile.TemporaryDirectory(prefix="postern-power-") as folder:
            count = run(filesystem, options, folder)
        print(count.row(), flush=True)
        for problem in count.problems[:PROBLEMS_SHOWN]:
            print("   ", problem)
        bad += len(count.problems)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
