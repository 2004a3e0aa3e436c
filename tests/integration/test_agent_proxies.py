"""postern-agent proxies HOST: what the system's settings say. The desktops' settings are not ours to change here; the variables are."""
import os
import subprocess
from ctypes.util import find_library

import pytest

from agent_support import AGENT
from relay_support import EX_USAGE


@pytest.fixture(params=["with", "without"])
def libproxy(request, tmp_path):
    """The folder to load it from: with none of its own the system's is taken; an empty file of its name can't be loaded."""
    if request.param == "without":
        (tmp_path / "libproxy.so.1").write_bytes(b"")
    elif find_library("proxy") is None:
        pytest.skip("libproxy1v5 is not installed")
    return str(tmp_path)


def ask(host, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    # No desktop's settings and no script: libproxy, where it is there, has the variables alone too.
    kept.update(variables, XDG_CURRENT_DESKTOP="", HOME="/nonexistent")
    if "asan" in os.environ.get("POSTERN_BUILD", ""):   # which knows the exceptions of C++, that libproxy throws, only when they are there from the start
        kept["LD_PRELOAD"] = "libstdc++.so.6"
    return subprocess.run([AGENT, "proxies", *([host] if host else [])], env=kept, capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("variables, proxies", [
    ({}, []),
    ({"https_proxy": "http://10.0.0.1:3128"}, ["http://10.0.0.1:3128"]),
    ({"HTTPS_PROXY": "http://anna:secret@10.0.0.1:3128", "all_proxy": "socks5://10.0.0.2"}, ["http://anna:secret@10.0.0.1:3128", "socks5://10.0.0.2"]),
    ({"all_proxy": "10.0.0.1:3128"}, ["http://10.0.0.1:3128"]),
    ({"https_proxy": "http://10.0.0.1:3128", "no_proxy": "other.example, .example.org"}, []),
    ({"https_proxy": "http://10.0.0.1:3128", "no_proxy": "example.org"}, []),
    ({"https_proxy": "http://10.0.0.1:3128", "no_proxy": "*"}, []),
    ({"https_proxy": "http://10.0.0.1:3128", "NO_PROXY": "relay.example.org"}, []),
    ({"https_proxy": "http://10.0.0.1:3128", "no_proxy": "ample.org"}, ["http://10.0.0.1:3128"]),
    ({"https_proxy": "ftp://10.0.0.1", "all_proxy": "http://bad host:1"}, []),
])
def test_the_variables(libproxy, variables, proxies):
    done = ask("relay.example.org", LD_LIBRARY_PATH=libproxy, **variables)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, proxies, "")


USAGE = "usage: postern-agent proxies HOST"


@pytest.mark.parametrize("host, words", [(None, USAGE), ("--help", USAGE), ("a/b", "is no host"), ("a b", "is no host"), ("x" * 300, "is no host")])
def test_what_is_no_host(host, words):
    done = ask(host)
    assert done.returncode == EX_USAGE and words in done.stderr
