"""The agent and ways that are worse than they look; what status and the queue say meanwhile."""
import contextlib
import datetime
import re
import signal
import socket
import sqlite3
import threading

import pytest

from agent_support import Service, pin_of
from daemon import free_port, wait_for
from relay_support import make_message


class Cutter:
    """A way to another port that passes connections on, and cuts each after so many octets from the client."""

    def __init__(self, port, octets):
        self.target, self.octets, self.cuts = port, octets, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(client, server, self.octets), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, None), daemon=True).start()

    def _pass(self, source, sink, left):
        try:
            while data := source.recv(4096):
                sink.sendall(data)
                left = left and max(left - len(data), 0)
                if left == 0:
                    self.cuts += 1
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        # accept() is woken by shutdown only.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def cutter(service):
    cutter = Cutter(service.port, 64 * 1024)
    yield cutter
    cutter.close()


def big_message():
    return make_message(body="x" * 70 + "\n" + ("y" * 70 + "\n") * 4000)


def test_a_way_that_dies_under_a_message_comes_last(make_agent, service, cutter):
    options = {**service.agent_options(), "ways": [f"{cutter.port} tls", f"{service.port} tls"]}
    agent = make_agent(conf={"relay.keep_warm": ["0s"]}, **options)
    agent.wait_state(agent.send(message=big_message()), "relayed")
    assert cutter.cuts == 1
    verdicts = {way["port"]: way["verdict"] for way in agent.status()["ways"]}
    assert verdicts == {cutter.port: "died-early", service.port: "open"}
    agent.wait_state(agent.send(message=big_message()), "relayed")
    assert cutter.cuts == 1 and len(service.messages) == 2
    # Small mail would pass there, but the other way is the known one now.
    found = agent.log("way-found")
    assert len(found) >= 3


def test_a_way_that_died_is_used_when_no_other_is_open_and_trusted_again_after_a_success(make_agent, service, cutter):
    closed = free_port()
    options = {**service.agent_options(), "ways": [f"{cutter.port} tls", f"{closed} tls"]}
    agent = make_agent(conf={"relay.keep_warm": ["0s"]}, **options)
    agent.wait_state(agent.send(message=make_message(subject="small")), "relayed")
    wait_for(lambda: agent.status()["state"] == "resting", "rest")
    cutter.octets = 2048     # the hands shake in fewer, a message is longer
    id = agent.send(message=big_message())
    wait_for(lambda: cutter.cuts > 0, "a cut")
    agent.wait_log("uplink-failed")
    cutter.octets = None
    agent.wait_state(id, "relayed")
    assert {way["port"]: way["verdict"] for way in agent.status()["ways"]} == {cutter.port: "open", closed: "refused"}
    wait_for(lambda: agent.status()["state"] == "resting", "rest")
    # Trusted again, it is the known way and starts alone.
    agent.wait_state(agent.send(), "relayed")
    assert {way["port"]: way["verdict"] for way in agent.status()["ways"]} == {cutter.port: "open", closed: "untried"}


def test_a_refused_login_is_the_verdict_on_its_way(make_agent, service):
    agent = make_agent(password="wrong", **service.agent_options())
    id = agent.send()
    agent.wait_log("uplink-failed")
    status = wait_for(lambda: (s := agent.status())["state"] == "waiting" and s, "the refusal")
    [way] = status["ways"]
    assert way["verdict"] == "relay-refused" and "535" in way["words"] and status["network"] == "online"
    assert status["words"] == f"The relay is reached over port {service.port} and refuses the login."
    path = agent.path("keys/relay.password")
    assert "name or password" in status["trouble"] and f"write the right password into {path}," in status["trouble"] and "SIGHUP" in status["trouble"]
    entry = agent.entry(id)
    assert "name or password" in entry["reason"] and entry["state"] == "queued"
    assert "name or password" in agent.run("queue", "show", id).stdout + agent.run("queue", "list").stdout
    with open(path, "w", encoding="ascii") as file:   # as it says
        file.write("secret\n")
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_state(id, "relayed")
    assert agent.status()["trouble"] is None


def test_a_diagnosis_of_an_open_network_tells_why_mail_waits_all_the_same(make_agent, service):
    agent = make_agent(password="wrong", **service.agent_options())
    agent.send()
    agent.wait_log("uplink-failed")
    result = agent.json("diagnose")
    assert result["network"] == "online" and "name or password" in result["trouble"] and "mail waits" in result["summary"][1], result
    assert "Mail waits because of this: the relay refuses the name or password" in agent.run("diagnose").stdout


def test_a_proxy_whose_name_nobody_knows_is_told(make_agent, service):
    proxy = "x" * 70 + ".example"    # longer than a label can be: the resolver need not be asked
    agent = make_agent(conf={"proxy.proxy": [f"http://{proxy}:3128"]}, **service.agent_options())
    for _ in range(2):
        agent.wait_state(agent.send(), "relayed")
    assert len(agent.log("proxy-not-found")) == 1
    assert f"does not find the proxy {proxy[:60]}" in agent.status()["words"]
    assert f"does not find the proxy {proxy[:60]}" in agent.json("diagnose")["words"]


def test_a_way_that_is_not_in_use_is_told_with_its_time(make_agent, service):
    agent = make_agent(conf={"relay.keep_warm": ["0s"]}, **service.agent_options())
    agent.wait_state(agent.send(), "relayed")
    status = wait_for(lambda: (s := agent.status())["state"] == "resting" and s, "rest")
    assert re.fullmatch(rf"The relay was reached over port {service.port} at \d\d:\d\d\.", status["words"]), status


def test_a_message_that_waits_for_a_way_says_why_and_until_when(make_agent):
    agent = make_agent(conf={"queue.patience": ["1h"]}, ways=["1 tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
    id = agent.send()
    agent.wait_log("no-way")
    status = wait_for(lambda: (s := agent.status())["next_search"] and s, "the next search's time")
    for entry in (agent.entry(id), agent.queue()[0]):
        assert entry["state"] == "queued" and entry["reason"] == status["trouble"] and "refuses port 1;" in entry["reason"]
        assert entry["next_attempt"] == status["next_search"] > entry["since"]
        until = datetime.datetime.fromisoformat(entry["next_attempt"].replace("Z", "+00:00"))
        assert until > datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(minutes=30)
    agent.run("queue", "hold", id)
    assert agent.entry(id)["reason"] is None and agent.entry(id)["next_attempt"] is None


def test_a_search_that_runs_says_so_and_not_that_there_is_no_network(make_agent):
    """A port that takes connections and is silent keeps the search running."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        closed = free_port()
        agent = make_agent(ways=[f"{silent.getsockname()[1]} tls", f"{closed} tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        id = agent.send()
        agent.wait_log("uplink", to="searching")
        status = wait_for(lambda: (s := agent.status()) and len(s["ways"]) == 2 and s["ways"][1]["verdict"] == "refused" and s, "the first verdict")
        assert status["state"] == "searching" and status["network"] == "online" and status["way"] is None and status["searched"] is None
        assert agent.entry(id)["reason"] == "a way to the relay is being looked for"


def test_senders_are_told_once_of_mail_that_waits_for_a_way(make_agent, tmp_path):
    service = Service(tmp_path)
    service.close()
    agent = make_agent(conf={"queue.delay_notice": ["1s"]}, **service.agent_options())
    ids = [agent.send(message=make_message(subject=f"waits {i}")) for i in range(3)]
    wait_for(lambda: sum(e["report"] for e in agent.queue()) == 3, "the reports")
    for id in ids:
        entry = agent.entry(id)
        assert entry["state"] == "deferred" and "no way to the relay is open" in entry["reason"]
    searches = len(agent.log("no-way"))
    wait_for(lambda: len(agent.log("no-way")) >= searches + 3, "more searches")
    assert len(agent.queue()) == 6
    service = service.again()
    try:
        reports = wait_for(lambda: (m := [m for m in service.messages if m.message.get_content_type() == "multipart/report"]) and len(m) == 3 and m, "the reports")
        assert all("Action: delayed" in m.octets.decode() for m in reports)
        for id in ids:
            agent.wait_state(id, "relayed")
        assert len(service.messages) == 6
    finally:
        service.close()


def test_mail_of_a_clock_that_was_set_back_goes_at_once(make_agent, service):
    """Stored by an agent whose clock was ten years ahead."""
    agent = make_agent(start=False, **service.agent_options())
    agent.sendmail("-t", stdin=make_message())
    years_ms = 10 * 365 * 86400 * 1000
    with contextlib.closing(sqlite3.connect(agent.path("agent.db"))) as database, database:
        changed = database.execute("UPDATE recipient SET next_attempt_at = next_attempt_at + ?", (years_ms,)).rowcount
        database.execute("UPDATE message SET received_at = received_at + ?, expires_at = expires_at + ?", (years_ms, years_ms))
    assert changed == 1
    agent.start()
    service.wait_messages(1)
    [entry] = agent.queue("--all")
    agent.wait_state(entry["id"], "relayed")
