"""How many TLS records a stream of bytes completes (RFC 8446, section 5.1).

Asking OpenSSL for data that is not there costs as much as getting some: it raises an exception.
Knowing how many records are complete, one asks it just as often as it has an answer.
"""

from __future__ import annotations

_HEADER = 5
"""Type, version (2), length (2)."""


class Records:
    """Counts the records of one direction of a connection; holds a header at most."""

    __slots__ = ("_head", "_rest")

    def __init__(self) -> None:
        self._rest = 0  # bytes that the current record still lacks
        self._head = b""  # the beginning of a header

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the stream.

        Returns:
            how many records end within them.
        """
        if self._head:
            data = self._head + data
            self._head = b""
        size = len(data)
        end = self._rest
        ended = 0
        if end and end <= size:
            ended = 1
        while end < size:
            if size - end < _HEADER:
                self._head = data[end:]
                end = size
                break
            end += _HEADER + (data[end + 3] << 8 | data[end + 4])
            if end <= size:
                ended += 1
        self._rest = end - size
        return ended
