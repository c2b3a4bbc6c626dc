"""Conversations as text: a block for each one, or a line for each item at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from netserve.capture.decode.conversation import Conversation
from netserve.capture.decode.engine import Totals
from netserve.capture.decode.model import Item
from netserve.capture.decode.printing import printable

__all__ = ["block", "clock", "live_line", "problems", "summary", "title"]

_ARROWS: Final = (">", "<", "!")
_SECOND: Final = 1_000_000_000
_LAST_YEAR: Final = 253_402_300_799
"""The last second that a date can be written for."""


def clock(time: int) -> str:
    """A time as RFC 3339 in UTC, in microseconds."""
    seconds, fraction = divmod(time, _SECOND)
    if not 0 <= seconds <= _LAST_YEAR:
        return f"{seconds} s"
    return f"{_to_the_second(seconds)}.{fraction // 1000:06d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def block(conversation: Conversation, names: Mapping[str, str], *, final: bool = True) -> str:
    """A conversation with its items.

    Arguments:
        conversation: of which.
        names: host names by address.
        final: whether nothing more comes of it; else it is a part.
    """
    lines = [title(conversation, names, final=final)]
    began = conversation.began
    for time, side, _, text, _ in conversation.items:
        lines.append(f"{(time - began) / _SECOND:11.3f} {_ARROWS[side]} {text}")
    if conversation.omitted:
        counted = ", ".join(f"{count:,} {kind}" for kind, count in conversation.omitted.items())
        lines.append(f"            … and more: {counted}")
    if final:
        lines += [f"            ! {text}" for text in problems(conversation)]
        lines += [f"            # {printable(text.encode())}" for text in conversation.comments]
    return "\n".join(lines)


def title(conversation: Conversation, names: Mapping[str, str], *, final: bool = True) -> str:
    """The line about a conversation as a whole."""
    client, server = (_end(end, names) for end in (conversation.client, conversation.server))
    up, down = conversation.counts
    protocol = conversation.protocol or "no data"
    part = "" if final and conversation.part == 1 else f" (part {conversation.part})"
    text = (
        f"#{conversation.number}{part} {conversation.transport} {protocol}"
        f"  {client} > {server}  {clock(conversation.began)}"
    )
    if not final:
        return text
    return (
        f"{text}  {_seconds(conversation.last - conversation.began)} s,"
        f" {up.packets:,}+{down.packets:,} packets, {up.size:,}+{down.size:,} bytes"
    )


def problems(conversation: Conversation) -> list[str]:
    """Remarks about its packets."""
    tcp = conversation.tcp
    if tcp is None:
        return []
    found = []
    for name, half in zip(("client", "server"), tcp.halves, strict=True):
        counts = (
            (half.retransmitted, "retransmitted"), (half.out_of_order, "out of order"),
        )  # fmt: skip
        listed = [f"{count:,} {what}" for count, what in counts if count]
        if listed:
            found.append(f"packets of the {name}: {', '.join(listed)}")
        if half.lost:
            found.append(f"bytes of the {name} that the capture lacks: {half.lost:,}")
    if tcp.began_with is None:
        found.append("the capture begins in the middle of the connection")
    if tcp.reset_by is not None:
        found.append(f"reset by the {('client', 'server')[tcp.reset_by]}")
    elif not tcp.is_over:
        found.append("not closed within the capture")
    return found


def live_line(conversation: Conversation, item: Item, names: Mapping[str, str]) -> str:
    """One item, printed at once."""
    time, side, _, text, _ = item
    return f"{clock(time)} #{conversation.number} {_ARROWS[side]} {text}"


def summary(totals: Totals, fragments: tuple[int, int], notes: Iterable[str]) -> str:
    """The totals of the file, printed at the end."""
    span = _seconds(totals.last - totals.first)
    lines = [f"{totals.packets:,} packets, {totals.size:,} bytes, {span} s"]
    if totals.conversations:
        counted = (
            f"{count:,} {protocol or 'without data'}"
            for protocol, count in sorted(totals.conversations.items())
        )
        lines.append(f"conversations: {', '.join(counted)}")
    if totals.other:
        counted = (f"{count:,} {name}" for name, count in totals.other.most_common())
        lines.append(f"other packets: {', '.join(counted)}")
    pieces, lost = fragments
    facts = (
        (pieces, "fragments"), (lost, "datagrams without all of their fragments"),
        (totals.cut_short, "packets captured in part"), (totals.malformed, "malformed packets"),
        (totals.strays, "TCP packets without data outside of a conversation"),
        (totals.given_up, "conversations reported before their end, for want of room"),
    )  # fmt: skip
    lines += [f"{count:,} {what}" for count, what in facts if count]
    lines += [f"note: {note}" for note in notes]
    return "\n".join(lines)


def _end(end: tuple[str, int], names: Mapping[str, str]) -> str:
    host, port = end
    name = names.get(host)
    if name and name.startswith("unix:"):
        return printable(name.encode())
    shown = printable(name.encode()) if name else f"[{host}]" if ":" in host else host
    return f"{shown}:{port}"


def _seconds(nanoseconds: int) -> str:
    return f"{nanoseconds / _SECOND:.3f}"
