"""Getting mail out: mail hosts by preference, failures and what follows from them, a smarthost, encryption, loops."""
import contextlib
import email
import re
import socket
import sqlite3
import threading

import pytest

import relay_support
from relay_support import Relay, expect, free_port, limit_sessions, make_certificate, make_message, submit, wait_for


@pytest.fixture
def sink(make_sink):
    return make_sink()


@pytest.fixture
def relay_to(make_relay):
    """A relay with the account anna, a zone, and the mail hosts' port."""
    def make(zone, port, *conf, **options):
        relay = make_relay(zone=zone, mx_port=port, conf=conf, **options)
        relay.add_account("anna", "secret", "anna@example.org")
        return relay
    return make


def send(relay, *to, **options):
    return relay.send("anna", "secret", "anna@example.org", list(to), **options)


# ---- finding the mail host ------------------------------------------------------------------------------------------

def test_the_preferred_host_is_asked(make_sink, relay_to):
    first = make_sink(host="127.0.0.2")
    second = make_sink(host="127.0.0.3", port=first.port)
    relay = relay_to("d.example MX 20 b.example\nd.example MX 10 a.example\na.example A 127.0.0.2\nb.example A 127.0.0.3\n", first.port)
    for _ in range(3):
        send(relay, "bob@d.example")
    first.wait_messages(3)
    assert second.messages == []


def test_the_next_host_is_asked_when_the_first_is_away(make_sink, relay_to):
    """Nobody listens at the first; the second turns us away with 421; the third takes it. One attempt."""
    third = make_sink(host="127.0.0.4")
    with socket.create_server(("127.0.0.3", third.port)) as busy:
        def turn_away():
            connection, _ = busy.accept()
            with connection:
                connection.sendall(b"421 4.3.2 busy\r\n")
                connection.recv(1000)
        thread = threading.Thread(target=turn_away, daemon=True)
        thread.start()
        relay = relay_to("d.example MX 5 a.example\nd.example MX 10 b.example\nd.example MX 20 c.example\na.example A 127.0.0.2\nb.example A 127.0.0.3\n"
                         "c.example A 127.0.0.4\n", third.port)
        id = send(relay, "bob@d.example")
        entry = relay.wait_state(id, "delivered")
        thread.join(10)
    assert entry["to"][0]["host"].startswith("c.example [127.0.0.4:") and entry["to"][0]["attempts"] == 1
    assert not thread.is_alive()


def test_a_host_with_several_addresses(make_sink, relay_to):
    good = make_sink(host="127.0.0.9")
    relay = relay_to("d.example MX 10 a.example\n" + "".join(f"a.example A 127.0.0.{n}\n" for n in (5, 6, 7, 9)), good.port)
    send(relay, "bob@d.example")
    good.wait_messages(1)


def test_without_mx_the_domain_itself_is_asked(sink, relay_to):
    relay = relay_to(f"d.example A {sink.host}\n", sink.port)
    send(relay, "bob@d.example")
    sink.wait_messages(1)


@pytest.mark.parametrize("domain, labels", [("b\u00fccher.example", "xn--bcher-kva.example"), ("stra\u00dfe.example", "xn--strae-oqa.example"),
                                             ("\u4f8b\u3048.example", "xn--r8jz45g.example")])
def test_a_domain_beyond_ascii(sink, relay_to, domain, labels):
    """RFC 6531 3.2: the DNS is asked for the A-labels; the address stays as it is."""
    relay = relay_to(f"{labels} MX 10 mx.example\nmx.example A {sink.host}\n", sink.port)
    with relay.client(user="anna", password="secret") as client:
        client.ehlo()
        expect(client.docmd("MAIL FROM:<anna@example.org> SMTPUTF8"), 250)
        client.sock.sendall(f"RCPT TO:<bob@{domain}>\r\n".encode())
        expect(client.getreply(), 250)
        assert client.data(make_message())[0] == 250
    assert sink.wait_messages(1)[0].to == [f"bob@{domain}"]


def test_a_name_that_has_no_a_labels_bounces(sink, relay_to):
    relay = relay_to(f"example.org A {sink.host}\n", sink.port)
    with relay.client(user="anna", password="secret") as client:
        client.ehlo()
        expect(client.docmd("MAIL FROM:<anna@example.org> SMTPUTF8"), 250)
        client.sock.sendall("RCPT TO:<bob@\u2603\u0338.example>\r\n".encode())
        expect(client.getreply(), 250)
        code, text = client.data(make_message())
        assert code == 250
    assert "5.1.2" in relay.wait_state(text.decode().split()[-1], "bounced")["to"][0]["reply"]


def test_an_address_literal(sink, relay_to):
    relay = relay_to("", sink.port)
    send(relay, f"bob@[{sink.host}]")
    sink.wait_messages(1)


BOUNCES = [
    ("null.example MX 0 .\n", "bob@null.example", "5.1.10", "takes no mail"),
    ("other.example A 127.0.0.1\n", "bob@nowhere.example", "5.1.2", "does not exist"),
    ("bare.example TXT x\n", "bob@bare.example", "5.1.2", "neither a mail host nor an address"),
    ("d.example MX 10 a.example\na.example TXT x\n", "bob@d.example", "5.4.4", "no address"),
    ("d.example MX 10 relay.example\nrelay.example A 127.0.0.1\n", "bob@d.example", "5.4.6", "come back here"),
]


@pytest.mark.parametrize("zone, to, status, words", BOUNCES)
def test_where_no_mail_can_go_it_bounces_at_once(make_sink, relay_to, zone, to, status, words):
    home = make_sink()
    relay = relay_to(zone + f"example.org MX 10 home.example\nhome.example A {home.host}\n", home.port)
    id = send(relay, to)
    report = home.wait_message(to=["anna@example.org"])
    entry = relay.wait_state(id, "bounced")
    assert status in entry["to"][0]["reply"] and words in entry["to"][0]["reply"], entry
    assert report.sender in ("", None, "<>")


def test_private_addresses_are_not_connected_to(make_sink, relay_to):
    home = make_sink()
    relay = relay_to(f"d.example MX 10 a.example\na.example A {home.host}\n", home.port, "delivery.allow_private = no")
    id = send(relay, "bob@d.example")
    entry = relay.wait_state(id, "bounced")
    assert "5.4.4" in entry["to"][0]["reply"] and home.messages == []
    id = send(relay, "bob@[127.0.0.1]")
    assert "5.4.4" in relay.wait_state(id, "bounced")["to"][0]["reply"]


def test_networks_that_are_allowed(make_sink, relay_to):
    inside = make_sink(host="127.0.1.1")
    relay = relay_to("in.example A 127.0.1.1\nout.example A 127.0.2.1\n", inside.port, "delivery.allow_private = no", "delivery.allow_network = 127.0.1.0/24")
    send(relay, "bob@in.example")
    inside.wait_messages(1)
    assert "5.4.4" in relay.wait_state(send(relay, "bob@out.example"), "bounced")["to"][0]["reply"]


# ---- failures -------------------------------------------------------------------------------------------------------

def parts_of(report):
    assert report.message.get_content_type() == "multipart/report" and report.message.get_param("report-type") == "delivery-status"
    text, status, original = report.message.get_payload()
    return text.get_content(), status.get_payload(), original


def test_a_refusal_is_reported_to_the_sender(sink, relay_to):
    relay = relay_to(f"dest.example A {sink.host}\nexample.org A {sink.host}\n", sink.port)
    sink.replies["RCPT", "bob@dest.example"] = ["550 5.1.1 no such user here"]
    id = send(relay, "bob@dest.example", "carl@dest.example")
    report = sink.wait_message(to=["anna@example.org"])
    assert sink.wait_message(to=["carl@dest.example"])
    text, (message, recipient), original = parts_of(report)
    assert "no such user here" in text
    assert recipient["Final-Recipient"] == "rfc822;bob@dest.example" or recipient["Final-Recipient"] == "rfc822; bob@dest.example"
    assert recipient["Action"] == "failed" and recipient["Status"] == "5.1.1" and "550" in recipient["Diagnostic-Code"]
    assert message["Reporting-MTA"].replace(" ", "") == "dns;relay.example"
    assert report.header("From").addresses[0].addr_spec == "MAILER-DAEMON@relay.example" and "hello" in str(original)
    states = {to["address"]: to["state"] for to in relay.entry(id)["to"]}
    assert states == {"bob@dest.example": "bounced", "carl@dest.example": "delivered"}


def test_a_refusal_of_the_whole_message(sink, relay_to):
    relay = relay_to(f"dest.example A {sink.host}\nexample.org A 127.0.0.99\n", sink.port)
    sink.replies["DATA", None] = ["554 5.7.1 no such mail here"]
    entry = relay.wait_state(send(relay, "bob@dest.example"), "bounced")
    assert entry["reason"].startswith("554 5.7.1")


def test_deferral_and_the_next_attempt(sink, relay_to):
    relay = relay_to(f"dest.example A {sink.host}\n", sink.port)
    sink.replies["RCPT", "bob@dest.example"] = ["451 4.7.1 greylisted", "451 4.7.1 greylisted", "250 2.1.5 welcome"]
    id = send(relay, "bob@dest.example", "carl@dest.example")
    entry = relay.wait_state(id, "delivered")
    attempts = {to["address"]: to["attempts"] for to in entry["to"]}
    assert attempts == {"bob@dest.example": 3, "carl@dest.example": 1}
    assert len([m for m in sink.messages if "carl@dest.example" in m.to]) == 1
    assert len(relay.log("deferred", item=id)) == 2


def test_a_host_that_is_away_and_comes_back(relay_to, make_sink):
    port = free_port("127.0.0.8")
    relay = relay_to("dest.example A 127.0.0.8\n", port)
    id = send(relay, "bob@dest.example")
    assert "refused" in relay.wait_state(id, "deferred")["reason"]
    sink = make_sink(host="127.0.0.8", port=port)
    sink.wait_messages(1)
    relay.wait_state(id, "delivered")


def test_expiry(sink, relay_to):
    relay = relay_to(f"dest.example A 127.0.0.98\nexample.org A {sink.host}\n", sink.port, "delivery.lifetime = 1s")
    id = send(relay, "bob@dest.example")
    report = sink.wait_message(to=["anna@example.org"])
    _, (_, recipient), _ = parts_of(report)
    assert recipient["Action"] == "failed" and recipient["Status"].startswith(("4.4.7", "5.4.7"))
    relay.wait_state(id, "bounced")


def test_a_delay_is_told_once(sink, relay_to):
    relay = relay_to(f"dest.example A 127.0.0.97\nexample.org A {sink.host}\n", sink.port, "delivery.delay_notice = 300ms")
    id = send(relay, "bob@dest.example")
    report = sink.wait_message(to=["anna@example.org"])
    _, (_, recipient), _ = parts_of(report)
    assert recipient["Action"] == "delayed" and recipient["Will-Retry-Until"]
    before = len(relay.log("deferred", item=id))
    wait_for(lambda: len(relay.log("deferred", item=id)) >= before + 3, "three more attempts")
    assert len(sink.messages) == 1


def test_notify(sink, relay_to):
    """NEVER is never told; SUCCESS hears of a hop that will not tell; who did not ask hears of failures alone."""
    relay = relay_to(f"dest.example A {sink.host}\nexample.org A {sink.host}\n", sink.port)
    sink.replies["RCPT", "never@dest.example"] = ["550 5.1.1 no"]
    sink.replies["RCPT", "delay@dest.example"] = ["550 5.1.1 no"]
    with relay.client(user="anna", password="secret") as client:
        client.ehlo()
        never = submit(client, "anna@example.org", ["never@dest.example"], make_message(), rcpt_options=["NOTIFY=NEVER"])
        delay = submit(client, "anna@example.org", ["delay@dest.example"], make_message(), rcpt_options=["NOTIFY=DELAY"])
        submit(client, "anna@example.org", ["ok@dest.example"], make_message(), ["ENVID=mine+2B", "RET=HDRS"],
               ["NOTIFY=SUCCESS,FAILURE", "ORCPT=rfc822;ok+2Bx@dest.example"])
    relay.wait_state(never, "bounced")
    relay.wait_state(delay, "bounced")
    report = sink.wait_message(to=["anna@example.org"])
    _, (message, recipient), _ = parts_of(report)
    assert recipient["Action"] == "relayed" and message["Original-Envelope-Id"] == "mine+" and "ok+x@dest.example" in recipient["Original-Recipient"]
    wait_for(lambda: relay.queue() == [], "an empty queue")
    assert len([m for m in sink.messages if m.to == ["anna@example.org"]]) == 1


def test_never_a_bounce_for_a_bounce(sink, relay_to):
    relay = relay_to(f"dest.example A {sink.host}\nexample.org A {sink.host}\n", sink.port)
    sink.replies["RCPT", None] = ["550 5.1.1 nobody is here"]
    relay.wait_state(send(relay, "bob@dest.example"), "bounced")
    wait_for(lambda: relay.queue() == [], "an empty queue")
    assert [entry["report"] for entry in relay.queue("--all")] == [False, True] and sink.messages == []


def test_a_connection_that_dies_after_the_last_octet(relay_to):
    """The host takes the message, and the line goes dead before its reply: uncertain, and tried again (RFC 1047)."""
    port = free_port("127.0.0.8")
    taken = []

    def serve(server):
        for attempt in range(2):
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file:
                file.write(b"220 mx\r\n"), file.flush()
                for line in file:
                    verb = line[:4].upper()
                    file.write(b"354 go\r\n" if verb == b"DATA" else b"250 ok\r\n"), file.flush()
                    if verb == b"DATA":
                        while file.readline() != b".\r\n":
                            pass
                        taken.append(attempt)
                        if attempt == 0:
                            break
                        file.write(b"250 2.0.0 taken\r\n"), file.flush()
                    if verb == b"QUIT":
                        break

    with socket.create_server(("127.0.0.8", port)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        relay = relay_to("dest.example A 127.0.0.8\n", port)
        id = send(relay, "bob@dest.example")
        relay.wait_log("deferred", item=id, status="uncertain")
        relay.wait_state(id, "delivered")
    assert taken == [0, 1]


# ---- encryption -----------------------------------------------------------------------------------------------------

def test_starttls_is_used_where_offered(make_sink, relay_to, tmp_path):
    sink = make_sink(certificate=make_certificate(tmp_path, "any-name.example"))
    relay = relay_to(f"dest.example A {sink.host}\n", sink.port)
    send(relay, "bob@dest.example")
    assert sink.wait_message().is_tls


def test_broken_starttls_is_not_worth_losing_mail(relay_to):
    """The host offers STARTTLS and can't; the message goes in the clear (RFC 7435)."""
    port = free_port("127.0.0.8")
    messages = []

    def serve(server):
        while not messages:
            connection, _ = server.accept()
            with connection, connection.makefile("rwb") as file:
                file.write(b"220 mx\r\n"), file.flush()
                for line in file:
                    verb = line[:4].upper()
                    if verb == b"EHLO":
                        file.write(b"250-mx\r\n250 STARTTLS\r\n")
                    elif verb == b"STAR":
                        file.write(b"220 go ahead\r\n"), file.flush()
                        file.read1(100)
                        file.write(b"that was no command\r\n"), file.flush()
                        break
                    elif verb == b"DATA":
                        file.write(b"354 go\r\n"), file.flush()
                        messages.append(b"".join(iter(file.readline, b".\r\n")))
                        file.write(b"250 2.0.0 taken\r\n")
                    else:
                        file.write(b"250 ok\r\n")
                    file.flush()

    with socket.create_server(("127.0.0.8", port)) as server:
        threading.Thread(target=serve, args=(server,), daemon=True).start()
        relay = relay_to("dest.example A 127.0.0.8\n", port)
        relay.wait_state(send(relay, "bob@dest.example"), "delivered")
    assert len(messages) == 1


# ---- smarthost ------------------------------------------------------------------------------------------------------

def smarthost_relay(make_relay, url, *conf, zone=""):
    relay = make_relay(smarthost=url, zone=zone, conf=conf)
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


@pytest.mark.parametrize("scheme, implicit", [("smtps", True), ("smtp+tls", False)])
def test_smarthost(make_sink, make_relay, tmp_path, scheme, implicit):
    certificate = make_certificate(tmp_path, "smart.example")
    sink = make_sink(certificate=certificate, implicit=implicit, login={"org@x": "p:ss"})
    relay = smarthost_relay(make_relay, f"{scheme}://org%40x:p%3Ass@smart.example:{sink.port}", f"delivery.smarthost_ca = {certificate[0]}",
                            zone=f"smart.example A {sink.host}\n")
    id = send(relay, "bob@one.example", "carl@two.example")
    got = sink.wait_message()
    assert got.to == ["bob@one.example", "carl@two.example"] and got.user == "org@x"
    relay.wait_state(id, "delivered")
    assert "p:ss" not in "\n".join(relay.log_lines)


@pytest.mark.parametrize("name", ["other.example", "smart.example"])
def test_a_smarthost_that_is_not_the_one_gets_no_password(make_sink, make_relay, tmp_path, name):
    """A certificate of another name; or of the right name, and signed by nobody we trust."""
    sink = make_sink(certificate=make_certificate(tmp_path, name), implicit=True, login={"org": "secret"})
    trusted = make_certificate(tmp_path / "trusted", "smart.example")[0] if name == "smart.example" else make_certificate(tmp_path / "x", name)[0]
    if name == "other.example":
        trusted = str(tmp_path / f"certificate-{name}" / "keys/relay.crt")
    relay = smarthost_relay(make_relay, f"smtps://org:secret@smart.example:{sink.port}", f"delivery.smarthost_ca = {trusted}", zone=f"smart.example A {sink.host}\n")
    id = send(relay, "bob@one.example")
    relay.wait_log("deferred", item=id)
    relay.wait_log("connection-failed")
    assert sink.messages == []


def test_plain_smarthost(make_sink, make_relay):
    sink = make_sink()
    relay = smarthost_relay(make_relay, f"smtp://127.0.0.1:{sink.port}")
    send(relay, "bob@one.example", "carl@two.example")
    assert sink.wait_message().to == ["bob@one.example", "carl@two.example"]


def test_a_smarthost_that_is_given_up(make_sink, make_relay):
    """What waits for it goes to the mail hosts then, each domain to its own."""
    one = make_sink(host="127.0.0.2")
    two = make_sink(host="127.0.0.3", port=one.port)
    relay = smarthost_relay(make_relay, f"smtp://127.0.0.1:{free_port()}", f"delivery.mx_port = {one.port}", zone="one.example A 127.0.0.2\ntwo.example A 127.0.0.3\n")
    id = send(relay, "bob@one.example", "carl@two.example", "dora@one.example")
    relay.wait_log("deferred", item=id)
    relay.stop()
    relay.reference = relay.reference.replace("\nsmarthost = ", "\n#smarthost = ")
    relay.write_conf()
    relay.start()
    assert one.wait_message().to == ["bob@one.example", "dora@one.example"]
    assert two.wait_message().to == ["carl@two.example"]
    relay.wait_state(id, "delivered")


def test_a_smarthost_that_is_given_up_and_a_domain_that_is_dead(make_sink, make_relay):
    """The dead domain has its turn and waits for its time; the other one is not kept from its own."""
    live = make_sink(host="127.0.0.3")
    relay = smarthost_relay(make_relay, f"smtp://127.0.0.1:{free_port()}", f"delivery.mx_port = {live.port}", "delivery.schedule = 200ms, 1h",
                            zone="dead.example A 127.0.0.2\nlive.example A 127.0.0.3\n")
    id = relay.send("anna", "secret", "anna@example.org", ["bob@dead.example", "carl@live.example"])
    relay.wait_log("deferred", item=id)
    relay.stop()
    relay.reference = relay.reference.replace("\nsmarthost = ", "\n#smarthost = ")
    relay.write_conf()
    relay.start()
    live.wait_messages(1)

    def delivered():
        to = {to["address"]: (to["state"], to["attempts"]) for to in relay.entry(id)["to"]}
        return to["carl@live.example"][0] == "delivered" and to
    attempts = wait_for(delivered, "carl having it")["bob@dead.example"][1]
    assert attempts <= 3 and len(relay.log("connection-failed", nexthop="dead.example")) <= 2
    # Everything means the dead one too, once.
    before = len(relay.log("deferred", item=id))
    relay.run("queue", "retry", "--all")
    wait_for(lambda: len(relay.log("deferred", item=id)) > before, "another attempt")
    wait_for(lambda: relay.json("status")["delivery"]["waiting"] == 1, "it waiting again")


def test_two_relays_that_point_at_each_other(make_relay, tmp_path, make_sink):
    """Each other's smarthost, with an account: the mail stops, and its sender hears of it."""
    ports = {"a": free_port(), "b": free_port()}
    relays = {}
    for name, other in (("a", "b"), ("b", "a")):
        relays[name] = make_relay(name=f"{name}.example", smarthost=f"smtp://peer:secret@127.0.0.1:{ports[other]}", listen=[f"127.0.0.1:{ports[name]} starttls",
                                                                                                                         "127.0.0.1:0 tls"])
        relays[name].add_account("peer", "secret", "@example.org", f"@{other}.example")
        relays[name].add_account("anna", "secret", "anna@example.org")
    relays["a"].send("anna", "secret", "anna@example.org", ["bob@dest.example"])
    def stopped():
        return [to for relay in relays.values() for entry in relay.queue("--all") for to in entry["to"] if "5.4.6" in (to["reply"] or "")]
    assert wait_for(stopped, "the loop being noticed")[0]["state"] == "bounced"
    hops = sum(len(relay.log("message-queued")) for relay in relays.values())
    assert hops <= 12, hops


# ---- the queue by hand ----------------------------------------------------------------------------------------------

def test_hold_release_retry_remove(relay_to, make_sink):
    port = free_port("127.0.0.8")
    relay = relay_to("*.example A 127.0.0.8\n", port, "delivery.schedule = 1h")
    ids = [send(relay, f"bob@dest{number}.example") for number in range(3)]
    for id in ids:
        relay.wait_state(id, "deferred")
    relay.run("queue", "hold", ids[0])
    assert relay.entry(ids[0])["state"] == "held"
    relay.run("queue", "remove", ids[1])
    assert relay.run("queue", "show", ids[1], check=False).returncode == relay_support.EX_DATAERR
    sink = make_sink(host="127.0.0.8", port=port)
    relay.run("queue", "retry", "--all")
    relay.wait_state(ids[2], "delivered")
    assert relay.entry(ids[0])["state"] == "held" and [m.to for m in sink.messages] == [["bob@dest2.example"]]
    relay.run("queue", "release", ids[0])
    relay.wait_state(ids[0], "delivered")
    assert len(sink.messages) == 2


@pytest.mark.parametrize("wish", ["hold", "remove"])
def test_what_is_loaded_waits_for_its_host_and_is_withdrawn_meanwhile(relay_to, wish):
    """The host is silent until a person has changed his mind about the message: it does not go. What is not withdrawn does."""
    said = []
    with socket.create_server(("127.0.0.8", 0)) as host:
        relay = relay_to("dest.example A 127.0.0.8\n", host.getsockname()[1], "delivery.schedule = 1h", "delivery.concurrency_per_hop = 1")
        id = send(relay, "bob@dest.example")
        connection, _ = host.accept()
        other = send(relay, "carl@dest.example")
        entry = relay.entry(other)   # due, and its host has no room: not at a time that has passed
        assert entry["next_attempt"] == entry["to"][0]["next"] >= entry["since"] and "\nfirst attempt 2" in relay.run("queue", "show", other).stdout, entry
        relay.run("queue", wish, id)
        with connection, connection.makefile("rwb", buffering=0) as line:
            line.write(b"220 well\r\n")
            for command in line:
                said.append(command.decode().split(" ")[0].strip() if command.startswith((b"EHLO", b"DATA", b"QUIT", b"RSET")) else command.decode().strip())
                line.write(b"250 well\r\n" if said[-1] != "DATA" else b"554 no\r\n")
                if said[-1] == "DATA":
                    break
    relay.wait_state(other, "bounced")
    assert "RCPT TO:<carl@dest.example>" in said and "RCPT TO:<bob@dest.example>" not in said, said
    if wish == "hold":
        entry = relay.entry(id)
        assert entry["state"] == "held" and entry["to"][0]["attempts"] == 0
    else:
        assert relay.run("queue", "show", id, check=False).returncode == relay_support.EX_DATAERR


def test_retry_all_looks_into_the_store(relay_to, make_sink):
    """What the queue in memory does not know of, whatever the reason."""
    port = free_port("127.0.0.8")
    relay = relay_to("*.example A 127.0.0.8\n", port, "delivery.schedule = 1h")
    id = send(relay, "bob@a.example")
    relay.wait_log("deferred", item=id)
    relay.stop()
    with contextlib.closing(sqlite3.connect(relay.path("relay.db"), isolation_level=None)) as database:
        database.execute("UPDATE recipient SET state = 3")
        relay.start()
        wait_for(lambda: relay.log("queue-loaded", items=0), "the empty queue being loaded")
        database.execute("UPDATE recipient SET state = 0, next_attempt_at = 1")
    sink = make_sink(host="127.0.0.8", port=port)
    relay.run("queue", "retry", "--all")
    relay.wait_state(id, "delivered")
    assert len(sink.messages) == 1


def test_queue_commands_without_a_running_relay(relay_to, make_sink):
    port = free_port("127.0.0.8")
    relay = relay_to("*.example A 127.0.0.8\n", port, "delivery.schedule = 1h")
    first, second = send(relay, "bob@a.example"), send(relay, "bob@b.example")
    relay.wait_state(first, "deferred")
    relay.wait_state(second, "deferred")
    relay.stop()
    relay.run("queue", "hold", first)
    relay.run("queue", "retry", second)
    assert relay.entry(second)["next_attempt"] is None   # its time has come, and nobody runs
    sink = make_sink(host="127.0.0.8", port=port)
    relay.start()
    relay.wait_state(second, "delivered")
    assert relay.entry(first)["state"] == "held" and len(sink.messages) == 1


def test_json_of_a_queue_entry(relay_to):
    relay = relay_to("dest.example A 127.0.0.8\n", free_port("127.0.0.8"), "delivery.schedule = 1h")
    id = send(relay, "bob@dest.example")
    relay.wait_state(id, "deferred")
    (entry,) = relay.queue()
    assert entry == relay.entry(id)
    assert set(entry) == {"id", "from", "to", "size", "state", "since", "expires", "next_attempt", "reason", "account", "report", "progress"}
    assert set(entry["to"][0]) == {"address", "state", "reply", "host", "at", "attempts", "next", "words"}
    for time in (entry["since"], entry["expires"], entry["next_attempt"], entry["to"][0]["at"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
    assert entry["from"] == "anna@example.org" and entry["account"] == "anna" and entry["report"] is False and entry["size"] > 100


def test_a_dead_domain_does_not_hold_up_others(sink, relay_to):
    relay = relay_to(f"dead.example A 127.0.0.96\nlive.example A {sink.host}\n", sink.port, "delivery.concurrency = 2", "delivery.schedule = 1h")
    with relay.client(user="anna", password="secret") as client:
        for number in range(30):
            submit(client, "anna@example.org", [f"u{number}@dead.example"], make_message())
        submit(client, "anna@example.org", ["bob@live.example"], make_message())
    sink.wait_message(to=["bob@live.example"])


def test_a_host_that_takes_few_messages_a_session(sink, relay_to):
    """LIMITS MAILMAX (RFC 9422): the next goes in another session; none is turned away."""
    strayed, counts = limit_sessions(sink, 2)
    relay = relay_to(f"dest.example A {sink.host}\n", sink.port, "delivery.concurrency_per_hop = 1", "delivery.idle_sessions = 1m", "delivery.schedule = 1h")
    with relay.client(user="anna", password="secret") as client:
        for number in range(7):
            submit(client, "anna@example.org", [f"u{number}@dest.example"], make_message())
    sink.wait_messages(7)
    wait_for(lambda: relay.queue() == [], "an empty queue")
    assert strayed == [] and sorted(counts.values()) == [1, 2, 2, 2]


def test_many_domains_over_few_sessions(make_sink, relay_to):
    sink = make_sink(host="127.0.0.5")
    zone = "".join(f"d{number}.example A 127.0.0.5\n" for number in range(20))
    relay = relay_to(zone, sink.port, "delivery.concurrency = 3", "delivery.idle_sessions = 1m")
    with relay.client(user="anna", password="secret") as client:
        for number in range(60):
            submit(client, "anna@example.org", [f"u@d{number % 20}.example"], make_message())
    sink.wait_messages(60)
    wait_for(lambda: relay.queue() == [], "an empty queue")
