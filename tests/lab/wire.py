#!/usr/bin/python3
"""A long cable: carries every frame between two interfaces, in both directions, each after a fixed delay.

    wire.py ONE OTHER DELAY_MS [--rate KBIT_S]

Address resolution (ARP, IPv6 neighbours) passes at once, since a real line's ends have their neighbours close by. Says "ready"
on stdout. Frames keep their offload data (PACKET_VNET_HDR), so that unfinished checksums and large segments arrive as they left.
"""
import argparse
import collections
import select
import socket
import struct
import time

ETH_P_ALL, ETH_P_ARP, ETH_P_IPV6 = 3, 0x0806, 0x86DD
SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
VNET_HEADER = 10
FRAME_MAX = VNET_HEADER + 14 + 65536
NEIGHBOURS = range(133, 138)      # ICMPv6 types of router and neighbour discovery
BURST = 64


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one")
    parser.add_argument("other")
    parser.add_argument("delay_ms", type=float)
    parser.add_argument("--rate", type=int, default=0, help="bottleneck of each direction, kbit/s; 0 for none")
    options = parser.parse_args()
    one, other = open_end(options.one), open_end(options.other)
    directions = {one: Direction(other, options), other: Direction(one, options)}
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        waits = [d.deliver(now) for d in directions.values()]
        wait = min((w for w in waits if w is not None), default=None)
        for source in select.select(list(directions), [], [], wait)[0]:
            take(source, directions[source])


def open_end(interface):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    end.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    end.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    end.bind((interface, ETH_P_ALL))
    end.setblocking(False)
    return end


def take(source, direction):
    for _ in range(BURST):
        try:
            frame = source.recv(FRAME_MAX)
        except BlockingIOError:
            return
        except OSError:     # the interface went down; the cable stays where it is
            return
        direction.enter(frame, time.monotonic())


def is_resolution(frame):
    kind = struct.unpack_from("!H", frame, VNET_HEADER + 12)[0]
    ipv6 = VNET_HEADER + 14
    return kind == ETH_P_ARP or (kind == ETH_P_IPV6 and frame[ipv6 + 6] == socket.IPPROTO_ICMPV6 and frame[ipv6 + 40] in NEIGHBOURS)


class Direction:
    def __init__(self, end, options):
        self.end = end
        self.delay_s = options.delay_ms / 1000
        self.octets_per_s = options.rate * 1000 / 8
        self.free_at = 0.0
        self.flying = collections.deque()     # (when it arrives, frame), in order

    def enter(self, frame, now):
        if is_resolution(frame):
            self.send(frame)
            return
        self.free_at = max(self.free_at, now)
        if self.octets_per_s:
            self.free_at += len(frame) / self.octets_per_s
        self.flying.append((self.free_at + self.delay_s, frame))

    def deliver(self, now):
        """Hands over what has arrived. Seconds until the next arrival; None: nothing is under way."""
        while self.flying and self.flying[0][0] <= now:
            self.send(self.flying.popleft()[1])
        return max(0.0, self.flying[0][0] - now) if self.flying else None

    def send(self, frame):
        try:
            self.end.send(frame)
        except OSError:     # down, or full: a packet is lost, as on any line
            pass


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
