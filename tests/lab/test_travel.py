"""Days of a traveller: networks come and go, the relay too, and mail goes by itself when it can."""
import pytest

from netlab import LAPTOP, PORTS


def test_all_closed_then_one_opened(traveller, lab):
    lab.close_all()
    subject = traveller.send()
    status = traveller.agent.wait_for_network("blocked", within_s=30)
    assert status["way"] is None
    assert set(traveller.agent.verdicts().values()) == {"dropped"}
    lab.open(2525)
    traveller.expect_arrival(subject)
    assert traveller.agent.status()["way"]["port"] == 2525


def test_ipv6_is_broken(traveller, lab):
    lab.break_ipv6()
    traveller.expect_arrival(traveller.send())
    assert "." in traveller.agent.status()["way"]["address"]


def test_ipv6_alone(traveller, lab):
    lab.laptop.ip("addr flush dev wlan0 scope global", f"addr add {lab.venue.laptop_addresses[1]}/64 dev wlan0 nodad",
                  f"route replace default via 2001:db8:77:{lab.venue.number}::1")
    traveller.expect_arrival(traveller.send())
    assert ":" in traveller.agent.status()["way"]["address"]


def test_no_network_then_one(traveller, lab):
    lab.radio_off()
    subject = traveller.send()
    traveller.agent.wait_for_network("offline")
    lab.radio_on()
    traveller.expect_arrival(subject)


def test_from_the_hotel_to_the_cafe(traveller, lab):
    """Blocked in one network, on to the next; a message that waited and a new one arrive."""
    lab.reject(*PORTS)
    first = traveller.send()
    traveller.agent.wait_for_network("blocked")
    lab.roam("cafe")
    lab.only(587)
    traveller.expect_arrival(first)
    second = traveller.send()
    traveller.expect_arrival(second)
    assert traveller.agent.status()["way"]["port"] == 587


def test_the_relay_is_restarted(traveller, relay):
    traveller.expect_arrival(traveller.send())
    relay.stop()
    subject = traveller.send()
    traveller.agent.wait_for_network("blocked")
    relay.start()
    traveller.expect_arrival(subject)


@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_the_mail_does_not_tell_where_it_was_written(traveller, lab, family):
    """Neither the laptop's address, nor that of the network it is in, nor its name: 'Nobody in between'."""
    if family == "IPv4":
        lab.break_ipv6()
    octets = traveller.expect_arrival(traveller.send()).lower()
    head = octets.split(b"\r\n\r\n", 1)[0]
    assert b"received: " in head and b"relay.example" in head, head
    v4, v6 = lab.venue.laptop_addresses
    for secret in (LAPTOP, v4, v6, f"2001:db8:77:{lab.venue.number}:", "10.77.", "198.51.100.", "2001:db8:100:", "127.0.0.1", "[::1]", "ipv6:::1",
                   "localhost"):
        assert secret.encode() not in octets, (secret, head)
