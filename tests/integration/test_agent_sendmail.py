"""The interface of sendmail(1): options, standard input, exit codes, with and without a running agent."""
import os
import resource
import signal
import smtplib
import socket
import subprocess
import threading

import pytest

from agent_support import AGENT, Service
from daemon import PATIENCE_S, wait_for
from relay_support import EX_CONFIG, EX_DATAERR, EX_TEMPFAIL, EX_USAGE

EX_NOUSER = 67
NOWHERE = {"ways": ["1 tls"], "pin": "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}
MESSAGE = b"From: Anna <anna@example.org>\nTo: bob@dest.example\nSubject: hello\n\nGood day.\n"
CRLF_MESSAGE = MESSAGE.replace(b"\n", b"\r\n")


@pytest.fixture(params=["running", "stopped"])
def agent(request, make_agent):
    """Every test of this file's first half is done twice: over the local listener, and straight into the store."""
    return make_agent(start=request.param == "running", **NOWHERE)


@pytest.fixture
def stopped(make_agent):
    return make_agent(start=False, **NOWHERE)


def only_entry(agent):
    entries = agent.queue()
    assert len(entries) == 1, entries
    return entries[0]


def addresses(entry):
    return [r["address"] for r in entry["to"]]




# ---- envelopes ----

def test_recipients_from_the_command_line(agent):
    agent.sendmail("-i", "bob@dest.example", "Eve <eve@other.example>, carl@dest.example", stdin=MESSAGE)
    entry = only_entry(agent)
    assert addresses(entry) == ["bob@dest.example", "eve@other.example", "carl@dest.example"] and entry["from"] == "anna@example.org"


def test_recipients_from_the_header(agent):
    agent.sendmail("-t", stdin=b"From: anna@example.org\nTo: Bob <bob@dest.example>,\n  group: x@dest.example;\nCc: eve@other.example\nBcc: hidden@dest.example\n\nhi\n")
    assert sorted(addresses(only_entry(agent))) == ["bob@dest.example", "eve@other.example", "hidden@dest.example", "x@dest.example"]


@pytest.mark.parametrize("options, sender", [
    (["-f", "other@example.org"], "other@example.org"), (["-fother@example.org"], "other@example.org"), (["-r", "other@example.org"], "other@example.org"),
    (["-f", "<other@example.org>"], "other@example.org"), (["-f", ""], ""), (["-f", "<>"], ""), (["-f", "root"], "anna@example.org"), ([], "anna@example.org")])
def test_the_sender(stopped, options, sender):
    stopped.sendmail(*options, "bob@dest.example", stdin=MESSAGE)
    assert only_entry(stopped)["from"] == sender


def test_options_that_other_programs_give_are_borne(stopped):
    stopped.sendmail("-oi", "-oem", "-odb", "-B8BITMIME", "-FAnna", "-Am", "-v", "-G", "-N", "failure,delay", "-R", "hdrs", "-V", "a b", "bob@dest.example", stdin=MESSAGE)
    assert addresses(only_entry(stopped)) == ["bob@dest.example"]


def test_by_the_names_sendmail_and_mailq(stopped, tmp_path):
    environment = dict(os.environ, POSTERN_AGENT_DIR=stopped.folder)
    for name in ("sendmail", "mailq"):
        os.symlink(AGENT, tmp_path / name)
    subprocess.run([tmp_path / "sendmail", "-t"], input=MESSAGE, check=True, env=environment, timeout=60)
    listing = subprocess.run([tmp_path / "mailq"], capture_output=True, text=True, check=True, env=environment, timeout=60).stdout
    assert only_entry(stopped)["id"] in listing and "bob@dest.example" in listing
    assert stopped.sendmail("-bp", stdin=b"").stdout.decode() == listing


# ---- bodies, as they leave ----

@pytest.fixture
def carry(make_agent, tmp_path):
    """Hands a message over and gives what the relay got."""
    service = Service(tmp_path)
    agent = make_agent(**service.agent_options())

    def send(*options, stdin):
        n = len(service.messages)
        agent.sendmail(*options, stdin=stdin)
        return service.wait_messages(n + 1)[n]

    yield send
    service.close()


def test_bcc_goes_and_the_rest_stays(carry):
    message = carry("-t", stdin=b"From: anna@example.org\nTo: bob@dest.example\nBcc: hidden@dest.example\nX-Own: kept\n\nhi\n")
    assert sorted(message.to) == ["bob@dest.example", "hidden@dest.example"]
    assert b"hidden" not in message.octets and b"\r\nX-Own: kept\r\n" in message.octets
    assert message.header("Date") and message.header("Message-ID").endswith("@example.org>")


def test_a_lone_dot_ends_or_does_not(carry):
    text = MESSAGE + b".\nbehind\n..\n.x\n"
    assert carry("-t", stdin=text).octets.endswith(b"Good day.\r\n")
    assert carry("-t", "-i", stdin=text).octets.endswith(b"Good day.\r\n.\r\nbehind\r\n..\r\n.x\r\n")


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_as_they_like(carry, end):
    message = carry("-t", stdin=MESSAGE.replace(b"\n", end) + b"last line without end")
    assert message.header("Subject") == "hello" and message.octets.endswith(b"\r\n\r\nGood day.\r\nlast line without end\r\n")


def test_a_line_that_is_too_long_is_broken_between_characters(carry):
    text = "ä" * 3000
    message = carry("-t", stdin=MESSAGE + text.encode())
    lines = message.octets.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    body = message.octets.split(b"Good day.\r\n")[1]
    assert body.replace(b"\r\n ", b"").replace(b"\r\n", b"") == text.encode()
    for line in lines:
        line.decode()


def test_a_message_without_any_header_field(carry):
    message = carry("-f", "anna@example.org", "bob@dest.example", stdin=b"just text\nmore\n")
    assert message.octets.endswith(b"\r\n\r\njust text\r\nmore\r\n") and message.header("From").addresses[0].addr_spec == "anna@example.org"


# ---- -bs ----

class Dialogue(smtplib.SMTP):
    """smtplib on the standard input and output of a program."""

    def __init__(self, agent):
        ours, theirs = socket.socketpair()
        self.process = subprocess.Popen([AGENT, "--dir", agent.folder, "sendmail", "-bs"], stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
        theirs.close()
        super().__init__(local_hostname="secret-laptop.example", timeout=PATIENCE_S)
        self.sock, self.file = ours, None
        assert self.getreply()[0] == 220

    def end(self):
        self.quit()
        return self.process.wait(PATIENCE_S)


def test_smtp_on_standard_input(agent):
    dialogue = Dialogue(agent)
    assert dialogue.sendmail("anna@example.org", ["bob@dest.example", "eve@other.example"], CRLF_MESSAGE) == {}
    dialogue.sendmail("anna@example.org", ["carl@dest.example"], CRLF_MESSAGE + b".dot\r\n")
    assert dialogue.end() == 0
    assert [addresses(e) for e in agent.queue()] == [["bob@dest.example", "eve@other.example"], ["carl@dest.example"]]


def test_smtp_on_standard_input_refuses_with_words(agent):
    dialogue = Dialogue(agent)
    dialogue.ehlo()
    dialogue.mail("anna@example.org")
    dialogue.rcpt("bob@dest.example")
    code, words = dialogue.data(b"Received: by postern-agent.invalid;\r\n" * 60 + b"Subject: loop\r\n\r\nx\r\n")
    assert code == 554 and b"loop" in words.lower(), (code, words)
    assert dialogue.end() == 0 and agent.queue() == []


# ---- exit codes ----

@pytest.mark.parametrize("options, stdin, code, words", [
    ([], MESSAGE, EX_USAGE, "no recipients"),
    (["-t"], b"From: anna@example.org\nSubject: x\n\nx\n", EX_USAGE, "no recipients"),
    (["root"], MESSAGE, EX_NOUSER, '"root" is no address with a domain'),
    (["-t"], b"From: anna@example.org\nTo: bob@@dest\n\nx\n", EX_DATAERR, ""),
    (["bob@dest.example"], b"Subject: x\n\nx\n", EX_DATAERR, "who sends this?"),
    (["-bd"], b"", EX_USAGE, "postern-agent run"),
    (["-Nsometimes", "bob@dest.example"], MESSAGE, EX_USAGE, "-N takes"),
    (["--nonsense"], MESSAGE, EX_USAGE, "usage: sendmail"),
])
def test_what_is_wrong_has_its_exit_code(agent, options, stdin, code, words):
    done = agent.sendmail(*options, stdin=stdin, check=False)
    assert done.returncode == code and words in done.stderr.decode(), done
    assert done.stdout == b"" and agent.queue() == []


def test_without_a_configuration(tmp_path):
    done = subprocess.run([AGENT, "--dir", tmp_path / "none", "sendmail", "bob@dest.example"], input=MESSAGE, capture_output=True, timeout=60)
    assert done.returncode == EX_CONFIG and b"postern-agent setup" in done.stderr


def test_a_message_larger_than_configured(make_agent):
    agent = make_agent(start=False, conf={"local.message_size": ["64K"]}, **NOWHERE)
    done = agent.sendmail("-t", stdin=MESSAGE + b"x" * 70_000, check=False)
    assert done.returncode == EX_DATAERR and b"message_size" in done.stderr


def test_a_full_disk_is_to_be_tried_again(stopped):
    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    done = subprocess.run([AGENT, "--dir", stopped.folder, "sendmail", "-t"], input=MESSAGE + (b"x" * 70 + b"\n") * 10_000, capture_output=True, timeout=60,
                          preexec_fn=small_files)
    assert done.returncode == EX_TEMPFAIL, done
    assert stopped.queue() == []


# ---- without an agent ----

def test_what_was_stored_goes_when_the_agent_starts(make_agent, tmp_path):
    service = Service(tmp_path)
    try:
        agent = make_agent(start=False, **service.agent_options())
        for _ in range(3):
            agent.sendmail("-t", stdin=MESSAGE)
        agent.start()
        assert len(service.wait_messages(3)) == 3
    finally:
        service.close()


def test_many_at_once_without_an_agent_are_all_stored(stopped):
    codes = []
    threads = [threading.Thread(target=lambda: codes.append(stopped.sendmail("-t", stdin=MESSAGE, check=False).returncode)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 12 and len(stopped.queue()) == 12


def test_mail_that_comes_while_the_agent_starts_and_stops_is_kept(stopped):
    runs, is_over = [], threading.Event()

    def send_on():
        while not is_over.is_set():
            runs.append(stopped.sendmail("-t", stdin=MESSAGE, check=False))

    thread = threading.Thread(target=send_on)
    thread.start()
    for _ in range(4):
        n = len(runs)
        stopped.start()
        wait_for(lambda: len(runs) >= n + 3, "more mail")
        assert stopped.stop() == 0
    is_over.set()
    thread.join()
    assert [(run.returncode, run.stderr) for run in runs if run.returncode != 0] == []
    assert len(stopped.queue()) == len(runs)


def test_another_server_on_our_port_gets_nothing(make_agent, make_sink):
    """Its agent stopped, some other program has the port: the mail goes into the store, not to a stranger."""
    agent = make_agent(**NOWHERE)
    assert agent.stop() == 0
    stranger = make_sink(port=agent.port)
    agent.sendmail("-t", stdin=MESSAGE)
    assert stranger.messages == [] and only_entry(agent)["from"] == "anna@example.org"


def test_a_refusal_on_standard_input_has_its_own_status(agent):
    dialogue = Dialogue(agent)
    with pytest.raises(smtplib.SMTPDataError) as refusal:
        dialogue.sendmail("anna@example.org", ["bob@dest.example"], b"From: anna@example.org\r\n" + b"X: x\r\n" * 1001 + b"\r\nhi\r\n")
    assert refusal.value.smtp_code == 552 and refusal.value.smtp_error.startswith(b"5.3.4 ")
    assert dialogue.end() == 0


def test_a_token_that_others_can_read_is_complained_of_once(stopped):
    """The running agent has the store, so sendmail tries again and again, until the agent ends."""
    agent = stopped.start()
    os.chmod(agent.path("keys/sendmail.token"), 0o644)
    process = subprocess.Popen([AGENT, "--dir", agent.folder, "sendmail", "bob@dest.example"], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(MESSAGE)
    process.stdin.close()
    complaint = process.stderr.readline()
    assert b"sendmail.token" in complaint
    agent.stop()
    assert process.wait(PATIENCE_S) == 0 and b"sendmail.token" not in process.stderr.read()
    process.stderr.close()
