"""How many TLS records a stream of bytes completes (RFC 8446, section 5.1).

Asking OpenSSL for data that is not there costs as much as getting some: it raises an exception.
Knowing how many records are complete, one asks it just as often as it has an answer.
"""

from __future__ import annotations

_HEADER = 5
"""Type, version (2), length (2)."""
_TYPES = frozenset({20, 21, 22, 23})
"""change_cipher_spec, alert, handshake, application_data."""
_LONGEST = 2**14 + 2048
"""What a record may carry at most, encrypted (RFC 5246, section 6.2.3)."""


class Records:
    """Counts the records of one direction of a connection; holds a header at most."""

    __slots__ = ("_broken", "_head", "_rest")

    def __init__(self) -> None:
        self._rest = 0  # bytes that the current record still lacks
        self._head = b""  # the beginning of a header
        self._broken = False

    def feed(self, data: bytes) -> int:
        """Take the next bytes of the stream.

        Returns:
            how many records end within them. A header that no record has counts as one, so that
            OpenSSL is asked, which will refuse it; nothing after it is understood.
        """
        if self._broken:
            return 1
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
            length = data[end + 3] << 8 | data[end + 4]
            if length > _LONGEST or data[end] not in _TYPES:
                self._broken = True
                return ended + 1
            end += _HEADER + length
            if end <= size:
                ended += 1
        self._rest = end - size
        return ended
