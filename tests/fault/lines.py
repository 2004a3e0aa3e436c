"""The lines by which a laptop reaches its relay, one a mode of the product, each with a wire in it that can be cut, next to the laptop:

    tls, starttls                             laptop ---wire---> relay
    443                                       laptop ---wire---> relay        to port 443, with ALPN "http/1.1"; what says "smtp" there is reset, as by firewalls that mind it
    http-connect[-login], socks5[-login]      laptop ---wire---> proxy ---door---> relay
    http-connect-starttls, socks5-starttls    the same, and STARTTLS inside
    http-connect-443, socks5-443              the same, and what comes out on port 443 has ALPN "http/1.1"

The door is a wire that resets whom the proxy has not sent, so that nobody gets directly to the relay. Cuts are between laptop and proxy: the proxy's own dialogue is cut too.
"""
import os
import shutil

import pytest
from proxy_support import Proxy
from wire import Wire

DIRECT = ("tls", "starttls", "443")
PROXIED = ("http-connect", "http-connect-login", "http-connect-starttls", "http-connect-443", "socks5", "socks5-login", "socks5-starttls", "socks5-443")
MODES = DIRECT + PROXIED
PROGRAMS = {"http-connect": "tinyproxy", "socks5": "microsocks"}
SCHEMES = {"http-connect": "http", "socks5": "socks5"}
PROXY_ADDRESS = "127.0.0.3"     # from which a proxy goes out


def make_line(mode, relay):
    return ProxiedLine(mode, relay) if mode in PROXIED else DirectLine(mode, relay)


class DirectLine:
    def __init__(self, mode, relay):
        self.relay, self.security = relay, "starttls" if mode == "starttls" else "tls"
        self.wire = wire_at_443(relay.address("tls")) if mode == "443" else Wire(relay.address(self.security))
        self.way = f"{self.wire.host}:443 tls" if mode == "443" else f"{self.wire.port} {self.security}"
        self.conf = {}

    def reconnect(self):
        self.wire.server = self.relay.address(self.security)

    def forget(self):
        self.wire.forget()

    def octets(self):
        """That have gone from the laptop to the relay, over all connections, but for those which a RST took away on their way."""
        return sum(connection.to_server - connection.lost for connection in self.wire.connections)

    def close(self):
        self.wire.close()


def wire_at_443(server, source=None):
    """On an address of its own: port 443 of the others is somebody's."""
    for n in range(os.getpid(), os.getpid() + 100):
        try:
            return Wire(server, at=(f"127.77.{n // 254 % 256}.{n % 254 + 1}", 443), source=source, hello=b"http/1.1")
        except OSError as error:
            why = error
    return pytest.skip(f"port 443 can't be had on loopback: {why}")


class ProxiedLine:
    def __init__(self, mode, relay):
        via, self.relay = next(via for via in PROGRAMS if mode.startswith(via)), relay
        self.security = "starttls" if mode.endswith("starttls") else "tls"
        if not shutil.which(PROGRAMS[via]):
            pytest.skip(f"{PROGRAMS[via]} is missing: deploy/bootstrap check")
        is_web = mode.endswith("443")
        self.door = wire_at_443(relay.address("tls"), PROXY_ADDRESS) if is_web else Wire(relay.address(self.security), source=PROXY_ADDRESS)
        has_login = mode.endswith("login")
        if via == "http-connect":
            options = [f"Bind {PROXY_ADDRESS}", *(["BasicAuth anna open-sesame"] if has_login else [])]
        else:
            options = ["-b", PROXY_ADDRESS, *(["-u", "anna", "-P", "open-sesame"] if has_login else [])]
        self.proxy = Proxy(PROGRAMS[via], relay.path("tinyproxy.conf"), *options)
        self.wire = Wire(("127.0.0.1", self.proxy.port))
        self.way = f"{self.door.host}:443 tls" if is_web else f"{self.door.port} {self.security}"
        self.conf = {"proxy.proxy": [f"{SCHEMES[via]}://{'anna:open-sesame@' if has_login else ''}127.0.0.1:{self.wire.port}"]}

    def reconnect(self):
        self.door.server = self.relay.address(self.security)

    def octets(self):
        """What a proxy swallows when its client is gone has not been with the relay."""
        return sum(connection.to_server for connection in self.door.connections)

    def forget(self):
        self.wire.forget()
        self.door.forget()

    def close(self):
        self.wire.close()
        self.proxy.close()
        self.door.close()
