"""The input of an SMTP server that is not read yet: lines, or bytes where a message comes."""

from __future__ import annotations

from netserve.mail.server.commands import refusal

_CR = 13


class CommandBuffer:
    """Holds what a client sent ahead.

    Arguments:
        bare_lf: whether LF alone ends a line too, and CRs before it are no part of the line.
    """

    __slots__ = ("_at", "_bare_lf", "_data", "_overlong")

    def __init__(self, *, bare_lf: bool) -> None:
        self._bare_lf = bare_lf
        self._data = b""
        self._at = 0
        self._overlong = False

    def __len__(self) -> int:
        return len(self._data) - self._at

    def add(self, data: bytes) -> int:
        """Put bytes behind the others, and tell how many there are now."""
        if self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data = data
        self._at = 0
        return len(data)

    def clear(self) -> None:
        """Forget everything."""
        self._data = b""
        self._at = 0
        self._overlong = False

    def line(self, limit: int) -> bytes | None:
        """The next line without its end, or None until there is one.

        Of a line that is too long nothing is held; it is refused when its end has come.

        Arguments:
            limit: bytes, the line's end included.

        Raises:
            Refusal: it is too long, or ends with LF alone where that is not taken.
        """
        data, at = self._data, self._at
        end = data.find(b"\n", at)
        if end < 0:
            if self._overlong or len(data) - at > limit:
                self.clear()
                self._overlong = True
            return None
        self._at = end + 1
        if self._overlong or end + 1 - at > limit:
            self._overlong = False
            raise refusal(500, "5.5.2", "The line is too long")
        if self._bare_lf:
            return data[at:end].rstrip(b"\r")
        if end > at and data[end - 1] == _CR:
            return data[at : end - 1]
        raise refusal(500, "5.5.2", "A line ends with CRLF, not with LF alone")

    def take(self, count: int | None = None) -> bytes:
        """The next bytes, at most so many; without a number all that are there."""
        at = self._at
        if count is None or count >= len(self._data) - at:
            data = self._data[at:] if at else self._data
            self._data = b""
            self._at = 0
            return data
        self._at = at + count
        return self._data[at : self._at]
