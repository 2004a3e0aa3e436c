"""postern-relay's command line: init, accounts, listings as JSON, and clear words with an exit code for everything that is wrong."""
import json
import os
import re
import shutil
import socket
import sqlite3
import stat
import subprocess
import tempfile

import pytest

from relay_support import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_IOERR, EX_NOINPUT, EX_NOPERM, EX_TEMPFAIL, EX_UNAVAILABLE, EX_USAGE, RELAY

EX_NOUSER = 67


@pytest.fixture
def relay(make_relay):
    return make_relay(start=False)


def words_of(done):
    """What was said on stderr, without "postern-relay: "."""
    assert done.stdout == "" or done.returncode == 0, done.stdout
    return done.stderr


def test_init_makes_a_private_folder_and_tells_the_pin(relay):
    for name, mode in {"": 0o700, "keys": 0o700, "keys/relay.key": 0o600, "relay.conf": 0o600, "relay.db": 0o600}.items():
        assert stat.S_IMODE(os.stat(relay.path(name)).st_mode) == mode, name
    pin = relay.run("key", "show").stdout
    assert re.fullmatch(r"sha256//[A-Za-z0-9+/]{43}=\n", pin)
    assert relay.json("key", "show") == [pin.strip()]
    openssl = subprocess.run(f"openssl x509 -in {relay.certificate} -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64",
                             shell=True, capture_output=True, text=True, check=True)
    assert pin.strip() == "sha256//" + openssl.stdout.strip()


def test_init_overwrites_nothing(relay):
    with open(relay.path("keys/relay.key"), "rb") as file:
        key = file.read()
    done = relay.run("init", "--name", "other.example", check=False)
    assert done.returncode == EX_CANTCREAT and "relay.conf exists" in words_of(done)
    with open(relay.path("keys/relay.key"), "rb") as file:
        assert file.read() == key


def read_bytes(relay, *names):
    texts = {}
    for name in names:
        with open(relay.path(name), "rb") as file:
            texts[name] = file.read()
    return texts


def lose_database(relay):
    for name in os.listdir(relay.folder):
        if name.startswith("relay.db"):
            os.unlink(relay.path(name))


def test_init_makes_the_database_that_was_lost_and_keeps_the_rest(relay):
    """Where run and account lead to; laptops know the relay by its key."""
    kept = ("relay.conf", "keys/relay.key", "keys/relay.crt")
    before, pin = read_bytes(relay, *kept), relay.run("key", "show").stdout
    lose_database(relay)
    for words, code in ((["run"], EX_CONFIG), (["account", "list"], EX_NOINPUT)):
        done = relay.run(*words, check=False)
        assert done.returncode == code and f"init --dir {relay.folder}. Then make the accounts again" in words_of(done), done
        assert "--name" not in words_of(done) and "relay.conf and the key" in words_of(done)
    told = relay.run("init").stdout
    assert f"Made {relay.path('relay.db')}.\nKept {relay.path('relay.conf')}, {relay.path(kept[1])}, {relay.path(kept[2])}.\n" in told, told
    assert pin.strip() in told and "same names and\npasswords" in told and "new pin" not in told
    assert read_bytes(relay, *kept) == before and stat.S_IMODE(os.stat(relay.path("relay.db")).st_mode) == 0o600
    relay.add_account("anna", "secret", "anna@example.org")
    relay.start()
    assert relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])


@pytest.mark.parametrize("options, words", [(["--name", "other.example"], "the relay's name in it is relay.example"), (["--smarthost", "smtp://mail.example"], "leave out --smarthost")])
def test_init_changes_nothing_in_a_configuration_that_is_there(relay, options, words):
    before = read_bytes(relay, "relay.conf")
    lose_database(relay)
    done = relay.run("init", *options, check=False)
    assert done.returncode == EX_USAGE and words in words_of(done), done
    assert read_bytes(relay, "relay.conf") == before and not os.path.exists(relay.path("relay.db"))
    relay.run("init", "--name", "RELAY.example")


def test_init_makes_no_key_in_the_place_of_one_that_is_looked_for(relay):
    os.rename(relay.path("keys/relay.key"), relay.path("keys/away"))
    done = relay.run("init", check=False)
    assert done.returncode == EX_CANTCREAT and "relay.key is not: put it back" in words_of(done), done
    os.rename(relay.path("keys/relay.crt"), relay.path("keys/away.crt"))
    told = relay.run("init").stdout
    assert "needs the new pin" in told and f"Kept {relay.path('relay.conf')}, {relay.path('relay.db')}.\n" in told, told
    for name in ("relay.key", "relay.crt"):
        os.unlink(relay.path(f"keys/{name}"))
    relay.conf.update({"relay.key": [relay.path("keys/of-others.key")], "relay.certificate": [relay.path("keys/of-others.crt")]})
    relay.write_conf()
    done = relay.run("init", check=False)
    assert done.returncode == EX_CANTCREAT and "of-others.key, which" in words_of(done), done


def test_init_makes_the_configuration_that_was_lost(relay):
    before = read_bytes(relay, "keys/relay.key", "relay.db")
    os.unlink(relay.path("relay.conf"))
    assert relay.run("init", check=False).returncode == EX_USAGE      # by what name?
    told = relay.run("init", "--name", "relay.example").stdout
    assert f"Made {relay.path('relay.conf')}.\n" in told and "database is empty" not in told
    assert read_bytes(relay, "keys/relay.key", "relay.db") == before


@pytest.mark.parametrize("options, words", [
    ([], "--name HOST"),
    (["--name", "localhost"], "full host name"),
    (["--name", "bad name.example"], "full host name"),
    (["--name", "relay.example", "--smarthost", "mail.example"], "smtps://"),
    (["--name", "relay.example", "--smarthost", "smtps://user@mail.example"], "USER:PASSWORD"),
])
def test_init_judges_its_options(tmp_path, options, words):
    done = subprocess.run([RELAY, "init", "--dir", str(tmp_path / "new"), *options], capture_output=True, text=True)
    assert done.returncode == EX_USAGE and words in done.stderr, done.stderr
    assert not os.path.exists(tmp_path / "new" / "relay.conf")


def test_init_keeps_the_smarthost(tmp_path):
    folder = tmp_path / "new"
    subprocess.run([RELAY, "init", "--dir", str(folder), "--name", "relay.example", "--smarthost", "smtps://a%40b:c@mail.example:465"], check=True,
                   capture_output=True)
    assert "\nsmarthost = smtps://a%40b:c@mail.example:465\n" in (folder / "relay.conf").read_text()
    done = subprocess.run([RELAY, "status", "--dir", str(folder), "--json"], check=True, capture_output=True, text=True)
    assert json.loads(done.stdout)["smarthost"] is True


@pytest.mark.parametrize("words, detail", [
    ([], "which command"),
    (["fly"], "no such command"),
    (["queue"], "postern-relay queue list"),
    (["queue", "show"], "missing"),
    (["queue", "show", "a", "b"], "too much"),
    (["status", "--colour"], "unknown option"),
    (["status", "--all"], "no such option"),
    (["account", "add", "anna", "--send-as"], "needs a value"),
    (["account", "add", "anna"], "--send-as"),
])
def test_usage_errors(relay, words, detail):
    done = subprocess.run([RELAY, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == EX_USAGE and detail in done.stderr, done.stderr


def test_help():
    done = subprocess.run([RELAY, "--help"], capture_output=True, text=True, check=True)
    assert "account add NAME" in done.stdout and "queue list" in done.stdout
    done = subprocess.run([RELAY, "account", "add", "--help"], capture_output=True, text=True, check=True)
    assert "--send-as" in done.stdout


def test_account_life(relay):
    assert relay.json("account", "list") == []
    made = relay.json("account", "add", "Anna", "--send-as", "Anna@Example.org", "--send-as", "@example.net")
    assert made["name"] == "anna" and sorted(made["send_as"]) == ["@example.net", "anna@example.org"] and made["enabled"] is True
    assert re.fullmatch(r"(\w{4}-){4}\w{4}", made["password"])
    given = relay.json("account", "add", "bob", "--send-as", "bob@example.org", stdin="a given password\n")
    assert "password" not in given
    assert [account["name"] for account in relay.json("account", "list")] == ["anna", "bob"]
    relay.run("account", "disable", "BOB")
    assert relay.json("account", "show", "bob")["enabled"] is False
    relay.run("account", "enable", "bob")
    assert relay.json("account", "show", "bob")["enabled"] is True
    assert "password" in relay.json("account", "passwd", "bob")
    relay.run("account", "remove", "bob")
    assert [account["name"] for account in relay.json("account", "list")] == ["anna"]


@pytest.mark.parametrize("words, code, detail", [
    (["account", "show", "nobody"], EX_NOUSER, "no account nobody"),
    (["account", "remove", "nobody"], EX_NOUSER, "account list"),
    (["account", "add", "anna", "--send-as", "anna@example.org"], EX_DATAERR, "account passwd anna"),
    (["account", "add", "an na", "--send-as", "anna@example.org"], EX_USAGE, "no account name"),
    (["account", "add", "carl", "--send-as", "carl"], EX_USAGE, "neither an address nor @DOMAIN"),
    (["queue", "show", "0000000000000"], EX_DATAERR, "queue list"),
    (["queue", "hold", "!"], EX_USAGE, "no message id"),
    (["queue", "retry", "--all"], EX_UNAVAILABLE, "does not run"),
])
def test_commands_say_what_is_wrong(relay, words, code, detail):
    relay.add_account("anna", "secret", "anna@example.org")
    done = relay.run(*words, check=False)
    assert done.returncode == code and detail in words_of(done), (done.returncode, done.stderr)


def test_passwords_and_their_hashes_are_nowhere_but_in_the_database(relay):
    relay.add_account("anna", "a-very-secret-word", "anna@example.org")
    for words in (("account", "list"), ("account", "show", "anna"), ("status",)):
        text = relay.run(*words, "--json").stdout
        assert "argon2" not in text and "secret-word" not in text
    for folder, _, names in os.walk(relay.folder):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert b"a-very-secret-word" not in file.read(), name


@pytest.mark.parametrize("line, words", [
    ("colour = red", "colour"),
    ("listen = 127.0.0.1:25", "starttls"),
    ("threads = many", "threads"),
])
def test_bad_configuration_names_file_and_line(relay, line, words):
    with open(relay.path("relay.conf")) as file:
        text = file.read()
    with open(relay.path("relay.conf"), "w") as file:
        file.write(text.replace("[relay]\n", f"[relay]\n{line}\n"))
    number = text.split("\n").index("[relay]") + 2
    for words_of_command in (("run",), ("account", "list")):
        done = relay.run(*words_of_command, check=False)
        assert done.returncode == EX_CONFIG and f"relay.conf:{number}" in done.stderr and words in done.stderr, done.stderr


def test_a_configuration_with_a_password_must_be_private(relay):
    relay.conf["delivery.smarthost"] = ["smtps://anna:tellnobody@mail.example"]
    relay.write_conf()
    os.chmod(relay.path("relay.conf"), 0o644)
    done = relay.run("run", check=False)
    assert done.returncode == EX_CONFIG and "chmod 600" in done.stderr and "tellnobody" not in done.stderr, done.stderr


@pytest.mark.parametrize("name, mode, code, advice", [
    ("keys/relay.key", 0o644, EX_NOPERM, "chmod 600"), ("keys/relay.key", 0o640, EX_NOPERM, "chmod 600"), ("keys", 0o770, EX_NOPERM, "chmod go-w"),
    ("keys", 0o702, EX_NOPERM, "chmod go-w"), ("relay.conf", 0o664, EX_CONFIG, "chmod go-w"), ("relay.conf", 0o646, EX_CONFIG, "chmod go-w")])
def test_what_others_can_read_or_write_is_refused(relay, name, mode, code, advice):
    os.chmod(relay.path(name), mode)
    done = relay.run("run", check=False)
    assert done.returncode == code and f"{advice} {relay.path(name)}" in done.stderr, (done.returncode, done.stderr)
    assert advice in relay.run("check", check=False).stdout


def test_missing_files(relay):
    os.rename(relay.path("keys/relay.key"), relay.path("keys/away.key"))
    done = relay.run("run", check=False)
    assert done.returncode != 0 and "relay.key" in done.stderr, done.stderr
    os.rename(relay.path("relay.db"), relay.path("away.db"))
    done = relay.run("run", check=False)
    assert done.returncode == EX_CONFIG and "init" in done.stderr, done.stderr
    done = relay.run("queue", "list", check=False)
    assert done.returncode != 0 and "init" in done.stderr, done.stderr


def test_a_newer_database_is_left_alone(relay):
    with sqlite3.connect(relay.path("relay.db")) as database:
        version = database.execute("pragma user_version").fetchone()[0]
        database.execute(f"pragma user_version = {version + 1}")
    for words in (("run",), ("account", "list")):
        done = relay.run(*words, check=False)
        assert done.returncode == EX_DATAERR and "newer" in done.stderr, (done.returncode, done.stderr)


@pytest.mark.parametrize("at, octets", [(0, b"nonsense" * 40), (18, b"\xff" * 40), (100, b"\x77" * 16000)],
                         ids=["magic", "header", "schema"])
def test_a_damaged_database_is_told_what_to_do(relay, at, octets):
    """In words, and without SQL in them."""
    with open(relay.path("relay.db"), "r+b") as file:
        file.seek(at)
        file.write(octets)
    done = relay.run("run", check=False)
    assert done.returncode == EX_DATAERR, (done.returncode, done.stderr)
    assert "restore a backup" in done.stderr and f"sqlite3 {relay.path('relay.db')} .recover" in done.stderr, done.stderr
    assert "PRAGMA" not in done.stderr, done.stderr


def test_a_port_in_use_is_named(relay):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        relay.listen = [f"127.0.0.1:{port} tls"]
        relay.write_conf()
        done = relay.run("run", check=False)
        assert done.returncode == EX_UNAVAILABLE and f"127.0.0.1:{port}" in done.stderr, done.stderr
        findings = relay.run("check", "--json", check=False)
        assert findings.returncode == EX_CONFIG
        assert [f for f in json.loads(findings.stdout) if f["what"] == "port" and f["state"] == "error" and str(port) in f["words"]]


@pytest.mark.parametrize("words", [("account", "list"), ("account", "list", "--json"), ("help",), ("key", "show")])
def test_an_answer_that_nobody_reads(relay, words):
    """A pipe whose reader has gone is told, with an exit code of sysexits: no death by SIGPIPE."""
    relay.add_account("anna", "secret", "anna@example.org")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([RELAY, *words, "--dir", relay.folder], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    os.close(writer)
    assert done.returncode == EX_IOERR and "could not be written" in done.stderr, (done.returncode, done.stderr)


def test_only_one_relay_in_a_folder(make_relay):
    relay = make_relay()
    done = relay.run("run", check=False)
    assert done.returncode == EX_TEMPFAIL and done.stderr, (done.returncode, done.stderr)


@pytest.mark.parametrize("words, told", [
    (["init", "--name", "--dir", "x"], ["the option needs a value: --name"]),
    (["account", "add", "anna", "--send-as", "--dir", "x"], ["the option needs a value: --send-as"]),
    (["status", "--dir"], ["the option needs a value: --dir"]),
    (["run", "x"], ["too much: x\n", "Usage: postern-relay run [--dir DIR]\n"]),
    (["queue", "show", "1", "2"], ["too much: 2\n", "Usage: postern-relay queue show ID [--json] [--dir DIR]\n"]),
    (["account", "show"], ["something is missing\n", "Usage: postern-relay account show NAME"]),
    (["run", "--json"], ["has no such option\n", "Usage: postern-relay run [--dir DIR]\n"]),
])
def test_a_wrong_line_is_told_what_is_wrong(tmp_path, words, told):
    done = subprocess.run([RELAY, *words], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == EX_USAGE and done.stdout == "" and all(text in done.stderr for text in told), done
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("program", [RELAY, os.path.join(os.path.dirname(RELAY), "postern-agent")])
def test_version(program):
    done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60)
    name = os.path.basename(program)
    assert (done.returncode, done.stderr) == (0, "") and re.fullmatch(rf"{name} \d+\.\d+(\.\d+)?\n", done.stdout), done
    told = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60).stdout
    assert done.stdout.strip() in told and "--version" in told, told


@pytest.mark.parametrize("program, page", [(RELAY, "postern-relay.8"), (os.path.join(os.path.dirname(RELAY), "postern-agent"), "postern-agent.1")])
def test_every_command_stands_in_the_synopsis(program, page):
    told = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=60).stdout
    commands = set(re.findall(r"^  ([a-z]+)", told, re.M))
    with open(os.path.join(os.path.dirname(__file__), "../../deploy/man", page), encoding="utf-8") as file:
        synopsis = file.read().split(".Sh SYNOPSIS")[1].split(".Sh ")[0]
    assert "run" in commands and commands <= set(re.findall(r"[a-z]+", synopsis)), commands


@pytest.mark.parametrize("page, without_json, without_dir", [("postern-relay.8", {"init", "run"}, set()), ("postern-agent.1", {"setup", "run", "proxies", "secret", "sendmail"}, {"proxies", "secret"})])
def test_the_synopsis_has_the_options_of_every_command(page, without_json, without_dir):
    with open(os.path.join(os.path.dirname(__file__), "../../deploy/man", page), encoding="utf-8") as file:
        forms = file.read().split(".Sh SYNOPSIS")[1].split(".Sh ")[0].split(".Nm\n")[1:-1]
    for form in forms:
        (command, *_) = re.findall(r"^\.Cm ([a-z]+)", form, re.M)
        assert bool(re.search(r"^\.Op Fl (-|Fl )json$", form, re.M)) == (command not in without_json), form
        assert bool(re.search(r"^\.Op Fl (-|Fl )dir ", form, re.M)) == (command not in without_dir), form


def test_every_form_has_its_options():
    told = subprocess.run([RELAY, "--help"], capture_output=True, text=True, timeout=60).stdout
    forms = re.findall(r"^  ([a-z].*)$", told, re.M)
    assert len(forms) > 20 and all(form.endswith(" [--dir DIR]") for form in forms), forms
    for form in forms:
        words = re.match(r"[a-z ]*[a-z](?= |$)", form)[0].split(" ")
        one = subprocess.run([RELAY, *words, "--help"], capture_output=True, text=True, timeout=60)
        assert one.stdout.startswith(f"Usage: postern-relay {form}\n"), one
        asked = subprocess.run([RELAY, *words, "--json", "--dir", "/nonexistent"], capture_output=True, text=True, timeout=60)
        assert asked.returncode != 0 and ("no such option" in asked.stderr) != (" [--json] " in form), (form, asked)


def test_hints_name_the_folder(make_relay, tmp_path):
    relay = make_relay(start=False)
    assert f"start it with: postern-relay run --dir {relay.folder}\n" in relay.run("status").stdout
    assert f"make one with: postern-relay account add NAME --send-as ADDRESS --dir {relay.folder}\n" == relay.run("account", "list").stdout.split("; ")[1]
    assert relay.json("account", "list") == []
    done = subprocess.run([RELAY, "status", "--dir", tmp_path / "none"], capture_output=True, text=True, timeout=60)
    assert done.stderr.endswith(f"make one with: postern-relay init --name HOST --dir {tmp_path}/none\n"), done


def documented(command):
    """The words in backquotes of json.md's part on it."""
    with open(os.path.join(os.path.dirname(__file__), "../../schema/json.md"), encoding="utf-8") as file:
        part = file.read().split(f"### `{command}`\n")[1].split("\n### ")[0]
    return set(re.findall(r"`(\w+)`", part))


def test_check_and_dns(make_relay):
    relay = make_relay(zone="relay.example A 127.0.0.1\n")
    relay.add_account("anna", "secret", "@example.org")
    findings = {finding["what"]: finding for finding in relay.json("check")}
    assert "ways" in findings and set(findings) <= documented("check")      # no port 443 here
    assert findings["name"]["state"] == "ok" and findings["running"]["state"] == "ok" and findings["accounts"]["state"] == "ok"
    records = relay.json("dns")
    assert {"name": "example.org", "type": "TXT", "value": '"v=spf1 a:relay.example ~all"'}.items() <= next(
        record for record in records if record["name"] == "example.org").items()


def test_check_finds_what_is_wrong(relay):
    os.chmod(relay.path("keys/relay.key"), 0o644)
    done = relay.run("check", "--json", check=False)
    states = {finding["what"]: finding["state"] for finding in json.loads(done.stdout)}
    assert done.returncode == EX_CONFIG and states["certificate"] == "error" and states["accounts"] == "warning"


def test_status_of_a_running_relay(make_relay):
    relay = make_relay()
    status = relay.json("status")
    assert status["running"] is True and status["pid"] == relay.process.pid and status["name"] == "relay.example" and status["sessions"] == 0
    assert sorted(listener["mode"] for listener in status["listeners"]) == ["starttls", "tls"]
    assert status["pins"] == relay.json("key", "show")
    assert status["halves"] == {"count": 0, "octets": 0}
    text = relay.run("status").stdout
    assert "listens" in text and "\nhalves   0, 0" in text


@pytest.mark.parametrize("words", [["queue"], ["queue", "lsit"], ["account"], ["key", "shwo"]])
def test_a_group_tells_its_commands(make_relay, words):
    relay = make_relay(start=False)
    done = relay.run(*words, check=False)
    assert done.returncode == 64
    assert f"postern-relay {words[0]} " in done.stderr
    assert relay.run(words[0], "--help").stdout == done.stderr


def test_root_sets_up_for_the_user_whose_folder_it_is(make_relay):
    """What deploy/tmpfiles.d prepares: folders of another user, in which root gives the commands."""
    if os.geteuid() != 0 or not os.path.exists("/proc/self/uid_map") or len(open("/proc/self/uid_map").read().splitlines()) > 1:
        pytest.skip("only root of the whole machine can act as somebody else")
    relay = make_relay(start=False)
    shutil.rmtree(relay.folder)
    folder = tempfile.mkdtemp(prefix="postern-owner-")
    try:
        os.chown(folder, 65534, 65534)
        relay.folder = folder
        relay.run("init", "--name", "relay.example")
        assert {os.stat(os.path.join(folder, name)).st_uid for name in os.listdir(folder)} == {65534}
        relay.run("check", check=False)
    finally:
        shutil.rmtree(folder)
