"""A stream of bytes read in pieces through a window, decompressed on the way.

At most `PIECE` bytes and the largest thing that was asked for are held, whatever the file claims.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, Final, Protocol, TypeAlias

from netserve.capture.reading.errors import CaptureFileError

__all__ = ["PIECE", "Source", "decompressed"]

PIECE: Final = 1 << 18
"""Bytes that are read at a time."""

Read: TypeAlias = Callable[[int], bytes]
"""Reads at most the given number of bytes; no bytes mean the end."""

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_WINDOW: Final = 25
"""Binary logarithm of the largest window: 32 MiB, which levels up to 19 keep to."""
_OTHER_COMPRESSIONS: Final = {
    b"\x04\x22\x4d\x18": "lz4",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "zip",
}


class Source:
    """Bytes of a file that are looked at by index.

    ``data[at:]`` has been read but not used; the user of some of it moves `at`.

    Arguments:
        read: gives the file's bytes.
    """

    __slots__ = ("_base", "_ended", "_read", "at", "data")

    def __init__(self, read: Read) -> None:
        self._read = read
        self._base = 0
        self._ended = False
        self.data = b""
        self.at = 0

    @property
    def offset(self) -> int:
        """How far into the file `at` is."""
        return self._base + self.at

    def need(self, count: int) -> int:
        """Make `count` bytes available from `at` on; returns fewer at the end of the file."""
        missing = count - (len(self.data) - self.at)
        if missing <= 0:
            return count
        pieces = [self.data[self.at :]]
        self._base += self.at
        self.at = 0
        while missing > 0 and not self._ended:
            piece = self._read(max(PIECE, min(missing, 4 * PIECE)))
            if not piece:
                self._ended = True
            pieces.append(piece)
            missing -= len(piece)
        self.data = b"".join(pieces)
        return min(count, len(self.data))

    def skip(self, count: int) -> int:
        """Skip `count` bytes without holding them; returns fewer at the end of the file."""
        left = count
        while left > 0:
            there = self.need(min(left, PIECE))
            if not there:
                break
            self.at += there
            left -= there
        return count - left


class _Decompressor(Protocol):
    """The interface shared by the wrappers of `zlib` and ``compression.zstd``."""

    def decompress(self, data: bytes, most: int) -> bytes: ...
    @property
    def is_full(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def rest(self) -> bytes: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    def decompress(self, data: bytes, most: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, most)

    @property
    def is_full(self) -> bool:
        return bool(self._inner.unconsumed_tail)

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


class _Zstd:
    def __init__(self, module: Any) -> None:
        parameter = module.DecompressionParameter.window_log_max
        self._inner = module.ZstdDecompressor(options={parameter: _ZSTD_WINDOW})

    def decompress(self, data: bytes, most: int) -> bytes:
        found: bytes = self._inner.decompress(data, most)
        return found

    @property
    def is_full(self) -> bool:
        return not self._inner.eof and not self._inner.needs_input

    @property
    def ended(self) -> bool:
        return bool(self._inner.eof)

    @property
    def rest(self) -> bytes:
        found: bytes = self._inner.unused_data
        return found


def decompressed(read: Read) -> tuple[Read, str]:
    """The bytes inside of a gzip or zstd file, and the name of the compression.

    Bytes that are not compressed are passed through, with an empty name.

    Raises:
        CaptureFileError: it is compressed by something else, or zstd is not installed; later, by
            the returned function: the data are damaged.
    """
    start = b""
    while len(start) < 6 and (piece := read(PIECE)):
        start += piece
    for magic, name in _OTHER_COMPRESSIONS.items():
        if start.startswith(magic):
            raise CaptureFileError(
                f"compressed by {name}; decompress it first, or use gzip or zstd"
            )
    if start.startswith(_GZIP):
        return _Expander(start, read, _Gzip, (zlib.error,), "gzip").read, "gzip"
    if start.startswith(_ZSTD):
        module = _zstd()
        errors = (module.ZstdError,)
        return _Expander(start, read, partial(_Zstd, module), errors, "zstd").read, "zstd"
    return _Again(start, read).read, ""


def _zstd() -> Any:
    """Python's own zstd (3.14 and newer), or the package that brings it to older ones."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name)
        except ImportError:
            continue
    raise CaptureFileError(
        "compressed by zstd, which this Python lacks; pip install 'netserve[zstd]',"
        " or decompress the file first"
    )


class _Again:
    """Gives the first bytes again, then the rest."""

    def __init__(self, start: bytes, read: Read) -> None:
        self._start = start
        self._read = read

    def read(self, most: int) -> bytes:
        if not self._start:
            return self._read(most)
        given, self._start = self._start[:most], self._start[most:]
        return given


class _Expander:
    """Decompresses a file of one or more members, at most a piece at a time."""

    def __init__(
        self, start: bytes, read: Read, make: Callable[[], _Decompressor],
        errors: tuple[type[Exception], ...], name: str,
    ) -> None:  # fmt: skip
        self._read = _Again(start, read).read
        self._make = make
        self._errors = errors
        self._name = name
        self._inner = make()
        self._begun = False

    def read(self, most: int) -> bytes:
        while True:
            data = b""
            if self._inner.ended:
                data = self._inner.rest or self._read(PIECE)
                # Zeros are padding, as on tapes; anything else that is no member is not read.
                if not data.strip(b"\0"):
                    return b""
                self._inner = self._make()
                self._begun = False
            elif not self._inner.is_full:
                data = self._read(PIECE)
                if not data:
                    raise CaptureFileError(f"the {self._name} data end in the middle")
            try:
                found = self._inner.decompress(data, most)
            except self._errors as error:
                raise CaptureFileError(
                    f"the {self._name} data cannot be decompressed: {error}"
                ) from None
            if found:
                return found
