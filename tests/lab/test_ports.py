"""One way is open, whichever it is, and mail goes over it; the other ports are shut in every manner networks have."""
import pytest

from netlab import PORTS

EARLIER = {port: PORTS[:i] for i, port in enumerate(PORTS)}     # those that the agent tries before it


def expect_way(traveller, port, shut):
    """The message takes that port, and the ports tried before it have the verdict."""
    subject = traveller.send()
    traveller.expect_arrival(subject)
    status = traveller.agent.status()
    assert (status["network"], status["way"]["port"]) == ("online", port)
    verdicts = traveller.agent.verdicts()
    assert verdicts[port] == "open"
    assert [verdicts[p] for p in EARLIER[port]] == [shut] * len(EARLIER[port]), status
    assert {verdicts[p] for p in PORTS if p != port} <= {shut, "untried"}
    assert str(port) in status["words"]


@pytest.mark.parametrize("port", PORTS)
def test_one_port_open_and_the_others_dropped(traveller, lab, port):
    lab.drop(*(p for p in PORTS if p != port))
    expect_way(traveller, port, "dropped")


@pytest.mark.parametrize("port", PORTS)
def test_one_port_open_and_the_others_refused(traveller, lab, port):
    lab.reject(*(p for p in PORTS if p != port))
    expect_way(traveller, port, "refused")


@pytest.mark.parametrize("port", [25])
def test_one_port_open_and_the_others_unreachable(traveller, lab, port):
    lab.unreachable(*(p for p in PORTS if p != port))
    expect_way(traveller, port, "unreachable")


def test_everything_open_takes_465(traveller):
    expect_way(traveller, 465, "untried")


def test_a_long_line_with_one_port_open(traveller, lab):
    """300 ms a round trip, as by satellite or a bad mobile network: the dropped ports are not taken for slow ones, nor the slow one for dropped."""
    lab.drop(465, 587, 25)
    lab.latency(300)
    expect_way(traveller, 2525, "dropped")
