#!/usr/bin/python3
"""power_flush.py FILESYSTEM: an fsync in a filesystem on a recorded disk is a flush in its log, after the octets that it is about; and an image
from before that flush may lack them, one from after it never does."""
import os
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import power_disk  # noqa: E402
import powercut  # noqa: E402

OCTETS = os.urandom(100_000)


def record(folder, filesystem):
    disk = power_disk.RecordedDisk(folder, filesystem)
    try:
        disk.mark({"event": "begin"})
        for name, is_synced in (("synced", True), ("not-synced", False)):
            with open(os.path.join(disk.mount, name), "wb") as file:
                file.write(OCTETS)
                if is_synced:
                    file.flush()
                    os.fsync(file.fileno())
            disk.mark({"event": name})
    finally:
        disk.close()
    return disk.log_path


def holds(replay, image, name):
    with replay.image(image) as mount:
        path = os.path.join(mount, name)
        if not os.path.exists(path):
            return False
        with open(path, "rb") as file:
            return file.read() == OCTETS


def main():
    reason = powercut.why_not()
    if reason:
        print(reason)
        return powercut.NOT_HERE
    filesystem = sys.argv[1]
    with tempfile.TemporaryDirectory(prefix="postern-power-") as folder:
        path = record(os.path.join(folder, "recorded"), filesystem)
        log = power_disk.Log(path)
        begin, synced, end = (log.mark_index(event) for event in ("begin", "synced", "not-synced"))
        assert any(begin < i < synced for i in log.flushes), "no flush came"
        assert sum(log.lens[i] for i in range(begin, synced) if log.kinds[i] == power_disk.WRITE) >= len(OCTETS), "flushed, and not written"
        replay = power_disk.Replay(os.path.join(folder, "replay"), filesystem, path)
        try:
            drop = [power_disk.image_of(log, position, "dropped", 1, 512) for position in (begin + 1, synced + 1, end + 1)]
            assert [holds(replay, image, "synced") for image in drop] == [False, True, True]
            assert not holds(replay, drop[-1], "not-synced"), "there without a flush"
        finally:
            replay.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
