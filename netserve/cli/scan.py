"""``netserve scan``: which ports of a host answer."""

from __future__ import annotations

import random
import socket
import time
from typing import Final

import click

from netserve.cli.packets import Seconds, Session, Work, uses_helper

_GRACE: Final = 20.0
_MANY: Final = 25
"""Ports of one state beyond which they are only counted."""


@click.command()
@click.argument("host")
@click.option("-p", "--ports", default="1-1024", show_default=True, help="Such as 22,80,8000-8010.")
@click.option("--udp", is_flag=True, help="UDP ports; many of them say nothing, open or not.")
@click.option("--timeout", type=Seconds(), default=1.0, show_default="1s", help="Wait for answers.")
@click.option(
    "--retry",
    type=click.IntRange(0, 10),
    default=1,
    show_default=True,
    help="Ask silent ports again.",
)
@click.option("--all", "show_all", is_flag=True, help="Name every port, also where many are alike.")
@click.option("-4", "version", flag_value=4, type=int, help="By IPv4.")
@click.option("-6", "version", flag_value=6, type=int, help="By IPv6.")
@uses_helper
def scan(
    host: str,
    *,
    ports: str,
    udp: bool,
    timeout: float,
    retry: int,
    show_all: bool,
    version: int | None,
) -> Work:
    """Show which ports of HOST are open, by SYN probes that open no connection.

    The exit code is 0 when a port is open, 1 when none is.
    """

    async def work(session: Session) -> int:
        from netserve.packet.client.names import look_up  # noqa: PLC0415
        from netserve.packet.errors import PacketError  # noqa: PLC0415
        from netserve.packet.tools import scan as tool  # noqa: PLC0415

        try:
            numbers = tool.parse_ports(ports)
        except ValueError as error:
            raise PacketError("invalid", str(error)) from None
        target = await look_up(host, version or 0)
        policy = session.helper.policy
        kind: tool.Kind = "udp" if udp else "tcp"
        found = tool.Scan(kind, numbers)
        use = f"scan {target}, {len(numbers)} {kind} ports"
        begun = time.monotonic()
        for ask in tool.requests(
            target, kind, numbers, source=random.randrange(33_000, 60_000),  # noqa: S311
            most=policy.packets, timeout=timeout, retry=retry,
        ):  # fmt: skip
            pause = (timeout + policy.packets * policy.interval) * (retry + 1)
            await session.helper.ask(ask, deadline=pause + _GRACE, answered=found.add, use=use)
        seconds = time.monotonic() - begun
        if session.as_json:
            session.print(
                "", {"target": str(target), "seconds": round(seconds, 3), **found.to_json()}
            )
        else:
            _print(found, f"{host} ({target})", seconds, show_all=show_all)
        return 0 if "open" in found.counts() else 1

    return work


def _print(found: object, host: str, seconds: float, *, show_all: bool) -> None:
    from netserve.packet.tools.scan import Scan  # noqa: PLC0415

    assert isinstance(found, Scan)  # noqa: S101 - imported late
    counts = found.counts()
    for port, state, why, elapsed in found.states():
        if show_all or state == "open" or counts[state] <= _MANY:
            taken = "" if elapsed is None else f"{elapsed * 1000:.3f} ms"
            name = f"{_name(port, found.kind):<16}"
            click.echo(f"{port:>5}/{found.kind}  {state:<13}  {name}  {taken:>10}  {why}")
    summed = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    click.echo(f"{host}: {summed}, in {seconds:.1f} s")


def _name(port: int, kind: str) -> str:
    try:
        return socket.getservbyport(port, kind)
    except OSError:
        return "-"
