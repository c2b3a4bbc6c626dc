"""How a message is prepared for a route and for what a server offers: the wiring.

`Preparer` is one for a route and `Preparation` one for a connection: None, where the route asks for
nothing and the server takes everything, so that such a route does no work for it, but for messages
with lines that are too long for any server. What is done stands in `netserve.mail.outgoing`.

A small body is prepared in memory, in one go. A larger one is read from its begin for each pass
over it, and once more to be sent, 80 KiB at a time; between two chunks others have their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from netserve.mail.client.extensions import Addressee, Extensions, Sending
from netserve.mail.envelope import Reply
from netserve.mail.fields import head_size
from netserve.mail.outgoing import (
    HEADER_TOO_LARGE,
    LARGEST_HEADER,
    Changes,
    Pass,
    Preparing,
    Ready,
    is_fit,
)
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.mail.seven_bit.conversion import Converter
from netserve.outbox.model import BodyReader

CHUNK: Final = 80 * 1024
"""Bytes of a body that are in memory at one time; a body of no more is prepared in one go."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A message as it is sent.

    Arguments:
        envelope: sender and parameters.
        recipients: in the order of those that were given.
        size: bytes of all of it.
        body: all of it, or None for a large one.
        open_body: opens a large one.
    """

    envelope: Sending
    recipients: Sequence[Addressee]
    size: int
    body: bytes | None
    open_body: Callable[[], BodyReader]


class Preparer:
    """Prepares the messages of one route.

    Arguments:
        changes: what the route asks for, or None.
        wall: gives unix seconds.
        reactor: gives turns.
        log: is told of messages that cannot be signed.
    """

    def __init__(
        self,
        changes: Changes | None,
        *,
        wall: Callable[[], float],
        reactor: Any,
        log: Logger | None = None,
    ) -> None:
        self._changes = changes
        self._wall = wall
        self._reactor = reactor
        self._log = log or Logger()

    def for_server(self, extensions: Extensions) -> Preparation | None:
        """For one that offers these; None where messages go to it as they are."""
        if self._changes is None and extensions.eight_bit and extensions.smtputf8:
            return None
        return self.for_any(extensions)

    def for_any(self, extensions: Extensions) -> Preparation:
        """For a server that offers these, whatever that is."""
        return Preparation(
            self._changes, extensions, wall=self._wall, reactor=self._reactor, log=self._log
        )


class Preparation:
    """Prepares messages for one server.

    Arguments:
        changes: what the route asks for, or None.
        extensions: what the server offers.
        wall: gives unix seconds.
        reactor: gives turns.
        log: is told of messages that cannot be signed.
    """

    __slots__ = ("_changes", "_extensions", "_log", "_only_unfit", "_reactor", "_wall")

    def __init__(
        self,
        changes: Changes | None,
        extensions: Extensions,
        *,
        wall: Callable[[], float],
        reactor: Any,
        log: Logger,
    ) -> None:
        self._log = log
        self._changes = changes or Changes()
        self._only_unfit = changes is None
        self._extensions = extensions
        self._wall = wall
        self._reactor = reactor

    def prepare(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient], body: bytes | None
    ) -> Prepared | Deferred[Prepared | Reply]:
        """The message as this server gets it, or why it can't be sent to it.

        Arguments:
            message: of the queue.
            recipients: at least one.
            body: all of it, where it is small.

        Errors:
            Exception: the body can't be read.
        """
        if self._only_unfit and is_fit(message, self._extensions):
            return Prepared(message, recipients, message.size, body, message.body)
        if body is None:
            return Deferred.fromCoroutine(self._prepare_large(message, recipients))
        prepared = self._prepare_small(message, recipients, body)
        return prepared if isinstance(prepared, Prepared) else self._refuse(prepared)

    def _prepare_small(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient], body: bytes
    ) -> Prepared | Reply:
        size = head_size(body) if self._looks_into(message) else 0
        head, rest = body[:size], body[size:]
        preparing = self._preparing(message, recipients, head, len(rest))
        for feed in preparing:
            feed(rest)
        ready = preparing.result
        if isinstance(ready, Reply):
            return ready
        self._tell(message, ready)
        if ready.converter is not None:
            converter = ready.converter()
            rest = converter.feed(rest) + converter.finish()
        elif ready.head is None:
            return Prepared(ready.envelope, ready.recipients, ready.size, body, message.body)
        new = (head if ready.head is None else ready.head) + rest
        return Prepared(ready.envelope, ready.recipients, len(new), new, message.body)

    async def _prepare_large(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Prepared | Reply:
        head = _read_head(message) if self._looks_into(message) else b""
        if len(head) > LARGEST_HEADER:
            return await self._refuse(HEADER_TOO_LARGE)
        preparing = self._preparing(message, recipients, head, message.size - len(head))
        for feed in preparing:
            await self._feed(feed, message, len(head))
        ready = preparing.result
        if isinstance(ready, Reply):
            return await self._refuse(ready)
        self._tell(message, ready)
        return Prepared(
            ready.envelope, ready.recipients, ready.size, None, _opening(ready, message, head)
        )

    def _tell(self, message: QueuedMessage, ready: Ready) -> None:
        if ready.unsigned:
            self._log.warn("{id}: not signed by DKIM: {why}", id=message.id, why=ready.unsigned)

    def _looks_into(self, message: QueuedMessage) -> bool:
        """Whether more than the envelope matters."""
        return self._changes.of_content or not is_fit(message, self._extensions)

    def _refuse(self, reply: Reply) -> Deferred[Prepared | Reply]:
        """In a turn of its own: whoever is told sends the next message on this connection."""
        return deferLater(self._reactor, 0, lambda: reply)

    def _preparing(
        self,
        message: QueuedMessage,
        recipients: Sequence[QueuedRecipient],
        head: bytes,
        body_size: int,
    ) -> Preparing:
        return Preparing(
            message,
            recipients,
            head,
            body_size,
            server=self._extensions,
            changes=self._changes,
            now=self._wall(),
        )

    async def _feed(self, feed: Pass, message: QueuedMessage, skip: int) -> None:
        """Give a pass the body behind the header."""
        reader = message.body()
        try:
            while chunk := reader.read(CHUNK):
                if skip < len(chunk):
                    feed(chunk[skip:])
                skip = max(skip - len(chunk), 0)
                await deferLater(self._reactor, 0)
        finally:
            reader.close()


def _read_head(message: QueuedMessage) -> bytes:
    """The header section, its empty line included; longer than the limit where that is too long."""
    reader = message.body()
    try:
        begin = b""
        while len(begin) <= LARGEST_HEADER and (chunk := reader.read(CHUNK)):
            begin += chunk
            lines = begin[: begin.rfind(b"\n") + 1]
            size = head_size(lines)
            if size < len(lines) or lines.endswith(b"\r\n\r\n"):
                return begin[:size]
        return begin
    finally:
        reader.close()


def _opening(ready: Ready, message: QueuedMessage, head: bytes) -> Callable[[], BodyReader]:
    """Opens a large message as it is sent."""
    if ready.head is None and ready.converter is None:
        return message.body
    new_head = head if ready.head is None else ready.head

    def open_body() -> BodyReader:
        converter = None if ready.converter is None else ready.converter()
        return PreparedBody(message.body(), len(head), new_head, converter)

    return open_body


class PreparedBody:
    """Reads a message with another header, and through a conversion.

    Arguments:
        source: the message as it was; it is closed with this one.
        skip: bytes of its header section.
        head: what is in its place.
        converter: for what stands behind it, or None.
    """

    __slots__ = ("_converter", "_ended", "_ready", "_skip", "_source")

    def __init__(
        self, source: BodyReader, skip: int, head: bytes, converter: Converter | None
    ) -> None:
        self._source = source
        self._skip = skip
        self._ready = head
        self._converter = converter
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Up to so many bytes; empty at the end."""
        while not self._ended and (size < 0 or not self._ready):
            self._ready += self._next()
        size = len(self._ready) if size < 0 else size
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def _next(self) -> bytes:
        """What the next chunk of the source brings; it may be nothing."""
        chunk = self._source.read(CHUNK)
        if not chunk:
            self._ended = True
            return b"" if self._converter is None else self._converter.finish()
        if self._skip:
            skipped = min(self._skip, len(chunk))
            self._skip -= skipped
            chunk = chunk[skipped:]
        return chunk if self._converter is None else self._converter.feed(chunk)

    def close(self) -> None:
        """Let the source go."""
        self._source.close()
