"""The control socket: how the command line talks to a running daemon.

JSON over HTTP on a UNIX socket that only its owner can open. Whoever can is the operator, so
there is no further check. Asyncio inside, Deferreds outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, cast

from aiohttp import web
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from netserve.connection import Ids
from netserve.crossing import from_asyncio
from netserve.errors import NetserveError, StartError
from netserve.fairness.turns import Share
from netserve.http.connection import HttpConnection
from netserve.http.requests import BadRequest
from netserve.http.routes import RouteHandler, Routes
from netserve.http.server import HttpServer
from netserve.ops.queue_routes import queue_routes

if TYPE_CHECKING:
    from netserve.outbox import Outbox


class ControlSocket:
    """The server on ``state/control``.

    Arguments:
        path: of the socket; it is made with mode 0600.
        turns: its share of the reactor's time.
        log: gets one line for a request that is refused, and our own bugs.
        new_id: gives ids to its connections.
    """

    def __init__(
        self,
        path: Path,
        *,
        turns: Share,
        log: Logger | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._path = path
        self._log = log or Logger()
        self._routes = Routes()
        self._server = HttpServer(
            self._answer,
            turns=turns,
            log=self._log,
            refuse=_refuse,
            new_id=new_id or Ids(SystemRandom()).next,
        )
        self._listening: asyncio.Server | None = None

    def route(self, method: str, path: str, handler: RouteHandler) -> None:
        """Answer a method and a path, such as ``/queue/{id}``; before `start`."""
        self._routes.add(method, path, handler)

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
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_unix_server(self._server, sock=listening)

    async def _stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
            await self._server.close(seconds=1.0)
            self._path.unlink(missing_ok=True)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._routes.answer(request)
        except asyncio.CancelledError:
            raise
        except BadRequest as error:
            status, reason = error.status, str(error)
        except (NetserveError, ValueError) as error:
            # One that is both says that what was asked for is not there; others are bugs of ours.
            status, reason = 404 if isinstance(error, LookupError) else 400, str(error)
        except Exception as error:  # whatever it is, the command gets an answer
            self._log.failure("the control socket failed at {path}", path=request.path)
            return _refuse(500, f"{type(error).__name__}: {error}")
        self._log.info(  # this is Twisted's logger
            "refused {method} {path}: {reason}",
            method=request.method,
            path=request.path,
            reason=reason,
            connection_id=cast("HttpConnection", request.protocol).connection_id,
        )
        return _refuse(status, reason)


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({"error": reason}, status=status)


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
