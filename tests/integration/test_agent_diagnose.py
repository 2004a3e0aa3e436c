"""postern-agent diagnose: every way is tried to its verdict, with a running agent or without, and the network judged."""
import contextlib
import json
import os
import pty
import socket
import subprocess
import threading

import pytest

from agent_support import AGENT, pin_of
from daemon import free_port, wait_for
from relay_support import EX_USAGE

LOGIN_PAGE = b"HTTP/1.0 302 Found\r\nLocation: http://login.example/\r\n\r\n"


@pytest.fixture
def silent():
    """A port that connects and says nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    yield listener.getsockname()[1]
    listener.close()


@contextlib.contextmanager
def served(serve):
    """A port, whose connections are served one after another."""
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                serve(connection)

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def portal():
    """A port that answers everything with a web page."""
    def serve(connection):
        connection.sendall(LOGIN_PAGE)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(5)
        while connection.recv(4096):
            pass

    with served(serve) as port:
        yield port


def diagnose(agent, *words, **options):
    return subprocess.run([AGENT, "diagnose", *words, "--dir", str(agent.folder)], capture_output=True, text=True, timeout=60, check=False, **options)


def make(make_relay, make_agent, **shut):
    """An agent with one way that is the relay's and others that are not: {verdict: "PORT MODE"}."""
    relay = make_relay()
    ways = {"open": f"{relay.address('tls')[1]} tls", **shut}
    agent = make_agent(start=False, ways=list(ways.values()), pin=pin_of(relay), conf={"relay.http_port": ["0"]})
    agent.expected = {int(way.split()[0]): verdict for verdict, way in ways.items()}
    return agent


@pytest.fixture
def agent(make_relay, make_agent, portal):
    return make(make_relay, make_agent, refused=f"{free_port()} tls", http=f"{portal} starttls")


@pytest.fixture
def patient(make_relay, make_agent, silent, portal):
    """One way takes its time to fail."""
    return make(make_relay, make_agent, refused=f"{free_port()} tls", dropped=f"{silent} starttls", http=f"{portal} starttls")


def check_result(agent, result):
    assert {way["port"]: way["verdict"] for way in result["ways"]} == agent.expected, result
    assert result["network"] == "online"
    assert len(result["summary"]) == 2 and all(result["summary"]), result
    assert set(result) == {"network", "words", "summary", "trouble", "relay", "ways"}
    for way in result["ways"]:
        assert isinstance(way["ms"], int) and way["words"], way


def test_without_a_running_agent(patient):
    done = diagnose(patient, "--json")
    assert done.returncode == 0, done
    check_result(patient, json.loads(done.stdout))


def test_asked_of_the_running_agent(agent):
    agent.start()
    done = diagnose(agent, "--json")
    assert done.returncode == 0, done
    check_result(agent, json.loads(done.stdout))
    # It was for looking only.
    assert agent.status()["way"] is None and agent.status()["searched"] is None


def test_a_network_that_lets_nothing_out_is_no_error(make_agent):
    shut = make_agent(start=False, ways=[f"{free_port()} tls"], conf={"relay.http_port": ["0"]})
    done = diagnose(shut, "--json")
    assert (done.returncode, json.loads(done.stdout)["network"]) == (0, "blocked"), done


def test_as_text(agent):
    done = diagnose(agent)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.split("\n")
    assert "result" in lines[0] and len([line for line in lines if " open " in line]) == 1, done.stdout
    assert lines[-4] == "" and lines[-3] and lines[-2], done.stdout
    assert "\033" not in done.stdout


def test_on_a_terminal_the_table_grows(agent):
    leader, follower = pty.openpty()
    process = subprocess.Popen([AGENT, "diagnose", "--dir", str(agent.folder)], stdout=follower, stdin=subprocess.DEVNULL, env={**os.environ, "TERM": "vt100"})
    os.close(follower)
    seen = b""
    try:
        while chunk := os.read(leader, 65536):
            seen += chunk
    except OSError:     # the other end is closed
        pass
    assert process.wait(30) == 0
    os.close(leader)
    text = seen.decode()
    assert text.count("\033[J") >= len(agent.expected), text       # drawn anew for each result
    assert text.rfind("\033[J") < text.rfind("result") < text.rfind(" open "), text


def test_two_at_a_time_are_too_many(patient):
    patient.start()
    first = subprocess.Popen([AGENT, "diagnose", "--json", "--dir", str(patient.folder)], stdout=subprocess.PIPE, text=True)
    second = subprocess.Popen([AGENT, "diagnose", "--json", "--dir", str(patient.folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first_out, (_, second_err) = first.communicate(timeout=60)[0], second.communicate(timeout=60)
    codes = sorted((first.returncode, second.returncode))
    assert codes == [0, 75], (codes, first_out, second_err)


def test_the_agent_stops_in_the_middle(patient):
    patient.start()
    process = subprocess.Popen([AGENT, "diagnose", "--dir", str(patient.folder)], stderr=subprocess.PIPE, text=True)
    patient.wait_log("outbound-state")
    patient.stop()
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0 and said.startswith("postern-agent: "), said


def test_who_leaves_ends_it(patient):
    patient.start()
    process = subprocess.Popen([AGENT, "diagnose", "--dir", str(patient.folder)])
    patient.wait_log("outbound-state")
    process.kill()
    process.wait()
    done = diagnose(patient, "--json")        # at the latest when the other has been looked for in vain
    while done.returncode == 75:
        done = diagnose(patient, "--json")
    check_result(patient, json.loads(done.stdout))


def test_arguments(agent):
    done = diagnose(agent, "quickly")
    assert done.returncode == EX_USAGE and "no arguments" in done.stderr


@pytest.fixture
def asked():
    """A port 80 of the relay's that counts who asks, and answers as a portal."""
    heard = []

    def serve(connection):
        heard.append(connection.recv(4096))
        connection.sendall(LOGIN_PAGE)

    with served(serve) as port:
        yield port, heard


@pytest.mark.parametrize("is_running", [False, True])
def test_a_portal_is_asked_once_by_several_in_a_row(make_agent, asked, is_running):
    port, heard = asked
    agent = make_agent(start=False, ways=[f"{free_port()} tls"], pin="sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", conf={"relay.http_port": [str(port)]})
    if is_running:
        agent.start()
        agent.send()
        agent.wait_log("no-way")
        status = wait_for(lambda: (s := agent.status())["network"] == "captive" and s, "the portal's answer")
        assert "log in first" in status["trouble"], status
    for _ in range(2):
        assert agent.json("diagnose")["network"] == "captive"
    assert len(heard) == 1, heard
