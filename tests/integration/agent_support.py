"""An agent in a folder of its own, for the integration tests; relays and destinations are relay_support's."""
import json
import os
import smtplib
import subprocess

from daemon import BUILD, PATIENCE_S, Daemon, free_port, submit, wait_for
from relay_support import Sink, make_certificate, make_message

AGENT = os.path.join(BUILD, "postern-agent")


def pin_of(relay):
    return relay.run("key", "show").stdout.split()[0]


class Service(Sink):
    """Somebody else's submission service, TLS from the first octet, user anna with the password secret. Its certificate is its own authority."""

    def __init__(self, folder, name="mail.company.example", port=None, login=None, **options):
        self.name = name
        self.certificate, self.key = make_certificate(folder, name)
        self.options = {"certificate": (self.certificate, self.key), "implicit": True, "login": login or {"anna": "secret"}, **options}
        super().__init__(port=port, **self.options)

    def again(self, **options):
        """The same service, after it was closed, with other options."""
        return Sink(port=self.port, **{**self.options, **options})

    def agent_options(self):
        return {"ca": self.certificate, "name": self.name, "ways": [f"{self.port} tls"]}


class Agent(Daemon):
    """server, user, password, pin or ca: as in setup; ways: "PORT MODE" ...; conf: further {"section.key": [values]}."""
    program = AGENT

    def __init__(self, folder, server="127.0.0.1", user="anna", password="secret", pin=None, ca=None, name=None, ways=(), conf=None):
        super().__init__(folder)
        self.server, self.user, self.password = server, user, password
        self.pin, self.ca, self.name, self.ways = pin, ca, name, list(ways)
        self.port = free_port()
        self.conf = {"queue.patience": ["100ms"], "queue.schedule": ["200ms"], "log.level": ["debug"], **(conf or {})}

    def setup_options(self):
        options = ["--server", self.server, "--user", self.user, "--listen", f"127.0.0.1:{self.port}"]
        for flag, value in (("--pin", self.pin), ("--ca", self.ca), ("--name", self.name)):
            options += [flag, value] if value else []
        for way in self.ways:
            options += ["--way", way]
        return options

    def setup(self):
        self.run("setup", *self.setup_options(), stdin=self.password + "\n")
        self.set_conf("agent.conf", self.conf)
        return self

    # ---- mail in ----
    def client(self):
        return smtplib.SMTP("127.0.0.1", self.port, timeout=PATIENCE_S, local_hostname="secret-laptop.example")

    def send(self, sender="anna@example.org", to=("bob@dest.example",), message=None, **options):
        """Sends one message by SMTP; gives its id."""
        with self.client() as client:
            client.ehlo()
            return submit(client, sender, list(to), message or make_message(sender, to[0]), **options)

    def sendmail(self, *words, stdin, check=True):
        done = subprocess.run([AGENT, "--dir", self.folder, "sendmail", *words], input=stdin, capture_output=True, timeout=60)
        if check:
            assert done.returncode == 0, (done.returncode, done.stderr)
        return done

    # ---- what it knows ----
    def status(self):
        return self.json("status")

    def queue(self, *options):
        return self.json("queue", "list", *options)

    def unrelayed(self):
        """What is not with the relay yet: a message that it has stays listed while the agent asks what became of it."""
        return [entry for entry in self.queue() if entry["state"] != "relayed"]

    def entry(self, id):
        return self.json("queue", "show", id)

    def wait_state(self, id, *states):
        def look():
            entry = self.entry(id)
            return entry if entry["state"] in states else None
        return wait_for(look, lambda: f"{id} being {' or '.join(states)}; it is {json.dumps(self.entry(id))}; the log:\n" + "\n".join(self.log_lines[-20:]))
