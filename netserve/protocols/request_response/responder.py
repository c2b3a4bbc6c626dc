"""What is replied to a request: the core that connections and datagrams share, without I/O.

=========================  ===================================================
a request                  gets
=========================  ===================================================
that a rule matches        that rule's reply
else, with a handler       what the handler returns
else, or None from it      the default reply, or nothing
longer than the limit      the reply ``oversized``
in a broken frame          the reply ``error``
whose handler fails        the reply ``error``; why is in the log
=========================  ===================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any, TypeAlias

from netserve.protocols.request_response.replies import (
    Reply,
    names_for_rule,
    names_of_failures,
    names_of_requests,
)
from netserve.wire.framing import FrameTooLong, FramingError
from netserve.wire.pattern import Encoding, Matcher, Rules

__all__ = ["Handler", "HandlerTimeout", "Pending", "Replies", "Request", "Responder"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler is called with.

    Arguments:
        data: the request, without its framing.
        peer: the peer's address, such as ``127.0.0.1:4711``; ``unix`` for UNIX sockets.
        service: the service's name in the file.
        encoding: the service's.
    """

    data: bytes
    peer: str
    service: str
    encoding: Encoding = "utf-8"

    @property
    def text(self) -> str:
        """The data as text; what is not valid in the encoding becomes U+FFFD."""
        return self.data.decode(self.encoding, "replace")


Answer: TypeAlias = bytes | str | None
Handler: TypeAlias = Callable[[Request], Answer | Awaitable[Answer]]


class HandlerTimeout(Exception):
    """A handler took longer than it was given."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A reply that its handler has yet to make.

    Arguments:
        request: what it was called with.
        work: a coroutine or a Deferred; its result is for `Responder.finish`, its failure for
            `Responder.fail`.
    """

    request: Request
    work: Awaitable[Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """All replies of a service, as in the file.

    Arguments:
        rules: what matches, and the reply to it, in order.
        default: where no rule matches.
        oversized: to a request that is too long.
        error: when something failed.
    """

    rules: Sequence[tuple[Matcher, str | bytes]] = ()
    default: str | bytes | None = None
    oversized: str | bytes | None = None
    error: str | bytes | None = None


class Responder:
    """Replies to requests.

    Arguments:
        replies: as in the file.
        handler: replies where no rule matches.
        service: the service's name.
        encode: the framing of the replies.
        encoding: of texts.
        report: is called with a kind of error (``oversized``, ``framing``, ``busy``, ``handler``,
            ``timeout``), the peer, and what went wrong.

    Raises:
        ValueError: a reply has an unknown placeholder, or does not fit the framing or encoding.
    """

    def __init__(
        self,
        replies: Replies,
        *,
        handler: Handler | None = None,
        service: str,
        encode: Callable[[bytes], bytes] = bytes,
        encoding: Encoding = "utf-8",
        report: Callable[[str, str, Exception], None],
    ) -> None:
        def ready(value: str | bytes | None, names: frozenset[str]) -> Reply:
            return Reply(value, names, encode=encode, encoding=encoding)

        self._rules = Rules([matcher for matcher, _ in replies.rules])
        self._replies = [
            ready(reply, names_for_rule(matcher.names)) for matcher, reply in replies.rules
        ]
        self._default = ready(replies.default, names_of_requests())
        self._oversized = ready(replies.oversized, names_of_failures())
        self._error = ready(replies.error, names_of_failures())
        self._handler = handler
        self._service = service
        self._encode = encode
        self._encoding: Encoding = encoding
        self._report = report
        self._default_constant = _constant(self._default)
        self._constants: dict[bytes, bytes] = {}
        """By request the reply of an exact rule, where it is constant."""
        starts = list(self._rules.starts)
        for data, index in self._rules.exact.items():
            reply = _constant(self._replies[index])
            if reply is None:
                starts.append(data)
            else:
                self._constants[data] = reply
        self._starts = tuple(starts)
        """What may have another reply than a constant one begins with one of these."""
        constants = [self._default_constant, *self._constants.values()]
        self._longest = max(len(reply or b"") for reply in constants)
        self._may_be_constant = (
            handler is None and b"" not in starts and self._default_constant is not None
        )

    def respond(self, data: bytes, peer: str) -> bytes | Pending | None:
        """What is sent for a request: bytes with their framing, nothing, or what is yet to come.

        Arguments:
            data: the request, without its framing.
            peer: the peer's address.
        """
        found = self._rules.find(data)
        if found is not None:
            index, groups = found
            reply = self._replies[index]
        elif self._handler is not None:
            return self._call(self._handler, Request(data, peer, self._service, self._encoding))
        else:
            groups, reply = {}, self._default
        if reply.is_constant:
            return reply.constant
        return self._render(reply, data, peer, groups)

    def constants(self, frames: Sequence[bytes], most: int) -> list[bytes] | None:
        """What is sent for many requests, where all of it is constant; None where it is not.

        Arguments:
            frames: the requests, without their framing.
            most: the most bytes that are wanted; None is given where there could be more.
        """
        if not self._may_be_constant or len(frames) * self._longest > most:
            return None
        text = b"".join(frames)
        for start in self._starts:
            # To look at all of them at once is faster, and nearly always enough.
            if start in text and any(map(bytes.startswith, frames, repeat(start))):
                return None
        return list(map(self._constants.get, frames, repeat(self._default_constant or b"")))

    def refuse(self, error: FramingError, peer: str) -> bytes | None:
        """What is sent for a frame that is too long or broken, or cannot be held."""
        self._report(error.kind, peer, error)
        is_long = isinstance(error, FrameTooLong)
        return self._apologise(self._oversized if is_long else self._error, peer)

    def finish(self, request: Request, answer: Any) -> bytes | None:
        """What is sent for what a handler returned.

        Arguments:
            request: what it was called with.
            answer: bytes, text or None; anything else is the handler's error.
        """
        try:
            if isinstance(answer, str):
                answer = answer.encode(self._encoding)
            if isinstance(answer, (bytes, bytearray, memoryview)):
                return self._encode(bytes(answer))
        except ValueError as error:
            return self.fail(request, error)
        if answer is None:
            return self._render(self._default, request.data, request.peer, {})
        kind = type(answer).__name__
        return self.fail(request, TypeError(f"it returned {kind}, not bytes, text or None"))

    def fail(self, request: Request, error: Exception) -> bytes | None:
        """What is sent for a handler that failed, or took too long (`HandlerTimeout`)."""
        kind = "timeout" if isinstance(error, HandlerTimeout) else "handler"
        self._report(kind, request.peer, error)
        return self._apologise(self._error, request.peer)

    def _call(self, handler: Handler, request: Request) -> bytes | Pending | None:
        try:
            answer = handler(request)
        except Exception as error:
            return self.fail(request, error)
        if inspect.isawaitable(answer):
            return Pending(request, answer)
        return self.finish(request, answer)

    def _render(self, reply: Reply, data: bytes, peer: str, groups: Any) -> bytes | None:
        try:
            return reply.render({**groups, "request": data, "peer": peer, "service": self._service})
        except ValueError as error:
            self._report("reply", peer, error)
            return self._apologise(self._error, peer)

    def _apologise(self, reply: Reply, peer: str) -> bytes | None:
        try:
            return reply.render({"peer": peer, "service": self._service})
        except ValueError:
            # It has a placeholder that made it too long for its framing.
            return None


def _constant(reply: Reply) -> bytes | None:
    """What is always sent, empty for nothing; None where it depends on the request."""
    return (reply.constant or b"") if reply.is_constant else None
