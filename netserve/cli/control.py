"""The command line's side of the control socket; only the standard library, so it starts fast."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

_CHUNK: Final = 256 * 1024


class _UnixConnection(HTTPConnection):
    """HTTP over a UNIX socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect by the folder, since the system takes no long path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if len(os.fsencode(self._path)) <= 100:
            self.sock.connect(str(self._path))
            return
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sock.connect(f"/proc/self/fd/{folder}/{self._path.name}")
        finally:
            os.close(folder)


class NotThere(click.ClickException):
    """The daemon does not know what it was asked for."""


class NotRunning(click.ClickException):
    """No daemon runs with the state folder."""


class Control:
    """Asks the daemon that runs with a state folder.

    Arguments:
        state: the folder.
    """

    def __init__(self, state: Path) -> None:
        self._state = state

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The answer to a GET.

        Raises:
            ClickException: no daemon is there, or it refuses.
        """
        return json.loads(self._ask("GET", path, query=query).read())

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The answer to a POST.

        Raises:
            ClickException: no daemon is there, or it refuses.
        """
        return json.loads(self._ask("POST", path, body=json.dumps(body)).read())

    def stream(self, path: str) -> Iterator[bytes]:
        """The answer to a GET, in pieces, to its full length.

        Raises:
            ClickException: no daemon is there, or it refuses, or it ends early.
        """
        response = self._ask("GET", path)
        try:
            while chunk := response.read(_CHUNK):
                yield chunk
            if response.length:
                raise click.ClickException("the answer ended early")
        except (OSError, HTTPException) as error:
            raise click.ClickException(f"the answer ended early: {error}") from error

    def _ask(
        self, method: str, path: str, *, query: Mapping[str, Any] | None = None, body: str = ""
    ) -> HTTPResponse:
        connection = _UnixConnection(self._state / "control")
        try:
            connection.request(method, f"{path}?{urlencode(query)}" if query else path, body)
            response = connection.getresponse()
        except (FileNotFoundError, ConnectionRefusedError):
            raise NotRunning(
                f"netserve is not running with this state folder: {self._state}"
            ) from None
        except PermissionError:
            raise click.ClickException(
                f"{self._state / 'control'} may only be used by its owner; try it as that user"
            ) from None
        except (OSError, HTTPException) as error:
            raise click.ClickException(f"the control socket does not answer: {error}") from error
        if response.status != 200:
            kind = NotThere if response.status == 404 else click.ClickException
            raise kind(_error_of(response))
        return response


def _error_of(response: HTTPResponse) -> str:
    text = response.read().decode("utf-8", "replace")
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status} {response.reason}"
