"""Hosts on one machine: each a network, mount and UTS namespace that has no name outside and vanishes with its last user.

    with World() as world:
        laptop = world.host("laptop")              its own interfaces, routes, nftables, /etc/hosts and host name
        laptop.run(["ip", "address"])              runs to its end; its output
        server = laptop.start(["server"], ready=b"ready")   runs until server.stop() or the end of the world
    Unavailable: the machine forbids namespaces; its words say what was tried.

Root makes the namespaces directly. Anybody else gets a user namespace first, in which he is root; every command then enters it.
Nothing is left behind: a namespace lives as long as our descriptor of it or a process in it, and every process that we start
dies with us (PR_SET_PDEATHSIG) even when we are killed. `HERE` is the machine itself, with the same verbs, for tests on loopback.
"""
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import time

STOP_S = 10     # for a program to end after SIGTERM
READY_S = 20    # for a program to say that it is ready
RUN_S = 30      # for a command


class Unavailable(Exception):
    """Namespaces cannot be had here."""


class Failed(Exception):
    """A command or program did not do what it was started for; the words hold its output."""


class Process:
    """A program that runs until stopped. next_line() gives what it says on stdout, as it says it; `log` is the file with its stderr, or
    "stdout" to hear that too as it is said. With takes_orders, order() says a line to it."""

    def __init__(self, command, ready=None, log=None, env=None, pass_fds=(), takes_orders=False):
        at = max(i for i, word in enumerate(command) if word == "--") if "--" in command else -1
        self.name = next(os.path.basename(word) for word in command[at + 1:] if word not in ("env", "-u") and "=" not in word)
        self.log = log
        self._said = queue.Queue()
        stderr = subprocess.STDOUT if log == "stdout" else open(log, "ab") if log else subprocess.DEVNULL
        try:
            self.popen = subprocess.Popen(command, stdin=subprocess.PIPE if takes_orders else subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=stderr, env=env, pass_fds=pass_fds)
        finally:
            if log and log != "stdout":
                stderr.close()
        threading.Thread(target=self._listen, daemon=True).start()
        if ready is not None:
            self.wait_for(ready)

    def _listen(self):
        for line in self.popen.stdout:
            self._said.put((time.monotonic(), line.rstrip(b"\n")))
        self._said.put((time.monotonic(), None))

    def order(self, line):
        """Says it, and waits until it is done."""
        try:
            self.popen.stdin.write(line.encode() + b"\n")
            self.popen.stdin.flush()
        except OSError as error:
            raise Failed(f"{self.name} takes no orders any more: {error}\n{self.tail()}") from None
        answer = self.next_line()
        if answer != b"done":
            raise Failed(f"{self.name}: {line}: {answer!r}\n{self.tail()}")

    def has_said_more(self):
        return not self._said.empty()

    def next_line(self, within_s=READY_S):
        """The next line of its stdout; None at its end."""
        return self.next_line_at(within_s)[1]

    def next_line_at(self, within_s=READY_S):
        """The same with the time when it was said (time.monotonic)."""
        try:
            return self._said.get(timeout=within_s)
        except queue.Empty:
            raise Failed(f"{self.name} said nothing for {within_s} s\n{self.tail()}") from None

    def wait_for(self, words, within_s=READY_S):
        until = time.monotonic() + within_s
        while True:
            line = self.next_line(max(0.01, until - time.monotonic()))
            if line is None:
                raise Failed(f"{self.name} ended before it said {words!r} (exit code {self.popen.wait()})\n{self.tail()}")
            if words in line:
                return line

    def tail(self, lines=30):
        if not self.log or not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-lines:])

    def is_running(self):
        return self.popen.poll() is None

    def signal(self, number):
        if self.is_running():
            self.popen.send_signal(number)

    def stop(self, within_s=STOP_S):
        """SIGTERM, and SIGKILL when that is not heeded. Its exit code."""
        if self.is_running():
            self.popen.terminate()
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise Failed(f"{self.name} did not end within {within_s} s of SIGTERM\n{self.tail()}") from None

    def kill(self):
        if self.is_running():
            self.popen.kill()
        return self.popen.wait()


class Host:
    """A place where commands run. `prefix` enters its namespaces; empty for the machine itself."""

    def __init__(self, name, prefix=(), descriptors=(), borrowed=()):
        self.name = name
        self._prefix = list(prefix)
        self._descriptors = list(descriptors)
        self._passed = [*descriptors, *borrowed]
        self._processes = []
        self.resolver_file = None

    def _command(self, command):
        # setpriv stands last before the program, for the kernel forgets the setting at a change of credentials.
        return [*self._prefix, "setpriv", "--pdeathsig", "KILL", "--", *map(str, command)]

    def words(self, command):
        """(what to give to Popen, its pass_fds) for the command here: for who wants its pipes himself."""
        return self._command(command), self._passed

    def run(self, command, stdin="", check=True, within_s=RUN_S, env=None, pass_fds=()):
        """Its CompletedProcess, with text. check: Failed unless it exits with 0."""
        done = subprocess.run(self._command(command), input=stdin, capture_output=True, text=True, errors="replace", timeout=within_s,
                              env=env, pass_fds=[*self._passed, *pass_fds], check=False)
        if check and done.returncode != 0:
            raise Failed(f"on {self.name}: {' '.join(map(str, command))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def start(self, command, ready=None, log=None, env=None, takes_orders=False):
        process = Process(self._command(command), ready, log, env, self._passed, takes_orders)
        self._processes.append(process)
        return process

    def ip(self, *lines):
        """Several `ip` commands at once."""
        self.run(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")

    def nft(self, ruleset):
        self.run(["nft", "-f", "-"], stdin=ruleset)

    def link(self, name, other, other_name, mac=None):
        """A cable: a veth pair with one end here and one on the other host. The kernel brings it up in its own time, and until then drops
        what is sent, an ARP request for example, whose next try would come a second later."""
        there = other._descriptors[0]
        self.run(["ip", "link", "add", name, *(["address", mac] if mac else []), "type", "veth", "peer", "name", other_name, "netns", f"/proc/self/fd/{there}"], pass_fds=[there])
        self.ip(f"link set dev {name} up")
        other.ip(f"link set dev {other_name} up")
        until = time.monotonic() + RUN_S
        while not (self.is_up(name) and other.is_up(other_name)):
            if time.monotonic() > until:
                raise Failed(f"the link {name} of {self.name} does not come up")

    def is_up(self, interface):
        return " state UP " in self.run(["ip", "-o", "link", "show", "dev", interface]).stdout

    def sysctl(self, **values):
        """sysctl(net_ipv4_ip_forward=1): underscores of the path are written as two."""
        paths = {name.replace("__", "\0").replace("_", "/").replace("\0", "_"): value for name, value in values.items()}
        self.run(["sh", "-ec", "; ".join(f"echo {value} >/proc/sys/{path}" for path, value in paths.items())])

    def close(self):
        for process in self._processes:
            process.kill()
        self._processes.clear()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()


HERE = Host("this machine")


class World:
    """The hosts of one test. Its folder holds their files."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="postern-lab-")
        os.chmod(self.folder, 0o755)    # servers that give up root read their files below it
        self._hosts = []
        self._user = []                 # the words that enter our user namespace
        self._descriptors = []
        try:
            if os.geteuid() != 0:
                self._enter_user_namespace()
            self._probe()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for host in self._hosts:
            host.close()
        self._hosts.clear()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def host(self, name, hosts_file=None):
        """A new host; its /etc/hosts is the given file. No resolver answers there unless a test starts one; `resolver_file` is its
        /etc/resolv.conf, which may be written anew."""
        links = self._unshare([*self._user, "unshare", "--net", "--mount", "--uts"], ("net", "mnt", "uts"))
        host = Host(name, self._user + ["nsenter", *(f"--{kind}=/proc/self/fd/{number}" for kind, number in
                                                      zip(("net", "mount", "uts"), links)), "--"], links, self._descriptors)
        self._hosts.append(host)
        host.ip("link set lo up")
        host.run(["hostname", name])
        resolver = host.resolver_file = os.path.join(self.folder, f"resolv-{name}.conf")
        with open(resolver, "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        script = 'mount --bind "$1" "$(readlink -f /etc/resolv.conf)"; [ -z "$2" ] || mount --bind "$2" /etc/hosts'
        host.run(["sh", "-ec", script, "sh", resolver, hosts_file or ""])
        return host

    def _enter_user_namespace(self):
        links = self._unshare(["unshare", "--user", "--map-root-user"], ("user",))
        self._descriptors = links
        self._user = ["nsenter", f"--user=/proc/self/fd/{links[0]}", "--preserve-credentials", "--"]

    def _unshare(self, command, kinds):
        """Opens the namespaces of a process that lives just long enough for it."""
        holder = subprocess.Popen([*command, "sh", "-c", "echo made; read _"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, pass_fds=self._descriptors)
        try:
            if holder.stdout.readline() != b"made\n":
                raise Unavailable(f"{' '.join(command)}: {holder.stderr.read().decode(errors='replace').strip()}")
            return [os.open(f"/proc/{holder.pid}/ns/{kind}", os.O_RDONLY) for kind in kinds]
        except OSError as error:
            raise Unavailable(f"{' '.join(command)}: {error}") from error
        finally:
            holder.stdin.close()
            holder.wait()
            holder.stdout.close()
            holder.stderr.close()

    def _probe(self):
        """What the lab needs can be forbidden one by one (containers without CAP_SYS_ADMIN, kernels without nftables)."""
        for program in ("unshare", "nsenter", "setpriv", "ip", "nft"):
            if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
                raise Unavailable(f"the program {program} is missing")
        try:
            probe = self.host("probe")
            probe.ip("link add one type veth peer name two")
            probe.nft("table inet probe { chain nat { type nat hook prerouting priority -100; tcp dport 25 redirect to :2500; }; "
                      "chain filter { type filter hook forward priority 0; tcp dport 25 reject with tcp reset; }; }")
        except (Failed, OSError) as error:
            raise Unavailable(str(error)) from error
        self._hosts.remove(probe)
        probe.close()
