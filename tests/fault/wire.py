"""A wire that is cut where the test says: a TCP relay on 127.0.0.1 that forwards exactly so many octets of a connection and then ends both its sides.

    wire = Wire(("127.0.0.1", port))
    wire.cut(to_server=1234)            the next connection ends when 1,234 octets have gone to the server, none more; the client hears it at once, the server behind the last of them
    wire.cut(to_client=80, how="rst")   ... when 80 have come back; by RST in place of FIN
    wire.cut(to_server=0, how="hole")   ... nothing goes any further in either direction, and nobody is told

Connections without a cut run their course. What went over each is in wire.connections.
"""
import select
import socket
import struct
import threading

HOWS = ("fin", "rst", "hole")


class Connection:
    def __init__(self, cut):
        self.cut = cut or {}
        self.to_server = self.to_client = 0         # octets forwarded
        self.client_records, self.server_records = Records(), Records()
        self.was_cut, self.has_ended = False, False


class Records:
    """Where the TLS records of one direction end (RFC 8446 5.1), from the first octet that begins one."""

    def __init__(self):
        self.ends, self.seen, self.left, self.header = [], 0, 0, b""

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
                self.left, self.header = struct.unpack(">H", self.header[3:])[0], b""


class Wire:
    def __init__(self, server):
        self.server, self.connections, self.plan = server, [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port = self.listener.getsockname()[1]
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
                with self.lock:
                    connection = Connection(self.plan.pop(0) if self.plan else None)
                    self.connections.append(connection)
                self._spawn(self._carry, client, connection)

    def _carry(self, client, connection):
        try:
            server = socket.create_connection(self.server)
        except OSError:
            client.close()
            connection.has_ended = True
            return
        try:
            self._forward(client, server, connection)
        except OSError:
            pass
        for end in (client, server):
            if connection.was_cut and connection.cut["how"] == "rst":
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            end.close()
        connection.has_ended = True

    def _forward(self, client, server, connection):
        ways = {client: (server, "to_server", connection.client_records), server: (client, "to_client", connection.server_records)}
        while ways and not self.is_closing:
            if self._is_due(connection):
                return self._end(client, server, connection)
            ready, _, _ = select.select([*ways, self.wakes[1]], [], [])
            for source in ready:
                if source is self.wakes[1]:
                    return None
                target, name, records = ways[source]
                octets = source.recv(min(65536, self._room(connection, name)))
                if not octets:
                    target.shutdown(socket.SHUT_WR)
                    del ways[source]
                    break
                target.sendall(octets)
                records.feed(octets)
                setattr(connection, name, getattr(connection, name) + len(octets))
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
        """A hole swallows what comes until one side has had enough, or the wire is taken down. FIN to the server is not followed by RST, which would drop what it has not read: what it still says is read, and
        goes nowhere."""
        connection.was_cut = True
        if connection.cut["how"] == "fin":
            client.close()
            server.shutdown(socket.SHUT_WR)
            self._drain(server)
        ends = {client, server}
        while connection.cut["how"] == "hole" and ends and not self.is_closing:
            ready, _, _ = select.select([*ends, self.wakes[1]], [], [])
            for source in ready:
                if source is self.wakes[1]:
                    return
                if not source.recv(65536):
                    return

    def _drain(self, end):
        while not self.is_closing:
            ready, _, _ = select.select([end, self.wakes[1]], [], [])
            if end in ready and not end.recv(65536):
                return
