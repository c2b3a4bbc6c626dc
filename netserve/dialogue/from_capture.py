"""A conversation of a capture -> a document that can be saved, read, changed and played."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import yaml

from netserve.capture.decode.conversation import Conversation
from netserve.capture.decode.model import CLIENT, SERVER, Item
from netserve.dialogue.content import LineEnd, content_of
from netserve.dialogue.document import Framing

__all__ = ["Turns", "case_of", "dump", "framing_for", "name_of"]

MAX_BYTES: Final = 4 << 20
"""Bytes of a conversation that can be made a test of."""

_FRAMINGS: Final[Mapping[str, Framing]] = {
    "smtp": "lines", "lines": "lines", "http": "http", "mllp": "mllp",
}  # fmt: skip


class Turns:
    """Collects the bytes of one conversation: a piece for each turn of a side, or each datagram.

    It is a sink of `netserve.capture.dissect.tcp.TCPConnection`, too.
    """

    def __init__(self, *, datagrams: bool = False) -> None:
        self._datagrams = datagrams
        self.said: list[tuple[int, bytearray]] = []
        "Pairs of a side and its bytes."
        self.closes: list[int] = []
        "Sides in the order in which they closed."
        self.missing = 0
        "Bytes that the capture does not have."
        self._size = 0

    def data(self, side: int, time: int, data: bytes) -> None:
        """Bytes of a stream, or one datagram."""
        self._size += len(data)
        if self._size > MAX_BYTES:
            raise ValueError(f"the conversation is longer than {MAX_BYTES >> 20} MiB")
        if self.said and self.said[-1][0] == side and not self._datagrams:
            self.said[-1][1].extend(data)
        else:
            self.said.append((side, bytearray(data)))

    def gap(self, side: int, time: int, size: int) -> None:
        """Bytes that the capture does not have."""
        self.missing += size

    def closed(self, side: int, time: int) -> None:
        """A side sends no more."""
        self.closes.append(side)


def framing_for(protocol: str, transport: str) -> Framing:
    """The framing for a protocol as `netserve decode` calls it."""
    return "datagrams" if transport == "udp" else _FRAMINGS.get(protocol, "bytes")


def case_of(
    turns: Turns, *, name: str, service: str, protocol: str, transport: str,
    masks: Sequence[str] = ("date", "id", "token"),
) -> dict[str, Any]:  # fmt: skip
    """A test as plain data, for `dump`.

    Arguments:
        turns: the bytes of the conversation.
        name: of the test.
        service: that it is for.
        protocol: as `netserve decode` calls it.
        transport: ``tcp`` or ``udp``.
        masks: of the test.

    Raises:
        ValueError: the capture lacks some of it, or it has no data.
    """
    if turns.missing:
        raise ValueError(f"the capture lacks {turns.missing} bytes of this conversation")
    if not turns.said:
        raise ValueError("this conversation has no data")
    framing = framing_for(protocol, transport)
    line_end = _line_end(turns.said)
    steps: list[dict[str, Any]] = []
    for side, data in turns.said:
        content = content_of(bytes(data), framing, line_end)
        value: Any = content.get("text", content)
        steps.append({"send" if side == CLIENT else "expect": value})
    if turns.closes:
        steps.append({"close": "client" if turns.closes[0] == CLIENT else "server"})
    test: dict[str, Any] = {"name": name, "service": service, "framing": framing}
    if line_end != "crlf":
        test["line_end"] = line_end
    return {**test, "masks": list(masks), "dialogue": steps}


def dump(
    tests: Iterable[Mapping[str, Any]], *, config: str = "", comments: Sequence[str] = ()
) -> str:
    """The YAML document.

    Arguments:
        tests: as `case_of` gives them.
        config: the config file, relative to the document.
        comments: lines at its head.
    """
    document: dict[str, Any] = {"config": config} if config else {}
    document["tests"] = list(tests)
    head = "".join(f"# {' '.join(line.split())}\n" for line in comments)
    body: str = yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10_000
    )
    return head + body


def _line_end(said: Iterable[tuple[int, bytes | bytearray]]) -> LineEnd:
    """How lines end: with LF only if none ends with CRLF."""
    pieces = [bytes(data) for _, data in said]
    has_crlf = any(b"\r\n" in piece for piece in pieces)
    return "lf" if not has_crlf and any(b"\n" in piece for piece in pieces) else "crlf"


class _Dumper(yaml.SafeDumper):
    """Writes texts of many lines as blocks."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # A block cannot keep blanks at the end of a line, nor tabs at a beginning.
    lines = text.split("\n")
    fits = len(lines) > 1 and not any(
        line != line.rstrip() or line[:1] in " \t" for line in lines if line
    )
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if fits else None)


_Dumper.add_representer(str, _text)

assert (CLIENT, SERVER) == (0, 1)  # noqa: S101 - sides of `Turns`


def name_of(conversation: Conversation, items: Sequence[Item]) -> str:
    """A name for a test: its first command or request."""
    for item in items:
        if item.side == CLIENT:
            return f"{conversation.protocol}: {item.text[:60]}"
    return f"{conversation.protocol} conversation {conversation.number}"
