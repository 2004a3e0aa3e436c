"""What must be in a database after a power cut, given what its clients knew before it: schema/README.md, its legal rows, and every 250 that was read."""
import contextlib
import os
import shutil
import sqlite3

from power_load import GOOD, digest_of, id_number, stored_chunks

QUEUED, HELD, RELAYED, DELIVERED, BOUNCED, UNCERTAIN = range(6)
SEALED = 41             # octets that a chunk is longer by when it is encrypted (crypto/seal.h)
UNFINISHED = (QUEUED, HELD, UNCERTAIN)

# (what is wrong, a question that finds it)
ILLEGAL = [
    ("a message without recipients", "SELECT id FROM message WHERE id NOT IN (SELECT message FROM recipient)"),
    ("recipients that are not 0 ... n-1", "SELECT message FROM recipient GROUP BY message HAVING min(seq) != 0 OR max(seq) != count(*) - 1"),
    ("a recipient without message", "SELECT message FROM recipient WHERE message NOT IN (SELECT id FROM message)"),
    ("a body without message or intake",
     "SELECT message FROM (SELECT message FROM body UNION SELECT message FROM chunk) WHERE message NOT IN "
     "(SELECT id FROM message UNION SELECT message FROM intake UNION SELECT message FROM checkpoint WHERE reply = '')"),
    ("a half with a message", "SELECT message FROM checkpoint WHERE reply = '' AND message IN (SELECT id FROM message)"),
    ("a half without recipients", "SELECT message FROM checkpoint WHERE reply = '' AND message NOT IN (SELECT message FROM checkpoint_recipient)"),
    ("a half of which octets are missing",
     "SELECT message FROM checkpoint WHERE reply = '' AND (octets + 65535) / 65536 != "
     "(SELECT count(*) FROM body WHERE body.message = checkpoint.message) + (SELECT count(*) FROM chunk WHERE chunk.message = checkpoint.message)"),
    ("an intake with a message", "SELECT message FROM intake WHERE message IN (SELECT id FROM message)"),
    ("an unfinished message without all its chunks",
     "SELECT id FROM message WHERE id IN (SELECT message FROM recipient WHERE state IN (0, 1, 5)) AND nchunks != "
     "(SELECT count(*) FROM body WHERE message = id) + (SELECT count(*) FROM chunk WHERE message = id AND seq < nchunks)"),
]


class Verdict:
    def __init__(self):
        self.judged, self.halves, self.problems = 0, 0, []
        self.is_unborn = False      # the database is not made yet, and nothing was promised


class Known:
    """What the clients and the destination knew at a moment, from the marks before it; and from all marks, what bodies are like."""

    def __init__(self, marks, all_marks):
        self.taken = {mark["id"]: mark for mark in marks if mark["event"] == "taken"}
        self.stored = {mark["id"]: mark["digest"] for mark in all_marks if mark["event"] == "stored"}
        self.removing = {mark["id"] for mark in marks if mark["event"] == "removing"}
        self.sunk = {mark["key"] for mark in marks if mark["event"] == "sunk"}


def judge(database, known, scratch):
    """The database of a mounted image, as a recovery will find it. It is read from a copy, so that the image stays as it is."""
    verdict = Verdict()
    copy = os.path.join(scratch, "copy.db")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(copy + suffix)
        if suffix != "-shm" and os.path.exists(database + suffix):
            shutil.copyfile(database + suffix, copy + suffix)
    try:
        with contextlib.closing(sqlite3.connect(copy, timeout=10)) as db:
            if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'message'").fetchone():
                judge_rows(db, known, verdict)
            else:
                verdict.is_unborn = not known.taken
                verdict.judged += len(known.taken)
                verdict.problems += [f"{id}: LOST, with the whole database" for id in known.taken]
    except sqlite3.DatabaseError as error:
        verdict.problems.append(f"the database: {error}")
    return verdict


def judge_rows(db, known, verdict):
    if not db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'checkpoint'").fetchone():      # the agent's
        db.executescript("CREATE TEMP TABLE checkpoint (message, transid, reply, octets); CREATE TEMP TABLE checkpoint_recipient (message)")
    verdict.halves = db.execute("SELECT count(*) FROM checkpoint WHERE reply = ''").fetchone()[0]
    words = db.execute("PRAGMA integrity_check").fetchall()
    if words != [("ok",)]:
        verdict.problems.append(f"integrity_check: {words[:3]}")
    for what, question in ILLEGAL:
        rows = db.execute(question).fetchall()
        if rows:
            verdict.problems.append(f"{what}: {rows[:3]}")
    for id, mark in known.taken.items():
        verdict.judged += 1
        problem = judge_message(db, id, mark, known)
        if problem:
            verdict.problems.append(f"{id} ({mark['key']}, {mark['len']} octets): {problem}")


def judge_message(db, id, mark, known):
    number = id_number(id)
    if mark["name"]:
        replies = db.execute("SELECT message, reply FROM checkpoint WHERE transid = ?", (mark["name"],)).fetchall()
        if [(message, id in reply) for message, reply in replies] != [(number, True)]:
            return f"LOST its name {mark['name']}, so that a second try would double it: {replies}"
    row = db.execute("SELECT size FROM message WHERE id = ?", (number,)).fetchone()
    if not row:
        return None if id in known.removing else "LOST"
    states = [state for state, in db.execute("SELECT state FROM recipient WHERE message = ? ORDER BY seq", (number,))]
    if len(states) != len(mark["to"]):
        return f"{len(states)} recipients of {len(mark['to'])}"
    for address, state in zip(mark["to"], states):
        if state not in UNFINISHED and (address != GOOD or mark["key"] not in known.sunk):
            return f"{address} has state {state}, and nobody has taken it"
    if any(state in UNFINISHED for state in states):
        return judge_body(db, id, number, row[0], mark, known)
    return None


def judge_body(db, id, number, size, mark, known):
    """Where it lies encrypted, it is what lay there when it was taken; of one that nobody has read then, the length is known."""
    chunks = [octets for _, octets in stored_chunks(db, number)]
    octets = b"".join(chunks)
    if len(octets) not in (size, size + SEALED * len(chunks)):
        return f"LOST: {len(octets)} octets of {size}"
    if id in known.stored and digest_of(octets) != known.stored[id]:
        return f"LOST: another body than when it was taken, {len(octets)} octets"
    if len(octets) == size and digest_of(octets[-mark["len"]:]) != mark["body"]:
        return f"LOST: not the body that was sent, {len(octets)} octets"
    return None


def judge_program(program, folder, known, is_unborn):
    """The program's own view: it opens the database, and so recovers it, and lists what it finds; one that was cut while it made its first database starts."""
    program.folder = folder
    if is_unborn:
        program.start()
        code = program.stop()
        return [] if code == 0 else [f"{os.path.basename(program.program)} ended with {code}"]
    listed = {entry["id"] for entry in program.json("queue", "list", "--all")}
    return [f"{id}: LOST, {os.path.basename(program.program)} does not list it" for id in known.taken if id not in listed and id not in known.removing]
