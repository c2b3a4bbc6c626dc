"""Fragments of IP datagrams, put together within bounds (RFC 791, section 3.2; RFC 8200, 4.5)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, TypeAlias

__all__ = ["Fragments"]

MOST_DATAGRAMS: Final = 256
"""Datagrams that are waited for at the same time; after that the oldest is given up."""
MOST_BYTES: Final = 4 << 20
"""Bytes of fragments that are held in all."""
MOST_PIECES: Final = 1024
"""Fragments of one datagram."""
LARGEST: Final = 65_535
TIMEOUT: Final = 60_000_000_000
"""Nanoseconds that a datagram is waited for, by the clock of the capture."""
_COST: Final = 200
"""The approximate memory of a fragment, besides its bytes."""

_Key: TypeAlias = tuple[bytes, bytes, int, int]


@dataclass(slots=True)
class _Partial:
    """A datagram that is not complete."""

    began: int
    pieces: dict[int, bytes] = field(default_factory=dict)
    end: int | None = None
    size: int = 0
    "Bytes of all pieces, those that overlap counted twice."

    @property
    def held(self) -> int:
        """Its approximate memory."""
        return self.size + _COST * len(self.pieces)


class Fragments:
    """Puts fragments together.

    Attributes:
        count: all fragments.
        lost: datagrams that were given up, as some of them did not come in time or at all.
    """

    def __init__(self) -> None:
        self._partial: dict[_Key, _Partial] = {}
        self._held = 0
        self.count = 0
        self.lost = 0

    @property
    def waiting(self) -> int:
        """Datagrams that are not complete."""
        return len(self._partial)

    def add(
        self, key: _Key, offset: int, data: bytes, missing: int, more: bool, time: int
    ) -> bytes | None:
        """Add a fragment; returns the datagram if that completes it.

        Arguments:
            key: source, destination, protocol and identification.
            offset: where in the datagram it belongs.
            data: its bytes.
            missing: bytes at its end that were not captured: then it cannot complete anything.
            more: whether others follow it.
            time: in nanoseconds.
        """
        self.count += 1
        if missing or offset + len(data) > LARGEST:
            return None
        partial = self._partial.get(key)
        if partial is not None and time - partial.began > TIMEOUT:
            self._give_up(key)
            partial = None
        if partial is None:
            self._make_room()
            partial = self._partial[key] = _Partial(time)
        # Where fragments overlap, the first one counts, as it does for most systems.
        if offset not in partial.pieces:
            partial.pieces[offset] = data
            partial.size += len(data)
            self._held += len(data) + _COST
        if not more and partial.end is None:
            partial.end = offset + len(data)
        whole = _join(partial)
        if whole is not None:
            self._forget(key)
        elif len(partial.pieces) >= MOST_PIECES:
            self._give_up(key)
        elif self._held > MOST_BYTES:
            self._give_up(next(iter(self._partial)))
        return whole

    def _make_room(self) -> None:
        if len(self._partial) >= MOST_DATAGRAMS:
            self._give_up(next(iter(self._partial)))

    def _give_up(self, key: _Key) -> None:
        self.lost += 1
        self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._held -= self._partial.pop(key).held


def _join(partial: _Partial) -> bytes | None:
    """The datagram, if it is complete."""
    if partial.end is None or partial.size < partial.end:
        return None
    parts, at = [], 0
    for offset in sorted(partial.pieces):
        data = partial.pieces[offset]
        if offset > at:
            return None
        if offset + len(data) > at:
            parts.append(data[at - offset :])
            at = offset + len(data)
    return b"".join(parts)[: partial.end] if at >= partial.end else None
