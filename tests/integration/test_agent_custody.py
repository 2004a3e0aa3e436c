"""What became of mail: the relay tells, the agent shows it, and hands over again what a relay has lost."""
import os
import shutil
import sqlite3
import time

import pytest

from agent_support import Service, pin_of
from daemon import free_port, submit, wait_for
from relay_support import make_message

IS_SANITIZED = "asan" in os.environ.get("POSTERN_BUILD", "")


@pytest.fixture
def sink(make_sink):
    return make_sink()


def relay_options(sink, **more):
    """With a port that is the same after a restart."""
    return {"zone": f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", "mx_port": sink.port, "listen": [f"127.0.0.1:{free_port()} tls"], **more}


@pytest.fixture
def relay(make_relay, sink):
    relay = make_relay(**relay_options(sink))
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


def agent_options(relay, **conf):
    return {"pin": pin_of(relay), "ways": [f"{relay.address('tls')[1]} tls"], "conf": {key.replace("_", ".", 1): [value] for key, value in conf.items()}}


def to_of(agent, id, place=0):
    return agent.entry(id)["to"][place]


def bodies(agent):
    """Messages whose copy is on the agent's disk."""
    database = sqlite3.connect(f"file:{agent.path('agent.db')}?mode=ro", uri=True)
    try:
        return database.execute("SELECT count(*) FROM body").fetchone()[0]
    finally:
        database.close()


def begin_with(relay, database):
    """Its disk has died; it begins again with its keys and that database, or with a new one."""
    relay.kill()
    for name in os.listdir(relay.folder):
        if name.startswith("relay.db"):
            os.unlink(relay.path(name))
    if database:
        shutil.copy(database, relay.path("relay.db"))
    else:
        relay.run("init")
    relay.start()


def keep_backup(relay, path):
    relay.stop()
    shutil.copy(relay.path("relay.db"), path)
    relay.start()


# ---- what is shown ----

def test_delivered_is_shown_and_the_copy_goes(make_agent, relay, sink):
    agent = make_agent(**agent_options(relay))
    id = agent.send()
    entry = agent.wait_state(id, "delivered")
    to = entry["to"][0]
    assert to["state"] == "delivered" and "250 2.0.0 Ok: taken" in to["reply"], to
    assert "mx.dest.example" in to["host"] and to["at"] and to["next"] is None, to
    wait_for(lambda: bodies(agent) == 0, "the copy's end")
    assert agent.status()["queue"]["awaited"] == 0
    assert len(sink.messages) == 1


def test_deferred_then_delivered(make_agent, make_relay, sink):
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 5s"]))
    relay.add_account("anna", "secret", "anna@example.org")
    sink.replies[("RCPT", "bob@dest.example")] = ["451 4.7.1 greylisted", "250 ok"]
    agent = make_agent(**agent_options(relay))
    id = agent.send(to=("bob@dest.example", "carl@dest.example"))
    bob = wait_for(lambda: (lambda r: r if "greylisted" in (r["reply"] or "") else None)(to_of(agent, id)), "the relay's deferral shown")
    assert bob["state"] == "relayed" and bob["reply"].startswith("the relay tries again at 20") and "451 4.7.1 greylisted" in bob["reply"], bob
    assert "mx.dest.example" in bob["host"] and bob["next"] and bob["words"], bob
    assert to_of(agent, id, 1)["state"] == "delivered"
    entry = agent.entry(id)
    assert entry["state"] == "relayed" and bodies(agent) == 1    # delivered only when all are
    shown = agent.run("queue", "show", id).stdout
    assert "the relay" in shown and "asked again at" in shown and "Z by mx.dest.example" not in shown.split("carl@")[0], shown
    assert [e["id"] for e in agent.queue()] == [id] and "The queue is empty" not in agent.run("queue", "list").stdout
    agent.wait_state(id, "delivered")
    wait_for(lambda: bodies(agent) == 0, "the copy's end")
    assert agent.queue() == [] and [e["id"] for e in agent.queue("--all")] == [id]
    assert "there is nothing to do" in agent.run("queue", "flush").stdout


def test_flush_asks_what_became_of_it(make_agent, make_relay, sink):
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 1h"]))
    relay.add_account("anna", "secret", "anna@example.org")
    sink.replies[("RCPT", "bob@dest.example")] = ["451 4.7.1 greylisted", "250 ok"]
    agent = make_agent(**agent_options(relay))
    id = agent.send()
    wait_for(lambda: "greylisted" in (to_of(agent, id)["reply"] or ""), "the relay's deferral shown")
    relay.json("queue", "retry", "--all")
    wait_for(lambda: relay.queue() == [], "the relay to have delivered it")
    assert agent.entry(id)["state"] == "relayed"
    assert "1 with the relay" in agent.run("queue", "flush").stdout
    agent.wait_state(id, "delivered")


def test_bounced_at_the_relay_is_shown_and_reported_by_it_alone(make_agent, relay, sink):
    sink.replies[("RCPT", "bob@dest.example")] = ["550 5.1.1 no such user"]
    agent = make_agent(**agent_options(relay))
    id = agent.send()
    to = agent.wait_state(id, "bounced")["to"][0]
    assert "550 5.1.1 no such user" in to["reply"] and "mx.dest.example" in to["host"], to
    assert [e["id"] for e in agent.queue("--all")] == [id]    # no report of the agent's own
    assert [e["report"] for e in relay.queue("--all")].count(True) == 1


# ---- a relay that forgets ----

def make_stranded(make_agent, make_relay, sink, make_sink):
    """A relay that reaches nobody beyond it, and tries again in an hour."""
    dead_end = make_sink()
    dead_end.close()
    relay = make_relay(**relay_options(sink, mx_port=dead_end.port, conf=["delivery.schedule = 1h"]))
    relay.add_account("anna", "secret", "anna@example.org")
    return make_agent(**agent_options(relay)), relay


def test_a_relay_that_lost_its_database_is_refilled(make_agent, make_relay, sink, make_sink):
    agent, relay = make_stranded(make_agent, make_relay, sink, make_sink)
    id = agent.send(message=make_message(subject="once"))
    wait_for(lambda: to_of(agent, id)["reply"] and "tries again" in to_of(agent, id)["reply"], "the relay's word on it")
    relay.conf["delivery.mx_port"] = [str(sink.port)]
    relay.write_conf()
    begin_with(relay, None)
    relay.add_account("anna", "secret", "anna@example.org")
    # A session for other mail shows that the relay has begun anew; then all that it had is asked about.
    other = agent.send(message=make_message(subject="other"))
    agent.wait_log("relay-begun-anew")
    agent.wait_log("relay-lost", item=id)
    agent.wait_state(id, "delivered")
    agent.wait_state(other, "delivered")
    assert sorted(m.header("Subject") for m in sink.messages) == ["once", "other"]


def test_flush_alone_finds_out_that_a_relay_has_begun_anew(make_agent, make_relay, sink, make_sink):
    """Nothing is queued; the session that asks is refused, since the relay does not know the device any more, and the next one logs in by password."""
    agent, relay = make_stranded(make_agent, make_relay, sink, make_sink)
    id = agent.send()
    wait_for(lambda: "tries again" in (to_of(agent, id)["reply"] or ""), "the relay's word on it")
    wait_for(lambda: agent.status()["way"] is None, "the session's end")
    relay.conf["delivery.mx_port"] = [str(sink.port)]
    relay.write_conf()
    begin_with(relay, None)
    relay.add_account("anna", "secret", "anna@example.org")
    agent.run("queue", "flush")
    agent.wait_log("relay-changed")
    agent.wait_log("relay-lost", item=id)
    agent.wait_state(id, "delivered")
    assert len(sink.wait_messages(1)) == 1


def test_what_is_removed_is_not_counted_as_awaited(make_agent, make_relay, sink, make_sink):
    agent, relay = make_stranded(make_agent, make_relay, sink, make_sink)
    id = agent.send()
    wait_for(lambda: agent.status()["queue"]["awaited"] == 1, "the relay to have it")
    agent.run("queue", "remove", id)
    assert agent.status()["queue"]["awaited"] == 0
    assert "0 with the relay" not in agent.run("queue", "flush").stdout


def test_an_old_backup_is_filled_up(make_agent, make_relay, sink, make_sink, tmp_path):
    """The backup knows the first message, the second came after it: only that is handed over again."""
    agent, relay = make_stranded(make_agent, make_relay, sink, make_sink)
    first = agent.send(message=make_message(subject="first"))
    wait_for(lambda: "tries again" in (to_of(agent, first)["reply"] or ""), "the relay's word on the first")
    keep_backup(relay, tmp_path / "backup.db")
    second = agent.send(message=make_message(subject="second"))
    wait_for(lambda: "tries again" in (to_of(agent, second)["reply"] or ""), "and on the second")
    relay.conf["delivery.mx_port"] = [str(sink.port)]
    relay.write_conf()
    begin_with(relay, tmp_path / "backup.db")
    relay.run("queue", "retry", "--all")
    agent.stop()
    agent.start()
    third = agent.send(message=make_message(subject="third"))    # over its session all that is awaited is asked about
    agent.wait_log("relay-lost", item=second)
    agent.wait_state(first, "delivered")
    agent.wait_state(second, "delivered")
    agent.wait_state(third, "delivered")
    assert not agent.log("relay-lost", item=first)
    assert sorted(m.header("Subject") for m in sink.messages) == ["first", "second", "third"]


@pytest.mark.parametrize("keeps, n", [("yes", 40 if IS_SANITIZED else 1000), ("no", 300)])
def test_however_much_was_lost_is_asked_about_in_one_go(make_agent, make_relay, sink, keeps, n):
    """More than a session may idle (200). What is to be handed over again is; what has no copy any more is told. Nobody is thrown out, and nothing is asked for ever."""
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 1h"]))
    relay.add_account("anna", "secret", "anna@example.org")
    sink.replies[("DATA", None)] = ["451 4.3.0 later"]
    agent = make_agent(**agent_options(relay, queue_keep_copies=keeps))
    with agent.client() as client:
        client.ehlo()
        ids = [submit(client, "anna@example.org", ["bob@dest.example"], make_message(subject=f"n{i}")) for i in range(n)]
    wait_for(lambda: not agent.unrelayed(), "all being with the relay")
    agent.stop()
    begin_with(relay, None)
    relay.add_account("anna", "secret", "anna@example.org")
    agent.start()
    agent.send(message=make_message(subject="other"))
    wait_for(lambda: len(agent.log("relay-lost")) >= n, lambda: f"the relay knowing nothing of {n}; of {len(agent.log('relay-lost'))}")
    if keeps == "yes":
        wait_for(lambda: len(relay.queue("--all")) == n + 1, lambda: f"{n + 1} messages at the relay; {len(relay.queue('--all'))}")
        assert not agent.unrelayed()
    else:
        assert all(to_of(agent, id)["state"] == "relayed" and to_of(agent, id)["next"] is None for id in ids[::50])
    assert len(agent.log("relay-lost")) == n and len({line["item"] for line in agent.log("relay-lost")}) == n
    assert not agent.log("outbound-failed", phase="XOUTCOME")


def test_a_restart_of_the_relay_makes_no_second(make_agent, make_relay, sink):
    sink.replies[("DATA", None)] = ["451 4.3.0 later", "250 ok"]
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 4s"]))
    relay.add_account("anna", "secret", "anna@example.org")
    agent = make_agent(**agent_options(relay))
    id = agent.send()
    wait_for(lambda: "later" in (to_of(agent, id)["reply"] or ""), "the relay's word on it")
    relay.kill()
    relay.start()
    agent.stop()
    agent.start()
    other = agent.send(message=make_message(subject="other"))
    agent.wait_state(id, "delivered")
    agent.wait_state(other, "delivered")
    assert len(sink.messages) == 2 and not agent.log("relay-lost") and not agent.log("relay-begun-anew")


def test_killed_before_the_hand_over_is_recorded(make_agent, relay, sink):
    """The relay's 250 is on the wire, or read, and not on the agent's disk: handed over again under its name, and taken once."""
    agent = make_agent(**agent_options(relay))
    ids = []
    for i in range(8):
        ids.append(agent.send(message=make_message(subject=f"n{i}")))
        wait_for(lambda n=i: len(relay.queue("--all")) > n, "the relay having it")
        agent.kill()
        agent.start()
    for id in ids:
        agent.wait_state(id, "delivered")
    assert sorted(m.header("Subject") for m in sink.messages) == [f"n{i}" for i in range(8)]


# ---- what is configured ----

def test_without_copies_it_is_asked_all_the_same(make_agent, make_relay, sink):
    sink.replies[("DATA", None)] = ["451 4.3.0 later", "250 ok"]
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 4s"]))
    relay.add_account("anna", "secret", "anna@example.org")
    agent = make_agent(**agent_options(relay, queue_keep_copies="no"))
    id = agent.send()
    agent.wait_state(id, "relayed")
    assert bodies(agent) == 0
    agent.wait_state(id, "delivered")


def test_another_account_is_not_asked_about_it(make_agent, make_relay, sink):
    sink.replies[("DATA", None)] = ["451 4.3.0 later", "250 ok"]
    relay = make_relay(**relay_options(sink, conf=["delivery.schedule = 1h"]))
    relay.add_account("anna", "secret", "anna@example.org")
    relay.add_account("berta", "secret", "anna@example.org")
    agent = make_agent(**agent_options(relay))
    id = agent.send()
    wait_for(lambda: "later" in (to_of(agent, id)["reply"] or ""), "the relay's word on it")
    agent.stop()
    agent.user = "berta"
    agent.run("setup", "--replace", *agent.setup_options(), stdin="secret\n")
    agent.set_conf("agent.conf", agent.conf)
    agent.start()
    other = agent.send(message=make_message(subject="berta's"))
    agent.wait_state(other, "delivered")
    to = to_of(agent, id)
    assert to["state"] == "relayed" and to["next"] is None and "127.0.0.1 has it, as anna's" in to["reply"], to
    assert len(sink.messages) == 1 and not agent.log("relay-lost")


def test_a_service_that_tells_nothing_is_asked_nothing(make_agent, tmp_path):
    service = Service(tmp_path)
    try:
        agent = make_agent(**service.agent_options())
        id = agent.send()
        to = agent.wait_state(id, "relayed")["to"][0]
        assert to["next"] is None and bodies(agent) == 0 and agent.status()["queue"]["awaited"] == 0, to
    finally:
        service.close()


@pytest.mark.skipif(IS_SANITIZED, reason="a sanitizer wakes up by itself")
def test_at_rest_with_nothing_awaited_it_sleeps(make_agent, relay):
    agent = make_agent(**agent_options(relay, relay_keep_warm="5s", log_level="info"))
    agent.wait_state(agent.send(), "delivered")
    wait_for(lambda: agent.status()["state"] == "resting", "rest")

    def is_asleep():
        before = agent.wake_ups()
        time.sleep(1)
        return agent.wake_ups() == before
    wait_for(is_asleep, "a second without a wake-up", 10)
