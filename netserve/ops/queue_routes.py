"""The verbs of the queue as routes of the control socket.

==============================  ==========================================================
GET /queue                      a page: the filter, `after` and `limit` as the query
GET /queue/ID                   a message with its recipients and its header
GET /queue/ID/why               a message with the attempts of its recipients
GET /queue/ID/follow            what has come of it so far, also when it is done
GET /queue/ID/body              the message itself, as RFC 5322 has it
POST /queue/retry, hold,        the filter as a JSON object; answers how many messages
release, drop                   it concerned
GET /queue/check                looks for damage in all pages, rows and bodies
POST /queue/repair              the same, and holds the messages that are damaged
POST /send                      a message, as `netserve.mail.draft` has it, for a service:
                                ``{"service": …, "message": {…}}``
==============================  ==========================================================
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from math import isfinite, nan
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web

from netserve.crossing import ensure_deferred
from netserve.http.connection import HttpConnection
from netserve.http.requests import BadRequest
from netserve.http.routes import RouteHandler, json_object
from netserve.outbox import Filter, State

if TYPE_CHECKING:
    from netserve.outbox import Outbox, Verbs

_CHUNK: Final = 256 * 1024
_LARGEST_PAGE: Final = 1000
_TEXTS: Final = frozenset({"sender", "recipient", "domain", "reply", "service"})
_AGES: Final = frozenset({"older", "younger"})


def queue_routes(outbox: Outbox) -> Iterator[tuple[str, str, RouteHandler]]:
    """Method, path and handler of each route."""
    routes = _QueueRoutes(outbox)
    yield "GET", "/queue", routes.list
    yield "GET", "/queue/check", routes.check
    yield "POST", "/queue/repair", routes.repair
    yield "GET", "/queue/{queue_id}", routes.show
    yield "GET", "/queue/{queue_id}/why", routes.why
    yield "GET", "/queue/{queue_id}/follow", routes.follow
    yield "GET", "/queue/{queue_id}/body", routes.body
    yield "POST", "/queue/retry", routes.change(lambda verbs, wanted: verbs.retry(wanted))
    yield "POST", "/queue/hold", routes.change(lambda verbs, wanted: verbs.hold(wanted))
    yield "POST", "/queue/release", routes.change(lambda verbs, wanted: verbs.release(wanted))
    yield "POST", "/queue/drop", routes.change(lambda verbs, wanted: verbs.drop(wanted))
    yield "POST", "/send", routes.send


def filter_from(values: Mapping[str, Any]) -> Filter:
    """The filter of a query or a JSON object.

    Raises:
        ValueError: a name or a value in it is not known.
    """
    fields: dict[str, Any] = {}
    for name, value in values.items():
        if name in _TEXTS:
            fields[name] = _text(name, value)
        elif name in _AGES:
            fields[name] = _seconds(name, value)
        elif name == "ids":
            fields[name] = _ids(value)
        elif name == "state":
            fields[name] = _state(value)
        else:
            raise ValueError(f"a filter has no {name!r}")
    return Filter(**fields)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is not a text")  # noqa: TRY004 - of the request
    return value


def _seconds(name: str, value: object) -> float:
    seconds = float(value) if isinstance(value, (str, int, float)) else nan
    if not isfinite(seconds):
        raise ValueError(f"{name} is not a number of seconds")
    return seconds


def _ids(value: object) -> tuple[str, ...]:
    ids = value.split(",") if isinstance(value, str) else value
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise ValueError("ids are texts")
    return tuple(ids)


def _state(word: object) -> State:
    for state in State:
        if state.word == word:
            return state
    raise ValueError(f"not a state: {word!r}; {', '.join(state.word for state in State)}")


class _QueueRoutes:
    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    async def list(self, request: web.BaseRequest) -> web.StreamResponse:
        values = dict(request.query)
        after = values.pop("after", None)
        limit = min(max(int(values.pop("limit", "100")), 1), _LARGEST_PAGE)
        wanted = filter_from(values)
        page = await _on_reactor(self._outbox.verbs.list(wanted, after=after, limit=limit))
        return web.json_response(asdict(page))

    async def check(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(await _on_reactor(self._outbox.verbs.check()))

    async def repair(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response(await _on_reactor(self._outbox.verbs.repair()))

    async def show(self, request: web.BaseRequest, queue_id: str) -> web.StreamResponse:
        return web.json_response(await _on_reactor(self._outbox.verbs.show(queue_id)))

    async def why(self, request: web.BaseRequest, queue_id: str) -> web.StreamResponse:
        return web.json_response(await _on_reactor(self._outbox.verbs.why(queue_id)))

    async def follow(self, request: web.BaseRequest, queue_id: str) -> web.StreamResponse:
        return web.json_response(await _on_reactor(self._outbox.verbs.follow(queue_id)))

    async def body(self, request: web.BaseRequest, queue_id: str) -> web.StreamResponse:
        _, message = await _on_reactor(self._outbox.verbs.export(queue_id))
        reader = message.body()
        try:
            response = web.StreamResponse(
                headers={"Content-Type": self._outbox.verbs.media_type(message)}
            )
            response.content_length = message.size
            await response.prepare(request)
            while chunk := reader.read(_CHUNK):
                await response.write(chunk)
            await response.write_eof()
        finally:
            reader.close()
        return response

    def change(self, verb: Callable[[Verbs, Filter], Awaitable[int]]) -> RouteHandler:
        async def handler(request: web.BaseRequest) -> web.StreamResponse:
            wanted = filter_from(await json_object(request))
            count = await _on_reactor(verb(self._outbox.verbs, wanted))
            return web.json_response({"count": count})

        return handler

    async def send(self, request: web.BaseRequest) -> web.StreamResponse:
        from netserve.ops.sending import hand_over  # noqa: PLC0415 - few need what builds mail

        values = await json_object(request)
        if not isinstance(values.get("message"), dict):
            raise BadRequest("what is sent is a JSON object with a message")
        trace = cast("HttpConnection", request.protocol).new_trace()
        sent = hand_over(self._outbox, values.get("service"), values["message"], trace=trace)
        return web.json_response(await _on_reactor(sent))


async def _on_reactor(work: Awaitable[Any]) -> Any:
    """Await, in a handler, a coroutine of Twisted's side."""
    return await ensure_deferred(work).asFuture(asyncio.get_running_loop())
