"""``netserve traceroute``: the routers on the way to a host."""

from __future__ import annotations

import random
from typing import Any, Final

import click

from netserve.cli.packets import Seconds, Session, Work, uses_helper

_PORTS: Final = {"tcp": 80, "udp": 33434, "icmp": 0}
_GRACE: Final = 20.0


@click.command()
@click.argument("host")
@click.option(
    "--method",
    type=click.Choice(["udp", "tcp", "icmp"]),
    default="udp",
    show_default=True,
    help="The protocol of the probes.",
)
@click.option("--port", type=click.IntRange(1, 65535), help="The port; default: 33434, for tcp 80.")
@click.option(
    "--first", type=click.IntRange(1, 255), default=1, show_default=True, help="The first hop."
)
@click.option(
    "--hops", type=click.IntRange(1, 255), default=30, show_default=True, help="The last hop."
)
@click.option(
    "--tries", type=click.IntRange(1, 10), default=3, show_default=True, help="Probes for each hop."
)
@click.option(
    "--timeout",
    type=Seconds(),
    default=2.0,
    show_default="2s",
    help="Wait for answers after the last probe.",
)
@click.option("-4", "version", flag_value=4, type=int, help="By IPv4.")
@click.option("-6", "version", flag_value=6, type=int, help="By IPv6.")
@uses_helper
def traceroute(
    host: str,
    *,
    method: Any,
    port: int | None,
    first: int,
    hops: int,
    tries: int,
    timeout: float,
    version: int | None,
) -> Work:
    """Show the routers on the way to HOST.

    The command sends the probes of all hops at once, at the rate that the file allows. The exit
    code is 0 if HOST answered, 1 if it did not.
    """
    if hops < first:
        raise click.UsageError("--hops is less than --first")

    async def work(session: Session) -> int:
        from netserve.packet.client.names import look_up  # noqa: PLC0415
        from netserve.packet.tools.traceroute import Plan, Trace  # noqa: PLC0415

        plan = Plan(
            target=await look_up(host, version or 0), method=method, port=port or _PORTS[method],
            first=first, last=hops, tries=tries, base=random.randrange(33_000, 60_000),  # noqa: S311
        )  # fmt: skip
        trace = Trace(plan)
        pause = session.helper.policy.interval * (hops - first + 1) * tries
        use = f"traceroute {plan.target} by {method}"
        deadline = timeout + pause + _GRACE
        await session.helper.ask(
            plan.request(timeout), deadline=deadline, answered=trace.add, use=use
        )
        if session.as_json:
            session.print("", trace.to_json())
        else:
            click.echo(f"to {host} ({plan.target}) by {method}, at most {hops} hops")
            for text in trace.lines():
                click.echo(text)
        return 0 if trace.reached else 1

    return work
