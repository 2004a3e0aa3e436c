"""The relays that are measured: ours, and Debian's Postfix as it comes, with TLS and SASL. Both on the same host, to the same sink."""
import os
import shutil
import subprocess
import time

from kit import PASSWORD, SENDER, USER, Failed, HERE, load
from netlab import make_certificate
from postern import Relay, wait_until


class Postern:
    name = "postern-relay"

    def __init__(self, host, folder, sink_port, port=4651):
        self.host, self.port, self.user = host, port, USER
        self.relay = Relay(host, os.path.join(folder, "postern"), "relay.example", smarthost=f"smtp://127.0.0.1:{sink_port}")
        self.relay.set("relay", listen=f"127.0.0.1:{port} tls")
        self.relay.set("limits", sessions_per_address="0", sessions="20000")
        self.relay.add_account(USER, PASSWORD, SENDER)
        self.relay.start()

    @property
    def pid(self):
        return self.relay.process.popen.pid

    def stop(self):
        self.relay.stop()


MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = relay.example
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.1/32
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
alias_maps =
maillog_file_prefixes = {folder}
maillog_file = {folder}/maillog
smtpd_tls_cert_file = {folder}/relay.pem
smtpd_tls_key_file = {folder}/relay.pem
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {folder}/sasl
"""
SERVICE = """\
127.0.0.1:{port} inet n - n - 1200 smtpd
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
"""


def postfix_obstacle():
    """Why Postfix cannot be measured here, or None."""
    missing = [program for program in ("postfix", "saslpasswd2") if not shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")]
    if missing:
        return f"{' and '.join(missing)} missing; deploy/bootstrap bench"
    return None if os.geteuid() == 0 else "it needs root, for its several users"


class Postfix:
    name = "Postfix"

    def __init__(self, host, folder, sink_port, port=4652):
        self.host, self.port, self.user = host, port, f"{USER}@relay.example"
        self.folder = os.path.join(folder, "postfix")
        for sub in ("", "etc", "spool", "data", "sasl"):
            os.makedirs(os.path.join(self.folder, sub))
        shutil.chown(os.path.join(self.folder, "data"), "postfix")
        make_certificate(os.path.join(self.folder, "relay.pem"), "relay.example")
        self._write("etc/main.cf", MAIN.format(folder=self.folder, sink=sink_port))
        self._write("etc/master.cf", self._master(port))
        self._write("sasl/smtpd.conf", "pwcheck_method: auxprop\nauxprop_plugin: sasldb\nmech_list: PLAIN LOGIN\n")
        self._make_sasldb()
        self.process = host.start(["/usr/sbin/postfix", "-c", os.path.join(self.folder, "etc"), "start-fg"], log=os.path.join(self.folder, "out"))
        wait_until(self._is_up, self._words)

    def _write(self, name, text):
        with open(os.path.join(self.folder, name), "w", encoding="ascii") as file:
            file.write(text)

    def _master(self, port):
        """Debian's own services, out of their chroot, whose files are not where ours are; ours in place of port 25's."""
        with open("/usr/share/postfix/master.cf.dist", encoding="ascii") as file:
            lines = file.read().splitlines()
        kept = []
        for line in lines:
            words = line.split()
            if line[:1] in ("#", "", " ", "\t") or words[:2] == ["smtp", "inet"]:
                continue
            if len(words) >= 8:
                words[4] = "n"
            kept.append(" ".join(words))
        return "\n".join(kept) + "\n" + SERVICE.format(port=port)

    def _make_sasldb(self):
        """Cyrus SASL in Debian reads /etc/sasldb2 whatever it is told, so this host gets an /etc of its own."""
        etc = os.path.join(self.folder, "whole-etc")
        subprocess.run(["cp", "-a", "/etc", etc], check=True)
        database = os.path.join(etc, "sasldb2")
        if os.path.exists(database):
            os.remove(database)
        HERE.run(["/usr/sbin/saslpasswd2", "-p", "-c", "-f", database, "-u", "relay.example", USER], stdin=PASSWORD)
        shutil.chown(database, "postfix")
        self.host.run(["sh", "-ec", f'hosts=$(cat /etc/hosts); mount --bind "{etc}" /etc; echo "$hosts" >/etc/hosts; '
                                    'echo "nameserver 127.0.0.1" >/etc/resolv.conf'])

    def _is_up(self):
        try:
            load(self.host, self.port, self.user, sessions=1, total=1, each=1)
            return True
        except Failed:
            return False

    def _words(self):
        maillog = os.path.join(self.folder, "maillog")
        text = ""
        if os.path.exists(maillog):
            with open(maillog, encoding="utf-8", errors="replace") as file:
                text = file.read()[-2000:]
        return f"Postfix takes a message\n{self.process.tail()}\n{text}"

    @property
    def pid(self):
        return self.process.popen.pid

    def stop(self):
        self.host.run(["/usr/sbin/postfix", "-c", os.path.join(self.folder, "etc"), "stop"], check=False)
        until = time.monotonic() + 10
        while self.process.is_running() and time.monotonic() < until:
            time.sleep(0.05)
        self.process.kill()
