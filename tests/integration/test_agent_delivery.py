"""The agent and a relay: what becomes of mail, and whether one can read it."""
import pytest

from agent_support import Service, pin_of
from daemon import free_port, wait_for
from relay_support import limit_sessions, make_message


@pytest.fixture
def make_pair(make_relay, make_agent, make_sink):
    """(agent, relay, sink): anna's agent, her relay, and dest.example's server."""
    def make(**agent_options):
        sink = make_sink()
        relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port)
        relay.add_account("anna", "secret", "anna@example.org")
        _, port = relay.address("tls")
        return make_agent(pin=pin_of(relay), ways=[f"{port} tls"], **agent_options), relay, sink
    return make


def test_a_message_goes_all_the_way(make_pair):
    agent, relay, sink = make_pair()
    id = agent.send()
    entry = agent.wait_state(id, "relayed")
    message = sink.wait_message()
    assert message.header("Subject") == "hello" and message.sender == "anna@example.org" and message.to == ["bob@dest.example"]
    assert entry["to"][0]["reply"].startswith("250 ") and entry["to"][0]["host"] == relay.address("tls")[0] + f":{relay.address('tls')[1]} tls" # the way (schema/json.md)
    assert agent.unrelayed() == [] and [e["id"] for e in agent.queue("--all")] == [id]
    status = agent.status()
    assert status["network"] == "online" and status["way"]["mode"] == "tls" and status["way"]["port"] == relay.address("tls")[1]


def test_who_is_named_twice_gets_one_copy(make_relay, make_agent, make_sink):
    """However far apart: the second time may fall into another transaction with the relay."""
    sink = make_sink()
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port, conf=("limits.recipients = 100",))
    relay.add_account("anna", "secret", "anna@example.org")
    agent = make_agent(pin=pin_of(relay), ways=[f"{relay.address('tls')[1]} tls"])
    to = [f"b{number}@dest.example" for number in (*range(100), 0, 100, 7)]
    id = agent.send("anna@example.org", to, make_message())
    assert [recipient["address"] for recipient in agent.entry(id)["to"]] == to[:100] + to[101:102]
    agent.wait_state(id, "delivered")
    assert sorted(address for message in sink.messages for address in message.to) == sorted(set(to))


def test_neither_the_laptop_nor_its_program_is_named(make_pair):
    agent, _, sink = make_pair()
    agent.send(message=b"From: anna@example.org\r\nSubject: bare\r\nBcc: secret@dest.example\r\n\r\nhi\r\n")
    message = sink.wait_message()
    text = message.octets.decode()
    for word in ("secret-laptop", "127.0.0.1", "localhost", "Bcc", "secret@dest.example"):
        assert word not in text, text
    assert message.header("Date") and message.header("Message-ID").endswith("@example.org>")


def test_one_session_carries_many_messages_and_is_left_when_idle(make_agent, service):
    agent = make_agent(conf={"relay.keep_warm": ["300ms"]}, **service.agent_options())
    ids = [agent.send() for _ in range(5)]
    for id in ids:
        agent.wait_state(id, "relayed")
    service.wait_messages(5)
    agent.wait_log("uplink", **{"from": "ready", "to": "leaving"})
    wait_for(lambda: agent.status()["state"] == "resting", "the uplink at rest")
    assert len(agent.log("uplink-ready")) == 1
    assert agent.status()["way"] is None and agent.status()["network"] == "online"
    agent.wait_state(agent.send(), "relayed")
    assert len(agent.log("uplink-ready")) == 2


def test_a_relay_that_takes_few_messages_a_session(make_agent, service):
    """LIMITS MAILMAX (RFC 9422): the next goes in another session; none is turned away."""
    strayed, counts = limit_sessions(service, 2)
    agent = make_agent(**service.agent_options(), conf={"queue.schedule": ["1h"]})
    ids = [agent.send() for _ in range(5)]
    for id in ids:
        agent.wait_state(id, "relayed")
    assert strayed == [] and sorted(counts.values()) == [1, 2, 2]


def test_keep_warm_of_zero_still_sends_what_waits_together(make_agent, service):
    agent = make_agent(start=False, conf={"relay.keep_warm": ["0s"]}, **service.agent_options())
    for _ in range(5):
        agent.sendmail("-t", stdin=make_message())
    agent.start()
    service.wait_messages(5)
    wait_for(lambda: agent.status()["state"] == "resting", "the uplink at rest")
    assert len(agent.log("uplink-ready")) == 1 and len(service.handler_object.sessions) == 1


def test_what_the_relay_refuses_for_good_is_bounced_and_explained(make_agent, service):
    service.replies[("RCPT", "nobody@dest.example")] = ["550 5.1.1 nobody of that name here"]
    agent = make_agent(**service.agent_options())
    id = agent.send(to=["nobody@dest.example", "bob@dest.example"])
    entry = agent.wait_state(id, "bounced")
    assert {r["address"]: r["state"] for r in entry["to"]} == {"nobody@dest.example": "bounced", "bob@dest.example": "relayed"}
    assert "550 5.1.1 nobody of that name here" in entry["reason"]
    shown = agent.run("queue", "show", id).stdout
    assert "550 5.1.1 nobody of that name here" in shown and "bounced" in shown
    # The sender gets a report, through the relay.
    report = service.wait_message(to=["anna@example.org"])
    assert report.sender in ("", "<>", None) and report.message.get_content_type() == "multipart/report"
    assert report.header("From").addresses[0].addr_spec == "anna@example.org" and report.header("Auto-Submitted") == "auto-replied"
    status = report.message.get_payload(1).as_string()
    assert "Final-Recipient: rfc822; nobody@dest.example" in status and "Status: 5.1.1" in status and "bob@dest.example" not in status
    assert "laptop" not in report.octets.decode()


def test_a_refused_message_is_bounced_and_reported(make_agent, service):
    service.replies[("DATA", None)] = ["554 5.7.1 not with me", "250 2.0.0 fine"]
    agent = make_agent(**service.agent_options())
    entry = agent.wait_state(agent.send(message=make_message(subject="unwanted")), "bounced")
    assert "554 5.7.1 not with me" in entry["reason"]
    report = service.wait_message(to=["anna@example.org"])
    assert "unwanted" in report.octets.decode()


def test_nobody_is_told_of_the_fate_of_a_report(make_agent, service):
    service.replies[("RCPT", None)] = ["550 5.1.1 never"]
    agent = make_agent(**service.agent_options())
    agent.wait_state(agent.send(), "bounced")
    reports = wait_for(lambda: [e for e in agent.queue("--all") if e["report"] and e["state"] == "bounced"], "the report's own end")
    assert len(reports) == 1 and len(agent.queue("--all")) == 2 and service.messages == []


def test_what_the_relay_puts_off_is_tried_again(make_agent, service):
    service.replies[("RCPT", None)] = ["451 4.7.1 not now", "451 4.7.1 not now", "250 2.1.5 well"]
    agent = make_agent(conf={"queue.schedule": ["300ms"]}, **service.agent_options())
    id = agent.send()
    entry = agent.wait_state(id, "deferred")
    assert "451 4.7.1 not now" in entry["reason"] and entry["next_attempt"]
    agent.wait_state(id, "relayed")
    assert len(service.messages) == 1


def test_what_a_foreign_service_may_have_is_not_repeated_at_once(make_agent, service):
    """It knows no names, and breaks off behind the final dot: by the schedule, as if it had said 451, or when a person wants it."""
    handler, take = service.handler_object, service.handler_object.handle_DATA

    async def handle_DATA(server, session, envelope):
        reply = await take(server, session, envelope)
        if len(service.messages) <= 2:
            server.transport.abort()
        return reply

    handler.handle_DATA = handle_DATA
    agent = make_agent(conf={"queue.schedule": ["1h, 3h"]}, **service.agent_options())
    id = agent.send()
    for copies, hours in ((1, 1), (2, 3)):
        wait_for(lambda n=copies: agent.entry(id)["to"][0]["attempts"] == n, "the loss being written down")
        assert agent.entry(id)["state"] == "uncertain" and len(service.messages) == copies
        assert 0.7 * hours < int(agent.log("deferred", item=id)[-1]["retry_in_ms"]) / 3_600_000 < 1.3 * hours
        agent.run("queue", "flush")
    agent.wait_state(id, "relayed")
    assert len(service.messages) == 3


def test_a_relay_that_is_down_is_waited_for(make_agent, tmp_path):
    port = free_port()
    service = Service(tmp_path, port=port)
    service.close()
    agent = make_agent(**service.agent_options())
    id = agent.send()
    agent.wait_log("no-way")
    status = agent.status()
    assert status["network"] in ("blocked", "offline") and status["way"] is None
    assert [w["verdict"] for w in status["ways"]] == ["refused"] and f"refuses port {port}" in status["words"]
    assert agent.entry(id)["state"] == "queued"
    service = service.again()
    try:
        agent.wait_state(id, "relayed")
        assert len(service.messages) == 1 and agent.status()["network"] == "online"
    finally:
        service.close()


def test_new_mail_does_not_wait_for_the_whole_back_off(make_agent, tmp_path):
    service = Service(tmp_path)
    service.close()
    agent = make_agent(conf={"queue.patience": ["1h"]}, **service.agent_options())
    first = agent.send()
    agent.wait_log("no-way")
    service = service.again()
    try:
        second = agent.send()
        agent.wait_state(first, "relayed")
        agent.wait_state(second, "relayed")
    finally:
        service.close()


def test_a_lifetime_that_ends_without_a_way_makes_a_report(make_agent, tmp_path):
    service = Service(tmp_path)
    service.close()
    agent = make_agent(conf={"queue.lifetime": ["1s"]}, **service.agent_options())
    ids = [agent.send() for _ in range(3)]
    for id in ids:
        entry = agent.wait_state(id, "bounced")
        assert "no way to the relay is open" in entry["reason"]
    assert all(e["report"] for e in agent.queue())


def test_a_lifetime_ends_for_wrong_passwords_too(make_agent, service):
    agent = make_agent(password="wrong", conf={"queue.lifetime": ["1s"]}, **service.agent_options())
    entry = agent.wait_state(agent.send(), "bounced")
    assert "name or password" in entry["reason"]
    assert "name or password" in agent.status()["trouble"]


def test_eight_bit_and_utf8_are_refused_for_a_relay_that_lacks_them(make_agent, tmp_path):
    service = Service(tmp_path, enable_SMTPUTF8=False)
    try:
        agent = make_agent(**service.agent_options())
        message = "From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: grüße\r\n\r\nhi\r\n".encode()
        id = agent.send(message=message, mail_options=["SMTPUTF8", "BODY=8BITMIME"])
        entry = agent.wait_state(id, "bounced")
        assert "5.6.7" in entry["reason"], entry["reason"]
    finally:
        service.close()
