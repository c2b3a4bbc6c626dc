"""Compressed answers, unpacked within bounds (S12); pure: bytes in, small pieces of bytes out.

Three caps hold at each moment: of the size before, of the size after, and of the ratio of the
two. zlib is asked for at most `PIECE` bytes at a time, so a bomb costs no more memory than one
piece, however much a single read of it would unpack to.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

PIECE: Final = 64 * 1024
"""The most that is unpacked at a time, in bytes."""

RATIO_FROM: Final = 1024 * 1024
"""Below this size after, in bytes, the ratio is not looked at: a small answer may be all blanks."""

ACCEPTED: Final = "gzip, deflate"
"""What is offered as ``Accept-Encoding`` (RFC 9110, 12.5.3)."""


_GZIP: Final = zlib.MAX_WBITS | 16
_WBITS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}
_MOST_MEMBERS: Final = 64


class DecompressError(ValueError):
    """The data is not in the format that it says, or ends early."""


class ExpandsTooMuch(DecompressError):
    """A cap was passed."""


class Decompressor:
    """Unpacks one body.

    Arguments:
        encoding: the value of ``Content-Encoding``.
        limit: the largest size, in bytes, before as well as after.
        ratio: how many times larger than before it may be after, from `RATIO_FROM` on.

    Raises:
        DecompressError: the encoding is none that we offered.
    """

    __slots__ = (
        "_held",
        "_inflate",
        "_limit",
        "_members",
        "_ratio",
        "_wbits",
        "received",
        "unpacked",
    )

    def __init__(self, encoding: str, *, limit: int, ratio: int) -> None:
        wbits = _WBITS.get(encoding.strip().lower())
        if wbits is None:
            raise DecompressError("compressed in a way that was not asked for")
        self._wbits = wbits
        self._inflate = zlib.decompressobj(wbits)
        self._limit = limit
        self._ratio = ratio
        self._members = 1
        self._held = b""
        self.received = 0
        self.unpacked = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Unpack the next part of the body; to be consumed before the next call.

        Raises:
            ExpandsTooMuch: a cap was passed; what was given before is within the caps.
            DecompressError: the data is damaged.
        """
        self.received += len(data)
        if self.received > self._limit:
            raise ExpandsTooMuch(f"larger than {self._limit} bytes")
        # The format shows in the first two bytes: they are looked at together.
        data, self._held = self._held + data, b""
        if self.received < 2:
            self._held = data
            return
        full = False
        while data or (full and not self._inflate.eof):
            if self._inflate.eof:
                self._begin_member()
            piece = self._decompress(data)
            # After a full piece zlib may hold more output though it has taken all of the input.
            full = len(piece) == PIECE
            self.unpacked += len(piece)
            self._check_caps()
            if piece:
                yield piece
            data = self._inflate.unused_data or self._inflate.unconsumed_tail

    def end(self) -> None:
        """Say that the body is over.

        Raises:
            DecompressError: it ended in the middle of the compressed data.
        """
        if self.received and not self._inflate.eof:
            raise DecompressError("ends in the middle of its compressed data")

    def _begin_member(self) -> None:
        """A gzip body may be several members, one behind the other (RFC 1952, 2.2)."""
        if self._wbits != _GZIP or self._members == _MOST_MEMBERS:
            raise DecompressError("has something behind its compressed data")
        self._members += 1
        self._inflate = zlib.decompressobj(_GZIP)

    def _decompress(self, data: bytes) -> bytes:
        try:
            try:
                return self._inflate.decompress(data, PIECE)
            except zlib.error:
                # "deflate" has zlib's header (RFC 9110, 8.4.1.2); some senders leave it out.
                if self._wbits != zlib.MAX_WBITS or self.received != len(data):
                    raise
                self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
                return self._inflate.decompress(data, PIECE)
        except zlib.error:
            raise DecompressError("its compressed data is damaged") from None

    def _check_caps(self) -> None:
        if self.unpacked > self._limit:
            raise ExpandsTooMuch(f"larger than {self._limit} bytes when unpacked")
        if self.unpacked > RATIO_FROM and self.unpacked > self.received * self._ratio:
            raise ExpandsTooMuch(f"unpacks to more than {self._ratio} times its size")
