"""What a scenario can expect, and the rules that hold in every one."""
import json
import re
import time

import capture
from netlab import LAPTOP
from postern import HANDED_OVER, WAIT_S, wait_until
from traveller import secrets

STARTTLS_PORTS = (587, 2525, 25)
HTTP_PORT = 80
IN_CLEAR = re.compile(rb"(EHLO localhost|STARTTLS|QUIT)\r\n")      # all that is ever said before TLS, and it names nothing
STRANGER_LISTENS_S = 2.0
ALONE_MS = 200
TIMES = {"ms": 0.001, "s": 1.0}
BORING = ("untried", "unreachable", "dropped")


class Expectations:
    patience_s = WAIT_S     # for a state to come

    # -- mail

    def expect_arrives(self, *within):
        """[within] N s | N ms | N round trips: all that was sent and has not come yet."""
        words = [word for word in within if word != "within"]
        limit_s = None if not words else words[0] * (TIMES[words[1]] if words[1] in TIMES else self.round_trip_s())
        self.traveller.expect_arrival(within_s=max(limit_s or 0, 20))
        took_s = self.traveller.last_arrival_at - self.caused_at
        self.outcome.hand_over_s = max(self.outcome.hand_over_s or 0, took_s)
        assert limit_s is None or took_s <= limit_s, f"it arrived after {took_s:.2f} s"

    def expect_waits(self):
        states = [entry["state"] for entry in self.agent.queue() if entry["state"] not in HANDED_OVER]
        assert states and set(states) <= {"queued", "deferred", "sending", "uncertain"}, f"nothing waits: {states}"
        assert not self.destination.has_more(), "something arrived"

    def expect_carried_once(self):
        """The relay took each message once, however often it was begun."""
        said = self.relay.said()[self.relay_said_before:]
        assert said.count("event=message-queued") == len(self.traveller.sent), said

    def expect_hides_origin(self):
        """Neither the laptop's address, nor that of the network, nor its name is in the mail."""
        self.traveller.send()
        octets = self.traveller.expect_arrival().lower()
        v4, v6 = self.lab.venue.laptop_addresses
        assert b"received: " in octets and b"relay.example" in octets
        for secret in (LAPTOP, v4, v6, v6[:-3], "10.77.", "198.51.100.", "2001:db8:100:", "127.0.0.1", "[::1]", "ipv6:::1", "localhost"):
            assert secret.encode() not in octets, f"{secret} stands in the mail: {octets[:2000]!r}"

    # -- what the agent says

    def until_status(self, claim, what, within_s=None):
        """The first status of which claim() is true."""
        def look():
            self.status = self.agent.status()
            return claim(self.status)
        try:
            return wait_until(look, what, within_s or self.patience_s)
        finally:
            self.note_status()

    def expect_network(self, state, _within="within", seconds=None, _unit="s"):
        self.until_status(lambda status: status["network"] == state and not (state != "online" and status["state"] == "searching"), f"network {state}",
                          seconds)

    def expect_way(self, port, *words):
        """PORT, and any of alpn=, via=, mode=, family=."""
        self.until_status(lambda status: status["way"] and matches(status["way"], port, words), f"way {port} {' '.join(words)}")

    def expect_no_way(self):
        self.until_status(lambda status: status["way"] is None, "no way")

    def expect_verdict(self, port, *words):
        """PORT, any of the filters above, and the verdicts that may be."""
        filters, verdicts = [word for word in words if "=" in word], [word for word in words if "=" not in word]
        self.until_status(lambda status: best_verdict(status["ways"], port, filters) in verdicts, f"verdict {port} {' '.join(words)}")

    def expect_says(self, *words):
        self.until_status(lambda status: " ".join(map(str, words)).lower() in status["words"].lower(), f"status says {words}")

    def expect_trouble(self, *words):
        self.until_status(lambda status: " ".join(map(str, words)).lower() in (status["trouble"] or "").lower(), f"status tells the trouble {words}")

    def expect_reason(self, *words):
        wanted = " ".join(map(str, words)).lower()
        reasons = [entry["reason"] or "" for entry in self.agent.json("queue", "list") if entry["state"] not in HANDED_OVER]
        assert reasons and all(wanted in reason.lower() for reason in reasons), f"the reasons are {reasons}, not {wanted!r}"

    def expect_diagnosis(self, *words):
        result = self.agent.json("diagnose")
        said = " ".join([result["words"], *result["summary"]])
        assert " ".join(map(str, words)).lower() in said.lower(), f"the diagnosis is {said!r}, without {words}"

    def note_status(self):
        """For the table."""
        if not self.traveller.agent or not self.traveller.agent.process:
            return
        self.status = self.agent.status()
        way = self.status["way"]
        if way:
            self.outcome.way = f"{way['port']} {way['mode']}" + "".join(f" {way[k]}" for k in ("alpn", "via") if way.get(k) not in (None, "direct"))
        ports = {way["port"]: best_verdict(self.status["ways"], way["port"], []) for way in self.status["ways"]}
        kinds = {}
        for port, verdict in ports.items():
            kinds.setdefault(verdict, []).append(str(port))
        self.outcome.verdict = self.status["network"] + ": " + "; ".join(f"{verdict} {' '.join(of)}" for verdict, of in kinds.items() if verdict != "untried")

    # -- what the wire tells

    def round_trip_s(self):
        return self.lab.venue.round_trip_ms() / 1000

    def connections(self):
        return capture.read(self.lab.captures())

    def connections_since(self):
        """Those that began, or said something, after the last cause."""
        found = []
        for one in self.connections():
            one.bytes_said = sum(n for at, n in one.said_at if at >= self.caused_at_wall)
            if one.began_at >= self.caused_at_wall or one.bytes_said:
                found.append(one)
        return found

    def expect_round_trips(self, n):
        """Of the last hand-over, from its SYN or its first octets to the last thing said: with those before the mail program's 250, whose commit
        overlaps."""
        since = self.caused_at_wall - self.submission_s
        carriers = [one for one in self.connections() if one.said_at and one.said_at[-1][0] >= since]
        assert carriers, "nothing was said"
        carrier = max(carriers, key=lambda one: sum(n for at, n in one.said_at if at >= since))
        counted = carrier.flights(self.round_trip_s(), since=since)
        assert counted == n, f"{counted} round trips on {carrier}"

    def expect_first_syn(self, port, *alone):
        """PORT [alone for N ms]: it is the first connection since the last cause."""
        began = [one for one in self.connections() if one.began_at >= self.caused_at_wall - self.submission_s and one.port not in (53, HTTP_PORT)]
        assert began and began[0].port == port, f"first came {began[:3]}"
        if alone:
            near = [one for one in began[1:] if one.began_at - began[0].began_at < (alone[2] if len(alone) > 2 else ALONE_MS) / 1000]
            assert not near, f"it was not alone: {near}"

    def expect_no_syn(self, *ports):
        began = [one for one in self.connections_since() if one.port in ports and one.began_at >= self.caused_at_wall]
        assert not began, f"there were {began}"

    def expect_probes(self, _at, _most, n, _in, seconds, _unit="s"):
        """at most N in S s: questions to port 80."""
        times = [one.began_at for one in self.connections() if one.port == HTTP_PORT]
        crowded = [at for at in times if sum(1 for other in times if at <= other < at + seconds - 0.1) > n]
        assert times, "the portal was never asked"
        assert not crowded, f"asked at {[round(at - times[0], 1) for at in times]} s"

    def expect_logins(self, n):
        """So many sessions have tried to log in at the relay."""
        said = self.relay.said()[self.relay_said_before:]
        sessions = set(re.findall(r"event=auth session=(\S+)", said))
        assert len(sessions) == n, f"{len(sessions)} sessions logged in: {said}"

    # -- strangers

    def expect_untold(self, *ports):
        """Somebody listened there, was met, and learned nothing."""
        for port in ports:
            met = [one for one in self.connections() if one.port == port and one.is_established]
            assert met, f"nobody came to {port}"
        self.traveller.expect_nothing_given_away(*ports)

    def expect_heard(self, port, *words):
        wanted = " ".join(map(str, words)).encode()
        wait_until(lambda: wanted in self.lab.heard(port), lambda: f"{wanted!r} in {self.lab.heard(port)!r}", STRANGER_LISTENS_S)

    # -- the rules

    def expect_rules(self):
        for venue in self.lab.venues.values():
            for port in venue.heard_ports():
                heard = venue.heard(port).lower()
                assert not [s for s in secrets(self.traveller.sent) if s in heard], f"given away on {port} at {venue.name}: {heard!r}"
        for one in self.connections():
            clear = one.said.lower() if not one.has_tls else one.in_clear.lower()
            assert not [s for s in secrets(self.traveller.sent) if s in clear], f"said in the clear: {one} {clear!r}"
            if one.port in STARTTLS_PORTS:
                assert not IN_CLEAR.sub(b"", one.in_clear), f"said before TLS: {one} {one.in_clear!r}"
        rude = [one for one in self.connections() if one.ended_rudely]
        # A message that is given up with its network must not come through later, when the kernel could send again: that takes a RST.
        given_up = self.traveller.agent.said().count("event=uplink-dropped") if self.traveller.agent else 0
        assert all(one.has_tls for one in rude) and len(rude) <= given_up, f"closed by RST, not by FIN: {rude}"

    def evidence(self):
        status = getattr(self, "status", None)
        began = self.caused_at_wall
        lines = [f"{one.began_at - began:+8.3f} s {one}" for one in self.connections()[-40:]]
        log = self.traveller.agent.process.tail(25) if self.traveller.agent and self.traveller.agent.process else ""
        return f"status: {json.dumps(status)}\nconnections, by the last cause:\n" + "\n".join(lines) + f"\nthe agent's log:\n{log}"


def matches(way, port, words):
    wanted = dict(word.split("=", 1) for word in words)
    family = wanted.pop("family", None)
    return way["port"] == port and all(str(way[key]) == value for key, value in wanted.items()) and (
        family is None or (":" in (way["address"] or "")) == (family == "6"))


def best_verdict(ways, port, filters):
    """Of a port's paths the best word: open, else what says most."""
    verdicts = [way["verdict"] for way in ways if matches(way, port, filters)]
    telling = [verdict for verdict in verdicts if verdict not in BORING]
    for verdict in ("open", *telling, "dropped", "unreachable", "untried"):
        if verdict in verdicts:
            return verdict
    return None
