"""A wire that is cut where the test says: a TCP relay on 127.0.0.1 that forwards exactly so many octets of a connection and then ends both its sides.

    wire = Wire(("127.0.0.1", port))
    wire.cut(to_server=1234)            the next connection ends when 1,234 octets have gone to the server, none more; the client hears it at once, the server behind the last of them
    wire.cut(to_client=80, how="rst")   ... when 80 have come back; by RST in place of FIN
    wire.cut(to_server=0, how="hole")   ... nothing goes any further in either direction, and nobody is told: what either side sends is not even acknowledged

Connections without a cut run their course. What went over each is in wire.connections. A wire can be a firewall too, which resets some connections at once: these are neither cut nor kept.

    wire = Wire(server, source="127.0.0.3")             whoever comes from elsewhere does not get through
    wire = Wire(server, at=(host, 443), hello=b"h2")    ... or does not say that in its first octets
"""
import ctypes
import fcntl
import select
import socket
import struct
import termios
import threading
import time

HOWS = ("fin", "rst", "hole")
SO_ATTACH_FILTER = 26       # socket(7); Python has no name for it


class Connection:
    def __init__(self, cut):
        self.cut = cut or {}
        self.to_server = self.to_client = 0         # octets forwarded
        self.lost = 0                               # of to_server: what the server's kernel still had when RST came, which drops it
        self.client_records, self.server_records = Records(), Records()
        self.speaker, self.turns = None, []                             # ("to_client" or "to_server", octets): where one side had spoken and the other answered, in the clear
        self.was_cut, self.has_ended = False, False
        self.server = None                          # the socket towards it

    def wait_read(self):
        """Until the program behind has read all that it was sent."""
        until = time.monotonic() + 10
        while unread(self.server) and time.monotonic() < until:
            time.sleep(0.001)

    def note(self, name, octets):
        """They have gone that way."""
        other = "to_client" if name == "to_server" else "to_server"
        if self.speaker == other and getattr(self, "server_records" if other == "to_client" else "client_records").clear is None:
            self.turns.append((other, getattr(self, other)))
        self.speaker = name
        (self.client_records if name == "to_server" else self.server_records).feed(octets)
        setattr(self, name, getattr(self, name) + len(octets))


class Records:
    """Where the TLS records of one direction end (RFC 8446 5.1), from the first octet that begins one; and how many octets are in the clear before it."""

    def __init__(self):
        self.ends, self.seen, self.left, self.header, self.clear = [], 0, 0, b"", None

    def feed(self, octets):
        at = 0
        while at < len(octets):
            n = min(self.left, len(octets) - at) or 1
            self.seen, at = self.seen + n, at + n
            if self.left:
                self.left -= n
                if not self.left:
                    self.ends.append(self.seen)
                continue
            self.header = (self.header + octets[at - 1:at])[-5:]
            if len(self.header) == 5 and self.header[0] in (20, 21, 22, 23) and self.header[1] == 3:
                self.clear = self.seen - 5 if self.clear is None else self.clear
                self.left, self.header = struct.unpack(">H", self.header[3:])[0], b""


class Wire:
    def __init__(self, server, at=("127.0.0.1", 0), source=None, hello=None):
        self.server, self.source, self.hello, self.connections, self.plan = server, source, hello, [], []
        self.listener = socket.create_server(at, backlog=16)
        self.host, self.port = self.listener.getsockname()
        self.lock, self.is_closing, self.threads = threading.Lock(), False, []
        self.wakes = socket.socketpair()
        self.on_piece = lambda connection: None     # nothing goes on over the connection until it returns
        self._spawn(self._accept)

    def cut(self, to_server=None, to_client=None, how="fin"):
        """Of the next connection that comes; those after it by further calls."""
        assert how in HOWS
        with self.lock:
            self.plan.append({"to_server": to_server, "to_client": to_client, "how": how})

    def forget(self):
        """Drops the cuts that no connection has taken, and what is known of those before."""
        with self.lock:
            self.plan, self.connections = [], []

    def close(self):
        self.is_closing = True
        self.wakes[0].close()
        for thread in list(self.threads):
            thread.join(30)
        self.listener.close()
        self.wakes[1].close()

    def _spawn(self, work, *arguments):
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while not self.is_closing:
            ready, _, _ = select.select([self.listener, self.wakes[1]], [], [])
            if self.is_closing:
                return
            if self.listener in ready:
                client, _ = self.listener.accept()
                self._spawn(self._meet, client)

    def _meet(self, client):
        if self._admits(client):
            with self.lock:
                connection = Connection(self.plan.pop(0) if self.plan else None)
                self.connections.append(connection)
            self._carry(client, connection)
        else:
            self._reset(client)

    def _admits(self, client):
        try:
            if self.source and client.getpeername()[0] != self.source:
                return False
            if self.hello:
                ready, _, _ = select.select([client, self.wakes[1]], [], [])
                return client in ready and self.hello in client.recv(4096, socket.MSG_PEEK)
        except OSError:     # it has gone meanwhile
            return False
        return True

    @staticmethod
    def _reset(end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        end.close()

    def _carry(self, client, connection):
        try:
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            connection.has_ended = True
            return
        connection.server = server
        try:
            self._forward(client, server, connection)
        except OSError:
            self._leave(server)
        if connection.was_cut and connection.cut["how"] == "rst":
            connection.lost = unread(server)
            self._reset(client)
            self._reset(server)
        client.close()
        server.close()
        connection.has_ended = True

    def _leave(self, server):
        """FIN is not followed by RST, which would drop what the server has not read: what it still says is read, and goes nowhere."""
        try:
            server.shutdown(socket.SHUT_WR)
            self._drain(server)
        except OSError:
            pass

    def _forward(self, client, server, connection):
        ways = {client: (server, "to_server"), server: (client, "to_client")}
        while ways and not self.is_closing:
            if self._is_due(connection):
                return self._end(client, server, connection)
            ready, _, _ = select.select([*ways, self.wakes[1]], [], [])
            for source in ready:
                if source is self.wakes[1]:
                    return None
                target, name = ways[source]
                octets = source.recv(min(65536, self._room(connection, name)))
                if not octets:
                    target.shutdown(socket.SHUT_WR)
                    del ways[source]
                    break
                target.sendall(octets)
                connection.note(name, octets)
                self.on_piece(connection)
                if self._is_due(connection):
                    break
        return None

    @staticmethod
    def _room(connection, name):
        limit = connection.cut.get(name)
        return 65536 if limit is None else max(1, limit - getattr(connection, name))

    @staticmethod
    def _is_due(connection):
        return any(connection.cut.get(name) is not None and getattr(connection, name) >= connection.cut[name] for name in ("to_server", "to_client"))

    def _end(self, client, server, connection):
        connection.was_cut = True
        if connection.cut["how"] == "fin":
            client.close()
            self._leave(server)
        if connection.cut["how"] == "hole":
            silence(client)
            silence(server)
            connection.has_ended = True
            select.select([self.wakes[1]], [], [])

    def _drain(self, end):
        while not self.is_closing:
            ready, _, _ = select.select([end, self.wakes[1]], [], [])
            if end in ready and not end.recv(65536):
                return


def unacknowledged(end):
    return struct.unpack("i", fcntl.ioctl(end, termios.TIOCOUTQ, bytes(4)))[0]


def silence(end):
    """The kernel drops each segment that comes for it, before it looks at it: a socket filter whose one instruction takes no octet (BPF_RET | BPF_K). What we have written must have
    arrived: else it would be sent again and again, which is a sign of life."""
    until = time.monotonic() + 10
    while unacknowledged(end) and time.monotonic() < until:
        time.sleep(0.001)
    code = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))
    end.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(code)))


def unread(end):
    """Octets that we have written there and the program at the other end, on this machine, has not read: those not acknowledged, and those in its socket (proc(5), rx_queue)."""
    try:
        ours, theirs = (f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}" for host, port in (end.getsockname(), end.getpeername()))
    except OSError:     # the other end was the first to go
        return 0
    n = unacknowledged(end)
    with open("/proc/net/tcp", encoding="ascii") as table:
        for words in map(str.split, table):
            if words[1:3] == [theirs, ours]:
                n += int(words[4].partition(":")[2], 16)
    return n
