"""A laptop that travels: hosts and networks for the tests, with what networks do to mail as verbs.

     laptop                       hotel, cafe, ... (as many as are named)       internet
    +--------+      wire        +------------------------------------+       +----------+         +-------+  relay.example
    |  wlan0 |-----~~~~~~-------| lan   NAT (IPv4), nftables,    wan |-------|  router  |---------| relay |  192.0.2.10, 2001:db8:2::10
    +--------+  delays packets  |       middleboxes                  |       +----------+         +-------+
    10.77.N.23                  +------------------------------------+            |               +-------------+
    2001:db8:77:N::23                                                             +---------------| destination |  203.0.113.25
                                                                                                  +-------------+  2001:db8:3::25

    with Lab() as lab:
        lab.roam("hotel")
        lab.drop(25, 465, 587)              silently
        lab.reject(25)                      TCP reset
        lab.unreachable(25)                 ICMP: administratively prohibited
        lab.strip_starttls(587)             the line STARTTLS is missing from the answer to EHLO
        lab.mask_starttls(587)              it reads XXXXXXXA, as some firewalls make it
        lab.mitm(465)                       TLS ends at a stranger who has a certificate in the relay's name
        lab.foreign_banner(587, b"...")     something else answers
        lab.captive()                       every port is answered by HTTP
        lab.open(465); lab.open_all(); lab.close_all()
        lab.break_ipv6()                    addresses and routes are there, and nothing comes back
        lab.latency(50)                     a round trip takes 50 ms: every packet is delayed, a SYN too
        lab.radio_off(); lab.radio_on()     no network at all, and back again
        lab.heard(465)                      what the middlebox on that port was told by the laptop, decrypted where it could

A verb acts on the venue where the laptop is. Everything that a venue does to a port replaces what it did before; connections already
open through a middlebox die with it. Verbs of the same shape to come: reset_after, hijack_dns, proxy_only, rate, cut, sleep_wake; the
first three are middleboxes, rate and cut belong to the wire.

No host but these exists in there, no resolver answers, and names are in a hosts file that only these hosts see.
"""
import os
import sys

from hosts import HERE, World

FOLDER = os.path.dirname(os.path.abspath(__file__))
PORTS = (465, 587, 2525, 25)
TLS_PORTS = (465, 443)
RELAY = "relay.example"
RELAY_ADDRESSES = ("192.0.2.10", "2001:db8:2::10")
DESTINATION = "mx.destination.example"
DESTINATION_ADDRESSES = ("203.0.113.25", "2001:db8:3::25")
LAPTOP = "travellers-laptop"
ROUND_TRIP_MS = 1      # never zero: in no time at all, an ICMP error is back before the kernel has done sending, and is overlooked
LISTEN_BASE = 20000    # a middlebox for port 465 listens on 20465
ROUTING = {"net_ipv4_ip__forward": 1, "net_ipv6_conf_all_forwarding": 1, "net_ipv4_icmp__ratelimit": 0, "net_ipv6_icmp_ratelimit": 0}
NO_DAD = {"net_ipv6_conf_default_accept__dad": 0, "net_ipv6_conf_all_accept__dad": 0}


class Venue:
    """A network that the laptop can be in: a router, what it does to ports, and perhaps a long line behind it."""

    def __init__(self, lab, name, number):
        self.lab = lab
        self.name = name
        self.number = number
        self.router = lab.world.host(name, lab.hosts_file)
        self.router.sysctl(**ROUTING, **NO_DAD)
        self.laptop_addresses = (f"10.77.{number}.23", f"2001:db8:77:{number}::23")
        self._actions = {}      # port -> nftables words
        self._boxes = {}        # port -> its Process
        self._everything = ""   # a rule for all ports
        self._wire = lab.world.host(f"{name}-wire", lab.hosts_file)
        self._wire.sysctl(net_ipv6_conf_default_disable__ipv6=1)
        self._carrier = None    # the program that is the wire
        self._plug()
        self._apply()

    # -- cables

    def _plug(self):
        internet, port, n = self.lab.internet, f"venue{self.number}", self.number
        internet.link(port, self.router, "wan")
        self.router.link("lan", self._wire, "far")
        internet.ip(f"addr add 198.51.100.{4 * n + 1}/30 dev {port}", f"addr add 2001:db8:100:{n}::1/64 dev {port} nodad",
                    f"route add 2001:db8:77:{n}::/64 via 2001:db8:100:{n}::2")
        self.router.ip(f"addr add 198.51.100.{4 * n + 2}/30 dev wan", f"addr add 2001:db8:100:{n}::2/64 dev wan nodad",
                       f"addr add 10.77.{n}.1/24 dev lan", f"addr add 2001:db8:77:{n}::1/64 dev lan nodad",
                       f"route add default via 198.51.100.{4 * n + 1}", f"route add default via 2001:db8:100:{n}::1")

    def admit(self, laptop):
        """The laptop's interface appears here, with addresses and routes as DHCP and router advertisements would give."""
        self._end_carrier()
        laptop.run(["ip", "link", "delete", "wlan0"], check=False)
        laptop.link("wlan0", self._wire, "near")
        self.configure(laptop)
        self.latency(ROUND_TRIP_MS)

    def configure(self, laptop):
        v4, v6 = self.laptop_addresses
        laptop.ip(f"addr replace {v4}/24 dev wlan0", f"addr replace {v6}/64 dev wlan0 nodad",
                  f"route replace default via 10.77.{self.number}.1", f"route replace default via 2001:db8:77:{self.number}::1")

    def latency(self, round_trip_ms):
        self._end_carrier()
        self._carrier = self._wire.start([sys.executable, os.path.join(FOLDER, "wire.py"), "near", "far", str(round_trip_ms / 2)],
                                         ready=b"ready", log=os.path.join(self.lab.folder, "wire.log"))

    def _end_carrier(self):
        if self._carrier:
            self._carrier.kill()
            self._carrier = None

    # -- what is done to packets

    def _apply(self):
        forward = [f'iifname "lan" tcp dport {port} {words}' for port, words in self._actions.items() if port not in self._boxes]
        redirect = [f'iifname "lan" tcp dport {port} redirect to :{LISTEN_BASE + port}' for port in self._boxes]
        self.router.nft("table inet venue\ndelete table inet venue\n"
                        "table inet venue {\n"
                        f" chain forward {{ type filter hook forward priority 0; {self._everything}\n" + "\n".join(forward) + "\n }\n"
                        " chain arriving { type nat hook prerouting priority -100;\n" + "\n".join(redirect) + "\n }\n"
                        ' chain leaving { type nat hook postrouting priority 100; oifname "wan" meta nfproto ipv4 masquerade\n }\n'
                        "}\n")

    def _treat(self, ports, words):
        for port in ports:
            self._end_box(port)
            self._actions[port] = words
        self._apply()

    def drop(self, *ports):
        self._treat(ports, "drop")

    def reject(self, *ports):
        self._treat(ports, "reject with tcp reset")

    def unreachable(self, *ports):
        self._treat(ports, "reject with icmpx type admin-prohibited")

    def open(self, *ports):
        for port in ports:
            self._end_box(port)
            self._actions.pop(port, None)
        self._apply()

    def close_all(self):
        self.drop(*PORTS)

    def open_all(self):
        self._everything = ""
        self.open(*set(self._actions) | set(self._boxes))

    def only(self, port):
        """That port is open; the others are dropped."""
        self.open_all()
        self.drop(*(p for p in PORTS if p != port))

    def break_ipv6(self):
        self._everything = "meta nfproto ipv6 drop;"
        self._apply()

    # -- middleboxes

    def _end_box(self, port):
        box = self._boxes.pop(port, None)
        if box:
            box.stop()

    def _heard_file(self, port):
        return os.path.join(self.lab.folder, f"heard-{self.name}-{port}")

    def _box(self, mode, ports, *arguments):
        for port in ports:
            self._end_box(port)
            if os.path.exists(self._heard_file(port)):
                os.remove(self._heard_file(port))
            command = [sys.executable, os.path.join(FOLDER, "middlebox.py"), mode, "--listen", LISTEN_BASE + port, "--port", port,
                       "--heard", self._heard_file(port), *arguments]
            self._boxes[port] = self.router.start(command, ready=b"ready", log=os.path.join(self.lab.folder, "middlebox.log"))
        self._apply()

    def strip_starttls(self, *ports):
        self._box("strip", ports, "--relay", *RELAY_ADDRESSES)

    def mask_starttls(self, *ports):
        self._box("mask", ports, "--relay", *RELAY_ADDRESSES)

    def mitm(self, *ports):
        for port in ports:
            self._box("mitm", [port], "--certificate", self.lab.foreign_certificate(), *(["--tls"] if port in TLS_PORTS else []))

    def foreign_banner(self, port, banner=b"SSH-2.0-dropbear_2022.83"):
        self._box("banner", [port], "--banner", banner.decode("ascii"))

    def captive(self, *ports):
        self._box("http", ports or PORTS)

    def heard(self, port):
        """Every octet that the middlebox on the port got from the laptop, decrypted ones too."""
        try:
            with open(self._heard_file(port), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""


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
        self.laptop = self.world.host(LAPTOP, self.hosts_file)
        self.laptop.sysctl(**NO_DAD)
        self.relay = self._server("relay", "192.0.2", "2001:db8:2", "10")
        self.destination = self._server("destination", "203.0.113", "2001:db8:3", "25")
        self.venues = {}
        self.venue = None

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

    def radio_off(self):
        self.laptop.ip("link set dev wlan0 down")

    def radio_on(self):
        self.laptop.ip("link set dev wlan0 up")
        while not self.laptop.is_up("wlan0"):
            pass
        self.venue.configure(self.laptop)

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
