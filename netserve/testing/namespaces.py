"""Hosts and routers for tests: network namespaces, with links between them; Linux, as root.

::

    with lab("client", "router", "server") as hosts:
        client, router, server = hosts
        client.link(router, "10.0.1.1/24", "10.0.1.2/24")
        router.link(server, "10.0.2.1/24", "10.0.2.2/24")
        router.forward()
        client.route("default", "10.0.1.2")
        server.route("default", "10.0.2.1")
        client.run("ping", "-c1", "10.0.2.2")
"""

from __future__ import annotations

import itertools
import os
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from netserve.testing.programs import missing, require_program

_TIMEOUT: Final = 60.0
_interfaces = itertools.count()


class Host:
    """One namespace.

    Arguments:
        name: the kernel's name for it.
        ip: the path of the program `ip`.
    """

    def __init__(self, name: str, ip: str) -> None:
        self.name = name
        self._ip = ip

    def run(
        self, *command: str | os.PathLike[str], check: bool = True, timeout: float = _TIMEOUT
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in it, to its end.

        Raises:
            CalledProcessError: it failed, and `check` is true.
        """
        return subprocess.run(  # noqa: S603 - a test's own command
            self.command(*command), capture_output=True, text=True, check=check, timeout=timeout
        )

    def start(
        self, *command: str | os.PathLike[str], env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """Start a program in it."""
        return subprocess.Popen(self.command(*command), text=True, env=env, **options)  # noqa: S603

    def command(self, *command: str | os.PathLike[str]) -> list[str]:
        """The command that runs a program in it."""
        return [self._ip, "netns", "exec", self.name, *(os.fspath(part) for part in command)]

    def link(self, other: Host, address: str, other_address: str) -> tuple[str, str]:
        """A cable to another host.

        Arguments:
            other: the other end.
            address: of this end, with its prefix length.
            other_address: of the other end.

        Returns:
            the names of the two interfaces.
        """
        number = next(_interfaces)
        ends = f"v{number}a{os.getpid() % 10_000}", f"v{number}b{os.getpid() % 10_000}"
        self._do("link", "add", ends[0], "netns", self.name, "type", "veth", "peer", "name",
                 ends[1], "netns", other.name)  # fmt: skip
        for host, interface, given in ((self, ends[0], address), (other, ends[1], other_address)):
            kind = ["nodad"] if ":" in given else []
            host.ip("address", "add", given, "dev", interface, *kind)
            host.ip("link", "set", interface, "up")
        return ends

    def ip(self, *arguments: str) -> None:
        """Run `ip` with these arguments in it."""
        self._do("-netns", self.name, *arguments)

    def route(self, target: str, gateway: str) -> None:
        """Add a route."""
        self.ip("-6" if ":" in gateway else "-4", "route", "add", target, "via", gateway)

    def forward(self) -> None:
        """Be a router, and answer at any rate."""
        for option in (
            "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratelimit=0",
            "net.ipv6.icmp.ratelimit=0",
        ):  # fmt: skip
            self.set(option)

    def set(self, option: str) -> None:
        """Set an option of the kernel, ``name=value``."""
        self.run(require_program("sysctl"), "-qw", option)

    def _do(self, *arguments: str) -> None:
        command = [self._ip, *arguments]
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


@contextmanager
def lab(*names: str) -> Iterator[list[Host]]:
    """Namespaces for the time of a test, each with its loopback interface up.

    Without root, or without the program `ip`, the test is skipped; with ``CI=true`` it fails.
    """
    if os.geteuid() != 0:
        missing("network namespaces need root")
    ip = require_program("ip")
    mark = secrets.token_hex(3)
    with ExitStack() as stack:
        hosts = []
        for name in names:
            host = Host(f"nst-{mark}-{name}", ip)
            command = [ip, "netns", "add", host.name]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                missing(f"no network namespace can be made: {done.stderr.strip()}")
            stack.callback(subprocess.run, [ip, "netns", "delete", host.name], check=False)
            host.ip("link", "set", "lo", "up")
            hosts.append(host)
        yield hosts
