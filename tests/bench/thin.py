#!/usr/bin/python3
"""A thin line: a TCP relay on loopback that lets so many octets a second through each way, with a delay, and ends every connection at fixed times.

    thin.py PORT SERVER_PORT RATE DELAY_MS CUT_S       CUT_S 0: never

Octets wait for their turn on the line for 50 ms at most, then the sender has to wait: as behind a modem with a small buffer. When a connection is cut what is still on the line is lost. "ready" when it listens; for each connection that ends a
line "SECONDS to_server to_client cut|closed", octets that arrived.
"""
import asyncio
import collections
import socket
import sys
import time

BACKLOG_S = 0.05
PIECE = 2048


class Way:
    """One direction of one connection."""

    def __init__(self, link, reader, writer):
        self.link, self.reader, self.writer = link, reader, writer
        self.arrived, self.on_the_way, self.has_more = 0, collections.deque(), asyncio.Event()

    async def take(self):
        while True:
            while self.link.backlog() > BACKLOG_S:
                await asyncio.sleep(self.link.backlog() - BACKLOG_S)
            octets = await self.reader.read(PIECE)
            self.on_the_way.append((self.link.send(len(octets)), octets))
            self.has_more.set()
            if not octets:
                return

    async def give(self):
        while True:
            while not self.on_the_way:
                self.has_more.clear()
                await self.has_more.wait()
            due, octets = self.on_the_way.popleft()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if not octets:
                self.writer.write_eof()
                return
            self.writer.write(octets)
            await self.writer.drain()
            self.arrived += len(octets)


class Link:
    """One direction of the line, shared by all connections."""

    def __init__(self, rate, delay_s):
        self.rate, self.delay_s, self.free_at = rate, delay_s, 0.0

    def backlog(self):
        return self.free_at - time.monotonic()

    def send(self, octets):
        """When they arrive."""
        self.free_at = max(self.free_at, time.monotonic()) + octets / self.rate
        return self.free_at + self.delay_s


class Line:
    def __init__(self, server_port, rate, delay_ms):
        self.server_port, self.delay_s = server_port, delay_ms / 1000
        self.up, self.down = Link(rate, self.delay_s), Link(rate, self.delay_s)
        self.connections = set()

    async def carry(self, reader, writer):
        began, how = time.monotonic(), "closed"
        await asyncio.sleep(2 * self.delay_s)       # the handshake of TCP
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.server_port)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, to_writer):             # or the kernel's wait for a fuller segment would be a delay that no line has
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        up, down = Way(self.up, reader, to_writer), Way(self.down, to_reader, writer)
        work = asyncio.gather(up.take(), up.give(), down.take(), down.give())
        self.connections.add(work)
        try:
            await work
        except asyncio.CancelledError:
            how = "cut"
        except OSError:
            pass
        self.connections.discard(work)
        for end in (writer, to_writer):
            end.transport.abort() if how == "cut" else end.close()
        print(f"{time.monotonic() - began:.3f} {up.arrived} {down.arrived} {how}", flush=True)

    async def cut(self, every_s):
        while every_s:
            await asyncio.sleep(every_s)
            for work in list(self.connections):
                work.cancel()
            self.up.free_at = self.down.free_at = 0.0   # what was on the line is lost


async def main():
    port, server_port, rate, delay_ms, cut_s = map(int, sys.argv[1:6])
    line = Line(server_port, rate, delay_ms)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)     # or the kernel would be a modem with a large buffer
    listener.bind(("127.0.0.1", port))
    async with await asyncio.start_server(line.carry, sock=listener, limit=8 * 1024):
        print("ready", flush=True)
        await line.cut(cut_s)
        await asyncio.Event().wait()


asyncio.run(main())
