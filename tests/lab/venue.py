"""A network that the laptop can be in: a router, what it does to ports and names, and the line to it. Its verbs are listed in netlab.py.

What a verb does to a port replaces what was done to it before; connections already open through a middlebox are reset with it.
"""
import json
import os
import shutil

import tools
from hosts import Failed

PORTS = (465, 443, 587, 2525, 25)
TLS_PORTS = (465, 443)
RELAY = "relay.example"
RELAY_ADDRESSES = ("192.0.2.10", "2001:db8:2::10")
ROUND_TRIP_MS = 1      # never zero: in no time at all, an ICMP error is back before the kernel has done sending, and is overlooked
LISTEN_BASE = 20000    # a middlebox for port 465 listens on 20465
EVERY_PORT = 0         # ... and one for all ports on 20000
MAC = "02:00:5e:10:00:23"   # the laptop's: another one each time would leave routers with a neighbour of yesterday
HTTP_PROXY_PORT, SOCKS_PORT = 3128, 1080
ROUTING = {"net_ipv4_ip__forward": 1, "net_ipv6_conf_all_forwarding": 1, "net_ipv4_icmp__ratelimit": 0, "net_ipv6_icmp_ratelimit": 0}
NO_DAD = {"net_ipv6_conf_default_accept__dad": 0, "net_ipv6_conf_all_accept__dad": 0}
HONEST = "".join(f"{RELAY} {kind} {address}\n" for kind, address in zip(("A", "AAAA"), RELAY_ADDRESSES))


class Venue:
    def __init__(self, lab, name, number):
        self.lab = lab
        self.name = name
        self.number = number
        self.gateways = (f"10.77.{number}.1", f"2001:db8:77:{number}::1")
        self.laptop_addresses = (f"10.77.{number}.23", f"2001:db8:77:{number}::23")
        self.families = (4, 6)  # that the laptop gets addresses of
        self._actions = {}      # port -> nftables words
        self._holes = {}        # port -> the longest packet that passes; EVERY_PORT: for all
        self._resets = {}       # port -> octets after which standing connections are reset
        self._boxes = set()     # ports that a middlebox serves
        self._everything = ""   # a rule for all ports
        self._shape = {"delay": ROUND_TRIP_MS * 500, "rate": 0, "loss": 0}
        self._carrier = None    # the program that is the wire
        self._proxy = None
        self.router = lab.world.host(name, lab.hosts_file)
        self.router.sysctl(**ROUTING, **NO_DAD)
        self._wire = lab.world.host(f"{name}-wire", lab.hosts_file)
        self._wire.sysctl(net_ipv6_conf_default_disable__ipv6=1)
        self._plug()
        self._apply()
        self.router.sysctl(net_netfilter_nf__conntrack__acct=1)
        self._house = self.router.start(["/usr/bin/python3", os.path.join(tools.FOLDER, "middlebox.py"), "--relay", *RELAY_ADDRESSES, "--dns", *self.gateways],
                                        ready=b"ready", log=os.path.join(lab.folder, "middlebox.log"), takes_orders=True)
        self.hijack_dns("honest")

    # -- cables

    def _plug(self):
        internet, port, n = self.lab.internet, f"venue{self.number}", self.number
        internet.link(port, self.router, "wan")
        self.router.link("lan", self._wire, "far")
        internet.ip(f"addr add 198.51.100.{4 * n + 1}/30 dev {port}", f"addr add 2001:db8:100:{n}::1/64 dev {port} nodad",
                    f"route add 2001:db8:77:{n}::/64 via 2001:db8:100:{n}::2")
        self.router.ip(f"addr add 198.51.100.{4 * n + 2}/30 dev wan", f"addr add 2001:db8:100:{n}::2/64 dev wan nodad",
                       f"addr add {self.gateways[0]}/24 dev lan", f"addr add {self.gateways[1]}/64 dev lan nodad",
                       f"route add default via 198.51.100.{4 * n + 1}", f"route add default via 2001:db8:100:{n}::1")

    def admit(self, laptop):
        """The laptop's interface appears here, with addresses, routes and resolver as DHCP and router advertisements would give."""
        self._end_carrier()
        laptop.run(["ip", "link", "delete", "wlan0"], check=False)
        laptop.link("wlan0", self._wire, "near", MAC)
        self._carrier = self._wire.start([tools.wire(), "near", "far"], ready=b"ready", log=os.path.join(self.lab.folder, "wire.log"), takes_orders=True)
        self.capture(self.lab.next_capture())
        for quantity, value in self._shape.items():
            self._carrier.order(f"{quantity} {value}")
        self.configure(laptop)

    def configure(self, laptop):
        lines = ["addr flush dev wlan0 scope global"]
        for family, address, gateway, bits in zip((4, 6), self.laptop_addresses, self.gateways, ("24 dev wlan0", "64 dev wlan0 nodad")):
            if family in self.families:
                lines += [f"addr add {address}/{bits}", f"route replace default via {gateway}"]
        with open(laptop.resolver_file, "w", encoding="ascii") as file:
            file.writelines(f"nameserver {gateway}\n" for family, gateway in zip((4, 6), self.gateways) if family in self.families)
        laptop.run(["ip", "-6", "route", "flush", "default"])   # it would outlive its address, and go on from the link-local one
        laptop.ip(*lines)

    def _end_carrier(self):
        if self._carrier:
            self._carrier.kill()
            self._carrier = None

    # -- the line

    def _order_wire(self, quantity, value):
        self._shape[quantity] = value
        if self._carrier:
            self._carrier.order(f"{quantity} {value}")

    def latency(self, round_trip_ms):
        self._order_wire("delay", int(float(round_trip_ms) * 500))

    def round_trip_ms(self):
        return self._shape["delay"] / 500

    def rate(self, kbit_s):
        self._order_wire("rate", int(kbit_s) * 125)

    def loss(self, percent):
        self._order_wire("loss", int(float(percent) * 10000))

    def capture(self, path):
        self._carrier.order(f"capture {path}")

    def cut(self):
        self._carrier.order("cut")

    def mend(self):
        self._carrier.order("mend")

    # -- what is done to packets

    def _apply(self):
        forward = [f'iifname "lan" tcp dport {port} {words}' for port, words in self._actions.items() if port not in self._boxes]
        forward += [f'iifname "lan" tcp dport {port} ct original bytes > {octets} reject with tcp reset' for port, octets in self._resets.items()]
        for port, longest in self._holes.items():
            forward += [f'{f"tcp {side} {port} " if port != EVERY_PORT else ""}meta length > {longest} drop' for side in ("dport", "sport")]
        redirect = [f'iifname "lan" tcp dport {port} redirect to :{LISTEN_BASE + port}' for port in sorted(self._boxes) if port != EVERY_PORT]
        if EVERY_PORT in self._boxes:
            passing = [f"tcp dport {port} return" for port in self._actions if port not in self._boxes]
            redirect += [*passing, f'iifname "lan" tcp dport {{ 1-52, 54-65535 }} redirect to :{LISTEN_BASE + EVERY_PORT}']
        # Addresses of elsewhere don't get out (BCP 38). Without it a session of the last place would go on to speak from here, and hear nothing.
        strange = (f'iifname "lan" ip saddr != 10.77.{self.number}.0/24 drop', f'iifname "lan" ip6 saddr != 2001:db8:77:{self.number}::/64 drop')
        self.router.nft("table inet venue\ndelete table inet venue\n"
                        "table inet venue {\n"
                        f" chain forward {{ type filter hook forward priority 0; {self._everything}\n" + "\n".join((*strange, *forward)) + "\n }\n"
                        " chain arriving { type nat hook prerouting priority -100;\n" + "\n".join(redirect) + "\n }\n"
                        ' chain leaving { type nat hook postrouting priority 100; oifname "wan" meta nfproto ipv4 masquerade\n }\n'
                        "}\n")

    def _treat(self, ports, words):
        for port in ports:
            self._forget(port)
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
            self._forget(port)
        self._apply()

    def _forget(self, port):
        self._end_box(port)
        for kept in (self._actions, self._holes, self._resets):
            kept.pop(port, None)

    def close_all(self):
        self.drop(*PORTS)

    def open_all(self):
        self._everything = ""
        self._end_proxy()
        self.open(*set(self._actions) | self._boxes | set(self._holes) | set(self._resets))

    def only(self, *ports):
        """Those ports are open; the others are dropped."""
        self.open_all()
        self.drop(*(p for p in PORTS if p not in ports))

    def break_ipv6(self):
        self._everything = "meta nfproto ipv6 drop;"
        self._apply()

    def ipv6_only(self):
        self._change_families(6)

    def ipv4_only(self):
        self._change_families(4)

    def _change_families(self, *families):
        self.families = families
        if self._carrier:
            self.configure(self.lab.laptop)

    def mtu_hole(self, longest, *ports):
        """Packets longer than that vanish, and nobody says so."""
        for port in ports or (EVERY_PORT,):
            self._holes[port] = int(longest)
        self._apply()

    def calm(self):
        """As it was made."""
        self.open_all()
        self.hijack_dns("honest")
        self.latency(ROUND_TRIP_MS)
        self.rate(0)
        self.loss(0)
        self.families = (4, 6)

    # -- middleboxes

    def _order_house(self, **order):
        self._house.order(json.dumps(order))

    def _end_box(self, port):
        if port in self._boxes:
            self._boxes.discard(port)
            self._order_house(do="end", port=port)

    def _heard_file(self, port):
        return os.path.join(self.lab.folder, f"heard-{self.name}-{port}")

    def _box(self, mode, ports, **options):
        for port in ports:
            self._forget(port)
            self._order_house(do="serve", port=port, listen=LISTEN_BASE + port, heard=self._heard_file(port), mode=mode, **options)
            self._boxes.add(port)
        self._apply()

    def strip_starttls(self, *ports):
        self._box("strip", ports)

    def mask_starttls(self, *ports):
        self._box("mask", ports)

    def refuse_starttls(self, *ports):
        self._box("refuse", ports)

    def mitm(self, *ports):
        for port in ports:
            self._box("mitm", [port], certificate=self.lab.foreign_certificate(), tls=port in TLS_PORTS)

    def foreign_banner(self, port, banner="SSH-2.0-dropbear_2022.83"):
        self._box("banner", [port], banner=banner)

    def tls_block(self, *ports):
        self._box("tls_block", ports)

    def alpn_filter(self, *ports, word="smtp"):
        """Only a ClientHello whose ALPN has the word meets silence; a word may stand behind the ports."""
        word = next((port for port in ports if isinstance(port, str)), word)
        ports = [port for port in ports if isinstance(port, int)]
        self._box("alpn_filter", ports, word=word)

    def reset_after(self, octets, *ports):
        """Connections to come are reset at both ends when the laptop has said so many octets; those that stand, when they next say something
        and it has been so much, packet headers counted."""
        self._box("reset", ports, octets=int(octets))
        self._resets.update({port: int(octets) for port in ports})
        self._apply()

    def captive(self, tls="page"):
        """A portal answers on every port, and for every name. TLS ports: "page": HTTP in the clear too; "certificate": inside the portal's own TLS; "silent": dropped;
        "pass": as if there were no portal."""
        self.open_all()
        self._box("http", [*(p for p in PORTS if p not in TLS_PORTS), *(TLS_PORTS if tls == "page" else ()), 80, EVERY_PORT])
        if tls == "certificate":
            self._box("http", TLS_PORTS, certificate=self.lab.foreign_certificate(), tls=True)
        elif tls == "silent":
            self.drop(*TLS_PORTS)
        elif tls == "pass":
            self._treat(TLS_PORTS, "accept")
        self.hijack_dns("portal")

    def login(self):
        """At the portal: the network is an honest one now."""
        self.open_all()
        self.hijack_dns("honest")

    def heard(self, port):
        """Every octet that the middlebox on the port got from the laptop, decrypted ones too."""
        try:
            with open(self._heard_file(port), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return b""

    def heard_ports(self):
        """Where middleboxes have listened since forget_heard."""
        prefix = f"heard-{self.name}-"
        return [int(name.removeprefix(prefix)) for name in os.listdir(self.lab.folder) if name.startswith(prefix)]

    def forget_heard(self):
        for port in self.heard_ports():
            os.remove(self._heard_file(port))

    # -- names

    def hijack_dns(self, how="portal"):
        """"portal": every name has the gateway's address; "servfail", "silent", "nxdomain": no name has any; "honest"."""
        zones = {"honest": HONEST, "nxdomain": "",
                 "portal": f"{RELAY} A {self.gateways[0]}\n*.example A {self.gateways[0]}\n*.com A {self.gateways[0]}\n",
                 "servfail": f"{RELAY} SERVFAIL\n", "silent": f"{RELAY} SILENT\n"}
        self._order_house(do="zone", text=zones[how])

    # -- proxies

    def proxy_only(self, kind="http", user=None, password=None):
        """Nothing leaves but through a proxy on the gateway: "http" (tinyproxy: CONNECT to 443 alone) or "socks" (microsocks)."""
        self.open_all()
        self._everything = 'iifname "lan" drop;'
        self._apply()
        program = {"http": "tinyproxy", "socks": "microsocks"}[kind]
        if not shutil.which(program):
            raise Failed(f"{program} is missing: deploy/bootstrap check")
        if kind == "http":
            port, command = HTTP_PROXY_PORT, ["tinyproxy", "-d", "-c", self._tinyproxy_config(user, password)]
        else:
            port, command = SOCKS_PORT, ["microsocks", "-i", self.gateways[0], "-p", str(SOCKS_PORT), *(["-u", user, "-P", password] if user else [])]
        self._proxy = self.router.start(command, log=os.path.join(self.lab.folder, "proxy.log"))
        while f":{port:04X} 00000000:0000 0A" not in self.router.run(["cat", "/proc/net/tcp"]).stdout:
            if not self._proxy.is_running():
                raise Failed(f"{program} ended\n{self._proxy.tail()}")

    def _tinyproxy_config(self, user, password):
        path = os.path.join(self.lab.folder, f"tinyproxy-{self.name}.conf")
        with open(path, "w", encoding="ascii") as file:
            file.write(f"Port {HTTP_PROXY_PORT}\nListen {self.gateways[0]}\nTimeout 600\nMaxClients 20\nConnectPort 443\n")
            file.write(f"BasicAuth {user} {password}\n" if user else "")
        return path

    def _end_proxy(self):
        if self._proxy:
            self._proxy.kill()
            self._proxy = None
