"""The control socket: how the command line talks to a running daemon.

JSON over HTTP on a UNIX socket that only its owner can open. Whoever can is the operator, so
there is no further check. aiohttp serves it, asyncio inside, Deferreds outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netserve.crossing import from_asyncio
from netserve.errors import NetserveError, StartError
from netserve.ops.queue_routes import queue_routes

if TYPE_CHECKING:
    from netserve.outbox import Outbox

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Answers a request; may await asyncio's things only."""


class ControlSocket:
    """The server behind ``state/control``.

    Arguments:
        path: of the socket; it is made with mode 0600.
        log: for requests that fail by an error of ours.
    """

    def __init__(self, path: Path, *, log: Logger | None = None) -> None:
        self._path = path
        self._log = log or Logger()
        self._application = web.Application(middlewares=[self._errors])
        self._runner: web.AppRunner | None = None

    def route(self, method: str, path: str, handler: Handler) -> None:
        """Answer a method and a path, in aiohttp's form (``/queue/{id}``); before `start`."""
        self._application.router.add_route(method, path, handler)

    def add_queue(self, outbox: Outbox) -> None:
        """Answer the verbs of the queue."""
        for method, path, handler in queue_routes(outbox):
            self.route(method, path, handler)

    def start(self) -> Deferred[None]:
        """Listen.

        Errors:
            StartError: another process answers there, or the socket cannot be made.
        """
        return from_asyncio(self._start())

    def stop(self) -> Deferred[None]:
        """Finish what is under way, and remove the socket."""
        return from_asyncio(self._stop())

    async def _start(self) -> None:
        listening = _bind(self._path)
        self._runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.SockSite(self._runner, listening).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            self._path.unlink(missing_ok=True)

    @web.middleware
    async def _errors(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except (web.HTTPException, asyncio.CancelledError):
            raise
        except (NetserveError, ValueError) as error:
            # One that is both says that what was asked for is not there; others are bugs of ours.
            status = 404 if isinstance(error, LookupError) else 400
            return web.json_response({"error": str(error)}, status=status)
        except Exception as error:  # whatever it is, the command gets an answer
            self._log.failure("the control socket failed at {path}", path=request.path)
            return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=500)


def _bind(path: Path) -> socket.socket:
    """A socket that listens at the path; one that a dead process left there is replaced."""
    if len(os.fsencode(path)) > 100:
        # The system's limit is 108 bytes. A path through the folder's descriptor is short.
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return _bind_at(path, f"/proc/self/fd/{folder}/{path.name}")
        finally:
            os.close(folder)
    return _bind_at(path, str(path))


def _bind_at(path: Path, address: str) -> socket.socket:
    if _answers(address):
        raise StartError(f"another netserve answers on the control socket {path}")
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listening.bind(address)
        listening.listen(16)
    except OSError as error:
        listening.close()
        raise StartError(f"cannot make the control socket {path}: {error.strerror}") from error
    finally:
        os.umask(before)
    listening.setblocking(False)
    return listening


def _answers(address: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(address)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except OSError:
            return True
    return True
