"""Nobody in between: what a stranger in the relay's place gets to see. A spying server writes down every octet that it receives, inside TLS and outside."""
import socket
import ssl
import threading

import pytest

from agent_support import Service
from daemon import free_port, wait_for
from relay_support import make_certificate, make_message

SECRETS = (b"secret", b"c2VjcmV0", b"anna", b"YW5uYQ", b"bob", b"dest.example", b"Good day", b"hello", b"AUTH", b"MAIL", b"laptop")


class Spy:
    """A server that greets, answers everything with a friendly 250, and takes TLS at once (certificate and implicit) or after STARTTLS (certificate)."""

    def __init__(self, certificate=None, implicit=False, offers_starttls=True, greeting=b"220 relay.example ESMTP\r\n", ehlo=()):
        self.certificate, self.implicit, self.offers_starttls, self.greeting, self.ehlo = certificate, implicit, offers_starttls, greeting, list(ehlo)
        self.heard, self.handshakes, self.connections = b"", 0, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(20)
            try:
                self.talk(connection)
            except (OSError, ssl.SSLError):
                pass
            finally:
                connection.close()

    def secure(self, connection):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.certificate)
        secured = context.wrap_socket(connection, server_side=True)
        self.handshakes += 1
        return secured

    def talk(self, connection):
        if self.implicit:
            connection = self.secure(connection)
        connection.sendall(self.greeting)
        is_secure, buffered = self.implicit, b""
        while piece := connection.recv(4096):
            self.heard += piece
            buffered += piece
            while b"\r\n" in buffered:
                line, buffered = buffered.split(b"\r\n", 1)
                verb = line.upper()
                if verb.startswith(b"EHLO"):
                    words = [b"relay.example", *self.ehlo, b"AUTH PLAIN LOGIN"]
                    words += [b"STARTTLS"] if self.offers_starttls and not is_secure else []
                    lines = [b"250-" + word for word in words[:-1]] + [b"250 " + words[-1]]
                    connection.sendall(b"\r\n".join(lines) + b"\r\n")
                elif verb == b"STARTTLS" and self.certificate:
                    connection.sendall(b"220 go\r\n")
                    connection, is_secure = self.secure(connection), True
                elif verb.startswith((b"AUTH", b"DATA")):
                    connection.sendall(b"334 \r\n" if verb.startswith(b"AUTH") else b"354 go\r\n")
                else:
                    connection.sendall(b"250 2.0.0 gladly\r\n")

    def close(self):
        self.listener.close()


@pytest.fixture
def spies():
    made = []

    def make(**options):
        made.append(Spy(**options))
        return made[-1]

    yield make
    for spy in made:
        spy.close()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("foreign"), "relay.example")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("own"), "relay.example")


def pin_of_certificate(path):
    import base64
    import hashlib
    import subprocess
    key = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-pubkey"], capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True).stdout
    return "sha256//" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def expect_nothing_said(agent, spy, verdict):
    """The mail stays, the verdict is told, and the stranger has heard nothing that matters."""
    id = agent.send()
    wait_for(lambda: len(agent.log("no-way")) >= 2, "two searches in vain")
    status = agent.status()
    assert [w["verdict"] for w in status["ways"]] == [verdict], status
    assert agent.entry(id)["state"] == "queued" and status["way"] is None
    assert spy.connections > 0
    for secret in SECRETS:
        assert secret not in spy.heard, spy.heard
    return status


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_wrong_key(make_agent, spies, foreign, own, mode):
    spy = spies(certificate=foreign, implicit=mode == "tls")
    agent = make_agent(pin=pin_of_certificate(own[0]), ways=[f"{spy.port} {mode}"])
    status = expect_nothing_said(agent, spy, "wrong-certificate")
    assert "either the relay has a new key, or this network intercepts" in status["words"], status
    assert "postern-relay key show" in status["trouble"] and "setup --replace" in status["trouble"], status
    assert f"answers port {spy.port} with the certificate of relay.example" in status["words"]


@pytest.mark.parametrize("mode", ["tls", "starttls"])
def test_a_certificate_of_another_authority(make_agent, spies, foreign, own, mode):
    spy = spies(certificate=foreign, implicit=mode == "tls")
    agent = make_agent(ca=own[0], name="relay.example", ways=[f"{spy.port} {mode}"])
    expect_nothing_said(agent, spy, "wrong-certificate")


def test_a_certificate_of_another_name(make_agent, spies, own):
    spy = spies(certificate=own, implicit=True)
    agent = make_agent(ca=own[0], name="other.example", ways=[f"{spy.port} tls"])
    expect_nothing_said(agent, spy, "wrong-certificate")


def test_without_a_ca_file_the_systems_authorities_decide(make_agent, spies, own):
    spy = spies(certificate=own, implicit=True)
    agent = make_agent(name="relay.example", ways=[f"{spy.port} tls"])
    expect_nothing_said(agent, spy, "wrong-certificate")


@pytest.mark.parametrize("ehlo, words", [((), "takes encryption away"), ((b"XXXXXXXX",), "takes encryption away")])
def test_starttls_that_was_taken_away(make_agent, spies, own, ehlo, words):
    spy = spies(certificate=own, offers_starttls=False, ehlo=ehlo)
    agent = make_agent(pin=pin_of_certificate(own[0]), ways=[f"{spy.port} starttls"])
    assert words in expect_nothing_said(agent, spy, "starttls-missing")["words"]


def test_a_portal_that_answers_with_a_web_page(make_agent, spies, own):
    spy = spies(greeting=b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\n\r\n", offers_starttls=False)
    agent = make_agent(pin=pin_of_certificate(own[0]), ways=[f"{spy.port} starttls"])
    assert expect_nothing_said(agent, spy, "http")["network"] == "captive"


def test_only_the_right_one_of_many_gets_the_mail(make_agent, spies, foreign, tmp_path):
    """Strangers on three ports, the relay on the fourth."""
    service = Service(tmp_path, name="relay.example")
    try:
        strangers = [spies(certificate=foreign, implicit=True), spies(certificate=foreign), spies(offers_starttls=False)]
        ways = [f"{strangers[0].port} tls", f"{strangers[1].port} starttls", f"{strangers[2].port} starttls", f"{service.port} tls"]
        agent = make_agent(**{**service.agent_options(), "ways": ways})
        for _ in range(5):
            agent.wait_state(agent.send(), "relayed")
        assert len(service.messages) == 5 and all(m.user == b"anna" or m.user == "anna" for m in service.messages)
        for stranger in strangers:
            for secret in SECRETS:
                assert secret not in stranger.heard, stranger.heard
    finally:
        service.close()


def test_any_of_several_pins_will_do(make_agent, own, foreign, tmp_path):
    service = Service(tmp_path)
    try:
        agent = make_agent(start=False, pin=pin_of_certificate(own[0]), ways=[f"{service.port} tls"])
        agent.set_conf("agent.conf", {"relay.pin": [pin_of_certificate(own[0]), pin_of_certificate(service.certificate)]})
        agent.start()
        agent.wait_state(agent.send(), "relayed")
    finally:
        service.close()


def test_the_laptop_is_not_named_to_the_relay(make_agent, tmp_path):
    service = Service(tmp_path)
    try:
        agent = make_agent(**service.agent_options())
        agent.wait_state(agent.send(), "relayed")
        assert service.messages[0].helo == "postern-agent"
    finally:
        service.close()


def test_the_password_is_nowhere_in_the_log_or_the_queue(make_agent, tmp_path):
    service = Service(tmp_path, login={"anna": "xyzzy-4711"})
    try:
        agent = make_agent(password="xyzzy-4711", **service.agent_options())
        agent.wait_state(agent.send(), "relayed")
        agent.stop()
        assert "xyzzy" not in "\n".join(agent.log_lines)
        with open(agent.path("agent.db"), "rb") as file:
            assert b"xyzzy" not in file.read()
    finally:
        service.close()
