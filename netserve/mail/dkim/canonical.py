"""The canonical forms that are hashed (RFC 6376, 3.4): of a field, and of a body as it streams.

Lines end with CRLF, and there is no other CR or LF, as the queue has it. Where the chunks are cut
does not matter; the memory is two numbers, however many empty lines there are.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final, Literal, TypeAlias

Form: TypeAlias = Literal["relaxed", "simple"]
"""`relaxed` overlooks what servers do to white space, `simple` nothing of it."""

_RUN: Final = re.compile(rb"[ \t]+")
_LONG_RUN: Final = re.compile(rb"[ \t]{2,}|\t")
_LINES: Final = 4096
"""Empty lines that are hashed in one go."""


def relaxed_field(raw: bytes) -> bytes:
    """A field in relaxed form (3.4.2), its CRLF included.

    Arguments:
        raw: all of the field; its CRLF may be missing.
    """
    name, _, body = raw.partition(b":")
    value = _RUN.sub(b" ", body.replace(b"\r\n", b"")).strip(b" ")
    return name.rstrip(b" \t").lower() + b":" + value + b"\r\n"


def simple_field(raw: bytes) -> bytes:
    """A field in simple form (3.4.1): as it is."""
    return raw


class BodyHash:
    """SHA-256 over the canonical form of a body (3.4.3 and 3.4.4).

    Arguments:
        form: which canonical form.
    """

    __slots__ = ("_blank", "_empty", "_hash", "_held", "_relaxed", "_space")

    def __init__(self, form: Form) -> None:
        self._relaxed = form == "relaxed"
        self._hash = sha256()
        self._empty = True
        self._blank = 0  # line ends behind what is hashed, which count only if more comes
        self._space = False  # white space behind those, likewise
        self._held = b""  # a CR whose LF has not come

    def update(self, data: bytes) -> None:
        """Take the next chunk, of any size."""
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        if self._held:
            data = data[:-1]
        kept = data.rstrip(b" \t\r\n" if self._relaxed else b"\r\n")
        if kept:
            self._take(kept)
        tail = data[len(kept) :]
        lines = tail.count(b"\n")
        self._blank += lines
        if self._relaxed and tail:
            self._space = tail[-1:] != b"\n" or (self._space and not lines)

    def _take(self, kept: bytes) -> None:
        """Hash what ends with neither white space nor an empty line."""
        while self._blank:
            lines = min(self._blank, _LINES)
            self._hash.update(b"\r\n" * lines)
            self._blank -= lines
        if self._space:
            kept = b" " + kept
            self._space = False
        if self._relaxed:
            if b"  " in kept or b"\t" in kept:
                kept = _LONG_RUN.sub(b" ", kept)
            kept = kept.replace(b" \r\n", b"\r\n")
        self._hash.update(kept)
        self._empty = False

    def digest(self) -> bytes:
        """The hash of all that came; a line that has no end gets one, as it does on its way."""
        whole = self._hash.copy()
        if not (self._relaxed and self._empty):
            whole.update(b"\r\n")
        return whole.digest()
