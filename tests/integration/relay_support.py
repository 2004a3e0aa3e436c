"""A relay in a folder of its own, destination servers, and clients, for the integration tests."""
import email.message
import email.policy
import json
import os
import re
import shlex
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time

from aiosmtpd.controller import Controller

import minidns

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("POSTERN_BUILD", os.path.join(TOP, "build"))
RELAY = os.path.join(BUILD, "postern-relay")
PATIENCE_S = 30
EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_CANTCREAT, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 64, 65, 66, 69, 73, 75, 77, 78


def wait_for(condition, what, patience_s=PATIENCE_S):
    """The condition's first true value; it is asked again and again."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {patience_s} s for: {what() if callable(what) else what}")
        time.sleep(0.01)


def free_port(host="127.0.0.1"):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def make_message(sender="anna@example.org", to="bob@dest.example", subject="hello", body="Good day.\n", **headers):
    message = email.message.EmailMessage(policy=email.policy.SMTP)
    message["From"], message["To"], message["Subject"] = sender, to, subject
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    message.set_content(body)
    return message.as_bytes()


class Relay:
    """conf: further lines "section.key = value"; zone: of the name server it asks (see minidns.py)."""

    def __init__(self, folder, name="relay.example", zone="", mx_port=None, conf=(), smarthost=None, command=(), listen=None):
        self.folder, self.name, self.smarthost = str(folder), name, smarthost
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
        self.process, self.log_lines, self.expected_exit = None, [], 0
        self.problems = []

    # ---- commands ----
    def run(self, *words, stdin="", check=True):
        done = subprocess.run([RELAY, *words, "--dir", self.folder], input=stdin, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def json(self, *words, stdin=""):
        return json.loads(self.run(*words, "--json", stdin=stdin).stdout)

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

    def path(self, name):
        return os.path.join(self.folder, name)

    @property
    def certificate(self):
        return self.path("keys/relay.crt")

    # ---- life ----
    def start(self, wait=True, preexec_fn=None):
        self.log_lines = []
        self.process = subprocess.Popen([*self.command, RELAY, "run", "--dir", self.folder], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stdin=subprocess.DEVNULL, preexec_fn=preexec_fn)
        self.reader = threading.Thread(target=self._read_log, args=(self.process, self.log_lines), daemon=True)
        self.reader.start()
        if wait:
            wait_for(lambda: self.log("started") or self.process.poll() is not None, "the relay's start")
            assert self.process.poll() is None, "the relay did not start:\n" + "\n".join(self.log_lines)
        return self

    @staticmethod
    def _read_log(process, lines):
        for line in process.stderr:
            lines.append(line.decode(errors="replace").rstrip("\n"))

    def stop(self, number=signal.SIGTERM, patience_s=60):
        """Sends the signal and gives the exit code."""
        if not self.process:
            return None
        process, self.process = self.process, None
        if process.poll() is None:
            process.send_signal(number)
        try:
            code = process.wait(patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = "did not end"
        self.reader.join(10)
        process.stderr.close()
        return code

    def kill(self):
        return self.stop(signal.SIGKILL)

    def wait_exit(self, patience_s=30):
        code = self.process.wait(patience_s)
        self.reader.join(10)
        self.process.stderr.close()
        self.process = None
        return code

    def close(self):
        problems = []
        if self.process:
            code = self.stop()
            if code != 0:
                problems.append(f"the relay ended with {code}:\n" + "\n".join(self.log_lines[-60:]))
        for line in self.log_lines:
            if "Sanitizer" in line or "runtime error" in line or "Assertion" in line:
                problems.append(line)
        self.dns.__exit__(None, None, None)
        return problems

    # ---- the log ----
    def log(self, event, **fields):
        """Log lines of that event whose fields have those values, each as a dict."""
        found = []
        for line in list(self.log_lines):
            pairs = dict(pair.partition("=")[::2] for pair in split_log(line))
            if pairs.get("event") == event and all(pairs.get(key) == str(value) for key, value in fields.items()):
                found.append(pairs)
        return found

    def wait_log(self, event, **fields):
        return wait_for(lambda: self.log(event, **fields), lambda: f"event={event} {fields} in the log; there is:\n" + "\n".join(self.log_lines[-20:]))[0]

    def address(self, mode):
        host, _, port = self.log("listening", mode=mode)[0]["address"].rpartition(":")
        return host, int(port)

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


def submit(client, sender, to, message, mail_options=(), rcpt_options=()):
    """One transaction by hand, so that the last reply with its id is seen."""
    expect(client.mail(sender, list(mail_options)), 250)
    for address in to:
        expect(client.rcpt(address, list(rcpt_options)), 250)
    code, text = client.data(message)
    assert code == 250, (code, text)
    return re.search(r"queued as ([0-9a-z]{13})", text.decode()).group(1)


def expect(reply, code, words=""):
    assert reply[0] == code and words.encode() in reply[1], reply
    return reply[1].decode()


def split_log(line):
    """key=value words of a log line; quoted values keep their blanks."""
    words = shlex.shlex(line, posix=True, punctuation_chars="")
    words.whitespace_split, words.commenters = True, ""
    words.escape = ""
    try:
        return list(words)
    except ValueError:
        return line.split()


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
