"""The last output of a connection whose peer has closed its side.

Twisted tells the protocol at once, and drops what the socket has not taken. Here the protocol is
told at once as well, and what it had written is still sent, as the kernel does for a socket that
is closed. A peer that takes nothing of it for a second gets a reset: it holds a descriptor and the
memory of the output.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

PATIENCE: Final = 0.8
"""Seconds without progress after which the output is given up."""
_CHECKS: Final = 2
_INT = struct.Struct("i")


def queued(sock: socket.socket) -> int:
    """Bytes that the kernel has not sent yet, or whose receipt the peer has not acknowledged."""
    try:
        answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    except (OSError, ValueError):  # it is closed, or of a kind that has no such count
        return 0
    return int(_INT.unpack(answer)[0])


def peer_has_closed(sock: socket.socket) -> bool:
    """Whether the peer has closed its side, even if its last data is not read yet."""
    if sock.fileno() < 0:
        return True
    hang_up = getattr(select, "POLLRDHUP", 0)  # Linux
    poll = select.poll()
    poll.register(sock.fileno(), hang_up)
    return bool(poll.poll(0))


class Flush:
    """Waits until `native` has sent what is unsent, or until the peer has stopped taking it.

    Args:
        loop: the loop of the connection.
        sock: its socket.
        native: the loop's transport, which is closing.
    """

    __slots__ = ("_call", "_checks", "_done", "_last", "_loop", "_native", "_sock")

    def __init__(self, loop: Any, sock: socket.socket, native: Any) -> None:
        self._loop = loop
        self._sock = sock
        self._native = native
        self._done: list[Callable[[], object]] = []
        self._checks = 0
        self._last = self._unsent()
        self._call = loop.call_later(PATIENCE / _CHECKS, self._check)

    def _unsent(self) -> int:
        size: int = self._native.get_write_buffer_size()
        return size + queued(self._sock)

    def _check(self) -> None:
        unsent = self._unsent()
        self._checks = self._checks + 1 if unsent == self._last else 0
        self._last = unsent
        if self._checks >= _CHECKS:
            self._native.abort()
        else:
            self._call = self._loop.call_later(PATIENCE / _CHECKS, self._check)

    def then(self, call: Callable[[], object]) -> None:
        """Have `call` called when the connection is gone."""
        self._done.append(call)

    def end(self) -> None:
        """The loop is done with the connection."""
        self._call.cancel()
        done, self._done = self._done, []
        for call in done:
            call()
