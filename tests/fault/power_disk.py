"""Disks whose every write is logged, and images of them as a power cut may leave them (blocklog.c serves both).

    disk = RecordedDisk(folder, "ext4")      mkfs, mount at disk.mount; disk.mark({...}) puts a mark among the writes
    disk.close()
    log = Log(disk.log_path)                 its records; what was durable when; which images a cut may leave
    replay = Replay(folder, "ext4", disk.log_path)
    with replay.image(image) as mount: ...   that image, mounted: the filesystem has recovered from its journal
"""
import bisect
import contextlib
import json
import mmap
import os
import random
import struct
import subprocess
import time

BUILD = os.environ.get("POSTERN_BUILD", os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build"))
BLOCKLOG = os.path.join(BUILD, "tests/fault/blocklog")
SIZE = 320 << 20        # XFS wants 300 MiB; nothing is stored of what was not written
FLUSH_MS = 3
WRITE, FLUSH, MARK = 1, 2, 3
MKFS = {"ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1"], "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
        "btrfs": ["mkfs.btrfs", "-q", "-f", "-K"]}
# What a disk writes in one piece. Btrfs takes for granted that its superblock, of 4096 octets, is one; the others live with sectors of 512.
ATOMIC = {"ext4": 512, "xfs": 512, "btrfs": 4096}
PATIENCE_S = 20


def command(*words):
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(words)}: {done.stdout.strip()}")


class Served:
    """A blocklog process and its folder."""

    def __init__(self, folder, *words):
        self.folder = os.path.join(folder, "fuse")
        self.mount = os.path.join(folder, "mount")
        for path in (self.folder, self.mount):
            os.makedirs(path)
        self.process = subprocess.Popen([BLOCKLOG, words[0], self.folder, *words[1:]], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        end = time.monotonic() + PATIENCE_S
        while not os.path.ismount(self.folder):
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise OSError("blocklog did not start: " + self.process.communicate()[1].decode(errors="replace"))
            time.sleep(0.005)
        self.disk = os.path.join(self.folder, "disk")
        self.orders = os.open(os.path.join(self.folder, "orders"), os.O_WRONLY)
        self.is_mounted = False

    def mount_disk(self, options="noatime"):
        command("mount", "-o", f"loop,{options}", self.disk, self.mount)
        self.is_mounted = True

    def unmount_disk(self):
        if self.is_mounted:
            command("umount", self.mount)
            self.is_mounted = False

    def close(self):
        """Whatever happened before: nothing stays mounted, and the process has ended."""
        try:
            with contextlib.suppress(OSError):
                self.unmount_disk()
            os.close(self.orders)
            with contextlib.suppress(OSError):
                command("umount", self.folder)
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.process.kill()
            self.process.communicate()


class RecordedDisk(Served):
    def __init__(self, folder, filesystem):
        self.log_path = os.path.join(folder, "log")
        os.makedirs(folder, exist_ok=True)
        super().__init__(folder, "record", self.log_path, str(SIZE), str(FLUSH_MS))
        try:
            command(*MKFS[filesystem], self.disk)
            self.mount_disk()
        except BaseException:
            self.close()
            raise

    def mark(self, event):
        os.write(self.orders, json.dumps(event).encode())


class Log:
    """The records: kinds[i], at[i], lens[i]; marks: [(i, event)]; flushes: [i]."""

    def __init__(self, path):
        self.kinds, self.at, self.lens, self.marks, self.flushes = [], [], [], [], []
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
            place = 0
            while place < len(octets):
                kind, length, at = struct.unpack_from("=IIQ", octets, place)
                place += 16
                if kind == MARK:
                    self.marks.append((len(self.kinds), json.loads(octets[place:place + length])))
                if kind == FLUSH:
                    self.flushes.append(len(self.kinds))
                self.kinds.append(kind)
                self.at.append(at)
                self.lens.append(length)
                place += (length + 7) // 8 * 8

    def mark_index(self, event):
        return next(i for i, what in self.marks if what["event"] == event)

    def durable(self, position):
        """Every write before this record is on the disk for sure when `position` records have happened."""
        n = bisect.bisect_left(self.flushes, position)
        return max((self.at[i] for i in self.flushes[max(0, n - 16):n]), default=0)

    def pending(self, position):
        return [i for i in range(self.durable(position), position) if self.kinds[i] == WRITE]

    def marks_before(self, position):
        return [event for i, event in self.marks if i < position]


class Image:
    """The disk after a cut at `position`: the writes before `base` and pieces (number, from, to) of those after it, in this order."""

    def __init__(self, kind, position, base, pieces):
        self.kind, self.position, self.base, self.pieces = kind, position, base, pieces

    def __str__(self):
        return f"{self.kind} at record {self.position} (base {self.base}, {len(self.pieces)} pieces)"


def image_of(log, position, kind, seed, atomic):
    """One image. Within one sector the writes keep their order: a disk's cache never gives back what was overwritten in it."""
    dice = random.Random(f"{seed} {position} {kind}")
    pending = log.pending(position)
    whole = [(i, 0, log.lens[i]) for i in pending]
    if kind == "kept":
        pieces = whole
    elif kind == "dropped":
        pieces = []
    elif kind == "subset":                          # any of them
        share = dice.random()
        pieces = [piece for piece in whole if dice.random() < share]
    elif kind == "reordered":                       # late ones have overtaken early ones
        first = dice.randrange(len(whole)) if whole else 0
        pieces = [piece for n, piece in enumerate(whole) if n >= first or dice.random() < 0.2]
    else:                                           # "torn": sectors of each
        unit = atomic if dice.random() < 0.5 else 4096
        pieces = [piece for i, _, length in whole for piece in torn(dice, i, length, unit)]
    return Image(kind, position, log.durable(position), pieces)


def torn(dice, number, length, unit):
    share = dice.choice((0, 0.5, 0.9, 1))
    runs = []
    for start in range(0, length, unit):
        if dice.random() < share:
            end = min(start + unit, length)
            if runs and runs[-1][2] == start:
                runs[-1] = (number, runs[-1][1], end)
            else:
                runs.append((number, start, end))
    return runs


class Replay(Served):
    def __init__(self, folder, filesystem, log_path):
        super().__init__(folder, "replay", log_path, str(SIZE))
        # Two images of one Btrfs or XFS are never mounted at once by two replays: their UUID is the same.
        self.options = "noatime,nouuid" if filesystem == "xfs" else "noatime"

    @contextlib.contextmanager
    def image(self, image):
        """The folder where it is mounted; OSError: it can't be."""
        lines = [f"base {image.base}\n"] + [f"put {n} {start} {end}\n" for n, start, end in image.pieces]
        for first in range(0, len(lines), 2000):
            os.write(self.orders, "".join(lines[first:first + 2000]).encode())
        self.mount_disk(self.options)
        try:
            yield self.mount
        finally:
            self.unmount_disk()
