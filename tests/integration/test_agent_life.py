"""The agent's life and death: SIGTERM and SIGKILL at bad moments, rest, memory, a full disk."""
import asyncio
import os
import random
import re
import signal
import smtplib
import socket
import sqlite3
import threading
import time

import pytest

from agent_support import Service, pin_of
from daemon import expect, wait_for
from relay_support import make_message

NOWHERE = {"ways": ["1 tls"], "pin": "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
MEGABYTE = 1 << 20
IS_SANITIZED = "asan" in os.environ.get("POSTERN_BUILD", "")


def big_message(megabytes):
    line = b"0123456789abcdef" * 4 + b"\r\n"
    return b"From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: big\r\n\r\n" + line * (megabytes * MEGABYTE // len(line))


# ---- SIGTERM ----

def test_sigterm_at_rest(make_agent):
    agent = make_agent(**NOWHERE)
    assert agent.stop() == 0 and agent.log("stopped")
    assert not [name for name in os.listdir(agent.folder) if name.endswith((".sock", "-wal"))]


def test_sigterm_while_a_way_is_looked_for(make_agent):
    """A port that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        agent = make_agent(pin=NOWHERE["pin"], ways=[f"{silent.getsockname()[1]} starttls"])
        id = agent.send()
        wait_for(lambda: agent.status()["state"] == "searching", "a search")
        begin = time.monotonic()
        assert agent.stop() == 0 and time.monotonic() - begin < 10
        assert agent.entry(id)["state"] == "queued"


def test_sigterm_in_the_middle_of_a_message_to_the_relay(make_agent, tmp_path):
    """What was half sent is sent anew, once, after the next start."""
    service = Service(tmp_path)
    try:
        agent = make_agent(**service.agent_options())
        id = agent.send(message=big_message(20))
        wait_for(lambda: (agent.status()["sending"] or {}).get("sent_octets", 0) > 0, "the message under way")
        assert agent.stop() == 0
        state = agent.entry(id)["state"]
        assert state in ("queued", "relayed"), state
        assert len(service.messages) == (state == "relayed")
        agent.start()
        agent.wait_state(id, "relayed")
        assert len(service.messages) == 1 and len(service.messages[0].octets) > 20 * MEGABYTE * 0.9
    finally:
        service.close()


def test_sigterm_while_a_program_hands_mail_in(make_agent):
    agent = make_agent(**NOWHERE)
    client = agent.client()
    client.ehlo()
    client.mail("anna@example.org")
    client.rcpt("bob@dest.example")
    expect(client.docmd("DATA"), 354)
    client.sock.sendall(b"Subject: half\r\n\r\n")
    agent.process.send_signal(signal.SIGTERM)
    agent.wait_log("stopping")
    client.sock.sendall(b"whole\r\n.\r\n")    # within the grace
    expect(client.getreply(), 250)
    client.close()
    assert agent.wait_exit() == 0
    assert len(agent.queue()) == 1


def test_sigterm_while_the_relay_does_not_answer(make_agent, tmp_path):
    gate, has_all = threading.Event(), threading.Event()
    service = Service(tmp_path)

    async def wait(server, session, envelope):
        has_all.set()
        while not gate.is_set():
            await asyncio.sleep(0.01)
        return "451 4.3.0 too late"

    service.handler_object.handle_DATA = wait
    try:
        agent = make_agent(**service.agent_options())
        id = agent.send()
        assert has_all.wait(30)
        begin = time.monotonic()
        assert agent.stop() == 0 and time.monotonic() - begin < 10
        assert agent.entry(id)["state"] == "uncertain"      # its last octet has left
    finally:
        gate.set()
        service.close()


# ---- SIGKILL ----

def messages_of(agent):
    """Subject's numbers of what is on the disk, with their counts."""
    with sqlite3.connect(f"file:{agent.path('agent.db')}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT octets FROM body").fetchall()
    database.close()
    return [int(re.search(rb"^Subject: n(\d+)\r$", row[0], re.M).group(1)) for row in rows]


def test_killed_again_and_again_it_keeps_every_message_once(make_agent):
    """Every message that got its 250 is in the queue exactly once; one whose 250 was not seen, at most once."""
    agent = make_agent(**NOWHERE, conf={"spool.encrypt": ["no"]})    # what lies on the disk is read here
    dice = random.Random(4711)
    acknowledged, number = [], 0
    lock = threading.Lock()
    is_over = threading.Event()

    def submit_on(seed):
        nonlocal number
        while not is_over.is_set():
            try:
                with agent.client() as client:
                    client.ehlo()
                    while not is_over.is_set():
                        with lock:
                            number += 1
                            mine = number
                        body = b"x" * 60 + b"\r\n"
                        code, _ = one_transaction(client, b"Subject: n%d\r\n\r\n" % mine + body * (1 if mine % 5 else 3000))
                        if code == 250:
                            acknowledged.append(mine)
            except (OSError, smtplib.SMTPException):
                time.sleep(0.005)

    threads = [threading.Thread(target=submit_on, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(6):
            n = len(acknowledged)
            wait_for(lambda: len(acknowledged) >= n + 10, "mail going in")
            time.sleep(dice.random() * 0.05)    # any moment will do
            agent.kill()
            agent.start()
    finally:
        is_over.set()
        for thread in threads:
            thread.join()
    ids = [e["id"] for e in agent.queue()]
    assert len(ids) == len(set(ids))
    agent.stop()
    found = messages_of(agent)
    assert len(found) == len(set(found)) == len(ids), "one message twice"
    assert set(acknowledged) <= set(found), set(acknowledged) - set(found)


def one_transaction(client, message):
    for command in ("MAIL FROM:<anna@example.org>", "RCPT TO:<bob@dest.example>"):
        expect(client.docmd(command), 250)
    return client.data(message)


def test_killed_while_it_sends_everything_arrives(make_agent, service):
    agent = make_agent(start=False, **service.agent_options())
    for i in range(40):
        agent.sendmail("-t", stdin=b"From: anna@example.org\nTo: bob@dest.example\nSubject: n%d\n\nx\n" % i)
    dice = random.Random(1)
    for _ in range(6):
        n = len(service.messages)
        agent.start()
        wait_for(lambda: len(service.messages) > n or not agent.unrelayed(), "more mail at the relay")
        time.sleep(dice.random() * 0.03)    # any moment will do
        agent.kill()
    agent.start()
    wait_for(lambda: not agent.unrelayed(), "an empty queue")
    got = [int(m.header("Subject")[1:]) for m in service.messages]
    assert set(got) == set(range(40))
    # Towards a server that is not ours, the window for a duplicate is one reply: one for each kill at most.
    assert len(got) <= 40 + 6


# ---- rest, and size ----

@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's memory is not ours")
def test_at_rest_it_is_small_and_sleeps(make_agent, service):
    agent = make_agent(conf={"relay.keep_warm": ["0s"], "log.level": ["info"]}, **service.agent_options())
    agent.wait_state(agent.send(), "relayed")
    wait_for(lambda: agent.status()["state"] == "resting", "rest")
    assert agent.memory_kib("VmRSS") < 8 * 1024

    def is_asleep():
        before = agent.wake_ups()
        time.sleep(1)
        return agent.wake_ups() == before
    wait_for(is_asleep, "a second without a wake-up", 10)


@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer's memory is not ours")
def test_fifty_megabytes_in_a_few_of_memory(make_agent, make_relay, make_sink):
    sink = make_sink()
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port, conf=["limits.message_size = 60M"])
    relay.add_account("anna", "secret", "anna@example.org")
    agent = make_agent(pin=pin_of(relay), ways=[f"{relay.address('tls')[1]} tls"], conf={"local.message_size": ["60M"]})
    id = agent.send(message=big_message(50))
    agent.wait_state(id, "relayed")
    assert len(sink.wait_message().octets) > 50 * MEGABYTE * 0.99
    assert agent.memory_kib("VmHWM") < 32 * 1024
    with open(f"/proc/{relay.process.pid}/status", encoding="ascii") as file:
        hwm = int(re.search(r"^VmHWM:\s+(\d+)", file.read(), re.M).group(1))
    assert hwm < (32 + 64) * 1024, hwm    # with the password's hash, which alone takes 64 MB or so


# ---- a full disk ----

def test_a_full_disk(small_disk, make_agent, tmp_path):
    service = Service(tmp_path)
    service.close()
    agent = make_agent(start=False, **service.agent_options())
    agent.folder, old = str(small_disk / "agent"), agent.folder
    agent.setup()
    agent.start()
    accepted, refusal = 0, None
    with agent.client() as client:
        client.ehlo()
        while refusal is None and accepted < 100:
            code, words = one_transaction(client, big_message(2))
            if code == 250:
                accepted += 1
            else:
                refusal = (code, words)
    assert refusal and refusal[0] == 452 and b"disk is full" in refusal[1], (accepted, refusal)
    assert accepted > 0 and len(agent.queue()) == accepted
    done = agent.sendmail("-t", stdin=big_message(2).replace(b"\r\n", b"\n"), check=False)
    assert done.returncode == 75 and b"disk is full" in done.stderr
    # What is there goes out even so, and makes room without a restart.
    service = service.again()
    try:
        service_messages = wait_for(lambda: not agent.unrelayed() and service.messages, "everything at the relay")
        assert len(service_messages) == accepted

        def is_taken():
            with agent.client() as client:
                client.ehlo()
                return one_transaction(client, make_message())[0] == 250
        wait_for(is_taken, "new mail being taken again")
        wait_for(lambda: len(service.messages) == accepted + 1, "and going")
    finally:
        service.close()
        assert agent.stop() == 0
        agent.folder = old
