"""``netserve ping``: echo requests by ICMP, and the times of the replies."""

from __future__ import annotations

import os
from typing import Any

import click

from netserve.cli.packets import Seconds, Session, Work, uses_helper

_GRACE = 15.0


@click.command()
@click.argument("host")
@click.option(
    "--count", type=click.IntRange(1), help="Stop after this number of requests; default: Ctrl-C."
)
@click.option(
    "--interval", type=Seconds(), default=1.0, show_default="1s", help="Time between requests."
)
@click.option(
    "--timeout", type=Seconds(), default=2.0, show_default="2s", help="Wait for each reply."
)
@click.option(
    "--size", type=click.IntRange(0, 65_000), default=56, show_default=True, help="Bytes of data."
)
@click.option(
    "--hops", type=click.IntRange(1, 255), default=64, show_default=True, help="TTL or hop limit."
)
@click.option("-4", "version", flag_value=4, type=int, help="By IPv4.")
@click.option("-6", "version", flag_value=6, type=int, help="By IPv6.")
@uses_helper
def ping(
    host: str,
    *,
    count: int | None,
    interval: float,
    timeout: float,
    size: int,
    hops: int,
    version: int | None,
) -> Work:
    """Send echo requests to HOST.

    The exit code is 0 when at least one reply came, 1 when none did.
    """

    async def work(session: Session) -> int:
        from twisted.internet.defer import CancelledError  # noqa: PLC0415

        from netserve.packet.client.names import look_up  # noqa: PLC0415
        from netserve.packet.tools import ping as tool  # noqa: PLC0415

        target = await look_up(host, version or 0)
        statistics = tool.Statistics()
        sequence, use = 0, f"ping {target}"
        deadline = timeout + _GRACE
        try:
            while count is None or sequence < count:
                begun = session.reactor.seconds()
                ask = tool.request(
                    target, identifier=os.getpid() & 0xFFFF, sequence=sequence & 0xFFFF,
                    size=size, hops=hops, timeout=timeout,
                )  # fmt: skip
                answers: list[dict[str, Any]] = []
                await session.helper.ask(ask, deadline=deadline, answered=answers.append, use=use)
                use = ""  # the rest of the run is not logged
                statistics.sent += 1
                _tell(session, sequence, str(target), answers, statistics)
                sequence += 1
                if count is None or sequence < count:
                    await _until(session.reactor, begun + interval)
        except CancelledError:
            pass
        session.print(
            f"{host} ({target}): {statistics}", {"target": str(target), **statistics.to_json()}
        )
        return 0 if statistics.times else 1

    return work


def _tell(
    session: Session, sequence: int, target: str, answers: list[dict[str, Any]], statistics: Any
) -> None:
    """Print and count the answer to one request."""
    from netserve.packet.tools.ping import Reply  # noqa: PLC0415

    if not answers:
        session.print(f"{target}: seq={sequence} no answer", {"seq": sequence, "answer": None})
        return
    reply = Reply.read(sequence, answers[0])
    milliseconds = round(reply.seconds * 1000, 3)
    if reply.is_reply:
        statistics.times.append(reply.seconds)
        text = f"{reply.size} bytes from {reply.source}: seq={sequence} ttl={reply.hops}"
    else:
        statistics.errors += 1
        text = f"from {reply.source}: seq={sequence} {reply.words}"
    value = {
        "seq": sequence, "answer": reply.words, "from": reply.source, "ttl": reply.hops,
        "ms": milliseconds,
    }  # fmt: skip
    session.print(f"{text} time={milliseconds:.3f} ms", value)


async def _until(reactor: Any, time: float) -> None:
    from twisted.internet.task import deferLater  # noqa: PLC0415

    await deferLater(reactor, max(0.0, time - reactor.seconds()))
