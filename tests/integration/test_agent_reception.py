"""Mail programs hand their mail to the agent: swaks, msmtp, curl, smtplib; with and without a login."""
import base64
import os
import shutil
import smtplib
import socket
import subprocess

import pytest

from daemon import PATIENCE_S, expect
from relay_support import make_message

LOGIN = {"local.require_login": ["yes"], "local.user": ["carol"], "local.password_file": ["local.password"], "local.listen": []}


@pytest.fixture
def agent(make_agent):
    """One whose relay is never there: everything stays in its queue."""
    return make_agent(ways=["1 tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")


@pytest.fixture
def locked_agent(make_agent):
    """One that wants a login."""
    agent = make_agent(start=False, ways=["1 tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    with open(os.open(agent.path("local.password"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("p w\u00e9!\n")
    agent.set_conf("agent.conf", {**LOGIN, "local.listen": [f"127.0.0.1:{agent.port}"]})
    return agent.start()


def only_entry(agent):
    entries = agent.queue()
    assert len(entries) == 1, entries
    return entries[0]


def run(*command, **options):
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([str(word) for word in command], capture_output=True, timeout=60, **options)


# ---- programs ----

def test_smtplib(agent):
    agent.send(to=["bob@dest.example", "eve@other.example"])
    entry = only_entry(agent)
    assert entry["from"] == "anna@example.org" and [r["address"] for r in entry["to"]] == ["bob@dest.example", "eve@other.example"]
    assert entry["state"] == "queued"


def test_swaks(agent):
    done = run("swaks", "--server", "127.0.0.1", "--port", agent.port, "--from", "anna@example.org", "--to", "bob@dest.example", "--silent", "1", "--pipeline")
    assert done.returncode == 0, done
    assert only_entry(agent)["to"][0]["address"] == "bob@dest.example"


def test_msmtp(agent):
    done = run("msmtp", "--host=127.0.0.1", f"--port={agent.port}", "--tls=off", "--auth=off", "--from=anna@example.org", "bob@dest.example", input=make_message())
    assert done.returncode == 0, done
    assert only_entry(agent)["from"] == "anna@example.org"


def test_curl(agent, tmp_path):
    (tmp_path / "mail").write_bytes(make_message())
    done = run("curl", "-sS", f"smtp://127.0.0.1:{agent.port}", "--mail-from", "anna@example.org", "--mail-rcpt", "bob@dest.example", "-T", tmp_path / "mail")
    assert done.returncode == 0, done
    assert only_entry(agent)["size"] > 100


# ---- logins ----

def test_without_a_login_nothing_is_taken_where_one_is_needed(locked_agent):
    with locked_agent.client() as client:
        client.ehlo()
        assert {"PLAIN", "LOGIN", "SCRAM-SHA-256"} <= set(client.esmtp_features["auth"].split())
        expect(client.mail("anna@example.org"), 530)
    assert locked_agent.queue() == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_a_login_with_a_password(locked_agent, mechanism):
    with locked_agent.client() as client:
        client.ehlo()
        # smtplib knows ASCII passwords only.
        if mechanism == "PLAIN":
            expect(client.docmd("AUTH", "PLAIN " + base64.b64encode("\0carol\0p wé!".encode()).decode()), 235)
        else:
            expect(client.docmd("AUTH", "LOGIN"), 334)
            expect(client.docmd(base64.b64encode(b"carol").decode()), 334)
            expect(client.docmd(base64.b64encode("p wé!".encode()).decode()), 235)
        expect(client.mail("anna@example.org"), 250)


@pytest.mark.parametrize("method", ["scram-sha-256", "plain", "login"])
def test_msmtp_logs_in(locked_agent, method):
    done = run("msmtp", "--host=127.0.0.1", f"--port={locked_agent.port}", "--tls=off", f"--auth={method}", "--user=carol", "--passwordeval=printf 'p wé!'",
               "--from=anna@example.org", "bob@dest.example", input=make_message())
    assert done.returncode == 0, done
    only_entry(locked_agent)


def test_a_wrong_password_is_refused(locked_agent):
    with locked_agent.client() as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
            client.login("carol", "guess")
        assert refusal.value.smtp_code == 535 and b"[local]" in refusal.value.smtp_error
        expect(client.mail("anna@example.org"), 530)
    done = run("msmtp", "--host=127.0.0.1", f"--port={locked_agent.port}", "--tls=off", "--auth=scram-sha-256", "--user=carol", "--passwordeval=echo guess",
               "--from=anna@example.org", "bob@dest.example", input=make_message())
    assert done.returncode != 0
    assert locked_agent.queue() == [] and locked_agent.log("auth-failed")
    assert "guess" not in "\n".join(locked_agent.log_lines)


def test_an_unknown_name_is_refused(locked_agent):
    with locked_agent.client() as client:
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("mallory", "guess")


def test_sendmail_needs_no_password_of_the_users(locked_agent):
    locked_agent.sendmail("-t", stdin=make_message())
    assert only_entry(locked_agent)["from"] == "anna@example.org"


# ---- what is refused ----

def test_an_address_without_a_domain_is_refused(agent):
    with agent.client() as client:
        client.ehlo()
        expect(client.mail("anna@example.org"), 250)
        reply = client.rcpt("bob")
        assert 500 <= reply[0] < 600, reply


def test_a_web_browser_is_shown_the_door(agent):
    with socket.create_connection(("127.0.0.1", agent.port), PATIENCE_S) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost:2525\r\n\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nDATA\r\nx\r\n.\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    assert b" 354 " not in answer and b"\r\n250" not in answer
    assert agent.queue() == []


def test_a_message_that_is_too_large_is_refused_and_leaves_nothing(make_agent):
    agent = make_agent(ways=["1 tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", conf={"local.message_size": ["64K"]})
    big = make_message(body="x" * 70 + "\n" + ("y" * 70 + "\n") * 1000)
    with pytest.raises(smtplib.SMTPResponseException) as refusal:
        agent.send(message=big)
    assert refusal.value.smtp_code == 552
    with pytest.raises(AssertionError):
        agent.send(message=big, mail_options=[f"SIZE={len(big)}"])
    assert agent.queue() == []
    agent.send()
    only_entry(agent)


def test_a_connection_that_dies_in_mid_body_leaves_nothing(agent):
    client = agent.client()
    client.ehlo()
    client.mail("anna@example.org")
    client.rcpt("bob@dest.example")
    expect(client.docmd("DATA"), 354)
    client.sock.sendall(b"Subject: half\r\n\r\n" + b"x" * 70 + b"\r\n")
    client.close()
    agent.send()
    only_entry(agent)


def test_more_sessions_than_configured_are_told_to_come_later(make_agent):
    agent = make_agent(ways=["1 tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", conf={"local.sessions": ["2"]})
    with agent.client(), agent.client():
        with pytest.raises(smtplib.SMTPConnectError) as refusal:
            agent.client()
        assert refusal.value.smtp_code == 421
