"""net/monitor.h on a laptop of its own: `watch_network` says what it is told while links, addresses, routes and gateways come and go."""
import os
import signal

import pytest

from hosts import Unavailable, World
import postern

WATCH = os.path.join(postern.BUILD, "tests/lab/watch_network")
GATEWAY, OTHER_GATEWAY = "02:00:00:00:00:01", "02:00:00:00:00:02"


class Watch:
    """The program, and what it says as a dictionary."""

    def __init__(self, host, *arguments):
        self.process = host.start([WATCH, *arguments], log="stdout")

    def _line(self, first):
        return self._parse(first, self.process.next_line().decode())

    @staticmethod
    def _parse(first, line):
        words = line.split()
        assert words[0] == first, line
        return dict(word.split("=") for word in words[1:])

    def next(self):
        return self._line("event")

    def expect(self, up, known, changed=1, slept=0):
        """The next event is this; its key."""
        event = self.next()
        key = event.pop("key")
        assert (event, key != "-") == ({"up": str(up), "changed": str(changed), "slept": str(slept)}, bool(known)), key
        return key

    def settle(self):
        """Nothing is under way; and nothing was said since the last word we heard."""
        self.process.signal(signal.SIGUSR1)
        return self._line("settled")

    def drain(self):
        """The events until nothing is under way."""
        self.process.signal(signal.SIGUSR1)
        events = []
        while True:
            line = self.process.next_line().decode()
            if line.startswith("settled"):
                return events
            events.append(self._parse("event", line))

    def sleep(self):
        self.process.signal(signal.SIGUSR2)

    def stop(self):
        """Everything closed, and no event that nobody expected."""
        self.process.signal(signal.SIGTERM)
        assert self.process.next_line() == b"stopped"
        assert self.process.next_line() is None and self.process.popen.wait(10) == 0


@pytest.fixture
def world():
    if not os.path.exists(WATCH):
        pytest.skip(f"{WATCH} is not built: make check")
    try:
        world = World()
    except Unavailable as reason:
        pytest.skip(f"no network namespaces here: {reason}")
    with world:
        yield world


class Place:
    """A gateway and the laptop's cable to it. Each has the same addresses; what differs is the gateway's MAC."""

    def __init__(self, world, laptop, name, mac, interface="eth0", v4="192.0.2.1/24", v6=None):
        self.laptop, self.interface = laptop, interface
        self.gateway = world.host(name)
        laptop.link(interface, self.gateway, "lan")
        self.gateway.ip(f"link set dev lan address {mac}", *([f"address add {v4} dev lan"] if v4 else []),
                        *([f"address add {v6} dev lan nodad"] if v6 else []))

    def configure(self, *lines):
        self.laptop.ip(*(line.replace("IF", self.interface) for line in lines))

    def join(self):
        self.configure("address add 192.0.2.7/24 dev IF", "route add default via 192.0.2.1 dev IF metric 100")

    def leave(self):
        """Addresses and routes go, and the link with them."""
        self.configure("link delete dev IF")


@pytest.fixture
def laptop(world):
    return world.host("laptop")


@pytest.fixture
def place(world, laptop):
    return Place(world, laptop, "hotel", GATEWAY)


@pytest.fixture
def watch(laptop):
    watch = Watch(laptop)
    watch.expect(up=0, known=0)
    yield watch
    if watch.process.is_running():
        watch.stop()


@pytest.fixture
def joined(place, watch):
    """The laptop is in the hotel, and its key."""
    place.join()
    return watch.expect(up=1, known=1)


def test_start_tells_where_we_are(world, laptop, place):
    place.join()
    watch = Watch(laptop)
    watch.expect(up=1, known=1)
    watch.stop()


def test_the_key_outlives_the_program(joined, laptop):
    """Another run comes to the same key."""
    again = Watch(laptop)
    assert again.expect(up=1, known=1) == joined
    again.stop()


def test_at_rest_there_is_no_timer(joined, watch):
    assert watch.settle()["rests"] == "1"


def test_new_address(joined, watch, place):
    place.configure("address add 198.51.100.7/24 dev IF")
    assert watch.expect(up=1, known=1) == joined
    place.configure("address delete 198.51.100.7/24 dev IF")
    assert watch.expect(up=1, known=1) == joined


def test_lost_carrier_and_back(joined, watch, place):
    place.gateway.ip("link set dev lan down")
    watch.expect(up=0, known=0)
    place.gateway.ip("link set dev lan up")
    assert watch.expect(up=1, known=1) == joined


def test_link_down_is_one_event(joined, watch, place):
    """Its messages (link, carrier, addresses, routes) come in one breath."""
    place.configure("link set dev IF down")
    watch.expect(up=0, known=0)
    watch.settle()


def test_a_breath_of_changes_is_one_event(joined, watch, place):
    place.configure("address add 203.0.113.7/24 dev IF", "route delete default", "address flush dev IF", "address add 192.0.2.8/24 dev IF",
                    "route add default via 192.0.2.1 dev IF metric 50")
    assert watch.expect(up=1, known=1) == joined
    watch.settle()


def flap(watch, place, *lines):
    """The events of it. A carrier may take its time to return, so it is one, or two: gone and back; or none when all is back before anybody looked."""
    place.configure("link set dev IF down", "link set dev IF up", *lines)
    while not place.laptop.is_up(place.interface):
        pass
    return watch.drain()


def test_flap_that_loses_the_route(joined, watch, place):
    """The kernel tells of no IPv4 route that went with its link."""
    events = flap(watch, place)
    assert [event["up"] for event in events] in (["1"], ["0", "1"])
    assert events[-1]["key"] == "-"


def test_flap_that_ends_as_it_began(joined, watch, place):
    events = flap(watch, place, "route add default via 192.0.2.1 dev IF metric 100")
    assert [event["up"] for event in events] in ([], ["0", "1"])
    assert not events or events[-1]["key"] == joined


def test_other_gateway_on_the_same_prefix(joined, watch, world, laptop, place):
    """The café next door has the same router out of the box."""
    place.leave()
    watch.expect(up=0, known=0)
    cafe = Place(world, laptop, "cafe", OTHER_GATEWAY)
    cafe.join()
    assert watch.expect(up=1, known=1) != joined


def test_other_prefix_behind_the_same_gateway(joined, watch, place):
    place.gateway.ip("address add 198.51.100.1/24 dev lan")
    place.configure("address flush dev IF", "address add 198.51.100.7/24 dev IF", "route add default via 198.51.100.1 dev IF")
    assert watch.expect(up=1, known=1) != joined


def test_same_network_again(joined, watch, world, laptop, place):
    """Through another interface with another address even: the network is the same."""
    place.leave()
    watch.expect(up=0, known=0)
    again = Place(world, laptop, "again", GATEWAY, interface="eth1")
    again.configure("address add 192.0.2.200/24 dev IF", "route add default via 192.0.2.1 dev IF metric 600")
    assert watch.expect(up=1, known=1) == joined


def test_gateway_that_does_not_answer(place, watch):
    """The key is told when it is known: after MONITOR_GATEWAY_MS without, and when somebody looks once it has spoken."""
    place.configure("address add 192.0.2.7/24 dev IF", "route add default via 192.0.2.99 dev IF")
    watch.expect(up=1, known=0)
    assert watch.settle()["rests"] == "1"
    place.gateway.ip("address add 192.0.2.99/24 dev lan")
    place.laptop.ip(f"neighbour replace 192.0.2.99 lladdr {GATEWAY} dev eth0 nud reachable")
    watch.sleep()
    watch.expect(up=1, known=1, changed=0, slept=1)


def test_the_better_of_two_default_routes(joined, watch, world, laptop, place):
    """Cable and Wi-Fi at once, as NetworkManager does it: the metric decides."""
    wireless = Place(world, laptop, "wifi", OTHER_GATEWAY, interface="wlan0", v4="198.51.100.1/24")
    wireless.configure("address add 198.51.100.7/24 dev IF", "route add default via 198.51.100.1 dev IF metric 600")
    assert watch.expect(up=1, known=1) == joined
    place.leave()
    assert watch.expect(up=1, known=1) != joined


def test_ipv6_only(world, laptop, watch):
    place = Place(world, laptop, "six", GATEWAY, v4=None, v6="fe80::1/64")
    place.configure("address add 2001:db8:1::7/64 dev IF nodad", "route add default via fe80::1 dev IF")
    key = watch.expect(up=1, known=1)
    place.leave()
    watch.expect(up=0, known=0)
    other = Place(world, laptop, "seven", OTHER_GATEWAY, v4=None, v6="fe80::1/64")
    other.configure("address add 2001:db8:1::7/64 dev IF nodad", "route add default via fe80::1 dev IF")
    assert watch.expect(up=1, known=1) != key


def test_lifetimes_renewed_are_no_sign(world, laptop, watch):
    """As each router advertisement does; the kernel tells of it every time."""
    place = Place(world, laptop, "six", GATEWAY, v4=None, v6="fe80::1/64")
    place.configure("address add 2001:db8:1::7/64 dev IF nodad", "route add default via fe80::1 dev IF")
    watch.expect(up=1, known=1)
    before = watch.settle()
    for lifetime in range(1000, 1020):
        place.configure(f"address change 2001:db8:1::7/64 dev IF valid_lft {lifetime} preferred_lft {lifetime}")
    assert watch.settle() == before


def test_link_local_addresses_alone_are_no_network(place, watch):
    place.configure("address add 169.254.3.4/16 dev IF", "address add fe80::7/64 dev IF nodad")
    watch.settle()


def test_a_storm_of_messages(joined, watch, place):
    """More than the socket holds, while nobody reads: what was lost is asked for anew, and what comes after is heard."""
    watch.process.signal(signal.SIGSTOP)
    place.configure(*(f"address add 198.51.{100 + i // 250}.{i % 250 + 1}/32 dev IF" for i in range(2000)), "address flush dev IF to 198.51.0.0/16",
                    "address add 203.0.113.7/24 dev IF")
    watch.process.signal(signal.SIGCONT)
    assert watch.expect(up=1, known=1) == joined
    watch.settle()
    place.configure("address delete 203.0.113.7/24 dev IF")
    assert watch.expect(up=1, known=1) == joined


def test_sleep(joined, watch):
    watch.sleep()
    assert watch.expect(up=1, known=1, changed=0, slept=1) == joined
    assert watch.settle()["rests"] == "1"


def test_polling(laptop, place):
    """The portable source knows addresses alone."""
    watch = Watch(laptop, "--poll")
    watch.expect(up=0, known=0)
    place.join()
    watch.expect(up=1, known=0)
    place.leave()
    watch.expect(up=0, known=0)
    watch.sleep()
    watch.expect(up=0, known=0, changed=0, slept=1)
    watch.stop()
