"""A request whose response is held as a whole, within its limit, unpacked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from twisted.internet.defer import Deferred

from netserve.http.decompress import DecompressError, Decompressor, ExpandsTooMuch
from netserve.http.errors import BadAnswer, HttpError, TooLarge
from netserve.http.h1 import Field, Informational, Response, find_all, members
from netserve.http.upstream.outgoing import Outgoing
from netserve.http.upstream.pool import Upstream

_PLAIN: Final = frozenset({b"", b"identity"})
_MOST_CODINGS: Final = 2
"""Content codings in one response; each of them may multiply its size."""


@dataclass(frozen=True, slots=True)
class WholeResponse:
    """A response, whole.

    Arguments:
        status: the code.
        reason: the reason phrase; may be empty.
        fields: as they came.
        body: unpacked.
    """

    status: int
    reason: bytes
    fields: Sequence[Field]
    body: bytes


def fetch(
    upstream: Upstream,
    method: bytes,
    target: bytes,
    fields: Sequence[Field],
    body: bytes = b"",
    *,
    limit: int,
    ratio: int = 100,
) -> Deferred[WholeResponse]:
    """Send a request, and hold its response; cancelling gives it up.

    Arguments:
        upstream: where it goes.
        method: a token.
        target: as it is to stand in the request line.
        fields: with one Host; Content-Length where there is a body.
        body: the whole body.
        limit: the largest body of the response, in bytes, before and after it is unpacked.
        ratio: how many times its size a compressed body may unpack to.

    Errors:
        HttpError: there is no complete response; TooLarge among them.
    """
    collector = _Collector(str(upstream.origin), limit, ratio)
    collector.outgoing = upstream.send(method, target, fields, collector, body=body)
    return collector.result


class _Collector:
    """Receives one response."""

    __slots__ = ("_limit", "_pieces", "_ratio", "_response", "_size", "_unpackers", "_where",
                 "outgoing", "result")  # fmt: skip

    def __init__(self, where: str, limit: int, ratio: int) -> None:
        self.result: Deferred[WholeResponse] = Deferred(self._cancelled)
        self.outgoing: Outgoing | None = None
        self._where = where
        self._limit = limit
        self._ratio = ratio
        self._response: Response | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._unpackers: list[Decompressor] = []

    def response_informed(self, response: Informational) -> None:
        """Another one is to come."""

    def response_started(self, response: Response) -> None:
        self._response = response
        if response.switched:
            self._give_up(BadAnswer(f"{self._where}: its answer switches the protocol"))
        elif (response.length or 0) > self._limit:
            self._give_up(self._too_large())
        elif response.length != 0:
            with self._broken():
                self._unpackers = self._unpackers_for(response.fields)

    def response_data(self, data: bytes) -> None:
        if self.result.called:
            return
        if not self._unpackers:
            self._keep(data)
            return
        with self._broken():
            for piece in self._unpacked(data, 0):
                self._keep(piece)

    def response_end(self, trailers: Sequence[Field]) -> None:
        response = self._response
        if self.result.called or response is None:
            return
        with self._broken():
            for unpacker in self._unpackers:
                unpacker.end()
            pieces = self._pieces
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            self.result.callback(
                WholeResponse(response.status, response.reason, response.fields, body)
            )

    def response_flush(self) -> None:
        """It is held as a whole."""

    def request_failed(self, error: HttpError) -> None:
        if not self.result.called:
            self.result.errback(error)

    def pause_request(self) -> None:
        """The body is with the transport already."""

    def resume_request(self) -> None:
        """Nothing waits."""

    def _keep(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > self._limit:
            self._give_up(self._too_large())
        else:
            self._pieces.append(data)

    def _unpackers_for(self, fields: Sequence[Field]) -> list[Decompressor]:
        """One for each content coding, the last one first (RFC 9110, 8.4)."""
        codings = members(find_all(fields, b"content-encoding"))
        codings = [coding for coding in codings if coding not in _PLAIN]
        if len(codings) > _MOST_CODINGS:
            raise DecompressError("is compressed too many times")
        return [
            Decompressor(coding.decode("latin-1"), limit=self._limit, ratio=self._ratio)
            for coding in reversed(codings)
        ]

    def _unpacked(self, data: bytes, index: int) -> Iterator[bytes]:
        if index == len(self._unpackers):
            yield data
            return
        for piece in self._unpackers[index].feed(data):
            yield from self._unpacked(piece, index + 1)

    @contextmanager
    def _broken(self) -> Iterator[None]:
        """What is wrong with a compressed body, as an error of the exchange."""
        try:
            yield
        except ExpandsTooMuch as error:
            self._give_up(TooLarge(f"{self._where}: its answer {error}"))
        except DecompressError as error:
            self._give_up(BadAnswer(f"{self._where}: its answer {error}"))

    def _too_large(self) -> TooLarge:
        return TooLarge(f"{self._where}: its answer is larger than {self._limit} bytes")

    def _give_up(self, error: HttpError) -> None:
        if self.outgoing is not None:
            self.outgoing.cancel()
        if not self.result.called:
            self.result.errback(error)

    def _cancelled(self, _: object) -> None:
        if self.outgoing is not None:
            self.outgoing.cancel()
