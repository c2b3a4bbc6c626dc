"""``netserve sniff``: listen to an interface, onto the screen and into a file."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from netserve.cli.packets import Bytes, Seconds, Session, Work, uses_helper

_LAST_WORDS: Final = 10.0
"""Seconds for a sniffer that was stopped to write its last packets."""
_SHOWN: Final = 256
"""Bytes of a packet that a line on the screen needs."""


@click.command()
@click.argument("filter", nargs=-1)
@click.option(
    "-i", "--interface", help="The interface; default: the first one that the file allows."
)
@click.option(
    "-w",
    "--write",
    type=click.Path(path_type=Path),
    help="Write packets to this new file; - is standard output.",
)
@click.option("--print", "and_print", is_flag=True, help="With --write: onto the screen as well.")
@click.option(
    "-c", "--count", type=click.IntRange(1), default=None, help="Stop after this number of packets."
)
@click.option("--duration", type=Seconds(), default=0.0, help="Stop after this time.")
@click.option(
    "--max-size",
    type=Bytes(),
    default="1GiB",
    show_default=True,
    help="Stop when the file has this size.",
)
@click.option(
    "--snap",
    type=click.IntRange(1, 262_144),
    default=262_144,
    show_default=True,
    help="Bytes of a packet to keep.",
)
@click.option(
    "--buffer",
    type=Bytes(),
    default="32MiB",
    show_default=True,
    help="Memory for packets that wait.",
)
@click.option("--promiscuous", is_flag=True, help="Frames for other machines as well.")
@click.option("--hex", "as_hex", is_flag=True, help="Show the bytes of each packet.")
@uses_helper
def sniff(
    filter: tuple[str, ...],  # noqa: A002 - the word for it
    *,
    interface: str | None,
    write: Path | None,
    and_print: bool,
    count: int | None,
    duration: float,
    max_size: int,
    snap: int,
    buffer: int,
    promiscuous: bool,
    as_hex: bool,
) -> Work:
    """Show the packets on an interface, until Ctrl-C.

    FILTER is in the language of pcap-filter(7), such as `tcp port 80 and host 127.0.0.1`. The exit
    code is 0 when it ended by a limit or by Ctrl-C.
    """

    async def work(session: Session) -> int:
        from twisted.internet.defer import CancelledError  # noqa: PLC0415
        from twisted.logger import Logger  # noqa: PLC0415

        from netserve.cli.packets import user_name  # noqa: PLC0415
        from netserve.packet.client import choose_launcher  # noqa: PLC0415
        from netserve.packet.client.sniffing import Sniffing  # noqa: PLC0415

        settings = session.settings
        shows = write is None or and_print
        wanted = {
            "interface": interface or settings.interfaces[0], "filter": " ".join(filter),
            "snap": snap, "promiscuous": promiscuous, "count": count or 0, "seconds": duration,
            "size": max_size, "ring": min(buffer, 1 << 29),
            "show": 0 if not shows else snap if as_hex or session.as_json else _SHOWN,
        }  # fmt: skip
        screen = Screen(session, as_hex=as_hex)
        with _new_file(write) as file:
            sniffing = Sniffing(
                reactor=session.reactor, policy=settings.policy(),
                launcher=choose_launcher(settings.socket, settings.user, needs_scapy=False),
                log=Logger(namespace="netserve.packet"), user=user_name(), wanted=wanted,
                file=file, packets=screen.packets,
            )  # fmt: skip
            try:
                done = await sniffing.start()
            except CancelledError:
                sniffing.stop()
                done = await sniffing.ended().addTimeout(_LAST_WORDS, session.reactor)
            finally:
                sniffing.kill()
        _tell_sums(session, done)
        return 75 if str(done["why"]).startswith("error") else 0

    return work


@contextlib.contextmanager
def _new_file(path: Path | None) -> Iterator[int | None]:
    """The descriptor of a new file; the file is removed if it stays empty."""
    from netserve.packet.recording import create  # noqa: PLC0415

    if path is None:
        yield None
        return
    try:
        file = create(path)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    with file:
        try:
            yield file.fileno()
        finally:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_size == 0 and str(path) != "-":
                path.unlink(missing_ok=True)


def _tell_sums(session: Session, done: dict[str, Any]) -> None:
    text = f"{done['captured']} packets captured, {done['dropped']} dropped by the kernel"
    if done["unshown"]:
        text += f", {done['unshown']} not shown: the screen was too slow"
    if done["written"]:
        text += f"; {done['written']} bytes written"
    if done["why"] not in {"stopped", "count"}:
        text += f" (ended by: {done['why']})"
    if session.as_json:
        session.print("", {"done": done})
    else:
        click.echo(text, err=True)


class Screen:
    """Shows packets.

    Arguments:
        session: how to print.
        as_hex: whether all bytes are shown.
    """

    def __init__(self, session: Session, *, as_hex: bool) -> None:
        self._session = session
        self._as_hex = as_hex

    def packets(self, packets: list[tuple[int, int, str]]) -> None:
        """Show these."""
        from netserve.packet.reading import line, read_frame  # noqa: PLC0415

        lines = []
        for nanoseconds, size, text in packets:
            if self._session.as_json:
                self._session.print("", {"time": nanoseconds / 1e9, "size": size, "data": text})
                continue
            time = datetime.fromtimestamp(nanoseconds // 1_000_000_000).astimezone()
            data = bytes.fromhex(text)
            stamp = f"{time:%H:%M:%S}.{nanoseconds % 1_000_000_000 // 1000:06}"
            lines.append(f"{stamp} {line(read_frame(data))}")
            if self._as_hex:
                lines += [f"    {row.hex(' ')}" for row in _rows(data)]
        if lines:
            click.echo("\n".join(lines))


def _rows(data: bytes) -> list[bytes]:
    return [data[at : at + 16] for at in range(0, len(data), 16)]
