"""postern-agent setup, and what run says of a configuration, a file, a port, a database that is not good."""
import os
import pty
import socket
import sqlite3
import stat
import subprocess

import pytest

from agent_support import AGENT, Agent
from daemon import free_port, wait_for
from relay_support import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, make_certificate

PIN = "sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
NOWHERE = {"ways": ["1 tls"], "pin": PIN}


def setup(folder, *options, stdin="secret\n"):
    return subprocess.run([AGENT, "setup", "--dir", str(folder), *options], input=stdin, capture_output=True, text=True, timeout=60)


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


# ---- setup ----

def test_setup_writes_an_annotated_configuration_and_a_private_password(tmp_path):
    folder = tmp_path / "agent"
    done = setup(folder, "--server", "relay.example", "--user", "anna", "--pin", PIN, "--way", "465 tls", "--way", "25 starttls", "--listen", "127.0.0.1:2526")
    assert done.returncode == 0, done
    assert "127.0.0.1:2526" in done.stdout and f"postern-agent run --dir {folder}\n" in done.stdout and "secret" not in done.stdout
    text = read(folder / "agent.conf")
    for line in ("host = relay.example", "user = anna", f"pin = {PIN}", "way = 465 tls", "way = 25 starttls", "listen = 127.0.0.1:2526"):
        assert f"\n{line}\n" in text, line
    assert "\n#patience = " in text and "\n#way = " not in text and "secret" not in text.replace("secret-service", "")
    password = folder / "keys/relay.password"
    assert read(password) == "secret" and stat.S_IMODE(password.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_setup_with_a_ca_file_keeps_its_whole_path(tmp_path):
    certificate, _ = make_certificate(tmp_path, "relay.example")
    os.chdir(os.path.dirname(certificate))
    done = setup(tmp_path / "agent", "--server", "192.0.2.1", "--user", "anna", "--ca", os.path.basename(certificate), "--name", "relay.example")
    assert done.returncode == 0, done
    text = read(tmp_path / "agent/agent.conf")
    assert f"\nca_file = {certificate}\n" in text and "\nname = relay.example\n" in text


def test_setup_asks_on_a_terminal_and_shows_nothing(tmp_path):
    ours, theirs = pty.openpty()
    process = subprocess.Popen([AGENT, "setup", "--dir", str(tmp_path / "agent"), "--server", "relay.example", "--user", "anna", "--pin", PIN],
                               stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert b"Password of anna on relay.example" in process.stderr.read(35)
    import termios
    wait_for(lambda: not termios.tcgetattr(theirs)[3] & termios.ECHO, "the echo being off")
    os.write(ours, b"hidden words\n")
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and b"hidden" not in out
    assert termios.tcgetattr(theirs)[3] & termios.ECHO
    assert read(tmp_path / "agent/keys/relay.password") == "hidden words"


@pytest.mark.parametrize("options, stdin, code, words", [
    ([], "x\n", EX_USAGE, "usage: postern-agent setup"),
    ([], "x\n", EX_USAGE, "--server HOST is missing"),
    (["--server", "relay.example"], "x\n", EX_USAGE, "--user NAME is missing"),
    (["--server", "relay.example", "--user"], "x\n", EX_USAGE, "--user needs a value"),
    (["--server", "--user", "anna"], "x\n", EX_USAGE, "--server needs a value"),
    (["--server", "relay.example", "--user", "anna", "x"], "x\n", EX_USAGE, "x is too much"),
    (["--server", "relay.example", "--user", "anna", "--pin", "sha256//short"], "x\n", EX_USAGE, "postern-relay key show"),
    (["--server", "relay.example", "--user", "anna", "--ca", "/nonexistent.pem"], "x\n", EX_NOINPUT, "there is no such file"),
    (["--server", "relay.example", "--user", "anna", "--way", "465"], "x\n", EX_USAGE, "PORT tls"),
    (["--server", "relay.example", "--user", "anna", "--way", "465 plain"], "x\n", EX_USAGE, "nothing goes to the relay in the clear"),
    (["--server", "relay.example", "--user", "anna", "--way", "70000 tls"], "x\n", EX_USAGE, "1 to 65535"),
    (["--server", "relay.example", "--user", "anna", "--listen", "2525"], "x\n", EX_USAGE, "ADDRESS:PORT"),
    (["--server", "relay.example", "--user", "an\tna"], "x\n", EX_USAGE, "control character"),
    *((["--server", server, "--user", "anna"], "x\n", EX_USAGE, '--way "PORT MODE"')
      for server in ("relay.example.org:465", "x y", "", "192.0.2.1:465", "[2001:db8::1]:465", "https://relay.example.org", "relay\texample", "-x")),
    (["--server", "relay.example", "--user", "anna"], "", EX_NOINPUT, "no password"),
    (["--server", "relay.example", "--user", "anna"], "x" * 5000 + "\n", EX_DATAERR, "longer than"),
    (["--server", "relay.example", "--user", "anna", "--nonsense"], "x\n", EX_USAGE, "--nonsense is no option of setup\nusage"),
])
def test_setup_says_what_is_wrong_and_writes_nothing(tmp_path, options, stdin, code, words):
    done = setup(tmp_path / "agent", *options, stdin=stdin)
    assert done.returncode == code and words in done.stderr, done
    assert not (tmp_path / "agent/agent.conf").exists() and done.stdout == ""


def test_setup_writes_over_a_configuration_only_when_told(tmp_path):
    options = ["--server", "relay.example", "--user", "anna", "--pin", PIN]
    assert setup(tmp_path / "agent", *options).returncode == 0
    done = setup(tmp_path / "agent", "--server", "other.example", "--user", "anna", stdin="other\n")
    assert done.returncode == EX_CANTCREAT and "--replace" in done.stderr
    assert "relay.example" in read(tmp_path / "agent/agent.conf") and read(tmp_path / "agent/keys/relay.password") == "secret"
    assert setup(tmp_path / "agent", "--server", "other.example", "--user", "anna", "--replace", stdin="other\n").returncode == 0
    assert "\nhost = other.example\n" in read(tmp_path / "agent/agent.conf") and read(tmp_path / "agent/keys/relay.password") == "other"


# ---- run ----

def test_a_hint_names_the_folder(tmp_path):
    folder = tmp_path / "two words"
    done = subprocess.run([AGENT, "run", "--dir", str(folder)], capture_output=True, text=True, timeout=60)
    assert done.returncode == EX_CONFIG and done.stderr.endswith(f"make one with: postern-agent setup --server HOST --user NAME --dir '{folder}'\n"), done


def refused(agent, code, *words):
    """It does not start, says so in one line, and leaves with that exit code."""
    agent.start(wait=False)
    assert agent.wait_exit() == code, agent.log_lines
    text = "\n".join(agent.log_lines)
    assert all(word in text for word in words), text


@pytest.mark.parametrize("key, value, words", [
    ("relay.color", "red", ["agent.conf:", "color"]),
    ("queue.lifetime", "yes", ["agent.conf:", "lifetime", "a duration"]),
    ("relay.way", "465 plain", ["agent.conf:", "[ADDRESS:]PORT tls, or [ADDRESS:]PORT starttls"]),
    ("local.listen", "localhost", ["agent.conf:", "ADDRESS:PORT"]),
    ("log.level", "loud", ["agent.conf:", "error, warning, info or debug"]),
    ("local.require_login", "yes", ["require_login = yes needs user"]),
])
def test_a_bad_configuration_is_refused_with_its_line(make_agent, key, value, words):
    agent = make_agent(start=False, **NOWHERE)
    agent.set_conf("agent.conf", {key: [value]})
    name = key.split(".")[1]
    number = [i for i, line in enumerate(read(agent.path("agent.conf")).split("\n"), 1) if line == f"{name} = {value}"][0]
    refused(agent, EX_CONFIG, *[f"agent.conf:{number}" if word == "agent.conf:" else word for word in words])


def test_without_a_configuration(tmp_path):
    agent = Agent(tmp_path / "nothing")
    refused(agent, EX_CONFIG, "agent.conf", "postern-agent setup")


def test_a_password_that_others_can_read_is_refused(make_agent):
    agent = make_agent(start=False, **NOWHERE)
    os.chmod(agent.path("keys/relay.password"), 0o644)
    refused(agent, EX_CONFIG, "relay.password", "chmod 600")
    os.chmod(agent.path("keys/relay.password"), 0o600)
    os.mkdir(agent.path("open"))
    os.rename(agent.path("keys/relay.password"), agent.path("open/relay.password"))
    agent.set_conf("agent.conf", {"relay.password_file": [agent.path("open/relay.password")]})
    for mode in (0o770, 0o702):
        os.chmod(agent.path("open"), mode)
        refused(agent, EX_CONFIG, f"chmod go-w {agent.path('open')}")


def test_a_missing_password(make_agent):
    agent = make_agent(start=False, **NOWHERE)
    os.unlink(agent.path("keys/relay.password"))
    refused(agent, EX_CONFIG, "relay.password")


def test_a_ca_file_that_is_none(make_agent, tmp_path):
    (tmp_path / "ca.pem").write_text("nothing\n")
    agent = make_agent(start=False, ways=["1 tls"], ca=str(tmp_path / "ca.pem"))
    refused(agent, EX_CONFIG, "ca.pem")


def test_a_port_in_use(make_agent):
    agent = make_agent(start=False, **NOWHERE)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", agent.port))
        taken.listen()
        refused(agent, EX_UNAVAILABLE, f"127.0.0.1:{agent.port}", "in use")
    agent.start()


def test_an_address_that_is_not_here_is_passed_over(make_agent):
    agent = make_agent(start=False, **NOWHERE)
    agent.set_conf("agent.conf", {"local.listen": [f"192.0.2.200:{agent.port}", f"127.0.0.1:{agent.port}"]})
    agent.start()
    agent.wait_log("not-listening")
    assert agent.send()
    agent.stop()
    agent.set_conf("agent.conf", {"local.listen": [f"192.0.2.200:{agent.port}"]})
    refused(agent, EX_UNAVAILABLE, "none of the addresses")


def test_a_database_of_a_newer_program(make_agent):
    agent = make_agent(**NOWHERE)
    agent.stop()
    with sqlite3.connect(agent.path("agent.db")) as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    refused(agent, EX_DATAERR, "newer")
    done = agent.sendmail("bob@dest.example", stdin=b"From: a@b.example\n\nx\n", check=False)
    assert done.returncode == EX_DATAERR


def test_a_second_agent_on_the_same_folder(make_agent):
    first = make_agent(**NOWHERE)
    second = Agent(first.folder)
    refused(second, EX_TEMPFAIL, "in use", str(first.process.pid))
    assert first.send() and first.status()["state"]


def test_a_folder_that_cannot_be_written(make_agent, tmp_path):
    agent = make_agent(start=False, **NOWHERE)
    (tmp_path / "file").write_text("")
    agent.set_conf("agent.conf", {"relay.password_file": [agent.path("keys/relay.password")]})
    os.rename(agent.path("agent.conf"), tmp_path / "kept")
    done = subprocess.run([AGENT, "setup", "--dir", str(tmp_path / "file/below"), *agent.setup_options()], input="x\n", capture_output=True, text=True, timeout=60)
    assert done.returncode == EX_CANTCREAT and "file/below" in done.stderr
    os.rename(tmp_path / "kept", agent.path("agent.conf"))


# ---- reload ----

def test_reload_takes_a_new_password_and_a_new_way(make_agent, tmp_path):
    import signal
    from agent_support import Service
    service = Service(tmp_path)
    try:
        options = {**service.agent_options(), "ways": [f"{free_port()} tls"]}
        agent = make_agent(password="wrong", **options)
        id = agent.send()
        agent.wait_log("no-way")
        agent.set_conf("agent.conf", {"relay.way": [f"{service.port} tls"]})
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_log("reloaded")
        agent.wait_log("uplink-failed", phase="AUTH")
        assert "name or password" in agent.status()["trouble"]
        with open(agent.path("keys/relay.password"), "w") as file:
            file.write("secret\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_state(id, "relayed")
        assert agent.status()["trouble"] is None
    finally:
        service.close()


def test_a_bad_reload_leaves_the_old_in_force(make_agent):
    import signal
    agent = make_agent(**NOWHERE)
    good = read(agent.path("agent.conf"))
    with open(agent.path("agent.conf"), "w") as file:
        file.write(good + "nonsense\n")
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("reload-failed")
    assert any("agent.conf:" in line for line in agent.log_lines)
    assert agent.send()
    with open(agent.path("agent.conf"), "w") as file:
        file.write(good.replace(f"listen = 127.0.0.1:{agent.port}", f"listen = 127.0.0.1:{free_port()}"))
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("reloaded")
    agent.wait_log("restart-needed")
    assert agent.send()


def test_reload_changes_the_local_login(make_agent):
    import signal
    agent = make_agent(**NOWHERE)
    agent.send()
    with open(os.open(agent.path("local.password"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write("first\n")
    agent.set_conf("agent.conf", {"local.require_login": ["yes"], "local.user": ["carol"], "local.password_file": ["local.password"]})
    agent.process.send_signal(signal.SIGHUP)
    agent.wait_log("reloaded")
    with agent.client() as client:
        client.ehlo()
        assert client.mail("anna@example.org")[0] == 530
        client.login("carol", "first")
    with open(agent.path("local.password"), "w") as file:
        file.write("second\n")
    agent.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(agent.log("reloaded")) == 2, "the second reload")
    with agent.client() as client:
        client.login("carol", "second")
