"""The spool at rest: nothing of the mail is in any file of the agent's folder, at any time, and all of it is sent right; and what happens with its key."""
import glob
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import textwrap

import pytest

from agent_support import AGENT
from daemon import free_port, wait_for
from relay_support import make_message

BODY, SUBJECT = "canary-body-5a1e", "canary-subject-77c0"
SENDER, BOB, NOBODY = "canary-anna@example.org", "canary-bob@dest.example", "canary-nobody@dest.example"
REPLY = "canary-reply-90b2"
CANARIES = [BODY, SUBJECT, SENDER, BOB, NOBODY, REPLY]


def message(to=BOB, size=0):
    return make_message(SENDER, to, SUBJECT, (BODY + "\n") * (1 + size // len(BODY)))


def found(agent, canaries=CANARIES):
    """Those that lie in a file of the agent's folder."""
    seen = set()
    for folder, _, names in os.walk(agent.folder):
        for name in names:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    octets = file.read()
            except OSError:   # a socket, or gone meanwhile
                continue
            seen |= {canary for canary in canaries if canary.encode() in octets}
    return seen


def offline(make_agent, **conf):
    return make_agent(pin="sha256//" + "A" * 43 + "=", ways=[f"{free_port()} tls"], conf=conf)


def test_nothing_of_the_mail_is_on_the_disk_and_all_of_it_is_sent(make_agent, service):
    agent = make_agent(**service.agent_options())
    service.handler_object.prescribed = lambda verb, address=None: f"550 5.1.1 {REPLY}" if address == NOBODY else None
    id = agent.send(SENDER, [BOB], message(size=200_000))
    assert not found(agent)
    sent = service.wait_message()
    assert sent.sender == SENDER and sent.to == [BOB] and sent.header("Subject") == SUBJECT and sent.octets.decode().count(BODY) == 1 + 200_000 // len(BODY)
    agent.wait_state(id, "relayed")
    assert agent.entry(id)["from"] == SENDER and agent.entry(id)["to"][0]["address"] == BOB
    assert not found(agent)
    bounced = agent.send(SENDER, [NOBODY], message(NOBODY))
    assert REPLY in agent.wait_state(bounced, "bounced")["to"][0]["reply"]
    assert not found(agent)
    agent.stop()
    assert not found(agent)


def test_a_queue_that_waits_is_on_the_disk_sealed_alone_and_after_a_crash_too(make_agent):
    agent = offline(make_agent)
    ids = [agent.send(SENDER, [BOB], message(size=size)) for size in (0, 300_000)]
    with agent.client() as client:   # half way
        client.ehlo()
        client.docmd("MAIL", f"FROM:<{SENDER}>")
        client.docmd("RCPT", f"TO:<{BOB}>")
        client.docmd("DATA")
        client.send(message(size=400_000).replace(b"\n.", b"\n.."))
        agent.send(SENDER, [BOB], message())   # answered behind what came of the other
        assert not found(agent)
        agent.kill()
    assert not found(agent)
    agent.start()
    assert {entry["id"] for entry in agent.queue()} >= set(ids) and not found(agent)
    agent.stop()
    agent.sendmail("-f", SENDER, BOB, stdin=message())   # straight into the store
    assert len(agent.queue()) == 4 and not found(agent)


def test_status_and_setup_tell_where_the_key_is(make_agent):
    agent = offline(make_agent)
    path = agent.path("keys/spool.key")
    assert agent.status()["spool"] == {"encrypted": True, "wiped": True, "key": f"the file {path}", "words": f"encrypted, the key is in the file {path}"}
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert path in agent.run("status").stdout
    before = open(path, encoding="ascii").read()
    agent.stop()
    assert path in agent.run("setup", *agent.setup_options(), "--replace", stdin="secret\n").stdout
    assert open(path, encoding="ascii").read() == before


def test_an_unsealed_spool_of_before_is_sealed(make_agent, service):
    """Made by the schema of the release before: only its first migrations are there."""
    agent = make_agent(conf={"spool.encrypt": ["no"]}, **service.agent_options())
    service.close()
    id = agent.send(SENDER, [BOB], message(size=100_000))
    agent.stop()
    assert BODY in found(agent) and BOB in found(agent)
    with sqlite3.connect(agent.path("agent.db")) as db:
        db.executescript("DROP INDEX recipient_awaited; DROP INDEX message_digest; ALTER TABLE message DROP COLUMN digest;"
                         "ALTER TABLE recipient DROP COLUMN transaction_number; PRAGMA user_version = 2")
    db.close()
    agent.set_conf("agent.conf", {"spool.encrypt": ["yes"]})
    agent.start()
    assert not found(agent)
    assert agent.entry(id)["to"][0]["address"] == BOB
    again = service.again()
    try:
        assert again.wait_message().octets.decode().count(BODY) == 1 + 100_000 // len(BODY)
    finally:
        again.close()


def test_off_and_on_again(make_agent):
    agent = offline(make_agent)
    id = agent.send(SENDER, [BOB], message())
    for encrypted in (False, True):
        agent.stop()
        agent.set_conf("agent.conf", {"spool.encrypt": ["yes" if encrypted else "no"]})
        agent.start()
        assert agent.status()["spool"]["encrypted"] == encrypted
        assert agent.entry(id)["to"][0]["address"] == BOB
        assert bool(found(agent)) != encrypted
        assert len(agent.log("store-sealed" if encrypted else "store-unsealed")) == 1


def test_on_a_nearly_full_disk_it_is_encrypted_mail_goes_on_and_the_rest_follows(small_disk, make_agent, service):
    agent = make_agent(start=False, conf={"spool.encrypt": ["no"]}, **service.agent_options())
    agent.folder = str(small_disk / "agent")
    agent.setup().start()
    service.handler_object.prescribed = lambda verb, address=None: "451 4.3.0 later" if address == BOB else None
    for _ in range(8):
        agent.send(SENDER, [BOB], message(size=1_000_000))
    agent.stop()
    assert BODY in found(agent)
    filler = small_disk / "filler"
    room = os.statvfs(small_disk)
    filler.write_bytes(b"\0" * (room.f_bavail * room.f_frsize - 3_000_000))
    agent.set_conf("agent.conf", {"spool.encrypt": ["yes"]})
    agent.start()
    spool = agent.status()["spool"]
    assert spool["encrypted"] and not spool["wiped"]
    assert re.search("; what lay in the clear before is not overwritten yet, which takes (8|9|10|11) MB of free disk$", spool["words"]), spool
    assert spool["words"] in agent.run("status").stdout
    assert len(agent.log("store-not-wiped")) == 1 and not agent.log("store-reserve-used")
    service.handler_object.prescribed = lambda verb, address=None: None
    agent.run("queue", "flush")
    wait_for(lambda: agent.status()["spool"]["wiped"], "what lay in the clear being overwritten")
    assert not found(agent) and not agent.unrelayed()


def test_a_key_that_is_lost_for_good_is_let_go(make_agent, service):
    """As the words on standard error say."""
    agent = make_agent(conf={"spool.key": ["file"]}, **service.agent_options())
    agent.wait_state(agent.send(), "relayed")
    agent.stop()
    os.unlink(agent.path("keys/spool.key"))
    done = agent.run("run", check=False)
    assert done.returncode == 77 and f"lost for good, so is that mail: move {agent.path('agent.db')}* away" in done.stderr, done
    os.mkdir(agent.path("away"))
    for name in os.listdir(agent.folder):
        if name.startswith("agent.db"):
            os.rename(agent.path(name), agent.path(f"away/{name}"))
    agent.start()
    assert agent.status()["spool"]["encrypted"]
    agent.wait_state(agent.send(), "relayed")


def test_a_key_that_is_damaged_for_good_is_let_go(make_agent, service):
    """As the words on standard error say: what they name is moved away, and nothing else."""
    agent = make_agent(**service.agent_options())
    agent.wait_state(agent.send(), "relayed")
    agent.stop()
    path = agent.path("keys/spool.key")
    with open(path, "w", encoding="ascii") as file:
        file.write("zz\n")
    done = agent.run("run", check=False)
    named = re.search(r"so is that mail: move (\S+)\* and (\S+) away, and the next start begins anew", done.stderr)
    assert done.returncode == 77 and "does not hold a key" in done.stderr and named and named.groups() == (agent.path("agent.db"), path), done
    os.mkdir(agent.path("away"))
    for name in [*glob.glob(named[1] + "*"), named[2]]:
        os.rename(name, agent.path(f"away/{os.path.basename(name)}"))
    agent.start()
    assert agent.status()["spool"]["encrypted"]
    agent.wait_state(agent.send(), "relayed")


def test_without_its_key_or_with_another_nothing_starts_and_nothing_is_lost(make_agent):
    agent = offline(make_agent, **{"spool.key": ["file"]})
    id = agent.send(SENDER, [BOB], message())
    agent.stop()
    path = agent.path("keys/spool.key")
    os.rename(path, path + ".away")
    for words in (["run"], ["queue", "list"]):
        done = agent.run(*words, check=False)
        assert done.returncode == 77 and path in done.stderr and "not lost" in done.stderr, done
    assert not os.path.exists(path)
    done = agent.sendmail("-f", SENDER, BOB, stdin=message(), check=False)
    assert done.returncode == 77 and path.encode() in done.stderr
    with open(path, "w", encoding="ascii") as file:
        file.write("7" * 64 + "\n")
    os.chmod(path, 0o600)
    done = agent.run("run", check=False)
    assert done.returncode == 77 and path in done.stderr and "not the one" in done.stderr and "not lost" in done.stderr, done
    os.chmod(path, 0o644)
    done = agent.run("run", check=False)
    assert done.returncode == 77 and "chmod 600" in done.stderr, done
    os.chmod(path, 0o600)
    os.chmod(agent.path("keys"), 0o777)
    done = agent.run("queue", "list", check=False)
    assert done.returncode == 77 and f"chmod go-w {agent.path('keys')}" in done.stderr, done
    os.chmod(agent.path("keys"), 0o700)
    os.rename(path + ".away", path)
    agent.start()
    assert [entry["id"] for entry in agent.queue()] == [id]


# ---- the desktop's secret service ----

def service_is_here():
    return all(shutil.which(name) for name in ("dbus-run-session", "gnome-keyring-daemon")) and any(
        os.path.exists(f"/usr/lib/{folder}/libsecret-1.so.0") for folder in ("x86_64-linux-gnu", "aarch64-linux-gnu", "."))


@pytest.fixture
def session(tmp_path):
    """Runs a script of the shell in a desktop's session with a secret service; gives what it said."""
    if not service_is_here():
        pytest.skip("dbus, gnome-keyring or libsecret is not installed")
    home = tmp_path / "home"
    home.mkdir(mode=0o700)

    def run(script):
        text = "set -u\nunlock() { printf pw | gnome-keyring-daemon --unlock --components=secrets >/dev/null; }\n" + textwrap.dedent(script)
        with tempfile.TemporaryDirectory() as runtime:   # its own: the daemon of the session before, just ending, is not to be found
            environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": runtime, "XDG_DATA_HOME": str(home / "data")}
            environment.pop("DISPLAY", None)
            return subprocess.run(["dbus-run-session", "--", "sh", "-c", text], env=environment, capture_output=True, text=True, timeout=200)
    return run


def test_the_key_lives_in_the_secret_service(make_agent, session):
    agent = offline(make_agent)
    agent.stop()
    os.unlink(agent.path("keys/spool.key"))
    os.unlink(agent.path("agent.db"))
    mail = agent.path("../mail")
    with open(mail, "wb") as file:
        file.write(message())
    command = f"{AGENT} --dir {agent.folder}"
    done = session(f"unlock; {command} sendmail -f {SENDER} {BOB} < {mail}; {command} queue list --json")
    assert done.returncode == 0 and BOB in done.stdout, done
    assert not os.path.exists(agent.path("keys/spool.key")) and not found(agent)
    again = session(f"unlock; {command} queue list --json")
    assert again.returncode == 0 and BOB in again.stdout, again
    without_bus = "env -u DBUS_SESSION_BUS_ADDRESS -u XDG_RUNTIME_DIR"
    for words in ("run", "queue list", f"sendmail -f {SENDER} {BOB} < {mail}"):   # before there is a session: none answers, and may later
        away = session(f"{without_bus} {command} {words}")
        assert away.returncode == 75 and "no secret service answers" in away.stderr and "not lost" in away.stderr, away
        assert f"lost for good, so is that mail: move {agent.path('agent.db')}* away" in away.stderr and not os.path.exists(agent.path("keys/spool.key")), away
    locked = session(f"gnome-keyring-daemon --start --components=secrets >/dev/null; {command} queue list")
    assert locked.returncode == 75 and "unlock" in locked.stderr and "not lost" in locked.stderr, locked
    assert not os.path.exists(agent.path("keys/spool.key"))
    assert BOB in session(f"unlock; {command} queue list --json").stdout


def test_the_child_takes_the_key_and_nothing_behind_it(session):
    """Its octets go from descriptor to secret memory: what reads ahead has a buffer that nobody wipes."""
    key = "0123456789abcdef" * 4
    done = session(f"unlock; printf {key}rest | {{ {AGENT} secret put spool; cat; }}; {AGENT} secret get spool")
    assert done.returncode == 0 and done.stdout == "rest" + key, done


def test_the_key_moves_into_the_secret_service(make_agent, session):
    """As agent.conf(5) tells it."""
    agent = offline(make_agent)
    id = agent.send(SENDER, [BOB], message())
    agent.stop()
    command = f"{AGENT} --dir {agent.folder} queue list --json"
    agent.set_conf("agent.conf", {"spool.encrypt": ["no"]})
    assert id in agent.run("queue", "list", "--json").stdout and BODY in found(agent)
    os.unlink(agent.path("keys/spool.key"))
    agent.set_conf("agent.conf", {"spool.encrypt": ["yes"], "spool.key": ["secret-service"]})
    for _ in range(2):
        done = session(f"unlock; {command}")
        assert done.returncode == 0 and id in done.stdout and not found(agent), done
    assert not os.path.exists(agent.path("keys/spool.key"))


def test_a_secret_service_that_must_be_and_is_not(make_agent):
    agent = offline(make_agent)
    agent.stop()
    os.unlink(agent.path("keys/spool.key"))
    os.unlink(agent.path("agent.db"))
    agent.set_conf("agent.conf", {"spool.key": ["secret-service"]})
    agent.environment = {name: value for name, value in os.environ.items() if name not in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY")}
    done = agent.run("run", check=False)
    assert done.returncode == 75 and "secret service" in done.stderr, done
    assert not os.path.exists(agent.path("keys/spool.key"))


def test_a_session_bus_that_keeps_silent_is_no_secret_service(make_agent, tmp_path):
    """Of a new spool: the file is made. One whose key may be there waits for it."""
    agent = offline(make_agent)
    agent.stop()
    os.unlink(agent.path("keys/spool.key"))
    with socket.socket(socket.AF_UNIX) as bus:
        bus.bind(str(tmp_path / "bus"))
        bus.listen(50)
        agent.environment = {**os.environ, "DBUS_SESSION_BUS_ADDRESS": f"unix:path={tmp_path}/bus"}
        away = agent.run("queue", "list", check=False)
        assert away.returncode == 75 and "not lost" in away.stderr and "key = file" not in away.stderr, away
        assert not os.path.exists(agent.path("keys/spool.key"))
        os.unlink(agent.path("agent.db"))
        done = agent.run("setup", *agent.setup_options(), "--replace", stdin="secret\n")
        assert f"the file {agent.path('keys/spool.key')}" in done.stdout and os.path.exists(agent.path("keys/spool.key"))


def test_a_locked_service_stops_no_setup_for_good(session, tmp_path):
    folder = tmp_path / "new"
    setup = f"printf 'secret\\n' | {AGENT} setup --dir {folder} --server relay.example --user anna"
    session(f"unlock; {AGENT} secret get spool")   # makes the keyring, which the next session finds locked
    locked = session(f"gnome-keyring-daemon --start --components=secrets >/dev/null; {setup}")
    assert locked.returncode == 75 and "[spool] key = file" in locked.stderr and f"postern-agent run --dir {folder}" in locked.stderr, locked
    assert not (folder / "keys/spool.key").exists()
    text = (folder / "agent.conf").read_text()
    (folder / "agent.conf").write_text(text.replace("\n#key = auto\n", "\nkey = file\n"))
    away = session(f"{AGENT} queue list --dir {folder}")
    assert away.returncode == 0 and (folder / "keys/spool.key").exists(), away
    again = session(f"unlock; {setup} --replace")
    assert again.returncode == 0, again


# ---- a disk in other hands ----

def test_a_message_that_was_altered_is_held_and_the_rest_goes(make_agent, service):
    options = service.agent_options()
    service.close()
    agent = make_agent(**options)
    altered, whole = [agent.send(SENDER, [BOB], message()) for _ in range(2)]
    agent.stop()
    with sqlite3.connect(agent.path("agent.db")) as db:
        db.execute("UPDATE body SET octets = (SELECT octets FROM body ORDER BY message DESC LIMIT 1) WHERE message = (SELECT message FROM body ORDER BY message LIMIT 1)")
    db.close()
    again = service.again()
    try:
        agent.start()
        agent.wait_state(whole, "relayed")
        agent.wait_state(altered, "held")
        agent.wait_log("sealed-record")
        assert len(again.messages) == 1
        agent.run("queue", "remove", altered)
    finally:
        again.close()


@pytest.mark.parametrize("encrypt", ["yes", "no"])
def test_a_database_that_has_forgotten_that_it_is_sealed_is_not_taken_for_text(make_agent, encrypt):
    agent = offline(make_agent)
    id = agent.send(SENDER, [BOB], message())
    agent.stop()
    with sqlite3.connect(agent.path("agent.db")) as db:
        mark = db.execute("SELECT value FROM setting WHERE name = 'seal'").fetchone()[0]
        db.execute("DELETE FROM setting WHERE name = 'seal'")
        plain = db.execute("UPDATE recipient SET address = 'eve@dest.example', orcpt = '', reply = '', host = ''").rowcount
    db.close()
    agent.set_conf("agent.conf", {"spool.encrypt": [encrypt]})
    for _ in range(2):
        done = agent.run("run", check=False)
        assert plain == 1 and done.returncode != 0 and "encrypted" in done.stderr and "altered" in done.stderr, done
    agent.set_conf("agent.conf", {"spool.encrypt": ["yes"]})
    with sqlite3.connect(agent.path("agent.db")) as db:
        db.execute("INSERT INTO setting (name, value) VALUES ('seal', ?)", (mark,))
    db.close()
    agent.start()
    assert agent.entry(id)["from"] == SENDER
