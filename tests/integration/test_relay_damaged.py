"""Rows of the relay's database that something else has altered: nobody is told what is not so, nobody is turned away for ever, and the relay goes on."""
import contextlib
import sqlite3

import pytest

from relay_support import EX_DATAERR
from test_relay_checkpoint import ANNA, BOB, CHUNK, LARGE, NAME, Session, item_of, outcome


@pytest.fixture
def relay(make_relay):
    relay = make_relay(zone="dest.example MX 10 mx.dest.example\nmx.dest.example A 127.0.0.1\n", mx_port=1, conf=["delivery.schedule = 1h"])
    relay.add_account("anna", "secret", ANNA)
    return relay


def alter(relay, sql, *values):
    """While it does not run; it is started again."""
    relay.stop()
    with contextlib.closing(sqlite3.connect(relay.path("relay.db"))) as database, database:
        database.execute(sql, values)
    relay.start()


def take(relay, name=NAME):
    with Session(relay) as session:
        assert session.mail(name=name)[0] == 250 and session.rcpt(BOB) == [250]
        return item_of(session.whole(LARGE))


@pytest.mark.parametrize("column, value", [("header_came", 1 << 60), ("header_came", -5), ("header_came", len(LARGE)), ("header_stored", -7), ("octets", -1), ("generation", 1 << 40)])
def test_an_altered_half_is_begun_anew(relay, column, value):
    Session(relay).begin(CHUNK * 3).cut(relay)
    alter(relay, f"UPDATE checkpoint SET {column} = ?", value)
    item = take(relay)
    [message] = relay.queue()
    assert message["id"] == item and message["size"] > len(LARGE)


@pytest.mark.parametrize("reply", ["garbage", "999", "354 go", "550 5.0.0 no", "250 " + "x" * 9000, "250", ""])
def test_what_was_taken_is_said_again_in_other_words(relay, reply):
    item = take(relay)
    alter(relay, "UPDATE checkpoint SET reply = ?", reply)
    with Session(relay) as session:
        assert session.offset() == len(LARGE) and session.rcpt(BOB) == [250]
        code, text = session.chunk(b"", True)
        assert (code, text) == (250, f"2.0.0 Ok: queued as {item}")
        assert outcome(session)[0] == 250
    assert [message["id"] for message in relay.queue()] == [item]


def test_an_endless_address_is_told_cut(relay):
    take(relay)
    alter(relay, "UPDATE recipient SET address = ?", "y" * 70_000)
    with Session(relay) as session:
        code, text = outcome(session)
        assert code == 250 and "y" * 254 in text[1] and text[-1] == "end"
        assert session.mail(name="<new@laptop.example>")[0] == 250


def test_one_altered_message_hides_no_other(relay):
    """Its recipients are listed without it, and can be removed."""
    whole, altered, strange = take(relay), take(relay, "<2@laptop.example>"), take(relay, "<3@laptop.example>")
    rows = "(SELECT id FROM message ORDER BY id LIMIT 1 OFFSET %d)"
    alter(relay, f"UPDATE message SET id = 7 WHERE id = {rows % 1}")
    alter(relay, f"UPDATE recipient SET state = 99 WHERE message = {rows % 2}")
    listed = {message["id"]: message for message in relay.json("queue", "list") + relay.json("queue", "list", "--all")}
    assert {whole, altered, strange} <= set(listed)
    assert (listed[altered]["from"], listed[altered]["to"][0]["address"]) == ("(unreadable)", BOB)
    assert listed[strange]["state"] == "held"
    assert {message["id"] for message in relay.queue()} == {whole, altered}
    assert relay.json("queue", "show", altered)["from"] == "(unreadable)"
    for id in (altered, strange):
        relay.run("queue", "remove", id)
    assert [message["id"] for message in relay.queue()] == [whole]
    assert relay.run("queue", "show", altered, check=False).returncode == EX_DATAERR
