"""The relay on the web's ports: what browsers and curl see, who speaks first by ALPN, nginx and HAProxy in front of it, 443 taken by another program."""
import base64
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys

import pytest

from relay_support import PATIENCE_S, expect, free_port, make_message, submit, wait_for

CLIENT = "127.0.0.77"   # its connections are told from the proxy's, which come from 127.0.0.1
SBIN = ["/usr/sbin", "/usr/local/sbin", *os.environ["PATH"].split(":")]
STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"
NGINX = shutil.which("nginx", path=":".join(SBIN))
HAPROXY = shutil.which("haproxy", path=":".join(SBIN))
needs_nginx = pytest.mark.skipif(not NGINX or not os.path.exists(STREAM), reason="nginx with its module stream is not installed")
needs_haproxy = pytest.mark.skipif(not HAPROXY, reason="haproxy is not installed")


def tls_socket(relay, address, alpn=None, source=None, name="relay.example"):
    context = relay.tls_context()
    if alpn:
        context.set_alpn_protocols([alpn])
    raw = socket.create_connection(address, timeout=PATIENCE_S, source_address=(source, 0) if source else None)
    return context.wrap_socket(raw, server_hostname=name)


def smtp_over(connection):
    client = smtplib.SMTP(timeout=PATIENCE_S, local_hostname="secret-laptop.example")
    client.sock = connection
    expect(client.getreply(), 220)
    return client


def read_until(connection, words):
    octets = b""
    while words not in octets:
        piece = connection.recv(65536)
        assert piece, octets
        octets += piece
    return octets


@pytest.fixture
def relay(make_relay):
    relay = make_relay(conf=["relay.advertise = 443 tls"])
    relay.add_account("anna", "secret", "anna@example.org")
    return relay


# ---- ALPN -----------------------------------------------------------------------------------------------------------

def s_client(relay, *options, stdin="QUIT\r\n"):
    host, port = relay.address("tls")
    return subprocess.run(["openssl", "s_client", "-connect", f"{host}:{port}", "-quiet", "-verify_quiet", *options], input=stdin, capture_output=True, text=True,
                          timeout=PATIENCE_S)


@pytest.mark.parametrize("options", [[], ["-alpn", "smtp"], ["-alpn", "h2,smtp"], ["-alpn", "http/1.1,smtp"]])
def test_who_asks_for_smtp_is_greeted(relay, options):
    done = s_client(relay, *options)
    assert done.stdout.startswith("220 relay.example ESMTP") and "221 2.0.0" in done.stdout, done


def test_who_asks_for_other_protocols_is_refused(relay):
    for alpn in ("h2", "imap", "h2,ftp"):
        done = s_client(relay, "-alpn", alpn)
        assert done.returncode != 0 and "220" not in done.stdout and "no application protocol" in done.stderr, done


def test_mail_inside_http(relay):
    """The client speaks first, the greeting comes before the answer to what it said, and the session is like any other."""
    with tls_socket(relay, relay.address("tls"), "http/1.1") as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        connection.sendall(b"EHLO laptop.example\r\nNOOP\r\n")
        lines = read_until(connection, b"\n250 2.0.0 ").decode().splitlines()
    assert lines[0].startswith("220 relay.example ESMTP")
    assert "250-XWAYS 443/tls" in lines and "250-PIPECONNECT" in lines


def test_ways_are_told_inside_tls_only_and_follow_a_reload(relay):
    with relay.client("starttls") as client:
        assert client.ehlo()[0] == 250 and client.esmtp_features["xways"] == "443/tls"
    host, port = relay.address("starttls")
    with smtplib.SMTP(host, port, timeout=PATIENCE_S) as client:
        client.ehlo()
        assert "xways" not in client.esmtp_features
    relay.conf["relay.advertise"] = ["198.51.100.7:8443 tls"]
    relay.write_conf()
    with relay.client() as before:
        relay.process.send_signal(1)
        relay.wait_log("reloaded")

        def told():
            with relay.client() as client:
                client.ehlo()
                return client.esmtp_features["xways"] == "198.51.100.7:8443/tls"
        wait_for(told, "the new ways")
        before.ehlo()
        assert before.esmtp_features["xways"] == "443/tls"


# ---- the web --------------------------------------------------------------------------------------------------------

def curl(*words, code=0):
    done = subprocess.run(["curl", "-sS", "-k", "-m", str(PATIENCE_S), "-D", "-", *words], capture_output=True, text=True)
    assert done.returncode == code, done
    return done.stdout


def test_a_browser_sees_a_small_web_server(relay):
    host, port = relay.address("tls")
    home = curl(f"https://{host}:{port}/")
    assert home.startswith("HTTP/1.1 200 OK\n") and "nothing to see here" in home and "Connection: close" in home, home
    assert curl("-I", f"https://{host}:{port}/").startswith("HTTP/1.1 200 OK\n")
    for words in (["/wp-login.php"], ["-d", "a=b", "/"], ["-X", "DELETE", "/"]):
        answer = curl(*words[:-1], f"https://{host}:{port}{words[-1]}")
        assert answer.startswith("HTTP/1.1 404 Not Found\n"), answer
        assert not any(word in answer for word in ("ostern", "SMTP", "relay", "ESMTP")), answer
    assert relay.json("status")["sessions"] == 0


def test_plain_http_takes_no_mail(make_relay):
    relay = make_relay(listen=["127.0.0.1:0 http", "127.0.0.1:0 tls"])
    host, port = relay.address("http")
    assert curl(f"http://{host}:{port}/").startswith("HTTP/1.1 404 Not Found\n")
    with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"EHLO laptop.example\r\n")
        assert read_until(connection, b"</html>\n").startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert connection.recv(100) == b""
    status = relay.json("status")
    assert {"address": f"{host}:{port}", "mode": "http", "proxied": False} in status["listeners"] and status["ways"] == ""


NONCE = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"


def check_challenge(answer, nonce, folder):
    """openssl, which knows nothing of us, agrees that the answer is signed by the key of the first certificate in it."""
    head, _, body = answer.partition("\n\n")
    assert head.startswith("HTTP/1.1 200 OK\n") and "Content-Type: text/plain" in head, answer
    first, said, signature, chain = body.split("\n", 3)
    assert first == "postern-challenge 1" and said == nonce
    for name, octets in {"signature": base64.b64decode(signature), "chain": chain.encode(), "signed": b"postern captive portal challenge 1\0" + nonce.encode()}.items():
        (folder / name).write_bytes(octets)
    subprocess.run("openssl x509 -in chain -noout -pubkey > key && openssl dgst -sha256 -verify key -signature signature signed", shell=True, check=True,
                   capture_output=True, cwd=folder)
    return chain


def test_the_challenge(make_relay, tmp_path):
    relay = make_relay(listen=["127.0.0.1:0 http", "127.0.0.1:0 tls"])
    host, port = relay.address("http")
    url = f"http://{host}:{port}/.well-known/postern"
    chain = check_challenge(curl(f"{url}?n={NONCE}"), NONCE, tmp_path)
    with open(relay.certificate, encoding="ascii") as file:
        assert chain.split() == file.read().split()
    assert curl("-I", f"{url}?n={NONCE}").startswith("HTTP/1.1 200 OK\n")
    for query in ("", "?n=", f"?n={NONCE[:-1]}", f"?n={NONCE}A", f"?n={NONCE[:-1]}F", f"?n={NONCE[:-1]}%45", f"?n={NONCE}&m=1"):
        assert curl(url + query).startswith("HTTP/1.1 404 Not Found\n"), query
    tls_host, tls_port = relay.address("tls")
    assert curl(f"https://{tls_host}:{tls_port}/.well-known/postern?n={NONCE}").startswith("HTTP/1.1 404 Not Found\n")


def test_challenges_cost_only_so_much(make_relay):
    """A flood is told to come again, and mail is served meanwhile."""
    relay = make_relay(listen=["127.0.0.1:0 http", "127.0.0.1:0 tls"], conf=["relay.threads = 1"])
    host, port = relay.address("http")
    statuses = []
    while 503 not in statuses and len(statuses) < 5000:
        with socket.create_connection((host, port), timeout=PATIENCE_S) as connection:
            connection.sendall(f"GET /.well-known/postern?n={NONCE} HTTP/1.0\r\n\r\n".encode())
            statuses.append(int(read_until(connection, b"\r\n").split()[1]))
    assert statuses[:10] == [200] * 10 and statuses[-1] == 503
    with relay.client() as client:
        assert client.noop()[0] == 250

    def answered():
        return curl(f"http://{host}:{port}/.well-known/postern?n={NONCE}").startswith("HTTP/1.1 200 OK\n")
    wait_for(answered, "the next second")


# ---- behind others --------------------------------------------------------------------------------------------------

@pytest.fixture
def proxy(tmp_path):
    """Starts a proxy by its command, with its configuration in a file whose name takes the place of CONF; ends it after the test."""
    started = []

    def start(command, text, port):
        path = str(tmp_path / f"proxy{len(started)}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        with open(path + ".log", "wb") as log:
            process = subprocess.Popen([path if word == "CONF" else word for word in command], stdout=log, stderr=log)
        started.append(process)

        def accepts():
            assert process.poll() is None, open(path + ".log", encoding="utf-8").read()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0
        wait_for(accepts, "the proxy to listen")

    yield start
    for process in started:
        process.terminate()
        process.wait(PATIENCE_S)


@pytest.fixture
def behind(make_relay, make_sink):
    """A relay whose TLS listener is proxied; the port of the proxy is still to be taken."""
    sink = make_sink()
    relay = make_relay(zone=f"dest.example A {sink.host}\n", mx_port=sink.port, listen=["127.0.0.1:0 tls proxied", "127.0.0.1:0 starttls proxied"],
                       conf=["relay.advertise = 443 tls", "log.level = debug"])
    relay.add_account("anna", "secret", "anna@example.org")
    relay.sink = sink
    return relay


def check_through(relay, port, starttls_port=None):
    """Mail goes through, and what the relay knows of the client is the client's."""
    for alpn in (None, "smtp"):
        with smtp_over(tls_socket(relay, ("127.0.0.1", port), alpn, CLIENT)) as client:
            with pytest.raises(smtplib.SMTPAuthenticationError):
                client.login("anna", "wrong")
            client.login("anna", "secret")
            submit(client, "anna@example.org", ["bob@dest.example"], make_message())
    message = relay.sink.wait_messages(2)[0]
    assert b"127.0.0.77" not in message.octets and b"secret-laptop" not in message.octets
    failures = relay.log("auth", level="warning") or [line for line in relay.log("auth") if line["result"] != "ok"]
    assert failures and all(line["peer"].startswith(CLIENT + ":") for line in relay.log("auth")), relay.log("auth")
    if starttls_port:
        with smtplib.SMTP("127.0.0.1", starttls_port, timeout=PATIENCE_S, source_address=(CLIENT, 0)) as client:
            client.starttls(context=relay.tls_context())
            client.login("anna", "secret")
        assert relay.log("auth")[-1]["peer"].startswith(CLIENT + ":")


@needs_nginx
def test_nginx_shares_443_by_name(behind, proxy, tmp_path):
    port, pages, backend = free_port(), free_port(), behind.address("tls")
    proxy([NGINX, "-p", str(tmp_path), "-c", "CONF", "-e", "stderr"], f"""
load_module {STREAM};
daemon off;
{"user root;" if os.getuid() == 0 else ""}
pid {tmp_path}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
stream {{
    map $ssl_preread_server_name $to {{ relay.example {backend[0]}:{backend[1]}; default 127.0.0.1:{pages}; }}
    server {{ listen 127.0.0.1:{port}; ssl_preread on; proxy_protocol on; proxy_pass $to; }}
}}
""", port)
    check_through(behind, port)
    with pytest.raises((ssl.SSLError, ConnectionError)):   # another name is not ours
        tls_socket(behind, ("127.0.0.1", port), name="www.example")
    answer = curl("--resolve", f"relay.example:{port}:127.0.0.1", f"https://relay.example:{port}/")
    assert answer.startswith("HTTP/1.1 200 OK\n"), answer


@needs_haproxy
@pytest.mark.parametrize("word", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,ssl,unique-id"])
def test_haproxy(behind, proxy, word):
    port, starttls_port, (host, tls), (_, starttls) = free_port(), free_port(), behind.address("tls"), behind.address("starttls")
    proxy([HAPROXY, "-db", "-f", "CONF"], f"""
global
    log stderr format raw local0 warning
defaults
    mode tcp
    timeout connect 10s
    timeout client 60s
    timeout server 60s
listen tls
    bind 127.0.0.1:{port}
    server postern {host}:{tls} {word} check inter 50ms
listen starttls
    bind 127.0.0.1:{starttls_port}
    server postern {host}:{starttls} {word} check inter 50ms
""", port)
    check_through(behind, port, starttls_port)
    lines, phases = len(behind.log_lines), len(behind.log("phase"))
    wait_for(lambda: len(behind.log("phase")) > phases + 8, "health checks")
    noise = [line for line in behind.log_lines[lines:] if "level=debug" not in line and "item=" not in line and CLIENT not in line]   # what the client did may still be told
    assert not noise, noise


def test_nobody_else_speaks_for_a_client(make_relay):
    relay = make_relay(listen=["127.0.0.1:0 starttls proxied"], conf=["relay.proxy_from = 127.0.0.9"])
    address = relay.address("starttls")
    header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 25\r\n"
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(header)
            assert connection.recv(100) == b""
        except ConnectionError:
            pass
    assert "proxy_from" in relay.wait_log("proxy-refused")["reason"]
    with socket.create_connection(address, timeout=PATIENCE_S, source_address=("127.0.0.9", 0)) as connection:
        connection.sendall(header)
        assert connection.recv(100).startswith(b"220 ")


# ---- ports of others ------------------------------------------------------------------------------------------------

OCCUPY = """import os, socket, subprocess, sys
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
for port in (443, 80):
    os.set_inheritable(socket.create_server(("0.0.0.0", port)).detach(), True)
os.execv(sys.argv[1], sys.argv[1:])
"""
ALONE = ["unshare", "-rn", sys.executable, "-c", OCCUPY]


def alone(relay, *listen):
    relay.command, relay.listen = ALONE, list(listen)
    relay.write_conf()


@pytest.mark.skipif(subprocess.run(["unshare", "-rn", "ip", "link", "set", "lo", "up"], capture_output=True).returncode != 0,
                    reason="no network namespaces may be made here")
def test_a_default_port_that_is_taken_is_done_without(make_relay):
    relay = make_relay(start=False)
    alone(relay)
    relay.start()
    passed_over = relay.log("not-listening", level="warning")
    assert sorted(line["reason"].split()[0] for line in passed_over) == ["0.0.0.0:443:", "0.0.0.0:80:"], passed_over
    assert all("relay.conf(5)" in line["hint"] for line in passed_over)
    status = relay.json("status")
    assert {"address": "[::]:443", "mode": "tls", "proxied": False} in status["listeners"]
    assert status["ways"] == "465/tls 443/tls 587/starttls 2525/starttls 25/starttls"
    relay.stop()
    alone(relay, "0.0.0.0:465 tls", "0.0.0.0:443 tls")
    relay.start(wait=False)
    assert relay.wait_exit() == 69
    assert "0.0.0.0:443" in relay.wait_log("start-failed")["reason"]


def test_check_tells_where_443_is_missing(make_relay):
    relay = make_relay(start=False)
    ways = [finding for finding in relay.json("check") if finding["what"] == "ways"]
    assert [finding["state"] for finding in ways] == ["warning"] and "443" in ways[0]["words"]
    for listen, advertise in ((["127.0.0.1:0 tls", "0.0.0.0:443 tls"], []), (["127.0.0.1:0 tls"], ["443 tls"]), (["127.0.0.1:0 tls"], ["192.0.2.1:443 tls"])):
        relay.listen, relay.conf["relay.advertise"] = listen, advertise
        relay.write_conf()
        found = subprocess.run([relay.program, "check", "--json", "--dir", relay.folder], capture_output=True, text=True, timeout=60).stdout
        assert '"ways"' not in found, (listen, advertise, found)
