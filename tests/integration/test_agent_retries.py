"""A mail program that does not read the 250 and comes again: the agent knows the message, and takes it once."""
import re
import select
import signal
import socket
import threading

import pytest

from daemon import PATIENCE_S, wait_for

NOBODY = {"ways": ["1 tls"], "pin": "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
PLAIN = "From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: alert\r\n\r\nThe disk is full.\r\n"
NAMED = "Message-ID: <one@example.org>\r\n" + PLAIN
LARGE = PLAIN + 3000 * (70 * "x" + "\r\n")
MAIL, RCPT = "MAIL FROM:<anna@example.org>", "RCPT TO:<bob@dest.example>"


@pytest.fixture
def agent(make_agent):
    """One whose relay is never there: everything stays in its queue."""
    return make_agent(**NOBODY)


class Program:
    """A mail program by hand, so that it can leave at any point."""

    def __init__(self, agent):
        self.socket = socket.create_connection(("127.0.0.1", agent.port), PATIENCE_S)
        self.file = self.socket.makefile("rb")
        self.reply()
        self.say("EHLO program")

    def reply(self):
        lines = [self.file.readline().decode()]
        while lines[-1][3:4] == "-":
            lines.append(self.file.readline().decode())
        return "".join(lines)

    def say(self, line):
        self.socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def hand_over(self, message, mail=MAIL, rcpt=(RCPT,)):
        """All but the reading of the last reply."""
        for line in (mail, *rcpt, "DATA"):
            assert self.say(line)[0] in "23", line
        self.socket.sendall(message.encode() + b".\r\n")

    def result(self):
        reply = self.reply()
        assert reply.startswith("250 2.0.0 Ok: queued as "), reply
        return re.search(r"queued as ([0-9a-z]{13})", reply).group(1)

    def leave(self):
        """Without a word."""
        self.file.close()
        self.socket.close()


def ids(agent):
    return [entry["id"] for entry in agent.queue()]


def give_up(agent, message, **how):
    """A program that does not read the reply; ends when the message is in the queue."""
    before = len(agent.log("message-queued"))
    program = Program(agent)
    program.hand_over(message, **how)
    wait_for(lambda: len(agent.log("message-queued")) > before, "the message being stored")
    program.leave()
    return agent.log("message-queued")[-1]["item"]


def submit(agent, message, last="QUIT", **how):
    """A program that reads the reply, and says so by its next command; without one, by its close."""
    program = Program(agent)
    program.hand_over(message, **how)
    id = program.result()
    if last:
        program.say(last)
    program.leave()
    return id


@pytest.mark.parametrize("message", [PLAIN, NAMED, LARGE], ids=["plain", "named", "large"])
def test_a_program_that_did_not_read_the_reply_is_told_it_again(agent, message):
    first = give_up(agent, message)
    assert submit(agent, message) == first
    assert ids(agent) == [first]
    agent.wait_log("message-again", item=first)


def test_by_its_message_id_a_message_is_known_though_the_reply_was_read(agent):
    first = submit(agent, NAMED)
    assert submit(agent, NAMED) == first and ids(agent) == [first]


def test_two_alerts_that_are_alike_are_two(agent):
    first = submit(agent, PLAIN)
    second = submit(agent, PLAIN, last="NOOP")
    third = submit(agent, PLAIN)
    assert sorted({first, second, third}) == ids(agent) and len(ids(agent)) == 3
    program = Program(agent)
    for _ in range(2):
        program.hand_over(PLAIN)
        program.result()
    program.leave()
    assert len(ids(agent)) == 5
    assert not agent.log("message-again")


def test_a_program_that_is_still_there_is_no_doubt_once_it_goes_on(agent):
    """It has said NOOP, and keeps its connection."""
    first = Program(agent)
    first.hand_over(PLAIN)
    id = first.result()
    assert first.say("NOOP").startswith("250")
    assert submit(agent, PLAIN) != id
    first.leave()


def test_three_alerts_of_a_script_that_reads_and_closes_are_three(agent):
    """It says no QUIT: that nothing was left unread when it closed tells as much (RFC 2525, 2.17)."""
    alerts = {submit(agent, PLAIN, last=None) for _ in range(3)}
    assert sorted(alerts) == ids(agent) and len(alerts) == 3
    assert not agent.log("message-again")


def close_in_doubt(agent, close):
    """A program that hands over its message and closes, as told; ends when the message is in the queue."""
    program = Program(agent)
    for line in (MAIL, RCPT, "DATA"):
        assert program.say(line)[0] in "23"
    close(program)
    wait_for(lambda: agent.log("message-queued"), "the message being stored")
    return agent.log("message-queued")[-1]["item"]


def between_body_and_reply(agent, program):
    agent.process.send_signal(signal.SIGSTOP)
    program.socket.sendall(PLAIN.encode() + b".\r\n")
    program.leave()
    agent.process.send_signal(signal.SIGCONT)


def test_a_program_that_closed_before_the_reply_is_told_it_again(agent):
    """Its end lies in the socket when the agent writes the reply, and is read after it."""
    first = close_in_doubt(agent, lambda program: between_body_and_reply(agent, program))
    assert submit(agent, PLAIN) == first and ids(agent) == [first]
    agent.wait_log("message-again", item=first)


def test_a_program_that_closed_with_the_reply_unread_is_told_it_again(agent):
    def close(program):
        program.socket.sendall(PLAIN.encode() + b".\r\n")
        select.select([program.socket], [], [], PATIENCE_S)
        program.leave()
    first = close_in_doubt(agent, close)
    assert submit(agent, PLAIN) == first and ids(agent) == [first]


def test_a_retry_whose_reply_was_read_ends_the_doubt(agent):
    first = give_up(agent, PLAIN)
    assert submit(agent, PLAIN) == first
    assert submit(agent, PLAIN) != first


@pytest.mark.parametrize("change", [
    {"rcpt": ["RCPT TO:<eve@dest.example>"]},
    {"rcpt": [RCPT, "RCPT TO:<eve@dest.example>"]},
    {"rcpt": [RCPT + " NOTIFY=NEVER"]},
    {"rcpt": [RCPT + " ORCPT=rfc822;bob@elsewhere.example"]},
    {"mail": "MAIL FROM:<anna@example.net>"},
    {"mail": MAIL + " BODY=8BITMIME"},
    {"mail": MAIL + " RET=HDRS"},
    {"mail": MAIL + " ENVID=x"},
    {"message": NAMED.replace("full", "fulL")},
    {"message": NAMED + "\r\n"},
    {"message": "X-" + NAMED},
], ids=lambda change: next(iter(change)))
def test_what_differs_is_another_message(agent, change):
    first = give_up(agent, NAMED)
    second = submit(agent, **{"message": NAMED, **change})
    assert ids(agent) == [first, second]


def test_without_a_window_all_are_taken(make_agent):
    agent = make_agent(conf={"local.retry_window": ["0s"]}, **NOBODY)
    first = give_up(agent, NAMED)
    assert submit(agent, NAMED) != first and len(ids(agent)) == 2


def test_after_the_window_it_is_taken_anew(make_agent):
    agent = make_agent(conf={"local.retry_window": ["1ms"]}, **NOBODY)
    first = submit(agent, NAMED)
    assert wait_for(lambda: submit(agent, NAMED) != first, "the end of the window")


def test_what_was_removed_is_taken_anew_and_what_is_held_stands(agent):
    first = submit(agent, NAMED)
    agent.run("queue", "hold", first)
    assert submit(agent, NAMED) == first and agent.entry(first)["state"] == "held"
    agent.run("queue", "remove", first)
    assert submit(agent, NAMED) != first


@pytest.mark.parametrize("message", [PLAIN, NAMED], ids=["plain", "named"])
def test_killed_between_the_commit_and_the_reply(agent, message):
    """The agent stops as soon as it has logged the commit: whether the reply has left does not matter, for nobody reads it."""
    first = give_up(agent, message)
    agent.kill()
    agent.start()
    assert submit(agent, message) == first and ids(agent) == [first]


def test_of_two_sessions_at_once_one_is_taken(agent):
    programs = [Program(agent) for _ in range(8)]
    for program in programs:
        for line in (MAIL, RCPT, "DATA"):
            assert program.say(line)[0] in "23"
    start = threading.Barrier(len(programs))
    results = []

    def run(program):
        start.wait()
        program.socket.sendall(PLAIN.encode() + b".\r\n")
        results.append(program.result())
    threads = [threading.Thread(target=run, args=(program,)) for program in programs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    for program in programs:
        program.leave()
    assert len(results) == len(programs) and ids(agent) == [results[0]] and set(results) == {results[0]}


@pytest.mark.parametrize("message", [PLAIN, NAMED], ids=["plain", "named"])
def test_sendmail_is_asked_for_each_message(agent, message):
    """It has told its caller; who calls again, cron say, means another message."""
    for _ in range(2):
        agent.sendmail("-t", "-f", "anna@example.org", stdin=message.replace("\r\n", "\n").encode())
    assert len(ids(agent)) == 2 and not agent.log("message-again")
