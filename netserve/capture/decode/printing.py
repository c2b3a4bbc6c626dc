"""Bytes from a network as text that is safe to print: one line, without control characters."""

from __future__ import annotations

from typing import Final

__all__ = ["MAX_TEXT", "hex_line", "is_text", "printable"]

MAX_TEXT: Final = 400
"""Characters of one item at most; a longer one is cut, and says how long it was."""

_HEX_BYTES: Final = 24
_TEXT_BYTES: Final = frozenset(
    b"\t\n\r\f\x1b\x08" + bytes(range(0x20, 0x7F)) + bytes(range(0x80, 256))
)
_DOTS: Final = bytes(byte if 0x20 <= byte < 0x7F else 0x2E for byte in range(256))
_NOT_TEXT: Final = bytes(byte for byte in range(256) if byte not in _TEXT_BYTES)


def printable(data: bytes, most: int = MAX_TEXT) -> str:
    r"""Text as it is; control characters, and bytes that are no UTF-8, as ``\x1b``.

    A backslash is not doubled: the text is for people.

    Arguments:
        data: the bytes.
        most: bytes that are shown; then how many there are.
    """
    cut = len(data) > most
    text = (data[:most] if cut else data).decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return f"{text}… ({len(data):,} bytes)" if cut else text


def _escaped(character: str) -> str:
    number = ord(character)
    if character == "\t":
        return "\\t"
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"


def hex_line(data: bytes) -> str:
    """The first bytes in hexadecimal and as ASCII, and how many there are."""
    shown = data[:_HEX_BYTES]
    more = f"… {len(data):,} bytes" if len(data) > _HEX_BYTES else f"{len(data)} bytes"
    return f"{shown.hex(' ')}  |{shown.translate(_DOTS).decode('ascii')}|  {more}"


def is_text(data: bytes) -> bool:
    """Whether it is text in ASCII or UTF-8, as far as one can see without its end."""
    if len(data.translate(None, _NOT_TEXT)) != len(data):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut off at the end.
        return error.start >= len(data) - 3 and error.reason == "unexpected end of data"
    return True
