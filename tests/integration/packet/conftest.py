"""A client, three routers and a server, each in a network namespace of its own.

::

    client -- r1 -- r2 -- r3 -- server        10.77.N.0/24 and fd77:N::/64 for the Nth cable
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from netserve.testing.namespaces import Host, lab
from netserve.testing.process import BIN
from netserve.testing.programs import missing

NETSERVE = BIN / "netserve"
CONFIG = """\
packet:
  targets: [10.77.0.0/16, "fd77::/16", 127.0.0.0/8, "::1"]
  interfaces: {interfaces}
  rate: 500/second
"""
SERVER = "10.77.4.2"
SERVER6 = "fd77:4::2"


@dataclass
class Lab:
    """The hosts, and what runs in them.

    Arguments:
        client: where commands run.
        routers: from the client to the server.
        server: the other end.
        cables: the names of each cable's two interfaces.
        config: a file that allows the lab.
    """

    client: Host
    routers: list[Host]
    server: Host
    cables: list[tuple[str, str]]
    config: Path

    def netserve(
        self, *arguments: str, code: int | None = 0, host: Host | None = None, timeout: float = 90
    ) -> subprocess.CompletedProcess[str]:
        """Run a netserve command on the client; its exit code is looked at."""
        verb = 2 if arguments[0] == "packet" and arguments[1] in {"sr1", "send", "srloop"} else 1
        command = [*arguments[:verb], "--config", str(self.config), *arguments[verb:]]
        done = (host or self.client).run(NETSERVE, *command, check=False, timeout=timeout)
        if code is not None:
            assert done.returncode == code, (done.stdout, done.stderr)
        return done

    def json(self, *arguments: str, code: int | None = 0) -> list[Any]:
        """The lines of a command's JSON."""
        done = self.netserve(*arguments, "--json", code=code)
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if importlib.util.find_spec("scapy") is None:
        missing("Scapy is not installed: pip install 'netserve[packet]'")
    with lab("client", "r1", "r2", "r3", "server") as hosts:
        client, *routers, server = hosts
        cables = []
        for number, (near, far) in enumerate(itertools.pairwise(hosts), 1):
            cables.append(near.link(far, f"10.77.{number}.1/24", f"10.77.{number}.2/24"))
            for host, interface, end in ((near, cables[-1][0], 1), (far, cables[-1][1], 2)):
                host.ip("address", "add", f"fd77:{number}::{end}/64", "dev", interface, "nodad")
        client.route("default", "10.77.1.2")
        client.route("default", "fd77:1::2")
        server.route("default", "10.77.4.1")
        server.route("default", "fd77:4::1")
        for at, router in enumerate(routers, 1):
            router.forward()
            for cable in range(1, 5):
                if cable < at:
                    router.route(f"10.77.{cable}.0/24", f"10.77.{at}.1")
                    router.route(f"fd77:{cable}::/64", f"fd77:{at}::1")
                elif cable > at + 1:
                    router.route(f"10.77.{cable}.0/24", f"10.77.{at + 1}.2")
                    router.route(f"fd77:{cable}::/64", f"fd77:{at + 1}::2")
        for option in ("net.ipv4.icmp_ratelimit=0", "net.ipv6.icmp.ratelimit=0"):
            server.set(option)
        config = tmp_path_factory.mktemp("packet") / "config.yaml"
        config.write_text(CONFIG.format(interfaces=f"[lo, {cables[0][0]}]"))
        yield Lab(client, routers, server, cables, config)
