"""A laptop, a wire that can be cut, a relay and a destination; and the judge: each message that the agent took has arrived exactly once."""
import hashlib
import os

from agent_support import pin_of
from daemon import wait_for
from lines import make_line
from relay_support import make_message

CHUNK = 64 * 1024
ZONE = "dest.example MX 10 mx.dest.example\nmx.dest.example A {host}\n"
# What a connection costs beside the message: handshake, login, envelope and the TLS records around 64 KiB of body, octets.
OVERHEAD = 12 * 1024


class Custody:
    """One way, and no session outlives its message, so that each begins with a connection."""

    def __init__(self, make_relay, make_agent, make_sink, mode="tls", conf=None):
        self.make_agent = make_agent
        self.sink = make_sink()
        self.relay = make_relay(zone=ZONE.format(host=self.sink.host), mx_port=self.sink.port, conf=("limits.sessions_per_address = 0", *(conf or ())))
        self.add_account()
        self.line = make_line(mode, self.relay)
        self.wire = self.line.wire
        self.sent = {}                              # subject: digest of the text
        self.nlost = 0                              # of them: known to a database of the relay's that is gone
        self.agent = self.new_agent()

    def add_account(self):
        self.relay.add_account("anna", "secret", "anna@example.org")

    def new_agent(self):
        return self.make_agent(pin=pin_of(self.relay), ways=[self.line.way],
                               conf={"relay.keep_warm": ["20ms"], "relay.http_port": ["0"], "proxy.system": ["no"], "queue.patience": ["50ms"], "log.level": ["info"], **self.line.conf})

    def reconnect(self):
        """The relay listens on other ports after a restart."""
        self.line.reconnect()

    def settle(self):
        """The agent learns what became of all its mail: it has no question that would come between."""
        wait_for(lambda: not self.relay.queue(), "the relay's queue to empty", patience_s=60)
        if self.agent.queue():
            self.agent.run("queue", "flush")
        wait_for(lambda: not self.agent.queue() and all(c.has_ended for c in self.wire.connections),
                 lambda: "the agent to know that all is delivered; the agent:\n" + "\n".join(self.agent.log_lines[-25:]) + "\nthe relay:\n" + "\n".join(self.relay.log_lines[-15:]), patience_s=60)

    def lose_database(self):
        """The relay has its keys and its accounts, and knows neither a device nor a message. The agent knew by then what had become of all mail: there is none to be handed over again."""
        self.judge()
        self.settle()
        self.relay.kill()
        for name in os.listdir(self.relay.folder):
            if name.startswith("relay.db"):
                os.unlink(self.relay.path(name))
        self.relay.run("init")
        self.add_account()
        self.relay.start()
        self.reconnect()
        self.nlost = len(self.sent)

    def close(self):
        self.line.close()

    # ---- mail ----
    def message(self, size):
        subject = f"m{len(self.sent)}"
        line = f"{subject} " + "0123456789abcdef" * 4 + "\n"
        text = line * (size // len(line) + 1)
        self.sent[subject] = hashlib.sha256(text.encode()).hexdigest()
        return subject, make_message(subject=subject, body=text)

    def send(self, size):
        subject, message = self.message(size)
        self.agent.send(message=message)
        return subject

    def arrived(self, subject=None):
        return [m for m in self.sink.messages if subject is None or m.header("Subject") == subject]

    def wait_arrived(self, subject):
        """And until the agent knows it, so that no session is under way any more."""
        wait_for(lambda: self.arrived(subject), lambda: f"{subject} at the destination; the agent:\n" + "\n".join(self.agent.log_lines[-25:]) +
                 "\nthe relay:\n" + "\n".join(self.relay.log_lines[-15:]), patience_s=60)
        wait_for(lambda: not self.agent.unrelayed(), "the agent's queue to empty", patience_s=60)
        wait_for(lambda: all(c.has_ended for c in self.wire.connections), "the session to end", patience_s=60)

    def nrelayed(self):
        return len(self.agent.log("delivered"))

    def is_over(self, nbefore=0):
        """One more message is with the relay, that is written down, and the session has ended: seen from outside, so that the programs are asked nothing."""
        return self.nrelayed() > nbefore and all(c.has_ended for c in self.wire.connections)

    def octets_to_server(self):
        return self.line.octets()

    # ---- the judge ----
    def judge(self, relay_died=False):
        """Nothing is missing, nothing is twice, nothing is changed; and the relay has taken each once, whatever it did with it. A relay that died between the destination's 250 and its own record of it sends again
        (schema/README.md: the one window towards the world)."""
        wait_for(lambda: not self.relay.queue() and not self.agent.unrelayed(), "both queues to empty", patience_s=60)
        counts = {subject: len(self.arrived(subject)) for subject in self.sent}
        wrong = {subject: n for subject, n in counts.items() if n != 1 and not (relay_died and n > 1)}
        assert not wrong, f"messages that are not there exactly once: {wrong}"
        assert {m.header("Subject") for m in self.sink.messages} == set(self.sent), "something arrived that was not sent"
        for subject, digest in self.sent.items():
            text = self.arrived(subject)[0].octets.split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n")
            assert hashlib.sha256(text).hexdigest() == digest, f"{subject} has changed on its way"
        assert len(self.relay.queue("--all")) == len(self.sent) - self.nlost, "the relay has taken a message twice"
