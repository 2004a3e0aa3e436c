"""postern-agent's queue and status commands; what --json prints against schema/json.md."""
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile

import pytest

from agent_support import Service
from daemon import TOP, wait_for
from relay_support import EX_DATAERR, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE, make_message

NOWHERE = {"ways": ["1 tls"], "pin": "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}


@pytest.fixture
def agent(make_agent):
    return make_agent(**NOWHERE)


# ---- the promise of schema/json.md ----

def promised(heading):
    """The rows {member: type words} of the tables below a heading, each a dict."""
    with open(os.path.join(TOP, "schema/json.md"), encoding="utf-8") as file:
        text = file.read()
    part = text[text.index(heading) + len(heading):]
    part = re.split(r"\n#+ ", part)[0]
    tables = re.split(r"\n\n", part)
    return [dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.M)) for table in tables if table.startswith("| member")]


def check_type(value, words, where):
    is_null_allowed = "null" in words or words.strip() == "time"
    kinds = {"string": str, "number": int, "boolean": bool, "array": list, "object": dict}
    if value is None:
        assert is_null_allowed, where
    elif words.strip() == "time":
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", value), (where, value)
    else:
        assert isinstance(value, kinds[words.split(",")[0].strip()]), (where, value, words)


def check(value, table):
    assert set(value) == set(table), set(value) ^ set(table)
    for member, words in table.items():
        check_type(value[member], words, member)


def check_entry(entry):
    message, recipient = promised("### A message: `queue list` (an array), `queue show` (one)")
    check(entry, message)
    for one in entry["to"]:
        check(one, recipient)


def test_entries_are_as_promised(make_agent, service):
    service.replies[("RCPT", "bad@dest.example")] = ["550 5.1.1 no"]
    service.replies[("RCPT", "later@dest.example")] = ["451 4.7.1 no"]
    agent = make_agent(conf={"queue.schedule": ["1h"]}, **service.agent_options())
    states = {}
    for address, state in (("bob@dest.example", "relayed"), ("bad@dest.example", "bounced"), ("later@dest.example", "deferred")):
        id = agent.send(to=[address])
        states[id] = agent.wait_state(id, state)["state"]
    entries = agent.queue("--all")
    assert {e["id"]: e["state"] for e in entries if e["id"] in states} == states
    for entry in entries + [agent.entry(entries[0]["id"])]:
        check_entry(entry)


def test_status_is_as_promised(make_agent, service):
    [table] = promised("## postern-agent")[:1] or promised("### `status`\n\nAsked")
    agent = make_agent(**service.agent_options())
    check(agent.status(), table)
    assert agent.status()["state"] == "resting" and agent.status()["ways"] == []
    agent.wait_state(agent.send(), "relayed")
    status = agent.status()
    check(status, table)
    assert set(status["way"]) == {"address", "port", "mode", "alpn", "via", "proxy"} and status["way"]["via"] == "direct"
    for way in status["ways"]:
        assert set(way) == {"address", "port", "mode", "alpn", "via", "proxy", "verdict", "ms", "words"} and way["verdict"] == "open"
    assert set(status["queue"]) == {"queued", "held", "uncertain", "awaited", "octets"}


# ---- the commands ----

def test_an_empty_queue(agent):
    assert agent.queue() == [] and agent.run("queue", "list").stdout == "The queue is empty.\n"


def test_hold_release_remove(agent):
    first, second = agent.send(), agent.send()
    assert agent.json("queue", "hold", first) == {"id": first}
    assert [agent.entry(id)["state"] for id in (first, second)] == ["held", "queued"]
    again = agent.run("queue", "hold", first)
    assert again.stdout == f"{first}: is held already\n" and agent.json("queue", "hold", first) == {"id": first, "already": True}
    unknown = agent.run("queue", "hold", "0000000000001", check=False)
    assert unknown.returncode == EX_DATAERR and "no message 0000000000001" in unknown.stderr
    assert agent.status()["queue"]["held"] == 1
    assert agent.run("queue", "release", first).stdout == f"{first}: done\n"
    assert agent.entry(first)["state"] == "queued"
    agent.run("queue", "remove", second)
    assert [e["id"] for e in agent.queue()] == [first]
    assert agent.run("queue", "show", second, check=False).returncode == EX_DATAERR


def test_release_brings_back_what_the_queue_in_memory_does_not_know(make_agent, tmp_path):
    service = Service(tmp_path)
    agent = make_agent(conf={"queue.schedule": ["1h"]}, **service.agent_options())
    service.replies[("DATA", None)] = ["451 4.7.1 not now", "250 ok"]
    id = agent.send()
    agent.wait_state(id, "deferred")
    agent.stop()
    with contextlib.closing(sqlite3.connect(agent.path("agent.db"), isolation_level=None)) as database:
        database.execute("UPDATE recipient SET state = 3")
        agent.start()
        assert agent.status()["queue"]["queued"] == 0
        database.execute("UPDATE recipient SET state = 1")
    try:
        agent.run("queue", "release", id)
        agent.wait_state(id, "relayed")
        assert len(service.messages) == 1
    finally:
        service.close()


def test_a_held_message_stays_while_others_go(make_agent, tmp_path):
    service = Service(tmp_path)
    service.close()
    agent = make_agent(**service.agent_options())
    held, free = agent.send(message=make_message(subject="held")), agent.send(message=make_message(subject="free"))
    agent.run("queue", "hold", held)
    service = service.again()
    try:
        agent.wait_state(free, "relayed")
        assert agent.entry(held)["state"] == "held" and len(service.messages) == 1
        agent.stop()
        agent.start()
        agent.wait_state(agent.send(message=make_message(subject="third")), "relayed")
        assert agent.entry(held)["state"] == "held" and len(service.messages) == 2
        agent.run("queue", "release", held)
        agent.wait_state(held, "relayed")
    finally:
        service.close()


def test_flush_tries_what_was_put_off_and_release_only_what_it_names(make_agent, service):
    service.replies[("RCPT", None)] = ["451 4.7.1 not now"]
    agent = make_agent(conf={"queue.schedule": ["1h"]}, **service.agent_options())
    ids = [agent.send() for _ in range(3)]
    for id in ids:
        agent.wait_state(id, "deferred")
    service.replies.clear()
    agent.run("queue", "release", ids[1])
    agent.wait_state(ids[1], "relayed")
    assert [agent.entry(id)["state"] for id in ids] == ["deferred", "relayed", "deferred"]
    assert agent.json("queue", "flush")["queued"] == 2
    for id in ids:
        agent.wait_state(id, "relayed")


def test_a_message_on_its_way_is_shown(make_agent, tmp_path):
    """A relay that answers nothing to the body's end."""
    import threading
    gate = threading.Event()
    service = Service(tmp_path)
    handle = service.handler_object.handle_DATA

    async def wait_then_handle(server, session, envelope):
        import asyncio
        while not gate.is_set():
            await asyncio.sleep(0.01)
        return await handle(server, session, envelope)

    service.handler_object.handle_DATA = wait_then_handle
    try:
        agent = make_agent(**service.agent_options())
        id = agent.send()
        agent.wait_state(id, "sending")
        status = wait_for(lambda: agent.status() if agent.status()["sending"] else None, "a message on its way")
        assert status["sending"]["id"] == id and status["state"] == "sending" and status["sending"]["size"] == agent.entry(id)["size"]
        gate.set()
        agent.wait_state(id, "relayed")
    finally:
        gate.set()
        service.close()


def test_a_long_queue_is_listed_whole(make_agent):
    agent = make_agent(**NOWHERE)
    with agent.client() as client:
        for i in range(450):
            client.sendmail("anna@example.org", ["bob@dest.example"], b"Subject: %d\r\n\r\nx\r\n" % i)
    assert len(agent.queue()) == 450 and agent.run("queue", "list").stdout.count(" queued ") == 450


def test_a_listing_cannot_drive_a_terminal(make_agent, service):
    service.replies[("RCPT", None)] = ["550 5.1.1 \x1b]0;owned\x07 no"]
    agent = make_agent(**service.agent_options())
    id = agent.send()
    agent.wait_state(id, "bounced")
    assert "\x1b" not in agent.run("queue", "show", id).stdout + agent.run("queue", "list", "--all").stdout


def test_without_a_daemon_the_queue_is_read_from_the_store(agent):
    id = agent.send()
    assert agent.stop() == 0
    assert agent.entry(id)["state"] == "queued"
    agent.run("queue", "hold", id)
    agent.start()
    assert agent.entry(id)["state"] == "held"


def test_without_a_daemon_there_is_no_status(make_agent):
    agent = make_agent(start=False, **NOWHERE)
    for words in (["status"], ["queue", "flush"]):
        done = agent.run(*words, check=False)
        assert done.returncode == EX_UNAVAILABLE == 69 and f"the agent is not running; start it with: postern-agent run --dir {agent.folder}\n" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_is_told_whose_the_agent_is(agent, tmp_path):
    os.chmod(agent.folder, 0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.geteuid() and str(folder).startswith("/tmp/"):
            os.chmod(folder, 0o755)
    reachable = tempfile.mkdtemp(prefix="postern-program-")  # the tree may lie where the other user cannot go
    os.chmod(reachable, 0o755)
    program = shutil.copy(agent.program, reachable)
    for words in (["status"], ["queue", "list"]):
        done = subprocess.run([program, *words, "--dir", agent.folder], capture_output=True, text=True, timeout=60, user=65534, group=65534, extra_groups=[])
        assert done.returncode == EX_NOPERM and "run this as that user" in done.stderr, done
    shutil.rmtree(reachable)


@pytest.mark.parametrize("words", [["queue"], ["queue", "dance"], ["queue", "show"], ["queue", "list", "x"], ["queue", "hold", "!"], ["status", "x"], ["dance"], [],
                                   ["run", "x"]])
def test_what_is_no_command(agent, words):
    done = agent.run(*words, check=False)
    assert done.returncode == EX_USAGE and done.stderr and not done.stdout


def test_help(agent):
    done = agent.run("help")
    assert all(word in done.stdout for word in ("setup", "run", "status", "queue", "sendmail"))
    assert json.loads(agent.run("queue", "list", "--json").stdout) == []
