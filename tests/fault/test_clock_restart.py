"""The wall clock is another one after a restart, by less than what mail of another time is known by at a glance, or with lifetimes that are shorter than the step: no mail expires that had no chance, and history stays."""
import pytest

from daemon import wait_for
from test_clock import DEFERRED, LIBRARIES, agent_of, clock, options_of, relay, send, service, sink, wait_tries  # noqa: F401 (fixtures)

DAY = 86400

pytestmark = pytest.mark.skipif(not LIBRARIES, reason="faketime is not installed")


def wait_searches(agent, n=3):
    before = len(agent.log("no-way"))
    wait_for(lambda: len(agent.log("no-way")) >= before + n, lambda: "the agent looking for ways:\n" + "\n".join(agent.log_lines[-20:]))


@pytest.mark.parametrize("step, lifetime", [(10 * DAY, "5d"), (-10 * DAY, "5d"), (DAY, "12h"), (DAY // 2, "1h")])
def test_mail_that_nobody_could_be_asked_about_waits_on(make_agent, service, clock, step, lifetime):
    service.close()
    agent = agent_of(make_agent, clock, conf={"queue.lifetime": [lifetime]}, **options_of(service))
    id = agent.send()
    clock.jump(step, "stopped", agent)
    wait_searches(agent)
    again = service.again()
    try:
        agent.wait_state(id, "relayed", "delivered")
        assert len(again.messages) == 1
    finally:
        again.close()


@pytest.mark.parametrize("step, lifetime", [(10 * DAY, "5d"), (DAY, "12h"), (DAY // 2, "20h")])
def test_the_relay_tries_again_before_it_gives_up(relay, sink, clock, step, lifetime):
    relay.stop()
    relay.set_conf("relay.conf", {"delivery.lifetime": [lifetime]})
    relay.start()
    sink.replies[("DATA", None)] = [DEFERRED]
    id = send(relay)
    wait_tries(relay, id)
    for _ in range(2):
        clock.jump(step, "stopped", relay)
        wait_tries(relay, id)
    del sink.replies[("DATA", None)]
    relay.wait_state(id, "delivered")
    assert len(sink.messages) == 1


def test_who_is_started_often_gives_up_all_the_same(make_agent, service, clock):
    """Each pause is shorter than one that counts for a step of the clock, each run shorter than the hour that mail is given in one; after twice its lifetime its sender is told."""
    service.close()
    agent = agent_of(make_agent, clock, conf={"queue.lifetime": ["2d"]}, **options_of(service))
    id = agent.send()
    for hours in range(20, 96, 20):
        wait_searches(agent, 1)
        agent.wait_state(id, "queued", "deferred")
        assert hours < 96
        clock.jump(20 * 3600, "stopped", agent)
    agent.wait_state(id, "queued", "deferred")
    clock.jump(20 * 3600, "stopped", agent)
    agent.wait_state(id, "bounced")


def test_a_run_forgets_no_history_at_its_start(make_agent, service, clock):
    agent = agent_of(make_agent, clock, **options_of(service))
    first = agent.send()
    agent.wait_state(first, "relayed", "delivered")
    clock.jump(365 * DAY, "stopped", agent)
    second = agent.send()
    agent.wait_state(second, "relayed", "delivered")
    assert {entry["id"] for entry in agent.queue("--all")} == {first, second}
