"""Converts the content of a dialogue to the bytes on the network, and back."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from netserve.dialogue.document import Content, Framing

__all__ = ["content_of", "to_bytes"]

LineEnd = Literal["crlf", "lf"]

_ENDS: Final[dict[str, bytes]] = {"crlf": b"\r\n", "lf": b"\n"}
_MLLP_START: Final = b"\x0b"
_MLLP_END: Final = b"\x1c\r"
_LONGEST_TEXT: Final = 64 << 10
"""Bytes that are written as text at most; more is written in base64, which YAML folds well."""


def to_bytes(
    content: Content, framing: Framing, line_end: LineEnd, read: Callable[[Path], bytes]
) -> bytes:
    """The bytes on the network.

    Arguments:
        content: not one with ``matches``.
        framing: the unit of messages.
        line_end: how lines end.
        read: gives the bytes of a file.

    Raises:
        OSError: a file cannot be read.
    """
    if content.hex is not None:
        return bytes.fromhex(content.hex)
    if content.base64 is not None:
        return base64.b64decode("".join(content.base64.split()))
    if content.file is not None:
        return read(content.file)
    return _of_text((content.text or "").encode("utf-8"), framing, _ENDS[line_end])


def content_of(data: bytes, framing: Framing, line_end: LineEnd) -> dict[str, str]:
    """The options of `Content` for these bytes: a text if that gives the same bytes again."""
    text = _as_text(data, framing, _ENDS[line_end])
    if text is not None and len(data) <= _LONGEST_TEXT:
        return {"text": text}
    if len(data) <= 64:
        return {"hex": data.hex(" ")}
    return {"base64": base64.encodebytes(data).decode("ascii").rstrip("\n")}


def _of_text(text: bytes, framing: Framing, end: bytes) -> bytes:
    if framing == "lines":
        # The last line may be written with its end, or without.
        return text.removesuffix(b"\n").replace(b"\n", end) + end
    if framing == "http":
        head, blank, body = text.partition(b"\n\n")
        if not blank:
            head = head.removesuffix(b"\n")
        return head.replace(b"\n", end) + end + end + body
    if framing == "mllp":
        segments = text.removesuffix(b"\n").replace(b"\n", b"\r")
        return _MLLP_START + segments + b"\r" * bool(segments) + _MLLP_END
    return text


def _as_text(data: bytes, framing: Framing, end: bytes) -> str | None:
    """A text that stands for exactly these bytes, or None."""
    text = data
    if framing == "lines":
        text = data.replace(end, b"\n").removesuffix(b"\n")
    elif framing == "http":
        head, blank, body = data.partition(end + end)
        text = head.replace(end, b"\n") + b"\n\n" + body if blank else data
    elif framing == "mllp":
        inner = data.removeprefix(_MLLP_START).removesuffix(_MLLP_END).removesuffix(b"\r")
        text = inner.replace(b"\r", b"\n")
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not all(each.isprintable() or each in "\n\t" for each in decoded):
        return None
    return decoded if _of_text(text, framing, end) == data else None
