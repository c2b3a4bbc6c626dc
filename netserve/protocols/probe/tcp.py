"""Checks a TCP port: a connection, TLS, and a dialogue of lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from netserve.protocols.probe.channel import Channel, TlsOptions, connect
from netserve.protocols.probe.result import ProbeFailed, Recorder
from netserve.protocols.probe.target import USUAL_ADDRESSING, Addressing, choose, split
from netserve.wire.pattern import Pattern

_MOST_UNREAD: Final = 1 << 16
_GROUP: Final = re.compile(r"\$\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a dialogue; each part may be left out.

    Arguments:
        expect: lines are read until one matches.
        send: a line to send; ``${name}`` stands for a named group of the match.
        start_tls: TLS begins after it.
    """

    expect: Pattern | None = None
    send: str = ""
    start_tls: bool = False


@dataclass(frozen=True, slots=True)
class TcpCheck:
    """The check; call it with a recorder.

    Arguments:
        target: ``host:port``.
        addressing: which address is taken.
        tls: the options of TLS, or None without TLS.
        from_start: whether TLS starts with the first byte; otherwise a turn starts it.
        dialogue: the expected lines, and the lines to send.
    """

    target: str
    addressing: Addressing = USUAL_ADDRESSING
    tls: TlsOptions | None = None
    from_start: bool = True
    dialogue: tuple[Turn, ...] = ()

    async def __call__(self, recorder: Recorder) -> None:
        """See `netserve.protocols.probe.running.Check`."""
        recorder.set("probe_failed_due_to_regex", 0)
        host, port = split(self.target)
        address = await choose(host, self.addressing, recorder)
        channel = await connect(address, port, recorder)
        try:
            if self.tls is not None and self.from_start:
                with recorder.during("tls"):
                    await channel.start_tls(self.tls, host)
            lines = Lines(channel)
            for turn in self.dialogue:
                await self._take_turn(turn, lines, host)
        finally:
            channel.close()

    async def _take_turn(self, turn: Turn, lines: Lines, host: str) -> None:
        recorder = lines.channel.recorder
        with recorder.during("dialogue"):
            send = turn.send
            if turn.expect is not None:
                groups = await lines.until(turn.expect)
                send = _GROUP.sub(lambda match: groups.get(match[1], ""), send)
            if send:
                recorder.step(f"> {send}")
                await lines.channel.write(send.encode() + b"\n")
        if turn.start_tls:
            if lines.has_more:
                raise ProbeFailed("protocol", "the server sent data in clear before TLS began")
            with recorder.during("tls"):
                await lines.channel.start_tls(self.tls or TlsOptions(), host)


class Lines:
    """A connection by lines.

    Arguments:
        channel: the connection.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self._unread = b""

    @property
    def has_more(self) -> bool:
        """Whether bytes are left that no one has read as a line."""
        return bool(self._unread)

    async def next(self) -> bytes | None:
        """The next line without its end; None at the end.

        Raises:
            ProbeFailed: it is too long.
        """
        while b"\n" not in self._unread:
            if len(self._unread) > _MOST_UNREAD:
                raise ProbeFailed("protocol", f"a line of more than {_MOST_UNREAD} bytes")
            data = await self.channel.read()
            if not data:
                rest, self._unread = self._unread, b""
                return rest or None
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return line.removesuffix(b"\r")

    async def until(self, pattern: Pattern) -> dict[str, str]:
        """Read lines until one matches; its named groups.

        Raises:
            ProbeFailed: the connection ended before.
        """
        recorder = self.channel.recorder
        while (line := await self.next()) is not None:
            recorder.step(f"< {line.decode(errors='replace')}")
            groups = pattern.match(line)
            if groups is not None:
                return {name: value.decode(errors="replace") for name, value in groups.items()}
        recorder.set("probe_failed_due_to_regex", 1)
        raise ProbeFailed("unexpected", f"closed before a line matched {pattern.text!r}")
