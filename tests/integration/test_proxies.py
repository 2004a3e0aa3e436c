"""Real proxies between a laptop and a real relay: tinyproxy (HTTP CONNECT) and microsocks (SOCKS5). What `dial` prints is the driver's verdict and words."""
import os
import socket
import subprocess

import pytest

from daemon import BUILD, free_port
from proxy_support import Proxy

DIAL = os.path.join(BUILD, "tests", "integration", "dial")


@pytest.fixture
def make_proxy(tmp_path):
    """make_proxy("tinyproxy", "BasicAuth anna secret", ...) or make_proxy("microsocks", "-u", "anna", ...)"""
    proxies = []

    def make(program, *options):
        proxies.append(Proxy(program, tmp_path / f"proxy{len(proxies)}.conf", *options))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def relay(make_relay):
    """On the addresses that localhost may have: which one a proxy takes is its resolver's choice."""
    tls, starttls = free_port(), free_port()
    addresses = ["127.0.0.1"] + (["[::1]"] if has_ipv6() else [])
    return make_relay(listen=[f"{address}:{port} {mode}" for address in addresses for port, mode in ((tls, "tls"), (starttls, "starttls"))])


def has_ipv6():
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def dial(via, proxy, relay, *login, mode="tls", host=None, port=None, alpn=""):
    own_host, own_port = relay.address(mode)
    address = proxy if isinstance(proxy, str) else proxy.address
    words = [DIAL, via, address, host or own_host, str(port or own_port), mode, alpn, relay.certificate, *login]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), (words, done)
    return done.stdout.strip()


# ---- HTTP CONNECT ----

@pytest.mark.parametrize("mode, alpn", [("tls", ""), ("tls", "smtp"), ("tls", "http/1.1"), ("starttls", "")])
def test_through_tinyproxy(make_proxy, relay, mode, alpn):
    assert dial("http-connect", make_proxy("tinyproxy"), relay, mode=mode, alpn=alpn) == f"open TLSv1.3 {alpn}".strip()


def test_the_relays_name_is_the_proxys_to_resolve(make_proxy, relay):
    assert dial("http-connect", make_proxy("tinyproxy"), relay, host="localhost") == "open TLSv1.3"


def test_tinyproxy_asks_who_we_are(make_proxy, relay):
    proxy = make_proxy("tinyproxy", "BasicAuth anna open-sesame")
    assert dial("http-connect", proxy, relay, "anna", "open-sesame") == "open TLSv1.3"
    assert dial("http-connect", proxy, relay) == "proxy-refused proxy: the proxy wants a user name and password (407)"
    # tinyproxy says 401 where RFC 9110 15.5.8 has 407, so the number is left open.
    refused = dial("http-connect", proxy, relay, "anna", "wrong")
    assert refused.startswith("proxy-refused proxy: the proxy refuses the user name or the password (40")


def test_tinyproxy_allows_another_port_alone(make_proxy, relay):
    port = relay.address("tls")[1]
    refused = dial("http-connect", make_proxy("tinyproxy", "ConnectPort 443"), relay)
    assert refused.startswith(f"proxy-refused proxy: the proxy does not allow port {port} (403 ")
    assert dial("http-connect", make_proxy("tinyproxy", "ConnectPort 443", f"ConnectPort {port}"), relay) == "open TLSv1.3"


def test_tinyproxy_does_not_reach_the_relay(make_proxy, relay):
    refused = dial("http-connect", make_proxy("tinyproxy"), relay, port=free_port())
    assert refused.startswith("proxy-refused proxy: the proxy can't reach the relay (500 ")


# ---- SOCKS5 ----

@pytest.mark.parametrize("mode, alpn", [("tls", ""), ("tls", "smtp"), ("tls", "http/1.1"), ("starttls", "")])
def test_through_microsocks(make_proxy, relay, mode, alpn):
    assert dial("socks5", make_proxy("microsocks"), relay, mode=mode, alpn=alpn) == f"open TLSv1.3 {alpn}".strip()


def test_microsocks_resolves_the_relays_name(make_proxy, relay):
    assert dial("socks5", make_proxy("microsocks"), relay, host="localhost") == "open TLSv1.3"


def test_microsocks_asks_who_we_are(make_proxy, relay):
    proxy = make_proxy("microsocks", "-u", "anna", "-P", "open sesame")
    assert dial("socks5", proxy, relay, "anna", "open sesame") == "open TLSv1.3"
    assert dial("socks5", proxy, relay) == "proxy-refused proxy: the proxy wants a user name and password"
    assert dial("socks5", proxy, relay, "anna", "wrong") == "proxy-refused proxy: the proxy refuses the user name or the password"


def test_microsocks_does_not_reach_the_relay(make_proxy, relay):
    refused = dial("socks5", make_proxy("microsocks"), relay, port=free_port())
    assert refused == "proxy-refused proxy: the proxy can't reach the relay: connection refused (SOCKS reply 5)"


# ---- the wrong thing at the proxy's place ----

def test_each_is_no_other(make_proxy, relay):
    assert dial("socks5", make_proxy("tinyproxy"), relay) == "proxy-refused proxy: the proxy does not answer"
    assert dial("http-connect", make_proxy("microsocks"), relay).startswith("proxy-refused proxy: ")  # it ends, or says "no method"
    assert dial("http-connect", "%s:%d" % relay.address("starttls"), relay) == "proxy-refused proxy: what answers is no HTTP proxy"
    assert dial("socks5", "%s:%d" % relay.address("starttls"), relay) == "proxy-refused proxy: what answers is no SOCKS5 proxy"


def test_nobody_is_at_the_proxys_place(relay):
    assert dial("socks5", f"127.0.0.1:{free_port()}", relay) == "refused connect: the proxy: connection refused"
