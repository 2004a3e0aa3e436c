"""The relay's life: reload, orderly ends, sudden ones, full disks, large messages."""
import fcntl
import hashlib
import os
import random
import resource
import shutil
import signal
import smtplib
import socket
import ssl
import threading
import time

import pytest

from relay_support import EX_UNAVAILABLE, PATIENCE_S, expect, free_port, make_certificate, make_message, submit, wait_for


@pytest.fixture
def sink(make_sink):
    return make_sink()


@pytest.fixture
def relay_to(make_relay, sink):
    def make(*conf, **options):
        relay = make_relay(zone=options.pop("zone", f"dest.example A {sink.host}\n"), mx_port=sink.port, conf=conf, **options)
        relay.add_account("anna", "secret", "anna@example.org")
        return relay
    return make


def presented(relay):
    """The certificate that the TLS port shows."""
    host, port = relay.address("tls")
    context = ssl._create_unverified_context()
    with socket.create_connection((host, port), timeout=PATIENCE_S) as raw, context.wrap_socket(raw) as tls:
        return tls.getpeercert(binary_form=True)


# ---- reload ---------------------------------------------------------------------------------------------------------

def test_sighup_takes_a_new_certificate_and_leaves_sessions_alone(relay_to, tmp_path):
    relay = relay_to()
    before = presented(relay)
    with relay.client(user="anna", password="secret") as client:
        for name, source in zip(("keys/relay.crt", "keys/relay.key"), make_certificate(tmp_path, "relay.example")):
            shutil.copy(source, relay.path(name))
        relay.process.send_signal(signal.SIGHUP)
        relay.wait_log("reloaded")
        wait_for(lambda: presented(relay) != before, "the new certificate")
        assert submit(client, "anna@example.org", ["bob@dest.example"], make_message())
    assert relay.json("status")["pins"] == relay.json("key", "show")


def announced_size(relay):
    with relay.client() as client:
        client.ehlo()
        return int(client.esmtp_features["size"])


def test_sighup_takes_a_new_configuration(relay_to):
    relay = relay_to("limits.message_size = 1M")
    relay.conf["limits.message_size"] = ["2M"]
    relay.write_conf()
    relay.process.send_signal(signal.SIGHUP)
    relay.wait_log("reloaded")

    wait_for(lambda: announced_size(relay) == 2 << 20, "the new size")


def test_a_renewed_certificate_is_taken_by_itself(relay_to, tmp_path):
    """New files put in place by renaming, as renewal tools do; a key without its certificate in between does no harm."""
    relay = relay_to()
    before = presented(relay)
    for name, source in zip(("keys/relay.key", "keys/relay.crt"), reversed(make_certificate(tmp_path, "relay.example"))):
        shutil.copy(source, relay.path("keys/new"))
        os.rename(relay.path("keys/new"), relay.path(name))
    wait_for(lambda: presented(relay) != before, "the new certificate")


def test_sighup_reaches_deliveries(relay_to, sink):
    relay = relay_to(f"delivery.mx_port = {free_port()}")
    id = relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
    relay.wait_log("deferred", item=id)
    relay.conf["delivery.mx_port"] = [str(sink.port)]
    relay.write_conf()
    relay.process.send_signal(signal.SIGHUP)
    sink.wait_messages(1)


def test_sighup_takes_a_new_log_level(relay_to):
    relay = relay_to("limits.message_size = 1M")
    relay.conf.update({"limits.message_size": ["2M"], "log.level": ["error"]})
    relay.write_conf()
    relay.process.send_signal(signal.SIGHUP)
    wait_for(lambda: announced_size(relay) == 2 << 20, "the new size")
    relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
    relay.conf["log.level"] = ["info"]
    relay.write_conf()
    relay.process.send_signal(signal.SIGHUP)
    relay.wait_log("reloaded")
    assert not relay.log("message-queued")
    relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
    relay.wait_log("message-queued")


@pytest.mark.parametrize("spoil", ["configuration", "certificate"])
def test_a_bad_reload_changes_nothing(relay_to, spoil):
    relay = relay_to()
    before = presented(relay)
    path = relay.path("relay.conf" if spoil == "configuration" else "keys/relay.crt")
    with open(path) as file:
        good = file.read()
    with open(path, "w") as file:
        file.write(good + "nonsense\n" if spoil == "configuration" else good[:10])
    relay.process.send_signal(signal.SIGHUP)
    line = relay.wait_log("reload-failed")
    assert os.path.basename(path) in line["reason"] and "stays in force" in line["hint"]
    assert presented(relay) == before
    with open(path, "w") as file:
        file.write(good)
    assert relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])


# ---- ends -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_orderly_end(relay_to, number):
    """Idle sessions hear 421; one in mid-message is let to its end."""
    relay = relay_to()
    idle = relay.client(user="anna", password="secret")
    busy = relay.client(user="anna", password="secret")
    expect(busy.mail("anna@example.org"), 250)
    expect(busy.rcpt("bob@dest.example"), 250)
    expect(busy.docmd("DATA"), 354)
    busy.send(make_message()[:50])
    relay.process.send_signal(number)
    assert idle.getreply()[0] == 421
    busy.send(make_message()[50:] + b".\r\n")
    code, text = busy.getreply()
    assert code == 250 and b"queued as" in text
    idle.close(), busy.close()
    assert relay.wait_exit() == 0 and relay.log("stopped")
    relay.start()
    assert [entry["state"] for entry in relay.queue("--all")] in (["queued"], ["delivered"], ["deferred"])


def test_the_end_does_not_wait_for_a_slow_destination(relay_to):
    """A host that accepts and says nothing: the message stays in the queue for the next start."""
    with socket.create_server(("127.0.0.8", free_port("127.0.0.8"))) as silent:
        relay = relay_to(f"delivery.mx_port = {silent.getsockname()[1]}", zone="dest.example A 127.0.0.8\n")
        id = relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
        connection, _ = silent.accept()
        begin = time.monotonic()
        assert relay.stop() == 0
        assert time.monotonic() - begin < 30
        connection.close()
        assert relay.entry(id)["state"] in ("queued", "deferred")


def test_every_250_survives_kill_9(relay_to, sink):
    """Senders that never stop, a relay that is killed again and again: what got a 250 arrives, and what was killed within a transaction never arrives half."""
    relay = relay_to("limits.sessions_per_address = 0", listen=[f"127.0.0.1:{free_port()} tls", "127.0.0.1:0 starttls"])
    accepted, stop = {}, threading.Event()

    def sender(number):
        count = 0
        while not stop.is_set():
            try:
                with relay.client(user="anna", password="secret") as client:
                    while not stop.is_set():
                        count += 1
                        token = f"{number}-{count}"
                        body = "".join(random.choices("abc \n", k=random.choice((100, 5000, 200000)))) + "\nend of it\n"
                        accepted[submit(client, "anna@example.org", ["bob@dest.example"], make_message(subject=token, body=body))] = token
            except (OSError, smtplib.SMTPException, AssertionError, IndexError):
                stop.wait(0.05)

    threads = [threading.Thread(target=sender, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        goal = len(accepted) + 20
        wait_for(lambda: len(accepted) >= goal, lambda: f"{goal} accepted messages; there are {len(accepted)}", 60)
        relay.kill()
        relay.start()
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_S)
    wait_for(lambda: relay.queue() == [], "an empty queue", 60)
    arrived = [message.header("Subject") for message in sink.messages]
    assert set(accepted.values()) <= set(arrived)
    assert all(message.octets.rstrip().endswith(b"end of it") for message in sink.messages)
    known = [entry["id"] for entry in relay.queue("--all")]
    assert len(known) == len(set(known)) and set(accepted) <= set(known)
    # A duplicate needs a kill between the destination's reply and its record: at most one a kill and lane.
    assert len(arrived) - len(set(arrived)) <= 6 * 10


def test_a_second_relay_on_the_port_is_refused(make_relay):
    """Threads share a port, two relays do not: mail would go to either."""
    port = free_port()
    first = make_relay(listen=[f"127.0.0.1:{port} tls", "127.0.0.1:0 starttls"])
    second = make_relay(start=False, listen=[f"127.0.0.1:{port} tls"])
    second.start(wait=False)
    assert second.wait_exit() == EX_UNAVAILABLE
    assert f"127.0.0.1:{port}" in second.log("start-failed")[0]["reason"]
    assert first.log("listening", address=f"127.0.0.1:{port}")


def test_a_restart_finds_its_port_free(make_relay):
    """Though connections of the one before are still in the kernel: closed by it first (TIME_WAIT), and not closed by their client yet (FIN_WAIT)."""
    relay = make_relay(listen=[f"127.0.0.1:{free_port()} starttls", "127.0.0.1:0 tls"], conf=["relay.threads = 4"])
    clients = [socket.create_connection(relay.address("starttls"), timeout=PATIENCE_S) for _ in range(8)]
    for client in clients:
        assert client.recv(1000).startswith(b"220")
    assert relay.stop() == 0
    clients[0].close()
    relay.start()
    for client in clients[1:]:
        client.close()


# ---- a full disk ----------------------------------------------------------------------------------------------------

def test_a_full_disk(make_relay, small_disk, sink, tmp_path):
    """452, nothing lost, and everything goes on when there is room again, without a restart."""
    shutil.rmtree(tmp_path / "relay0", ignore_errors=True)
    os.symlink(small_disk, tmp_path / "relay0")
    relay = make_relay(zone="dest.example A 127.0.0.77\n", mx_port=sink.port, conf=["delivery.schedule = 1h"])
    relay.add_account("anna", "secret", "anna@example.org")
    taken, message = [], make_message(body=("z" * 70 + "\n") * 10000)
    with relay.client(user="anna", password="secret") as client:
        for _ in range(100):
            expect(client.mail("anna@example.org"), 250)
            expect(client.rcpt("bob@dest.example"), 250)
            code, text = client.data(message)
            if code != 250:
                break
            taken.append(text.decode().split()[-1])
        assert code == 452 and b"4.3.1" in text, (code, text)
        assert len(taken) >= 10
        expect(client.noop(), 250)
        assert len(relay.queue()) == len(taken)
        for id in taken[5:]:
            relay.run("queue", "remove", id)
        assert submit(client, "anna@example.org", ["bob@dest.example"], message)
    relay.dns.set_zone(f"dest.example A {sink.host}\n")
    relay.stop()
    relay.start()
    relay.run("queue", "retry", "--all")
    sink.wait_messages(5 + 1)


# ---- large messages -------------------------------------------------------------------------------------------------

def peak_kib(relay):
    with open(f"/proc/{relay.process.pid}/status") as file:
        return int(next(line for line in file if line.startswith("VmHWM")).split()[1])


def test_a_message_of_50_megabytes_passes_in_bounded_memory(relay_to, sink):
    """SCRAM, so that no password hash counts; its peak stays under 32 MiB beyond what the dummy hash at the start took."""
    relay = relay_to("limits.message_size = 60M")
    with open(f"/proc/{relay.process.pid}/clear_refs", "w") as file:
        file.write("5")  # the peak is counted from now on
    line = b"0123456789" * 7 + b"\r\n"
    body = line * (50_000_000 // len(line))
    message = b"From: anna@example.org\r\nTo: bob@dest.example\r\nSubject: big\r\n\r\n" + body
    with relay.client() as client:
        client.ehlo()
        from test_relay_login import scram
        assert scram(client, "anna", "secret") == 235
        id = submit(client, "anna@example.org", ["bob@dest.example"], message)
    got = wait_for(lambda: sink.messages, "the message", 120)[0]
    assert hashlib.sha256(got.octets[-len(body):]).digest() == hashlib.sha256(body).digest()
    relay.wait_state(id, "delivered")
    if "asan" not in os.environ.get("POSTERN_BUILD", ""):
        assert peak_kib(relay) < 32 * 1024, peak_kib(relay)


def test_sessions_are_counted_over_all_threads(make_relay):
    """The kernel deals connections out unevenly; the sum is what counts."""
    relay = make_relay(conf=["limits.sessions = 8", "relay.threads = 4"])
    sessions = []
    for _ in range(8):
        sessions.append(relay.client("starttls"))
    with socket.create_connection(relay.address("starttls"), timeout=PATIENCE_S) as one_more:
        assert one_more.recv(200).startswith(b"421 4.3.2 ")
    sessions.pop().quit()
    wait_for(lambda: relay.json("status")["sessions"] == 7, "a session less")
    sessions.append(relay.client("starttls"))
    for session in sessions:
        session.close()


def test_descriptors_run_out(make_relay):
    """More connections than descriptors: the relay lives, and serves again when they are gone."""
    relay = make_relay(start=False, conf=["limits.sessions_per_address = 0"])
    relay.start(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100)))
    relay.add_account("anna", "secret", "anna@example.org")
    host, port = relay.address("starttls")
    connections = []
    for _ in range(150):
        try:
            connections.append(socket.create_connection((host, port), timeout=2))
        except OSError:
            break
    assert relay.process.poll() is None
    for connection in connections:
        connection.close()

    def works():
        try:
            with relay.client(user="anna", password="secret") as client:
                return client.noop()[0] == 250
        except (OSError, smtplib.SMTPException):
            return False
    wait_for(works, "the relay serving again")


def test_a_start_while_a_command_has_the_database(make_relay):
    """The daemon waits for it."""
    relay = make_relay(start=False)
    with open(relay.path("relay.db.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        relay.start(wait=False)
        relay.wait_log("store-waits")
    relay.wait_log("started")


@pytest.mark.parametrize("number, event", [(signal.SIGHUP, "reloaded"), (signal.SIGTERM, "stopped")])
def test_a_signal_during_the_start(make_relay, number, event):
    """It is heeded when the start is over."""
    relay = make_relay(start=False)
    with open(relay.path("relay.db.lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        relay.start(wait=False)
        relay.wait_log("store-waits")
        relay.process.send_signal(number)
    relay.wait_log(event)
    if number == signal.SIGTERM:
        assert relay.wait_exit() == 0


def test_finished_messages_are_forgotten(relay_to):
    """At a start and once a day; what is not finished stays."""
    relay = relay_to("delivery.history = 0s", "delivery.schedule = 1h", zone="away.example A 127.0.0.77\n*.example A 127.0.0.1\n")
    finished = relay.send("anna", "secret", "anna@example.org", ["bob@dest.example"])
    waiting = relay.send("anna", "secret", "anna@example.org", ["bob@away.example"])
    relay.wait_state(finished, "delivered")
    relay.wait_log("deferred", item=waiting)
    assert {entry["id"] for entry in relay.queue("--all")} == {finished, waiting}
    relay.stop()
    relay.start()
    wait_for(lambda: [entry["id"] for entry in relay.queue("--all")] == [waiting], "the finished message being forgotten")
