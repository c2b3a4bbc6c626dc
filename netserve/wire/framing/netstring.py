"""Netstrings: frames that begin with their length in digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from netserve.wire.framing.base import (
    Decoder,
    Event,
    FrameTooLong,
    Framing,
    FramingError,
    FramingSettings,
)

_DIGITS: Final = frozenset(b"0123456789")
_ZERO: Final = ord("0")
_COMMA: Final = ord(",")


@dataclass(frozen=True, slots=True)
class Netstring(Framing):
    """Netstrings: ``5:hello,`` (https://cr.yp.to/proto/netstrings.txt)."""

    def decoder(self, limit: int) -> Decoder:
        return _NetstringDecoder(limit)

    def encode(self, frame: bytes) -> bytes:
        return b"%d:%b," % (len(frame), frame)


class _NetstringDecoder(Decoder):
    """`_need` as in `_LengthPrefixDecoder`; a length has no more digits than the limit's."""

    __slots__ = ("_digits", "_need")

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._digits = len(str(limit))
        self._need = 1

    def feed(self, data: bytes) -> list[Event]:
        held = self._held
        if self._failed:
            return []
        if held:
            held += data
            if len(held) < self._need:
                return []
            data = bytes(held)
            held.clear()
        frames: list[Event] = []
        at, end = 0, len(data)
        self._need = 1
        while at < end:
            colon = data.find(b":", at, at + self._digits + 1)
            digits = data[at : colon if colon >= 0 else at + self._digits + 1]
            if error := self._wrong_length(digits, complete=colon >= 0):
                return [*frames, self._fail(error)]
            if colon < 0:
                break
            comma = colon + 1 + int(digits)
            if comma >= end:
                self._need = comma + 1 - at
                break
            if data[comma] != _COMMA:
                error = FramingError(f"a netstring ends with a comma, not {_at(data, comma)!r}")
                return [*frames, self._fail(error)]
            frames.append(data[colon + 1 : comma])
            at = comma + 1
        if at < end:
            held += data[at:]
        return frames

    def _wrong_length(self, digits: bytes, *, complete: bool) -> FramingError | None:
        for index, digit in enumerate(digits):
            if digit not in _DIGITS:
                what = "its length and a colon" if index else "its length in digits"
                wrong = _at(digits, index)
                return FramingError(f"a netstring begins with {what}, not {wrong!r}")
            if index == 1 and digits[0] == _ZERO:
                return FramingError("the length of a netstring has no zeros in front")
        if complete and not digits:
            return FramingError("a netstring begins with its length in digits, not b':'")
        if len(digits) > self._digits or (complete and int(digits) > self._limit):
            return FrameTooLong(self._limit, fatal=True)
        return None


def _at(data: bytes, index: int) -> bytes:
    return data[index : index + 1]


class NetstringFraming(FramingSettings):
    """Netstrings: `5:hello,`."""

    kind: Literal["netstring"] = "netstring"
    """A frame is a netstring."""

    def make(self) -> Framing:
        return Netstring()
