"""Frames whose length is known before they come: fixed, length-prefixed, netstrings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from netserve.wire.framing.base import Decoder, Event, FrameTooLong, Framing, FramingError


@dataclass(frozen=True, slots=True)
class Fixed(Framing):
    """Frames of one size.

    Arguments:
        size: in bytes, at least 1.
        pad: one byte, behind a shorter frame as often as needed.
    """

    size: int
    pad: bytes = b"\0"

    def decoder(self, limit: int) -> Decoder:
        return _FixedDecoder(self.size)

    def encode(self, frame: bytes) -> bytes:
        if len(frame) > self.size:
            raise ValueError(f"{len(frame)} bytes do not fit into a frame of {self.size}")
        return frame.ljust(self.size, self.pad)


class _FixedDecoder(Decoder):
    __slots__ = ()

    def feed(self, data: bytes) -> list[Event]:
        size, held = self._limit, self._held
        if held:
            held += data
            if len(held) < size:
                return []
            data = bytes(held)
            held.clear()
        whole = len(data) - len(data) % size
        held += data[whole:]
        return [data[at : at + size] for at in range(0, whole, size)]


@dataclass(frozen=True, slots=True)
class LengthPrefix(Framing):
    """Frames with their length in front.

    Arguments:
        size: of the prefix, in bytes.
        order: of the bytes of the prefix.
        inclusive: whether the length counts the prefix too.
    """

    size: Literal[1, 2, 4, 8] = 4
    order: Literal["big", "little"] = "big"
    inclusive: bool = False

    def decoder(self, limit: int) -> Decoder:
        return _LengthPrefixDecoder(limit, self)

    def encode(self, frame: bytes) -> bytes:
        length = len(frame) + (self.size if self.inclusive else 0)
        try:
            return length.to_bytes(self.size, self.order) + frame
        except OverflowError:
            raise ValueError(
                f"{len(frame)} bytes are more than a prefix of {self.size} can tell"
            ) from None


class _LengthPrefixDecoder(Decoder):
    """`_need` bytes complete the frame that is held, so that a slow one is not copied often."""

    __slots__ = ("_base", "_need", "_order", "_prefix")

    def __init__(self, limit: int, framing: LengthPrefix) -> None:
        super().__init__(limit)
        self._prefix = framing.size
        self._order = framing.order
        self._base = framing.size if framing.inclusive else 0
        self._need: int = self._prefix

    def feed(self, data: bytes) -> list[Event]:
        held, prefix = self._held, self._prefix
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
        need: int = prefix
        while end - at >= need:
            length = int.from_bytes(data[at : at + prefix], self._order) - self._base
            if not 0 <= length <= self._limit:
                return [*frames, self._refuse(length)]
            need = prefix + length
            if end - at >= need:
                frames.append(data[at + prefix : at + need])
                at += need
                need = prefix
        self._need = need
        if at < end:
            held += data[at:]
        return frames

    def _refuse(self, length: int) -> FramingError:
        if length < 0:
            told = length + self._base
            text = f"a length of {told}, which includes a prefix of {self._base} bytes"
            return self._fail(FramingError(text))
        return self._fail(FrameTooLong(self._limit, fatal=True))


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


_DIGITS: Final = frozenset(b"0123456789")
_ZERO: Final = ord("0")
_COMMA: Final = ord(",")


def _at(data: bytes, index: int) -> bytes:
    return data[index : index + 1]
