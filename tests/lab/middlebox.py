#!/usr/bin/python3
"""What sits in a network and meddles: middleboxes to which connections are redirected, and the network's name server. One process a venue.

    middlebox.py --relay ADDRESS4 ADDRESS6 [--dns ADDRESS...]

Says "ready", then takes orders on stdin, one line of JSON each, answered "done":

    {"do": "serve", "port": 465, "listen": 20465, "heard": FILE, "mode": MODE, ...}     replaces what was on that port
    {"do": "end", "port": 465}                                                          and its connections are reset
    {"do": "zone", "text": "relay.example A 192.0.2.10\\n"}                              what the name server says (minidns.py)

Modes, each with what else it wants:
    strip          takes STARTTLS out of the answer to EHLO
    mask           writes XXXXXXXA over it
    refuse         offers it, and answers 454 to it
    mitm           plays the relay under a certificate of its own: "certificate", "tls" from the first octet
    banner         says "banner", then nothing
    http           a captive portal's page; with "tls" under "certificate"
    tls_block      lets everything pass but TLS, which meets silence
    alpn_filter    lets everything pass but a ClientHello whose ALPN has "word", which meets silence
    reset          lets "octets" of the laptop's pass, then resets the connection at both ends
Every octet that the laptop says, decrypted where that can be, is written to the file `heard`.
"""
import argparse
import asyncio
import json
import os
import socket
import ssl
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
from minidns import MiniDNS  # noqa: E402

LOGIN_PAGE = (b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Type: text/html\r\nContent-Length: 17\r\n"
              b"Connection: close\r\n\r\n<p>Please log in.")
PORTAL_PATIENCE_S = 0.5     # then it closes on who says nothing, as web servers do
HANDSHAKE, CLIENT_HELLO, ALPN = 0x16, 1, 16


class Box:
    """One port. Its connections live in `writers`, the laptop's and the relay's ends."""

    def __init__(self, order, relay):
        self.order = order
        self.relay = relay
        self.port = order["port"]
        self.heard = open(order["heard"], "wb", buffering=0)
        self.writers = set()
        self.server = None

    async def open(self):
        tls = certificate_context(self.order["certificate"]) if self.order.get("tls") else None
        self.server = await asyncio.start_server(self.on_connection, host=["0.0.0.0", "::"], port=self.order["listen"], ssl=tls)

    def close(self):
        self.server.close()
        for writer in list(self.writers):
            reset(writer)
        self.heard.close()

    async def on_connection(self, reader, writer):
        self.writers.add(writer)
        try:
            await getattr(self, self.order["mode"])(reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError, ValueError):
            pass        # the laptop hung up, as it should on us
        finally:
            self.writers.discard(writer)
            writer.close()

    async def read(self, reader):
        octets = await reader.read(65536)
        self.heard.write(octets)
        return octets

    async def read_line(self, reader):
        line = await reader.readline()
        self.heard.write(line)
        return line

    async def call_relay(self, writer):
        upstream = self.relay[1 if ":" in writer.get_extra_info("peername")[0].removeprefix("::ffff:") else 0]
        from_relay, to_relay = await asyncio.open_connection(upstream, self.port)
        self.writers.add(to_relay)
        return from_relay, to_relay

    async def join(self, writer, to_relay, *tasks):
        try:
            await first_done(*tasks)
        finally:
            self.writers.discard(to_relay)
            to_relay.close()

    # -- strip, mask, refuse: the relay itself answers, and some of its words are changed

    async def strip(self, reader, writer):
        await self.between(reader, writer, remove_starttls)

    async def mask(self, reader, writer):
        await self.between(reader, writer, lambda reply: [line.replace(b"STARTTLS", b"XXXXXXXA") for line in reply])

    async def refuse(self, reader, writer):
        await self.between(reader, writer, lambda reply: reply if reply[-1][:1] != b"5" else [b"454 4.7.0 TLS not available\r\n"])

    async def between(self, reader, writer, alter):
        from_relay, to_relay = await self.call_relay(writer)
        await self.join(writer, to_relay, self.outward(reader, to_relay), self.inward(from_relay, writer, alter))

    async def outward(self, reader, to_relay):
        while octets := await self.read(reader):
            to_relay.write(b"XXXXXXXX\r\n" if octets.strip().upper() == b"STARTTLS" else octets)
            await to_relay.drain()

    async def inward(self, from_relay, writer, alter):
        reply = []
        while line := await from_relay.readline():
            reply.append(line)
            if line[3:4] == b"-":
                continue
            writer.writelines(alter(reply))
            await writer.drain()
            reply = []

    # -- tls_block, alpn_filter, reset: everything passes, up to a point

    async def tls_block(self, reader, writer):
        await self.through(reader, writer, lambda said: said[:1] == bytes([HANDSHAKE]))

    async def alpn_filter(self, reader, writer):
        await self.through(reader, writer, lambda said: self.order["word"].encode() in alpn_of(said))

    async def through(self, reader, writer, is_minded):
        from_relay, to_relay = await self.call_relay(writer)
        minded = asyncio.Event()
        await self.join(writer, to_relay, self.pass_unless(reader, to_relay, is_minded, minded), copy(from_relay, writer))
        while minded.is_set() and await self.read(reader):
            pass        # what the relay thinks of it does not come through either

    async def pass_unless(self, reader, to_relay, is_minded, minded):
        while octets := await self.read(reader):
            if is_minded(octets):
                minded.set()
                return
            to_relay.write(octets)
            await to_relay.drain()

    async def reset(self, reader, writer):
        from_relay, to_relay = await self.call_relay(writer)
        await self.join(writer, to_relay, self.pass_some(reader, writer, to_relay), copy(from_relay, writer))

    async def pass_some(self, reader, writer, to_relay):
        left = self.order["octets"]
        while octets := await self.read(reader):
            to_relay.write(octets[:left])
            left -= len(octets)
            if left <= 0:
                reset(writer)
                reset(to_relay)
                return
            await to_relay.drain()

    # -- mitm

    async def mitm(self, reader, writer):
        """A plausible submission server that takes whatever it is given."""
        writer.write(b"220 relay.example ESMTP\r\n")
        has_tls = bool(self.order.get("tls"))
        while line := await self.read_line(reader):
            word = line.split(b" ")[0].strip().upper()
            if word == b"STARTTLS" and not has_tls:
                writer.write(b"220 2.0.0 Go ahead\r\n")
                await writer.drain()
                await writer.start_tls(certificate_context(self.order["certificate"]))
                has_tls = True
            elif word == b"EHLO":
                more = b"AUTH PLAIN LOGIN" if has_tls else b"STARTTLS"
                writer.write(b"250-relay.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 " + more + b"\r\n")
            elif word == b"DATA":
                writer.write(b"354 Go on\r\n")
                while (line := await self.read_line(reader)) not in (b".\r\n", b""):
                    pass
                writer.write(b"250 2.0.0 Thank you\r\n")
            elif word == b"AUTH":
                writer.write(b"235 2.7.0 Welcome\r\n" if len(line.split()) > 2 else b"334 \r\n")
            elif word == b"QUIT":
                writer.write(b"221 2.0.0 Bye\r\n")
                return
            else:
                writer.write(b"250 2.0.0 OK\r\n")
            await writer.drain()

    # -- banner, http

    async def banner(self, reader, writer):
        writer.write(self.order["banner"].encode("ascii") + b"\r\n")
        await writer.drain()
        while await self.read(reader):
            pass

    async def http(self, reader, writer):
        try:
            await asyncio.wait_for(self.read(reader), PORTAL_PATIENCE_S)
        except asyncio.TimeoutError:
            return
        writer.write(LOGIN_PAGE)
        await writer.drain()


def remove_starttls(reply):
    kept = [line for line in reply if line[4:].strip().upper() != b"STARTTLS"]
    return [line[:3] + (b" " if line is kept[-1] else b"-") + line[4:] if len(line) > 4 else line for line in kept]


def alpn_of(said):
    """The octets of the ALPN extension of a ClientHello, which is taken to come in one piece; b"" for anything else."""
    try:
        if said[0] != HANDSHAKE or said[5] != CLIENT_HELLO:
            return b""
        at = 5 + 4 + 2 + 32
        at += 1 + said[at]                                          # session id
        at += 2 + struct.unpack_from("!H", said, at)[0]             # cipher suites
        at += 1 + said[at]                                          # compression
        end = at + 2 + struct.unpack_from("!H", said, at)[0]
        at += 2
        while at < end:
            kind, length = struct.unpack_from("!HH", said, at)
            if kind == ALPN:
                return said[at + 4:at + 4 + length]
            at += 4 + length
    except (IndexError, struct.error):
        pass
    return b""


def certificate_context(path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def reset(writer):
    """RST, whatever still waits."""
    end = writer.get_extra_info("socket")
    if end is not None and end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def copy(reader, writer):
    while octets := await reader.read(65536):
        writer.write(octets)
        await writer.drain()


async def first_done(*tasks):
    """Until one of them ends, however it does."""
    done, rest = await asyncio.wait([asyncio.ensure_future(task) for task in tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    await asyncio.gather(*done, *rest, return_exceptions=True)


class House:
    """All boxes of a venue, and its name server."""

    def __init__(self, options):
        self.relay = options.relay
        self.boxes = {}
        self.dns = [MiniDNS(address=address, port=53) for address in options.dns]

    async def obey(self, order):
        box = self.boxes.pop(order.get("port"), None)
        if box:
            box.close()
            await box.server.wait_closed()
        if order["do"] == "serve":
            box = self.boxes[order["port"]] = Box(order, self.relay)
            await box.open()
        elif order["do"] == "zone":
            for dns in self.dns:
                dns.set_zone(order["text"])


async def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--relay", nargs=2, required=True)
    parser.add_argument("--dns", nargs="*", default=[])
    house = House(parser.parse_args())
    orders = asyncio.StreamReader(limit=1 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print("ready", flush=True)
    while line := await orders.readline():
        await house.obey(json.loads(line))
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
    os._exit(0)     # the name server's threads listen on
