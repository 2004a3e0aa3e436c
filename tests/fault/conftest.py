"""The relays, agents and destinations of the integration tests, for the tests here that run whole programs."""
import importlib.util
import os
import sys

sys.dont_write_bytecode = True
INTEGRATION = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration")
sys.path[:0] = [INTEGRATION, os.path.dirname(os.path.abspath(__file__))]
_spec = importlib.util.spec_from_file_location("integration_fixtures", os.path.join(INTEGRATION, "conftest.py"))
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)
make_relay, make_agent, make_sink = _fixtures.make_relay, _fixtures.make_agent, _fixtures.make_sink


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than a few seconds; not part of make check")
