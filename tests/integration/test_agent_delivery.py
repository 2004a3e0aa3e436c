"""The agent and a relay: what becomes of mail, and whether one can read it."""
from relay_support import make_message
from daemon import wait_for


def pin_of(relay):
    return relay.run("key", "show").stdout.split()[0]


def make_pair(make_relay, make_agent, make_sink, agent_options=(), **relay_options):
    """(agent, relay, sink): anna's agent, her relay, and dest.example's server."""
    sink = make_sink()
    relay = make_relay(zone=f"dest.example MX 10 mx.dest.example\nmx.dest.example A {sink.host}\n", mx_port=sink.port, **relay_options)
    relay.add_account("anna", "secret", "anna@example.org")
    _, port = relay.address("tls")
    agent = make_agent(pin=pin_of(relay), ways=[f"{port} tls"], **dict(agent_options))
    return agent, relay, sink


def test_a_message_goes_all_the_way(make_relay, make_agent, make_sink):
    agent, relay, sink = make_pair(make_relay, make_agent, make_sink)
    id = agent.send()
    entry = agent.wait_state(id, "relayed")
    message = sink.wait_message()
    assert message.header("Subject") == "hello"
    assert entry["to"][0]["reply"].startswith("250 ")
