"""The agent with a stock submission server: Debian's Postfix with Cyrus SASL, on ports of its own, in a folder of its own."""
import os
import shutil
import subprocess
import tempfile

import pytest

from daemon import free_port, wait_for
from relay_support import make_certificate, make_message
from test_agent_identity import pin_of_certificate

USER, PASSWORD, HOST = "anna@mail.company.example", "p w:secret!", "mail.company.example"

MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = mail.company.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
alias_maps =
maillog_file_prefixes = {folder}
maillog_file = {folder}/maillog
smtpd_tls_cert_file = {folder}/certificate
smtpd_tls_key_file = {folder}/key
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_mechanism_filter = {mechanisms}
smtpd_relay_restrictions = permit_sasl_authenticated,reject
smtpd_recipient_restrictions = check_recipient_access inline:{{{{ nobody@dest.example = REJECT no such user }}}},permit
smtpd_discard_ehlo_keywords = {discarded}
message_size_limit = 5000000
"""
SERVICES = """\
127.0.0.1:{smtps} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
127.0.0.1:{submission} inet n - n - - smtpd
"""
# Cyrus SASL in Debian reads /etc/sasldb2 whatever it is told, so the server gets an /etc of its own.
START = 'mount --make-rprivate / && mount --bind "$0/etc" /etc && exec /usr/sbin/postfix -c "$0/conf" start-fg'


def obstacle():
    missing = [program for program in ("postfix", "saslpasswd2") if not shutil.which(program, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        return f"{' and '.join(missing)} missing"
    if os.geteuid() != 0:
        return "Postfix needs root, for its several users"
    if subprocess.run(["unshare", "-m", "mount", "--make-rprivate", "/"], capture_output=True).returncode != 0:
        return "no namespace of mounts may be made here"
    return None


pytestmark = pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))


class Postfix:
    def __init__(self, folder, sink_port, mechanisms="PLAIN LOGIN", discarded=""):
        self.folder = folder
        self.smtps, self.submission = free_port(), free_port()
        for name in ("conf/sasl", "spool", "data"):
            os.makedirs(os.path.join(folder, name))
        os.chmod(folder, 0o755)
        shutil.chown(os.path.join(folder, "data"), "postfix")
        certificate, key = make_certificate(folder, HOST)
        self.certificate = shutil.copy(certificate, os.path.join(folder, "certificate"))
        shutil.copy(key, os.path.join(folder, "key"))
        self.write("conf/main.cf", MAIN.format(folder=folder, sink=sink_port, discarded=discarded, mechanisms=mechanisms))
        self.write("conf/master.cf", self.master())
        self.write("conf/sasl/smtpd.conf", f"pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: {mechanisms}\n")
        self.make_etc()
        self.process = subprocess.Popen(["unshare", "-m", "sh", "-c", START, folder], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: "daemon started" in self.log(), lambda: "Postfix; it says:\n" + self.log())

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)

    def master(self):
        """Debian's own services, out of their chroot, with our two ports in place of port 25."""
        with open("/usr/share/postfix/master.cf.dist", encoding="ascii") as file:
            lines = [line.split() for line in file if line[:1] not in "# \t\n"]
        kept = [" ".join(words[:4] + ["n"] + words[5:]) for words in lines if words[:2] != ["smtp", "inet"]]
        return "\n".join(kept) + "\n" + SERVICES.format(smtps=self.smtps, submission=self.submission)

    def make_etc(self):
        etc = os.path.join(self.folder, "etc")
        subprocess.run(["cp", "-a", "/etc", etc], check=True)
        database = os.path.join(etc, "sasldb2")
        if os.path.exists(database):
            os.unlink(database)
        name, _, realm = USER.partition("@")
        subprocess.run(["saslpasswd2", "-p", "-c", "-f", database, "-u", realm, name], input=PASSWORD.encode(), check=True)
        shutil.chown(database, "postfix")

    def log(self):
        try:
            with open(os.path.join(self.folder, "maillog"), encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def close(self):
        subprocess.run(["/usr/sbin/postfix", "-c", os.path.join(self.folder, "conf"), "stop"], capture_output=True)
        self.process.wait(30)


@pytest.fixture
def make_postfix(make_sink):
    """(server, sink): what the server takes goes on to the sink."""
    made, folders = [], []

    def make(**options):
        folder = tempfile.mkdtemp(prefix="postern-postfix-")
        folders.append(folder)
        sink = make_sink()
        made.append(Postfix(folder, sink.port, **options))
        return made[-1], sink

    yield make
    for postfix in made:
        postfix.close()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def test_by_its_certificates_authority_over_either_port(make_postfix, make_agent):
    postfix, sink = make_postfix()
    for way in (f"{postfix.smtps} tls", f"{postfix.submission} starttls"):
        agent = make_agent(user=USER, password=PASSWORD, ca=postfix.certificate, name=HOST, ways=[way])
        id = agent.send(message=make_message(subject=way))
        entry = agent.wait_state(id, "relayed")
        assert "queued as" in entry["to"][0]["reply"]
        agent.stop()
    messages = sink.wait_messages(2)
    assert {m.header("Subject") for m in messages} == {f"{postfix.smtps} tls", f"{postfix.submission} starttls"}
    assert all(b"secret-laptop" not in m.octets for m in messages)
    wait_for(lambda: f"sasl_username={USER}" in postfix.log(), lambda: "the login in its log:\n" + postfix.log())


def test_by_its_key(make_postfix, make_agent):
    postfix, sink = make_postfix()
    agent = make_agent(user=USER, password=PASSWORD, pin=pin_of_certificate(postfix.certificate), ways=[f"{postfix.submission} starttls", f"{postfix.smtps} tls"])
    for _ in range(3):
        agent.send()
    sink.wait_messages(3)


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_each_way_to_log_in(make_postfix, make_agent, mechanism):
    postfix, sink = make_postfix(mechanisms=mechanism)
    agent = make_agent(user=USER, password=PASSWORD, ca=postfix.certificate, name=HOST, ways=[f"{postfix.smtps} tls"])
    agent.send()
    sink.wait_message()
    wait_for(lambda: f"sasl_method={mechanism}" in postfix.log(), lambda: "the login in its log:\n" + postfix.log())


def test_a_wrong_password_is_told_and_the_mail_stays(make_postfix, make_agent):
    postfix, sink = make_postfix()
    agent = make_agent(user=USER, password="wrong", ca=postfix.certificate, name=HOST, ways=[f"{postfix.smtps} tls"])
    id = agent.send()
    agent.wait_log("uplink-failed", phase="AUTH")
    assert "name or password" in agent.status()["trouble"] and agent.entry(id)["state"] == "queued" and not sink.messages


def test_a_recipient_that_it_refuses(make_postfix, make_agent):
    postfix, sink = make_postfix()
    agent = make_agent(user=USER, password=PASSWORD, ca=postfix.certificate, name=HOST, ways=[f"{postfix.smtps} tls"])
    id = agent.send(to=["nobody@dest.example", "bob@dest.example"])
    entry = agent.wait_state(id, "bounced")
    assert [r["state"] for r in entry["to"]] == ["bounced", "relayed"] and "no such user" in entry["reason"]
    assert sink.wait_message(to=["bob@dest.example"]) and sink.wait_message(to=["anna@example.org"])


def test_with_fewer_extensions_and_large_bodies(make_postfix, make_agent):
    """DATA in place of BDAT, no pipelining; a body of many chunks with dots at the begin of lines; one that is too large."""
    postfix, sink = make_postfix(discarded="chunking, pipelining, dsn")
    agent = make_agent(user=USER, password=PASSWORD, ca=postfix.certificate, name=HOST, ways=[f"{postfix.smtps} tls"])
    body = b"".join(b"." * (i % 4) + b"line %d\r\n" % i for i in range(50_000))
    agent.send(message=b"From: anna@example.org\r\nSubject: dots\r\n\r\n" + body)
    message = sink.wait_message()
    assert message.octets.endswith(b"\r\n\r\n" + body)
    id = agent.send(message=b"From: anna@example.org\r\nSubject: big\r\n\r\n" + body * 10)
    assert "5.3.4" in agent.wait_state(id, "bounced")["reason"]
