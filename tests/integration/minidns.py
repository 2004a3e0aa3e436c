#!/usr/bin/python3
"""A small name server for tests: UDP and TCP on one port, a zone that is a plain text file, and some bad manners.

    minidns.py [--listen ADDRESS:PORT] ZONE_FILE     port 0 (the default, on 127.0.0.1) takes a free one; the first line of
                                                     output is "listening ADDRESS PORT". The file is read again when it changes.

    with MiniDNS("a.example MX 10 mx.a.example\\nmx.a.example A 192.0.2.1\\n") as dns:
        ... dns.address, dns.port, dns.questions ... dns.set_zone("...") changes it on the fly

A zone has lines `NAME TYPE VALUE`, a TTL may stand behind the type (`A/60`); # begins a comment line. Types: A, AAAA, MX ("10 host"), TXT, CNAME,
SRV ("0 5 465 host"), PTR, TLSA ("3 1 1 HEX"). Names compare without case; "*" as a whole first label is a wildcard. A name is known when it, or a name below it,
stands in the zone; others are NXDOMAIN.

Instead of a record a line may give the behaviour of a name, for all questions or for one type: SERVFAIL, REFUSED, SILENT (no
answer), LIE (an answer to another question, as of a forger), TRUNCATE (UDP says: come by TCP):

    slow.example SILENT
    half.example SERVFAIL AAAA

The same idea in C, for unit tests, is tests/support/minidns.h.
"""
import argparse
import ipaddress
import os
import socket
import struct
import sys
import threading

TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33, "TLSA": 52}
NAMES = {number: name for name, number in TYPES.items()}
BEHAVIOURS = {"SERVFAIL", "REFUSED", "SILENT", "LIE", "TRUNCATE"}
SOA, NXDOMAIN = 6, 3
UDP_MAX = 512
TTL = 300


class Zone:
    """records: {(name, type): [(ttl, rdata)]}; behaviours: {(name, type or None): word}."""

    def __init__(self, text):
        self.records, self.behaviours = {}, {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            try:
                self._add(line)
            except (ValueError, KeyError, IndexError) as error:
                raise ValueError(f"zone line {number}: {line!r}: {error!r}") from None

    def _add(self, line):
        name, kind, *value = line.split(None, 2)
        name, (kind, _, ttl) = name.lower().rstrip("."), kind.upper().partition("/")
        if kind in BEHAVIOURS:
            self.behaviours[name, TYPES[value[0]] if value else None] = kind
        else:
            rdata = rdata_of(kind, value[0] if value else "")
            self.records.setdefault((name, TYPES[kind]), []).append((int(ttl or TTL), rdata))

    def find(self, name, kind):
        wild = "*." + name.partition(".")[2]
        return self.records.get((name, kind)) or (self.records.get((wild, kind)) if not self.knows(name, False) else None) or []

    def knows(self, name, with_wildcards=True):
        names = [known for known, _ in [*self.records, *self.behaviours]]
        return any(known == name or known.endswith("." + name) for known in names) or (
            with_wildcards and "*." + name.partition(".")[2] in names)

    def behaves(self, name, kind):
        return self.behaviours.get((name, kind)) or self.behaviours.get((name, None))


def wire_name(name):
    labels = [label.encode() for label in name.rstrip(".").split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def rdata_of(kind, value):
    if kind in ("A", "AAAA"):
        address = ipaddress.ip_address(value)
        if address.version != (4 if kind == "A" else 6):
            raise ValueError("address of the other family")
        return address.packed
    if kind == "MX":
        preference, host = value.split()
        return struct.pack("!H", int(preference)) + wire_name(host)
    if kind == "SRV":
        *numbers, host = value.split()
        return struct.pack("!HHH", *map(int, numbers)) + wire_name(host)
    if kind == "TLSA":
        *numbers, octets = value.split()
        return bytes(map(int, numbers)) + bytes.fromhex(octets)
    if kind == "TXT":
        octets = value.encode()
        parts = [octets[at:at + 255] for at in range(0, len(octets), 255)] or [b""]
        return b"".join(bytes([len(part)]) + part for part in parts)
    return wire_name(value)


def read_question(message):
    """(name, type, octets of the question), or None."""
    labels, at = [], 12
    try:
        while message[at]:
            length = message[at]
            if length > 63:
                return None
            labels.append(message[at + 1:at + 1 + length].decode("latin-1").lower())
            at += 1 + length
        kind, _ = struct.unpack_from("!HH", message, at + 1)
    except (IndexError, struct.error):
        return None
    return ".".join(labels), kind, message[12:at + 5]


def record(name, kind, ttl, rdata):
    return wire_name(name) + struct.pack("!HHIH", kind, 1, ttl, len(rdata)) + rdata


def answers_of(zone, name, kind, depth=0):
    found = [record(name, kind, ttl, rdata) for ttl, rdata in zone.find(name, kind)]
    aliases = zone.find(name, TYPES["CNAME"]) if kind != TYPES["CNAME"] and not found and depth < 8 else []
    for ttl, rdata in aliases:
        target = read_question(bytes(12) + rdata + bytes(4))[0]
        found += [record(name, TYPES["CNAME"], ttl, rdata), *answers_of(zone, target, kind, depth + 1)]
    return found


def answer(zone, message, is_tcp):
    """The answer to a query, or None for silence."""
    question = read_question(message)
    if question is None:
        return None
    name, kind, octets = question
    behaviour = zone.behaves(name, kind)
    if behaviour == "SILENT":
        return None
    rcode = {"SERVFAIL": 2, "REFUSED": 5}.get(behaviour, 0)
    records, authority = ([] if rcode else answers_of(zone, name, kind)), b""
    if not records and not rcode:
        rcode = 0 if zone.knows(name) else NXDOMAIN
        authority = record("", SOA, 60, b"\0\0" + struct.pack("!IIIII", 1, 3600, 600, 86400, 60))
    if behaviour == "LIE":
        octets = octets[:1] + bytes([octets[1] ^ 1]) + octets[2:]
    body, flags = b"".join(records) + authority, 0x8180 | rcode
    if not is_tcp and (behaviour == "TRUNCATE" or 12 + len(octets) + len(body) > UDP_MAX):
        records, authority, body, flags = [], b"", b"", flags | 0x0200
    return message[:2] + struct.pack("!HHHHH", flags, 1, len(records), 1 if authority else 0, 0) + octets + body


class MiniDNS:
    """Serves until closed; every question is kept in .questions as (name, type, "udp" or "tcp")."""

    def __init__(self, zone="", address="127.0.0.1", port=0):
        self.set_zone(zone)
        self.questions = []
        self.family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.address = address
        self._open(port)
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def set_zone(self, text):
        self.zone = Zone(text)

    def close(self):
        """Returns when the port is free again."""
        self._is_closed = True
        with socket.socket(self.family, socket.SOCK_DGRAM) as wake:
            wake.sendto(b"", (self.address, self.port))
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _open(self, port):
        self._is_closed = False
        self._tcp = socket.socket(self.family, socket.SOCK_STREAM)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._tcp.bind((self.address, port))
        self.port = self._tcp.getsockname()[1]
        self._udp = socket.socket(self.family, socket.SOCK_DGRAM)
        self._udp.bind((self.address, self.port))
        self._tcp.listen(16)

    def _answer(self, message, transport):
        question = read_question(message)
        if question:
            self.questions.append((question[0], NAMES.get(question[1], str(question[1])), transport))
        return answer(self.zone, message, transport == "tcp")

    def _serve_udp(self):
        while True:
            message, peer = self._udp.recvfrom(65535)
            if self._is_closed:
                return
            reply = self._answer(message, "udp")
            if reply:
                self._udp.sendto(reply, peer)

    def _serve_tcp(self):
        while True:
            try:
                connection, _ = self._tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._serve_connection, args=(connection,), daemon=True).start()

    def _serve_connection(self, connection):
        with connection, connection.makefile("rb") as stream:
            connection.settimeout(10)
            try:
                while len(head := stream.read(2)) == 2:
                    reply = self._answer(stream.read(struct.unpack("!H", head)[0]), "tcp")
                    if reply:
                        connection.sendall(struct.pack("!H", len(reply)) + reply)
            except OSError:
                return


class FileZone(MiniDNS):
    """Reads its file again whenever that has changed; a file that is broken leaves the zone as it was."""

    def __init__(self, path, **where):
        self.path, self.seen = path, None
        super().__init__(**where)
        self._refresh()

    def _refresh(self):
        try:
            status = os.stat(self.path)
            if (status.st_mtime_ns, status.st_size) == self.seen:
                return
            with open(self.path, encoding="utf-8") as file:
                self.set_zone(file.read())
            self.seen = (status.st_mtime_ns, status.st_size)
        except (OSError, ValueError) as error:
            print(f"minidns: {error}", file=sys.stderr, flush=True)

    def _answer(self, message, transport):
        self._refresh()
        return super()._answer(message, transport)


def main():
    parser = argparse.ArgumentParser(description="a small name server for tests")
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT")
    parser.add_argument("zone", metavar="ZONE_FILE")
    arguments = parser.parse_args()
    address, _, port = arguments.listen.rpartition(":")
    server = FileZone(arguments.zone, address=address.strip("[]"), port=int(port))
    print(f"listening {server.address} {server.port}", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        server.close()


if __name__ == "__main__":
    main()
