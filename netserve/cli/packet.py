"""``netserve packet``: craft packets, send them, and look at the answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final

import click

from netserve.cli.packet_setup import setup
from netserve.cli.packets import Seconds, Session, Work, uses_helper

_DEFAULT: Final = "sr"
_GRACE: Final = 5.0
"""Seconds for sending, beside those that answers are waited for."""


class _Group(click.Group):
    """``netserve packet 'IP()/ICMP()'`` is ``netserve packet sr 'IP()/ICMP()'``."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default verb in its place."""
        if args and args[0] not in self.commands and args[0] not in {"-h", "--help"}:
            args.insert(0, _DEFAULT)
        return super().parse_args(ctx, args)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
def packet() -> None:
    """Craft packets in Scapy's notation, send them, and look at the answers.

    `netserve packet 'IP(dst="127.0.0.1")/ICMP()'` is short for `netserve packet sr ...`. The
    section `packet` of the file limits the packets; without it, only loopback is allowed.
    """


packet.add_command(setup)


def _sending(command: Callable[..., None]) -> Callable[..., None]:
    """The options of all commands that send."""
    for option in (
        click.argument("expression"),
        click.option(
            "-2",
            "--layer2",
            is_flag=True,
            help="Send frames, which begin with a header of the link.",
        ),
        click.option("-i", "--interface", help="The interface to leave by."),
        click.option("--inter", type=Seconds(), help="Time from one packet to the next."),
    ):
        command = option(command)
    return command


def _receiving(command: Callable[..., None]) -> Callable[..., None]:
    """The options of all commands that wait for answers."""
    for option in (
        click.option(
            "--timeout", type=Seconds(), default=2.0, show_default="2s",
            help="Time to wait for answers after the last packet.",
        ),
        click.option("--retry", default=0, help="How often to resend packets without an answer."),
        click.option("--multi", is_flag=True, help="A packet may have several answers."),
        click.option("--show", is_flag=True, help="Show each answer field by field."),
        click.option(
            "--pcap", type=click.Path(path_type=Path, dir_okay=False),
            help="Write packets and answers to this file.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _work(
    expression: str,
    *,
    layer2: bool,
    interface: str | None,
    inter: float | None,
    timeout: float,
    retry: int,
    multi: bool,
    show: bool,
    pcap: Path | None,
    rounds: int | None,
    first: bool = False,
) -> Work:
    """Send and wait for a number of rounds; without a number until Ctrl-C."""

    async def work(session: Session) -> int:
        from twisted.internet.defer import CancelledError  # noqa: PLC0415

        from netserve.cli.packet_text import Printer  # noqa: PLC0415
        from netserve.packet.recording import open_recording  # noqa: PLC0415
        from netserve.packet.requests import Exchange  # noqa: PLC0415

        node = await _parsed(expression)
        ask = Exchange(
            packets=(node,), layer=2 if layer2 else 3, interface=interface, timeout=timeout,
            inter=inter, retry=retry, multi=multi, first=first, detail=show,
        )  # fmt: skip
        deadline = timeout * (retry + 1) + session.settings.timeout + _GRACE
        try:
            recording = open_recording(pcap, layer=ask.layer) if pcap else nullcontext()
        except OSError as error:
            raise click.ClickException(f"{pcap}: {error.strerror}") from None
        number = 0
        with recording as file:
            printer = Printer(session, layer=ask.layer, show=show, recording=file)
            try:
                while rounds is None or number < rounds:
                    if number and rounds is None:
                        await _pause(session.reactor, inter or 1.0)
                    begun = printer.begin(number)
                    done = await session.helper.ask(ask, deadline=deadline, answered=begun)
                    printer.end(done)
                    number += 1
            except CancelledError:
                pass
            return printer.close()

    return work


async def _parsed(expression: str) -> Any:
    """Parse an expression, and resolve the names in it.

    Raises:
        PacketError: it is malformed, or a name has no address.
    """
    from netserve.packet.client.names import with_addresses  # noqa: PLC0415
    from netserve.packet.errors import PacketError  # noqa: PLC0415
    from netserve.packet.notation import NotationError, parse  # noqa: PLC0415

    try:
        return await with_addresses(parse(expression))
    except NotationError as error:
        raise PacketError("invalid", error.pointed_at(expression)) from None


async def _pause(reactor: Any, seconds: float) -> None:
    from twisted.internet.task import deferLater  # noqa: PLC0415

    await deferLater(reactor, seconds)


@packet.command()
@_sending
@_receiving
@click.option("--count", type=click.IntRange(1), default=1, help="How many times to send it.")
@uses_helper
def sr(expression: str, count: int, **options: Any) -> Work:
    """Send EXPRESSION, and show each packet with its answers.

    The exit code is 0 when there was an answer, 1 when there was none.
    """
    return _work(expression, rounds=count, **options)


@packet.command()
@_sending
@_receiving
@uses_helper
def sr1(expression: str, **options: Any) -> Work:
    """Send EXPRESSION, and show the first answer."""
    return _work(expression, rounds=1, first=True, **options)


@packet.command()
@_sending
@_receiving
@click.option("--count", type=click.IntRange(1), help="Stop after this number of rounds.")
@uses_helper
def srloop(expression: str, count: int | None, **options: Any) -> Work:
    """Send EXPRESSION again and again, every second or every --inter, until Ctrl-C."""
    return _work(expression, rounds=count, **options)


@packet.command()
@_sending
@click.option("--count", type=click.IntRange(1), default=1, help="How many times to send it.")
@uses_helper
def send(
    expression: str,
    *,
    layer2: bool,
    interface: str | None,
    inter: float | None,
    count: int,
) -> Work:
    """Send EXPRESSION without waiting for answers."""

    async def work(session: Session) -> int:
        from netserve.packet.requests import Exchange  # noqa: PLC0415

        begun = time.monotonic()
        ask = Exchange(
            packets=(await _parsed(expression),), layer=2 if layer2 else 3, interface=interface,
            timeout=None, inter=inter, count=count,
        )  # fmt: skip
        pause = max(inter or 0.0, session.helper.policy.interval)
        deadline = session.settings.packets * pause + _GRACE + session.settings.timeout
        done = await session.helper.ask(ask, deadline=min(deadline, 3600.0))
        seconds = time.monotonic() - begun
        text = f"sent {done['sent']} packets in {seconds:.2f} s"
        text += "".join(f"\n{number} not sent: {what}" for what, number in done["errors"].items())
        shown = {"sent": done["sent"], "seconds": round(seconds, 3), "errors": done["errors"]}
        session.print(text, shown)
        return 0 if done["sent"] else 1

    return work


@packet.command()
@click.argument("expression")
@click.option("--show", is_flag=True, help="Show each packet field by field.")
@uses_helper
def craft(expression: str, *, show: bool) -> Work:
    """Print the bytes of EXPRESSION in hex digits, and send nothing."""

    async def work(session: Session) -> int:
        from netserve.packet.requests import Craft  # noqa: PLC0415

        ask = Craft(packet=await _parsed(expression), detail=show)
        done = await session.helper.ask(ask, deadline=session.settings.timeout)
        for number, data in enumerate(done["packets"]):
            shown = done.get("shown", [])[number : number + 1]
            session.print(
                "\n".join([data, *shown]), {"data": data, **({"shown": shown[0]} if shown else {})}
            )
        return 0

    return work
