"""A relay in a folder of its own, destination servers, and clients, for the integration tests."""
import email.message
import email.policy
import os
import smtplib
import ssl
import subprocess
import threading

from aiosmtpd.controller import Controller

import minidns
from daemon import BUILD, PATIENCE_S, Daemon, expect, free_port, submit, wait_for  # noqa: F401 (for tests)

RELAY = os.path.join(BUILD, "postern-relay")
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_CANTCREAT, EX_IOERR, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 65, 66, 69, 73, 74, 75, 77, 78


def make_message(sender="anna@example.org", to="bob@dest.example", subject="hello", body="Good day.\n", **headers):
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message.as_bytes()


class Relay(Daemon):
    """conf: further lines "section.key = value"; zone: of the name server it asks (see minidns.py)."""
    program = RELAY

    def __init__(self, folder, name="relay.example", zone="", mx_port=None, conf=(), smarthost=None, command=(), listen=None):
        super().__init__(folder)
        self.name, self.smarthost = name, smarthost
        self.command = list(command)
        self.dns = minidns.MiniDNS(zone)
        self.dns.__enter__()
        self.listen = listen or ["127.0.0.1:0 tls", "127.0.0.1:0 starttls"]
        self.conf = {"delivery.resolver": [f"{self.dns.address}:{self.dns.port}"], "delivery.allow_private": ["yes"],
                     "delivery.schedule": ["200ms"], "delivery.idle_sessions": ["1s"], "limits.login_timeout": ["20s"], "relay.threads": ["2"]}
        if mx_port:
            self.conf["delivery.mx_port"] = [str(mx_port)]
        for line in conf:
            key, _, value = line.partition(" = ")
            self.conf.setdefault(key, []).append(value) if key in ("delivery.allow_network",) else self.conf.update({key: [value]})

    # ---- commands ----
    def init(self):
        options = ["--smarthost", self.smarthost] if self.smarthost else []
        self.run("init", "--name", self.name, *options)
        self.write_conf()

    def write_conf(self):
        """The file that init wrote, with our keys added to their sections."""
        path = self.path("relay.conf")
        with open(path) as file:
            text = file.read()
        if not hasattr(self, "reference"):
            self.reference = text
        text = self.reference
        for key, values in {**self.conf, "relay.listen": self.listen}.items():
            section, _, name = key.partition(".")
            lines = "".join(f"{name} = {value}\n" for value in values)
            text = text.replace(f"[{section}]\n", f"[{section}]\n{lines}", 1)
        with open(path, "w") as file:
            file.write(text)

    def add_account(self, name, password, *send_as):
        options = [word for address in send_as for word in ("--send-as", address)]
        return self.run("account", "add", name, *options, stdin=password + "\n")

    @property
    def certificate(self):
        return self.path("keys/relay.crt")

    def address(self, mode):
        host, _, port = self.log("listening", mode=mode)[0]["address"].rpartition(":")
        return host, int(port)

    def close(self):
        problems = super().close()
        self.dns.__exit__(None, None, None)
        return problems

    # ---- clients ----
    def tls_context(self):
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = False
        return context

    def client(self, mode="tls", user=None, password=None, **options):
        """An smtplib client, inside TLS, logged in when a user is given."""
        host, port = self.address(mode)
        if mode == "tls":
            client = smtplib.SMTP_SSL(host, port, context=self.tls_context(), timeout=PATIENCE_S, local_hostname="secret-laptop.example", **options)
        else:
            client = smtplib.SMTP(host, port, timeout=PATIENCE_S, local_hostname="secret-laptop.example", **options)
            client.starttls(context=self.tls_context())
        if user:
            client.login(user, password)
        return client

    def send(self, user, password, sender, to, message=None, mode="tls", **options):
        """Sends one message; gives its id."""
        with self.client(mode, user, password) as client:
            return submit(client, sender, to, message or make_message(sender, to[0]), **options)

    def queue(self, *options):
        return self.json("queue", "list", *options)

    def entry(self, id):
        return self.json("queue", "show", id)

    def wait_state(self, id, state):
        """The entry, as soon as it has the state."""
        def look():
            entry = self.entry(id)
            return entry if entry["state"] == state else None
        return wait_for(look, lambda: f"{id} being {state}; it is {self.entry(id)}; the log:\n" + "\n".join(self.log_lines[-20:]))


class SinkHandler:
    """Collects messages; answers can be prescribed: replies[(verb, address or None)] is a list of replies that are given one by one, the last for ever."""

    def __init__(self):
        self.messages, self.replies, self.sessions = [], {}, set()
        self.lock = threading.Lock()

    def prescribed(self, verb, address=None):
        with self.lock:
            for key in ((verb, address), (verb, None)):
                if key in self.replies:
                    waiting = self.replies[key]
                    return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return None

    async def handle_MAIL(self, server, session, envelope, address, options):
        reply = self.prescribed("MAIL", address)
        if reply and not reply.startswith("2"):
            return reply
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return reply or "250 2.1.0 Ok"

    async def handle_RCPT(self, server, session, envelope, address, options):
        reply = self.prescribed("RCPT", address)
        if reply and not reply.startswith("2"):
            return reply
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return reply or "250 2.1.5 Ok"

    async def handle_DATA(self, server, session, envelope):
        reply = self.prescribed("DATA")
        if reply and not reply.startswith("2"):
            return reply
        with self.lock:
            self.sessions.add(id(session))
            self.messages.append(SinkMessage(session, envelope))
        return reply or "250 2.0.0 Ok: taken"


def limit_sessions(sink, transactions):
    """LIMITS MAILMAX (RFC 9422), and 421 for who goes on beyond it; gives the list of those, and how many each session took."""
    strayed, counts = [], {}
    handler, take = sink.handler_object, sink.handler_object.handle_MAIL

    async def handle_EHLO(server, session, envelope, hostname, responses):
        session.host_name = hostname
        return [*responses[:-1], f"250-LIMITS MAILMAX={transactions}", responses[-1]]

    async def handle_MAIL(server, session, envelope, address, options):
        counts[server] = counts.get(server, 0) + 1
        if counts[server] > transactions:
            strayed.append(address)
            return "421 4.7.0 too many messages in a session"
        return await take(server, session, envelope, address, options)
    handler.handle_EHLO, handler.handle_MAIL = handle_EHLO, handle_MAIL
    return strayed, counts


class SinkMessage:
    def __init__(self, session, envelope):
        self.sender, self.to, self.octets = envelope.mail_from, list(envelope.rcpt_tos), envelope.original_content
        self.mail_options, self.rcpt_options = list(envelope.mail_options), list(envelope.rcpt_options)
        self.is_tls = session.ssl is not None
        self.helo = session.host_name
        self.user = getattr(session, "auth_data", None)
        self.message = email.message_from_bytes(self.octets, policy=email.policy.default)

    def header(self, name):
        return self.message[name]


class Sink(Controller):
    """A destination mail server. host: any of 127.0.0.0/8; certificate: (cert, key) for STARTTLS; implicit: TLS from the first octet; login: {user: password}."""

    def __init__(self, host="127.0.0.1", port=None, certificate=None, implicit=False, login=None, **server_options):
        self.handler_object = SinkHandler()
        self.host_name = host
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
        options = dict(server_options)
        if certificate and not implicit:
            options["tls_context"] = context
        if login is not None:
            options.update(authenticator=self._authenticate(login), auth_required=True, auth_require_tls=certificate is not None and not implicit)
        super().__init__(self.handler_object, hostname=host, port=port or free_port(host), ssl_context=context if implicit else None,
                         server_hostname="mx.sink.example", data_size_limit=60_000_000, **{"enable_SMTPUTF8": True, **options})
        self.host = host
        self.start()

    @staticmethod
    def _authenticate(login):
        from aiosmtpd.smtp import AuthResult, LoginPassword

        def check(server, session, envelope, mechanism, data):
            if not isinstance(data, LoginPassword):
                return AuthResult(success=False, handled=False)
            good = login.get(data.login.decode()) == data.password.decode()
            return AuthResult(success=good, handled=good, auth_data=data.login.decode())
        return check

    @property
    def messages(self):
        return self.handler_object.messages

    @property
    def replies(self):
        return self.handler_object.replies

    def wait_messages(self, n):
        wait_for(lambda: len(self.messages) >= n, lambda: f"{n} messages at the destination; there are {len(self.messages)}")
        return self.messages

    def wait_message(self, **fields):
        def look():
            return [m for m in self.messages if all(getattr(m, key) == value for key, value in fields.items())]
        return wait_for(look, f"a message {fields} at the destination")[0]

    def close(self):
        if self.loop.is_running():
            self.stop()


def make_certificate(folder, name):
    """A self-signed certificate and its key, by the relay's own init."""
    relay = os.path.join(str(folder), f"certificate-{name}")
    subprocess.run([RELAY, "init", "--dir", relay, "--name", name], check=True, capture_output=True, timeout=60)
    return os.path.join(relay, "keys/relay.crt"), os.path.join(relay, "keys/relay.key")
