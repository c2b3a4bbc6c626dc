"""The asyncio loop under the reactor, and the step that gives it a connected socket.

A loop's transports are made by coroutines. None of those used here waits for anything but
the loop's own next turn, so they are driven by hand, which costs a connection neither a task
nor a turn of the loop.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

from twisted.logger import Logger

_log = Logger()
_INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop, or the standard one where uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def attach(loop: asyncio.AbstractEventLoop, sock: socket.socket, protocol: Any) -> None:
    """Give a connected stream socket to the loop, for good.

    The loop calls `protocol.connection_made` in its next turn, with the native transport, and
    closes the socket after `protocol.connection_lost`. Small writes are sent at once (TCP_NODELAY).
    """
    if isinstance(loop, asyncio.BaseEventLoop) and sock.family in _INTERNET:
        # asyncio sets it only on sockets that were made with a protocol number; uvloop on all.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    coroutine = loop.connect_accepted_socket(lambda: protocol, sock)
    waiter: asyncio.Future[None] = coroutine.send(None)

    def connected(_: object) -> None:
        _finish(coroutine)

    waiter.add_done_callback(connected)


def _finish(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Let a coroutine that waited for its connection run to its end."""
    try:
        coroutine.send(None)
    except StopIteration:
        pass
    except Exception:
        # connection_made has failed, or the socket was gone before it: the protocol knows.
        _log.debug("a connection ended before it began")
