"""What comes in over HTTP: what of it is passed on."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web
from multidict import CIMultiDict

from netserve.http.requests import BadRequest
from netserve.protocols.http_bridge.plan import HOP_BY_HOP


def check_method(method: str) -> None:
    """Refuse what is between a client and the server that it speaks to.

    Raises:
        BadRequest: the method is one of those.
    """
    if method in {"CONNECT", "TRACE"}:
        raise BadRequest(f"{method} is not passed on", 405)


def target_of(request: web.BaseRequest) -> str:
    """A request's path and query, whichever form its target has (RFC 9112, 3.2).

    Raises:
        BadRequest: it has no path.
    """
    target = request.raw_path
    if not target.startswith("/"):
        scheme, mark, rest = target.partition("://")
        if not mark or scheme.lower() not in {"http", "https"}:
            raise BadRequest("a request's target is a path")
        slash = min((at for at in (rest.find("/"), rest.find("?")) if at >= 0), default=len(rest))
        target = rest[slash:] if rest[slash : slash + 1] == "/" else f"/{rest[slash:]}"
    if "#" in target:
        raise BadRequest("a request's target has no fragment")
    return target


def passed_on(
    headers: Mapping[str, str], without: frozenset[str] = frozenset()
) -> CIMultiDict[str]:
    """The headers that are passed on: neither hop-by-hop, nor named by Connection, nor in a set.

    Underscores in a name count as hyphens: many servers read ``X_Forwarded_For`` as
    ``X-Forwarded-For``, and ``Transfer_Encoding`` as ``Transfer-Encoding``.

    Arguments:
        headers: as they came.
        without: further names, in lower case, with hyphens.
    """
    multi = CIMultiDict(headers)
    named = {
        _hyphenated(name.strip())
        for value in multi.getall("Connection", [])
        for name in value.split(",")
    }
    # Nobody may take away what the message itself needs by naming it there.
    dropped = HOP_BY_HOP | (named - {"content-length", "content-type", "host"})
    return CIMultiDict(
        (name, value)
        for name, value in multi.items()
        if (hyphenated := _hyphenated(name)) not in dropped and hyphenated not in without
    )


def _hyphenated(name: str) -> str:
    return name.lower().replace("_", "-")
