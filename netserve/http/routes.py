"""Which handler answers a method and a path; and bodies that have to be JSON objects."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from aiohttp import web

from netserve.http.requests import BadRequest, Upload

LARGEST_BODY: Final = 1024 * 1024
"""Bytes of a request's body."""


RouteHandler: TypeAlias = Callable[..., Awaitable[web.StreamResponse]]
"""Answers a request, which it is called with, and the path's segments by their names."""


class Routes:
    """Handlers by method and path.

    A path may have segments such as ``{id}``, which stand for any one segment; the handler is
    called with it by that name.
    """

    def __init__(self) -> None:
        self._routes: list[tuple[str, tuple[str, ...], RouteHandler]] = []

    def add(self, method: str, path: str, handler: RouteHandler) -> None:
        """Answer a method and a path by a handler."""
        self._routes.append((method, tuple(path.split("/")), handler))

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Have the right handler answer.

        Raises:
            BadRequest: there is none.
        """
        segments = tuple(map(unquote, request.raw_path.partition("?")[0].split("/")))
        methods = []
        for method, pattern, handler in self._routes:
            found = _match(pattern, segments)
            if found is None:
                continue
            if method == request.method:
                return await handler(request, **found)
            methods.append(method)
        if methods:
            raise BadRequest(f"this is answered for {' and '.join(sorted(methods))} only", 405)
        raise BadRequest("there is nothing here", 404)


def _match(pattern: tuple[str, ...], segments: tuple[str, ...]) -> Mapping[str, str] | None:
    if len(pattern) != len(segments):
        return None
    found = {}
    for wanted, segment in zip(pattern, segments, strict=True):
        if wanted.startswith("{"):
            found[wanted[1:-1]] = segment
        elif wanted != segment:
            return None
    return found


async def json_object(request: web.BaseRequest) -> dict[str, Any]:
    """The body of a request as a JSON object; an empty one stands for ``{}``.

    Raises:
        BadRequest: it is not one.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise BadRequest("the body is compressed; send it as it is", 415)
    text = b"".join([piece async for piece in Upload(request, LARGEST_BODY)])
    try:
        value = json.loads(text or b"{}")
    except UnicodeDecodeError:
        raise BadRequest("this is not JSON: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise BadRequest(f"this is not JSON: {error.msg}, {where}") from None
    except (RecursionError, ValueError):
        raise BadRequest("this is not JSON of a usual kind: it is too deep") from None
    if not isinstance(value, dict):
        raise BadRequest("this is not a JSON object")
    return value
