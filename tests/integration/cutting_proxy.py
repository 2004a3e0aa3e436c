"""A line that breaks at given octets: a TCP proxy between agent and relay, deterministic by counting what the agent sends."""
import contextlib
import socket
import struct
import threading

PIECE = 16 * 1024


class CuttingProxy:
    """cuts: after how many octets of the agent's each connection breaks, in their order; those behind the last are left alone. octets: passed on so far, over all connections."""

    def __init__(self, relay_port, cuts=()):
        self.relay_port, self.cuts = relay_port, list(cuts)
        self.octets = self.connections = 0
        self.gate_at = None                 # nothing of the agent's passes beyond, over all connections, while it is set
        self.changed = threading.Condition()
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(20)
        self.port = self.listener.getsockname()[1]
        self.is_open = True
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self.is_open = False
        self.set_gate(None)
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def set_gate(self, octets):
        with self.changed:
            self.gate_at = octets
            self.changed.notify_all()

    def wait_at_gate(self, patience_s=60):
        with self.changed:
            assert self.changed.wait_for(lambda: self.octets >= self.gate_at, patience_s), f"only {self.octets} octets have come"

    # ---- a connection ----
    def _accept(self):
        while self.is_open:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            with self.changed:
                number, self.connections = self.connections, self.connections + 1
            limit = self.cuts[number] if number < len(self.cuts) else None
            threading.Thread(target=self._carry, args=(near, limit), daemon=True).start()

    def _carry(self, near, limit):
        try:
            far = socket.create_connection(("127.0.0.1", self.relay_port))
        except OSError:
            near.close()
            return
        is_cut = threading.Event()
        back = threading.Thread(target=self._back, args=(far, near, is_cut), daemon=True)
        back.start()
        self._forth(near, far, limit)
        # The agent's end breaks at once. What has passed, the relay takes in its own time, and then hears that no more will come.
        is_cut.set()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        near.close()
        try:
            far.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        back.join(10)
        far.close()

    def _forth(self, near, far, limit):
        left = limit
        while left is None or left > 0:
            most = self._allowed(PIECE if left is None else min(left, PIECE))
            try:
                octets = near.recv(most)
                far.sendall(octets)
            except OSError:
                return
            if not octets:
                return
            left = left and left - len(octets)
            with self.changed:
                self.octets += len(octets)
                self.changed.notify_all()

    def _allowed(self, most):
        with self.changed:
            self.changed.wait_for(lambda: self.gate_at is None or self.octets < self.gate_at)
            return most if self.gate_at is None else min(most, self.gate_at - self.octets)

    @staticmethod
    def _back(far, near, is_cut):
        """The agent hears of the relay's end, and of its RST too, which it is when the relay had not read all."""
        with contextlib.suppress(OSError):
            while octets := far.recv(PIECE):
                if not is_cut.is_set():
                    near.sendall(octets)
        with contextlib.suppress(OSError):
            near.shutdown(socket.SHUT_WR)
