"""The largest envelope that a relay can be set to take: it is taken, its name answers, and it is delivered once."""
from daemon import wait_for
from test_relay_checkpoint import ANNA, HEADER, NOWHERE, Session

MOST = 10000    # limits.recipients allows no more
DOMAIN = ".".join(["x" * 40] * 4) + ".example"


def recipient(i):
    """About the longest command that there is: address and ORCPT."""
    local = f"{i:07d}".rjust(64, "y")
    return f"RCPT TO:<{local}@{DOMAIN}> NOTIFY=FAILURE ORCPT=rfc822;{local * 6}@example.org"


def say_recipients(session):
    for at in range(0, MOST, 200):
        assert {code for code, _ in session.say(*map(recipient, range(at, at + 200)))} == {250}


def test_the_largest_envelope_is_taken_and_its_name_answers(make_relay):
    relay = make_relay(**NOWHERE, conf=[f"limits.recipients = {MOST}", "delivery.schedule = 1h"])
    relay.add_account("anna", "secret", ANNA)
    with Session(relay) as s:
        assert s.mail(size=0)[0] == 250
        say_recipients(s)
        assert s.chunk(HEADER + b"x\r\n", True)[0] == 250
    with Session(relay) as s:
        assert s.mail(size=0)[0] == 355
    with Session(relay) as s:
        assert s.mail(size=0, more=" XWHOLE")[0] == 250
    assert relay.queue()[0]["state"] in ("queued", "deferred")


def deliver(make_relay, sink):
    relay = make_relay(smarthost=f"smtp://{sink.host}:{sink.port}", conf=[f"limits.recipients = {MOST}"])
    relay.add_account("anna", "secret", ANNA)
    with Session(relay) as s:
        assert s.mail(size=0)[0] == 250
        say_recipients(s)
        assert s.chunk(HEADER + b"x\r\n", True)[0] == 250
    return relay


def test_it_is_delivered_once(make_relay, make_sink):
    """To one who says much about it: that is kept with each recipient."""
    sink = make_sink()
    sink.handler_object.replies[("DATA", None)] = ["\r\n".join(["250-2.0.0 " + "taken " * 70] * 4 + ["250 2.0.0 ok"])]
    relay = deliver(make_relay, sink)
    wait_for(lambda: not relay.queue(), "the end of the message")
    assert len({address for m in sink.messages for address in m.to}) == MOST == sum(len(m.to) for m in sink.messages)
    assert not relay.log("outcome-lost") and not relay.log("outcome-not-recorded")


def test_its_sender_is_told_of_all_who_refuse(make_relay, make_sink):
    sink = make_sink()
    sink.handler_object.replies[("DATA", None)] = ["554 5.7.1 " + "refused " * 50]
    relay = deliver(make_relay, sink)
    relay.wait_log("bounced", to=ANNA)    # the report, which the same server refuses
    assert not relay.log("report-not-written")
