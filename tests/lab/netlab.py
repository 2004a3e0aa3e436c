"""A laptop that travels: hosts and networks for the tests, with what networks do to mail as verbs.

     laptop                       hotel, cafe, ... (as many as are named)       internet
    +--------+      wire        +------------------------------------+       +----------+         +-------+  relay.example
    |  wlan0 |-----~~~~~~-------| lan   NAT (IPv4), nftables,    wan |-------|  router  |---------| relay |  192.0.2.10, 2001:db8:2::10
    +--------+  delays packets  |       middleboxes, name server     |       +----------+         +-------+
    10.77.N.23                  +------------------------------------+            |               +-------------+
    2001:db8:77:N::23                                                             +---------------| destination |  203.0.113.25
                                                                                                  +-------------+  2001:db8:3::25

    with Lab() as lab:
        lab.roam("hotel")
        lab.drop(25, 465, 587)              silently
        lab.reject(25)                      TCP reset, of standing connections too
        lab.unreachable(25)                 ICMP: administratively prohibited
        lab.reset_after(20000, 465)         TCP reset once the laptop has said so many octets
        lab.strip_starttls(587)             the line STARTTLS is missing from the answer to EHLO
        lab.mask_starttls(587)              it reads XXXXXXXA, as some firewalls make it
        lab.refuse_starttls(587)            it is there, and the answer to it is 454
        lab.mitm(465)                       TLS ends at a stranger who has a certificate in the relay's name
        lab.foreign_banner(587, "...")      something else answers
        lab.tls_block(465)                  TLS meets silence from its first octet on
        lab.alpn_filter(443)                only where the ClientHello's ALPN has "smtp", or the word behind the ports
        lab.captive("silent"); lab.login()  a portal answers on every port and for every name, but on TLS ports: see venue.py
        lab.hijack_dns("portal")            every name has the portal's address; also servfail, silent, nxdomain, honest
        lab.proxy_only("http", "u", "p")    only a proxy on the gateway gets out, an HTTP or a "socks" one
        lab.open(465); lab.open_all(); lab.close_all(); lab.only(465)
        lab.break_ipv6()                    addresses and routes are there, and nothing comes back
        lab.ipv6_only(); lab.ipv4_only()    the laptop has addresses of that family alone
        lab.mtu_hole(1300, 465)             packets longer than that vanish
        lab.latency(50)                     a round trip takes 50 ms: every packet is delayed, a SYN too
        lab.rate(256); lab.loss(5)          kbit/s; percent
        lab.cut(); lab.mend()               the line is dead, and nobody says so: a tunnel
        lab.radio_off(); lab.radio_on()     no network at all, and back again
        lab.sleep(agent.process); lab.wake(3600)   the laptop sleeps, and has slept for so many seconds
        lab.calm()                          the venue as it was made
        lab.heard(465)                      what the middlebox on that port was told by the laptop, decrypted where it could
        lab.captures()                      what the laptop sent and got: pcap files, one a stay (capture.py reads them)

A verb acts on the venue where the laptop is. No host but these exists in there. The laptop asks the venue's own name server; the other
hosts have the names in a hosts file that only they see.
"""
import os
import signal
import struct

import tools
from hosts import HERE, World
from venue import EVERY_PORT, NO_DAD, PORTS, RELAY, RELAY_ADDRESSES, ROUTING, TLS_PORTS, Venue

__all__ = ["EVERY_PORT", "PORTS", "RELAY", "RELAY_ADDRESSES", "TLS_PORTS", "Lab"]
DESTINATION = "mx.destination.example"
DESTINATION_ADDRESSES = ("203.0.113.25", "2001:db8:3::25")
LAPTOP = "travellers-laptop"


class Lab:
    """The whole picture above. Raises hosts.Unavailable where namespaces are forbidden."""

    def __init__(self):
        self.world = World()
        try:
            self._build()
        except BaseException:
            self.world.close()
            raise

    def _build(self):
        self.folder = self.world.folder
        self.hosts_file = os.path.join(self.folder, "hosts")
        with open(self.hosts_file, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n::1 localhost\n")
            file.writelines(f"{address} {name}\n" for name, addresses in ((RELAY, RELAY_ADDRESSES), (DESTINATION, DESTINATION_ADDRESSES))
                            for address in addresses)
        self.internet = self.world.host("internet", self.hosts_file)
        self.internet.sysctl(**ROUTING, **NO_DAD)
        self.laptop = self.world.host(LAPTOP, self._laptops_names())
        self.laptop.sysctl(**NO_DAD)
        self.relay = self._server("relay", "192.0.2", "2001:db8:2", "10")
        self.destination = self._server("destination", "203.0.113", "2001:db8:3", "25")
        self.venues = {}
        self.venue = None
        self._captures = []
        self._ncaptures = 0
        self._asleep = []
        self.slept_file = os.path.join(self.folder, "slept")    # for boottime.c
        self._set_slept(0)

    def _laptops_names(self):
        path = os.path.join(self.folder, "hosts-laptop")
        with open(path, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n::1 localhost\n")
        return path

    def _server(self, name, v4, v6, last):
        host = self.world.host(name, self.hosts_file)
        host.sysctl(**NO_DAD)
        self.internet.link(name, host, "eth0")
        self.internet.ip(f"addr add {v4}.1/24 dev {name}", f"addr add {v6}::1/64 dev {name} nodad")
        host.ip(f"addr add {v4}.{last}/24 dev eth0", f"addr add {v6}::{last}/64 dev eth0 nodad",
                f"route add default via {v4}.1", f"route add default via {v6}::1")
        return host

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.world.close()

    def roam(self, name):
        """The laptop leaves where it is and comes up in the venue of that name, made when first named. Its verbs are ours from now on."""
        if name not in self.venues:
            self.venues[name] = Venue(self, name, len(self.venues) + 1)
        self.venue = self.venues[name]
        self.venue.admit(self.laptop)
        return self.venue

    def __getattr__(self, verb):
        venue = self.__dict__.get("venue")
        if venue is None or verb.startswith("_"):
            raise AttributeError(verb)
        return getattr(venue, verb)

    # -- the radio

    def radio_off(self):
        self.laptop.ip("link set dev wlan0 down")

    def radio_on(self):
        self.laptop.ip("link set dev wlan0 up")
        while not self.laptop.is_up("wlan0"):
            pass
        self.venue.configure(self.laptop)

    # -- sleep

    def _set_slept(self, ns):
        with open(self.slept_file + ".new", "wb") as file:
            file.write(struct.pack("=q", ns))
        os.rename(self.slept_file + ".new", self.slept_file)
        self._slept_ns = ns

    def sleep(self, *processes):
        """The laptop sleeps: these programs stand still, and the network gets no answer."""
        self._asleep = list(processes)
        for process in processes:
            process.signal(signal.SIGSTOP)
        self.venue.cut()

    def wake(self, slept_s=3600):
        """CLOCK_BOOTTIME of programs that were started with sleeper_environment() is that much ahead then."""
        self._set_slept(self._slept_ns + int(float(slept_s) * 1e9))
        self.venue.mend()
        for process in self._asleep:
            process.signal(signal.SIGCONT)
        self._asleep = []

    def sleeper_environment(self):
        """Of a program whose machine sleeps, as words for env(1)."""
        return [f"LD_PRELOAD={tools.boottime()}", f"POSTERN_SLEPT={self.slept_file}", "ASAN_OPTIONS=verify_asan_link_order=0"]

    # -- captures

    def next_capture(self):
        self._ncaptures += 1
        self._captures.append(os.path.join(self.folder, f"capture-{self._ncaptures}.pcap"))
        return self._captures[-1]

    def captures(self):
        return list(self._captures)

    def forget_captures(self):
        """Those of stays that are over; the present one begins anew."""
        for path in self._captures:
            if os.path.exists(path):
                os.remove(path)
        self._captures = []
        if self.venue:
            self.venue.capture(self.next_capture())

    def foreign_certificate(self):
        """A stranger's key and certificate in the relay's name, in one PEM file."""
        path = os.path.join(self.folder, "foreign.pem")
        if not os.path.exists(path):
            make_certificate(path, RELAY)
        return path


def make_certificate(path, name):
    """A self-signed certificate and its key, in one PEM file."""
    HERE.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650",
              "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{path}.key", "-out", path])
    with open(path, "a", encoding="ascii") as certificate, open(f"{path}.key", encoding="ascii") as key:
        certificate.write(key.read())
