"""What went over the wire, as the laptop saw it: TCP connections read from the captures of wire.c.

    connections = capture.read(lab.captures())      in the order of their first SYN, that of all stays
    one.port, one.began_at, one.is_established, one.said, one.was_reset_by_laptop, one.flights(round_trip_s)

Times are of the wall clock, in seconds. Only what the laptop begins is looked at.
"""
import ipaddress
import struct

PCAP_NS = 0xA1B23C4D
FIN, SYN, RST, ACK = 1, 2, 4, 16
HANDSHAKE, CLIENT_HELLO = 0x16, 1
FLIGHT_GAP = 0.7    # of a round trip: what is said sooner after a flight's beginning belongs to it


class Connection:
    """One TCP connection that the laptop began."""

    def __init__(self, key, at):
        self.local, self.local_port, self.address, self.port = key
        self.began_at = at
        self.syns = []              # times; more than one: nobody answered
        self.is_answered = False    # SYN-ACK
        self.is_established = False
        self.said = b""             # by the laptop, in order
        self.said_at = []           # (time, octets that were new)
        self.heard_at = []
        self.heard = 0
        self.stay = self.rst_stay = None    # captures, by their number: of its first SYN, of the laptop's RST
        self.laptop_fin_at = self.laptop_rst_at = self.remote_fin_at = self.remote_rst_at = None
        self._next = None           # sequence number that the laptop has come to
        self._remote_next = None

    def add_outward(self, at, flags, sequence, payload):
        if flags & SYN:
            self.syns.append(at)
            self._next = sequence + 1 & 0xFFFFFFFF
            return
        self.is_established = self.is_established or (self.is_answered and bool(flags & ACK) and not flags & RST)
        new = new_part(self._next, sequence, payload)
        if new:
            self._next = self._next + len(new) & 0xFFFFFFFF
            self.said += new
            self.said_at.append((at, len(new)))
        if flags & FIN:
            self.laptop_fin_at = self.laptop_fin_at or at
        if flags & RST:
            self.laptop_rst_at = self.laptop_rst_at or at

    def add_inward(self, at, flags, sequence, payload):
        if flags & SYN:
            self.is_answered = True
            self._remote_next = sequence + 1 & 0xFFFFFFFF
            return
        new = new_part(self._remote_next, sequence, payload)
        if new:
            self._remote_next = self._remote_next + len(new) & 0xFFFFFFFF
            self.heard += len(new)
            self.heard_at.append(at)
        if flags & FIN:
            self.remote_fin_at = self.remote_fin_at or at
        if flags & RST:
            self.remote_rst_at = self.remote_rst_at or at

    @property
    def in_clear(self):
        """What the laptop said before its first TLS record."""
        at = self.said.find(bytes([HANDSHAKE, 3]))
        return self.said if at < 0 else self.said[:at]

    @property
    def has_tls(self):
        return bytes([HANDSHAKE, 3]) in self.said

    @property
    def ended_rudely(self):
        """The laptop reset what was established, though nobody had before. (A RST behind an orderly end answers what was under way; one in
        another place than where it began gives up what can't be ended in order any more.)"""
        ends = [at for at in (self.laptop_fin_at, self.remote_fin_at, self.remote_rst_at) if at is not None]
        return self.is_established and self.laptop_rst_at is not None and self.stay == self.rst_stay and not any(at <= self.laptop_rst_at for at in ends)

    def flights(self, round_trip_s, since=None, until=None):
        """How many times the laptop spoke and had to wait a round trip: its SYN, and what it said, told apart by time."""
        times = sorted([*self.syns[:1], *(at for at, _ in self.said_at)])
        count, began = 0, None
        for at in times:
            if (since is None or at >= since) and (until is None or at <= until) and (began is None or at - began > FLIGHT_GAP * round_trip_s):
                count, began = count + 1, at
        return count

    def __repr__(self):
        return (f"<{self.address}:{self.port} from {self.local_port}: {len(self.syns)} SYN, said {len(self.said)}, heard {self.heard}"
                f"{', FIN' if self.laptop_fin_at else ''}{', RST' if self.laptop_rst_at else ''}>")


def new_part(expected, sequence, payload):
    """What of it has not come before; nothing of what comes too early, which will come again or has been lost before us."""
    if not payload or expected is None:
        return b""
    behind = expected - sequence & 0xFFFFFFFF
    return payload[behind:] if behind <= 1 << 30 else b""


def frames(path):
    """(time, Ethernet frame) of a pcap file, as much of it as is there."""
    with open(path, "rb") as file:
        octets = file.read()
    if len(octets) < 24 or struct.unpack_from("=I", octets)[0] != PCAP_NS:
        return
    at = 24
    while at + 16 <= len(octets):
        seconds, nanoseconds, length, _ = struct.unpack_from("=IIII", octets, at)
        if at + 16 + length > len(octets):
            return
        yield seconds + nanoseconds / 1e9, octets[at + 16:at + 16 + length]
        at += 16 + length


def segment(frame):
    """(source, port, destination, port, flags, sequence, payload) of a TCP segment; None: it is none."""
    kind, packet = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if kind == 0x0800 and packet[9] == 6:
        header, total = (packet[0] & 15) * 4, struct.unpack_from("!H", packet, 2)[0]
        source, destination = packet[12:16], packet[16:20]
    elif kind == 0x86DD and packet[6] == 6:
        header, total = 40, 40 + struct.unpack_from("!H", packet, 4)[0]
        source, destination = packet[8:24], packet[24:40]
    else:
        return None
    tcp = packet[header:total] if total > header else packet[header:]
    from_port, to_port, sequence = struct.unpack_from("!HHI", tcp)
    return (str(ipaddress.ip_address(source)), from_port, str(ipaddress.ip_address(destination)), to_port, tcp[13], sequence,
            tcp[(tcp[12] >> 4) * 4:])


def read(paths):
    """Every connection that the laptop began, by the time of its first SYN. One that stands across captures is continued."""
    living, found = {}, []
    for stay, path in enumerate(paths):
        for at, frame in frames(path):
            parts = segment(frame)
            if parts is None:
                continue
            source, from_port, destination, to_port, flags, sequence, payload = parts
            out, back = (source, from_port, destination, to_port), (destination, to_port, source, from_port)
            if flags & SYN and not flags & ACK and (out not in living or living[out].is_established):
                living[out] = Connection(out, at)
                living[out].stay = stay
                found.append(living[out])
            if out in living:
                if flags & RST:
                    living[out].rst_stay = stay
                living[out].add_outward(at, flags, sequence, payload)
            elif back in living:
                living[back].add_inward(at, flags, sequence, payload)
    return sorted(found, key=lambda one: one.began_at)
