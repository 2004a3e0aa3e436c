"""Logging in to the relay: every mechanism with clients of others, wrong passwords, strangers, floods."""
import base64
import hashlib
import hmac
import os
import smtplib
import socket
import ssl
import subprocess
import threading
import time

import pytest

from relay_support import PATIENCE_S, expect, make_message, wait_for


@pytest.fixture
def relay(make_relay):
    relay = make_relay(conf=["login.failures_per_address = 0", "login.failures_per_account = 0"])
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


def msmtp(relay, mechanism, password="secret", mode="tls", user="anna"):
    host, port = relay.address(mode)
    command = ["msmtp", "--file=/dev/null", f"--host={host}", f"--port={port}", "--tls=on", f"--tls-starttls={'off' if mode == 'tls' else 'on'}",
               "--tls-certcheck=off", f"--auth={mechanism}", f"--user={user}", f"--passwordeval=echo {password}",
               "--from=anna@example.org", "bob@dest.example"]
    return subprocess.run(command, input=make_message(), capture_output=True, timeout=PATIENCE_S, env=dict(os.environ, HOME=relay.folder))


@pytest.mark.parametrize("mode", ["tls", "starttls"])
@pytest.mark.parametrize("mechanism, used", [("plain", "PLAIN"), ("login", "LOGIN"), ("scram-sha-256", "SCRAM-SHA-256")])
def test_msmtp(relay, mechanism, used, mode):
    done = msmtp(relay, mechanism, mode=mode)
    if b"GNU SASL" in done.stderr and not relay.log("auth"):
        pytest.skip("this msmtp's own library gives the mechanism up before it asks")
    assert done.returncode == 0, done.stderr
    relay.wait_log("auth", result="ok", user="anna", mechanism=used)
    relay.wait_log("message-queued", user="anna")
    done = msmtp(relay, mechanism, password="Secret", mode=mode)
    assert done.returncode != 0 and b"535" in done.stderr, done.stderr


def scram(client, user, password, binding=None, first_flag=None, meanwhile=lambda: None):
    """SCRAM-SHA-256 of RFC 5802 and 7677, written from their text; binding: of "tls-server-end-point" (RFC 5929). Gives the server's last code."""
    flag = first_flag or ("p=tls-server-end-point,," if binding else "n,,")
    bare = f"n={user},r={base64.b64encode(os.urandom(18)).decode()}"
    code, text = client.docmd("AUTH", f"SCRAM-SHA-256{'-PLUS' if binding else ''} " + base64.b64encode((flag + bare).encode()).decode())
    if code != 334:
        return code
    first = base64.b64decode(text).decode()
    facts = dict(part.split("=", 1) for part in first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(facts["s"]), int(facts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    final = "c=" + base64.b64encode(flag.encode() + (binding or b"")).decode() + ",r=" + facts["r"]
    signed = f"{bare},{first},{final}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature))
    meanwhile()
    code, text = client.docmd(base64.b64encode(f"{final},p={base64.b64encode(proof).decode()}".encode()).decode())
    if code != 334:
        return code
    verifier = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    assert base64.b64decode(text).decode() == "v=" + base64.b64encode(verifier).decode()
    return client.docmd("")[0]


def end_point(client):
    """RFC 5929 4.1: the hash of the server's certificate; ours is signed with SHA-256."""
    return hashlib.sha256(client.sock.getpeercert(binary_form=True)).digest()


def test_scram_plus(relay):
    with relay.client() as client:
        client.ehlo()
        assert "SCRAM-SHA-256-PLUS" in client.esmtp_features["auth"]
        assert scram(client, "anna", "secret", end_point(client)) == 235
    relay.wait_log("auth", result="ok", mechanism="SCRAM-SHA-256-PLUS")


def test_scram_plus_of_another_channel_is_refused(relay):
    """What somebody in between would send on: the right password, bound to the channel with him."""
    with relay.client() as client:
        client.ehlo()
        assert scram(client, "anna", "secret", hashlib.sha256(b"another certificate").digest()) == 535


def test_scram_downgrade_is_refused(relay):
    """"y": the client could bind, and saw no -PLUS offered; it was, so somebody has taken it out (RFC 5802 6)."""
    with relay.client() as client:
        client.ehlo()
        assert scram(client, "anna", "secret", first_flag="y,,") == 535


@pytest.mark.parametrize("mode, scheme", [("tls", "smtps"), ("starttls", "smtp")])
def test_curl(relay, mode, scheme):
    host, port = relay.address(mode)
    command = ["curl", "--silent", "--show-error", "--ssl-reqd", "--insecure", f"{scheme}://{host}:{port}", "--user", "anna:secret", "--mail-from",
               "anna@example.org", "--mail-rcpt", "bob@dest.example", "--upload-file", "-"]
    done = subprocess.run(command, input=make_message(), capture_output=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    relay.wait_log("message-queued", user="anna")


def test_swaks(relay):
    host, port = relay.address("starttls")
    command = ["swaks", "--server", host, "--port", str(port), "--tls", "--auth", "LOGIN", "--auth-user", "anna", "--auth-password", "secret",
               "--from", "anna@example.org", "--to", "bob@dest.example", "--header", "From: anna@example.org"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0 and "queued as" in done.stdout, done.stdout + done.stderr


def test_names_are_without_case(relay):
    with relay.client(user="ANNA", password="secret") as client:
        expect(client.mail("anna@example.org"), 250)


def test_wrong_passwords_and_strangers_hear_the_same(relay):
    answers = set()
    for user, password in (("anna", "wrong"), ("nobody", "secret"), ("", "secret"), ("anna\r", "secret"), ("a" * 200, "secret")):
        with relay.client() as client:
            with pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
                client.user, client.password = user, password
                client.ehlo()
                client.auth("PLAIN", client.auth_plain)
            answers.add((refusal.value.smtp_code, refusal.value.smtp_error))
    assert len(answers) <= 2 and {code for code, _ in answers} <= {535, 501}, answers


def auth_seconds(relay, user, password):
    with relay.client() as client:
        client.ehlo()
        client.user, client.password = user, password
        begin = time.monotonic()
        with pytest.raises(smtplib.SMTPAuthenticationError):
            client.auth("PLAIN", client.auth_plain)
        return time.monotonic() - begin


def test_a_stranger_costs_what_a_wrong_password_costs(relay):
    """Not a timing test: a password hash takes tens of milliseconds, its absence a fraction of one; that alone is told apart."""
    known = min(auth_seconds(relay, "anna", "wrong") for _ in range(3))
    unknown = min(auth_seconds(relay, "nobody", "wrong") for _ in range(3))
    assert unknown > known / 5, (known, unknown)


def scram_first(relay, user):
    with relay.client() as client:
        client.ehlo()
        code, text = client.docmd("AUTH", "SCRAM-SHA-256 " + base64.b64encode(f"n,,n={user},r=abcdefgh".encode()).decode())
        assert code == 334
        client.docmd("*")
        return dict(part.split("=", 1) for part in base64.b64decode(text).decode().split(","))


def test_scram_tells_nobody_who_exists(relay):
    """A made-up salt is the same at each try, after a restart too, and another for another name; its form is a real one's."""
    first, again, other, real = (scram_first(relay, user) for user in ("nobody", "nobody", "noone", "anna"))
    assert first["s"] == again["s"] != other["s"]
    assert len(first["s"]) == len(real["s"]) and first["i"] == real["i"]
    relay.stop()
    relay.start()
    assert scram_first(relay, "nobody")["s"] == first["s"]


def test_no_login_before_tls(relay):
    host, port = relay.address("starttls")
    with smtplib.SMTP(host, port, timeout=PATIENCE_S) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features and "starttls" in client.esmtp_features
        code, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(b"\0anna\0secret").decode())
        assert code in (502, 503, 504, 530, 538), code
        expect(client.docmd("MAIL FROM:<anna@example.org>"), 530, "STARTTLS")


def test_account_changes_reach_sessions(relay):
    """A session that is logged in learns at its next MAIL that the account was changed, disabled or removed."""
    with relay.client(user="anna", password="secret") as client:
        expect(client.mail("anna@example.org"), 250)
        client.rset()
        relay.run("account", "disable", "anna")
        expect(client.mail("anna@example.org"), 421)
    with relay.client() as client, pytest.raises(smtplib.SMTPAuthenticationError) as refusal:
        client.login("anna", "secret")
    assert refusal.value.smtp_code == 525
    relay.run("account", "enable", "anna")
    with relay.client(user="anna", password="secret") as client:
        relay.run("account", "remove", "anna")
        expect(client.mail("anna@example.org"), 421)


def test_an_account_that_changes_while_it_logs_in(relay):
    """What was looked up before the exchange ended is not what holds at MAIL."""
    with relay.client() as client:
        client.ehlo()
        assert scram(client, "anna", "secret", meanwhile=lambda: relay.run("account", "disable", "anna")) == 235
        expect(client.mail("anna@example.org"), 421)


def test_a_changed_password_is_changed_at_once(relay):
    with relay.client(user="anna", password="secret"):
        pass
    relay.run("account", "passwd", "anna", stdin="another\n")
    with relay.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("anna", "secret")
    with relay.client(user="anna", password="another"):
        pass


def test_too_many_failures_are_put_off(make_relay):
    relay = make_relay(conf=["login.failures_per_address = 3", "login.failures_per_account = 0"])
    relay.add_account("anna", "secret", "anna@example.org")
    with relay.client(user="anna", password="secret"):
        pass  # and so it is remembered
    codes = []
    for _ in range(5):
        with relay.client() as client, pytest.raises(smtplib.SMTPException) as refusal:
            client.ehlo()
            client.user, client.password = "bob", "wrong"
            client.auth("PLAIN", client.auth_plain)
        codes.append(refusal.value.smtp_code)
    assert codes == [535, 535, 535, 454, 454]
    with relay.client(user="anna", password="secret"):
        pass  # who was right a moment ago is let in even so


def try_password(relay, source, user, password):
    """The answer to AUTH PLAIN from that address."""
    with relay.client(source_address=(source, 0)) as client:
        client.ehlo()
        return client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0{user}\0{password}".encode()).decode())[0]


def test_strangers_lock_nobody_out(make_relay):
    """An account far over its limit: each address still has a few tries, those from which it has logged in are not touched, SCRAM never is."""
    relay = make_relay(conf=["login.failures_per_account = 6", "login.failures_per_address = 5"])
    relay.add_account("anna", "secret", "anna@example.org")
    assert try_password(relay, "127.0.0.3", "anna", "secret") == 235
    for host in range(10, 20):
        assert try_password(relay, f"127.0.0.{host}", "anna", "wrong") == 535
    assert [try_password(relay, "127.0.0.2", "anna", "wrong") for _ in range(4)] == [535, 535, 535, 454]
    with relay.client(source_address=("127.0.0.2", 0)) as client:
        client.ehlo()
        assert scram(client, "anna", "secret") == 235
    assert [try_password(relay, "127.0.0.3", "anna", "wrong") for _ in range(4)] == [535] * 4
    assert try_password(relay, "127.0.0.4", "anna", "secret") == 235


def test_a_flood_of_passwords_keeps_nobody_waiting(make_relay):
    """Sixty connections from ten addresses guess as fast as they can, one verifier thread, no limits: who comes from elsewhere is let in at once."""
    relay = make_relay(conf=["login.verifier_threads = 1", "login.failures_per_address = 0", "login.failures_per_account = 0"])
    relay.add_account("anna", "secret", "anna@example.org")
    stop, codes = threading.Event(), []

    def guess(number):
        while not stop.is_set():
            try:
                codes.append(try_password(relay, f"127.0.0.{10 + number % 10}", f"user{number}", "wrong"))
            except (OSError, smtplib.SMTPException):
                pass

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: codes.count(535) >= 10 and codes.count(454) >= 10, lambda: f"a flood; there is {codes}")
        assert [try_password(relay, f"127.0.0.{host}", "anna", "secret") for host in (101, 102, 103)] == [235] * 3
        relay.run("account", "passwd", "anna", stdin="another\n")  # so that no remembered password helps
        assert [try_password(relay, f"127.0.0.{host}", "anna", "another") for host in (104, 101)] == [235] * 2
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE_S * 2)
    assert set(codes) == {454, 535}, set(codes)


def test_a_full_queue_of_passwords_is_put_off(make_relay):
    """A hundred guesses at once against one verifier thread with four places: some are told to come again, all are answered."""
    relay = make_relay(conf=["login.verifier_threads = 1", "login.verifier_queue = 4", "login.failures_per_address = 0", "login.failures_per_account = 0",
                             "limits.sessions_per_address = 0"])
    codes, lock = [], threading.Lock()
    barrier = threading.Barrier(40)

    def guess(number):
        with relay.client() as client:
            client.ehlo()
            barrier.wait()
            code, _ = client.docmd("AUTH", "PLAIN " + base64.b64encode(f"\0user{number}\0wrong".encode()).decode())
        with lock:
            codes.append(code)

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S * 2)
    assert len(codes) == 40 and set(codes) == {454, 535}, codes
    relay.wait_log("auth", result="busy")


def test_who_hangs_up_frees_no_place(relay):
    """Sessions that die while their password is checked leave nothing behind that hurts."""
    host, port = relay.address("tls")
    context = relay.tls_context()
    for _ in range(20):
        with context.wrap_socket(socket.create_connection((host, port), timeout=PATIENCE_S), server_hostname="relay.example") as tls:
            tls.recv(1000)
            tls.sendall(b"EHLO x\r\nAUTH PLAIN " + base64.b64encode(b"\0anna\0wrong") + b"\r\n")
    with relay.client(user="anna", password="secret") as client:
        expect(client.noop(), 250)
    wait_for(lambda: relay.json("status")["sessions"] == 0, "no session left")


def test_no_secret_in_the_log(make_relay):
    relay = make_relay(conf=["log.level = debug"])
    relay.add_account("anna", "tell-nobody", "anna@example.org")
    with relay.client(user="anna", password="tell-nobody"):
        pass
    with relay.client() as client, pytest.raises(smtplib.SMTPAuthenticationError):
        client.login("anna", "tell-nobody-else")
    relay.wait_log("auth", result="refused")
    text = "\n".join(relay.log_lines)
    assert "tell-nobody" not in text
    for form in (b"\0anna\0tell-nobody", b"tell-nobody"):
        assert base64.b64encode(form).decode().rstrip("=")[:-2] not in text


def test_tls_versions(relay):
    host, port = relay.address("tls")
    context = relay.tls_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with smtplib.SMTP_SSL(host, port, context=context, timeout=PATIENCE_S) as client:
        client.login("anna", "secret")
        assert client.sock.version() == "TLSv1.2"
