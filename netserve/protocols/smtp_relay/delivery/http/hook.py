"""Delivery to an HTTP hook: the message is posted as it is, its envelope stands in a header.

What the answer's status means for all recipients:

=========================  ==========  ====================================================
status                     outcome     since
=========================  ==========  ====================================================
2xx                        delivered
401, 403, 404, 405, 407    deferred    it is about us and the hook, and mended in the file
408, 425, 429              deferred    the hook asks for patience (RFC 9110, 15.5; 6585, 4)
other 4xx                  failed      the hook does not want this message
all others, no answer      deferred
=========================  ==========  ====================================================

A message that was taken is posted again when its answer was lost: ``Idempotency-Key`` is then the
same, so that the hook can tell.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail
from yarl import URL

from netserve.crossing import from_asyncio
from netserve.errors import InvalidValue
from netserve.http import (
    AddressGuard,
    Answer,
    Body,
    ClientOptions,
    HttpClients,
    HttpError,
    place,
)
from netserve.mail.envelope import Outcome, Reply
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.outbox.courier import NotTried
from netserve.outbox.errors import OutboxError
from netserve.outbox.model import BodyReader
from netserve.protocols.smtp_relay.delivery.channel import Whole
from netserve.protocols.smtp_relay.delivery.http.options import Hook

T = TypeVar("T")

CHUNK: Final = 64 * 1024
"""Bytes of a body that are in memory at one time; a body of no more is sent in one go."""
_ABOUT_US: Final = frozenset({401, 403, 404, 405, 407})
_LATER: Final = frozenset({408, 425, 429})
_ANSWER_SIZE: Final = 64 * 1024
_SHOWN: Final = 200
"""Characters of an answer's body that stand in logs and bounces."""


class HookClient(Whole):
    """Posts messages to one hook.

    Arguments:
        settings: of the route.
        connections: at one time.
        clients: gives the HTTP client.

    Raises:
        ValueError: the settings cannot work (the file of `ca`).
    """

    def __init__(self, settings: Hook, *, connections: int, clients: HttpClients) -> None:
        self._url = URL(settings.url)
        self._remote = place(self._url)
        self._headers = {
            name: value if isinstance(value, str) else value.reveal()
            for name, value in settings.headers.items()
        }
        self._headers["Content-Type"] = "message/rfc822"
        if settings.token is not None:
            self._headers["Authorization"] = f"Bearer {settings.token.reveal()}"
        self._closed = False
        self._under_way = 0
        self._quiet: Deferred[Any] | None = None  # fires when the last message is through
        options = ClientOptions(
            guard=AddressGuard.parse(settings.allow_upstreams),
            total_timeout=settings.timeout,
            read_timeout=settings.timeout,
            connections=connections,
            response_size=_ANSWER_SIZE,
            ca=settings.ca,
        )
        try:
            self._client = clients.client(options)
        except InvalidValue as error:
            raise error.inside(("http",)) from None

    def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Deferred[Mapping[int, Outcome]]:
        """One attempt; an outcome for each recipient, by its id.

        Errors:
            BodyMissing, BodyUnreadable: the body is gone, damaged or cannot be read.
            NotTried: it is closed.
        """
        if self._closed:
            return fail(NotTried())
        self._under_way += 1
        return from_asyncio(self._deliver(message, recipients)).addBoth(self._ended)

    def _ended(self, result: T) -> T:
        self._under_way -= 1
        if not self._under_way and self._quiet is not None:
            self._quiet.callback(None)
        return result

    def close(self, *, cut: bool) -> Deferred[None]:
        """Take no more; fires when all connections are gone.

        Arguments:
            cut: give up what is under way, which is then deferred; else it is waited for.
        """
        self._closed = True
        if cut or not self._under_way:
            return self._client.close()
        if self._quiet is None:
            self._quiet = Deferred()
            self._quiet.addCallback(lambda _: self._client.close())
        done: Deferred[None] = Deferred()
        self._quiet.addCallback(lambda _: done.callback(None))
        return done

    async def _deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> dict[int, Outcome]:
        reader = _Watched(message.body())
        try:
            answer = await self._client.fetch(
                "POST",
                self._url,
                headers=self._headers_for(message, recipients),
                body=_body(reader, message.size),
            )
            outcome = outcome_of(answer, self._remote)
        except HttpError as error:
            if reader.error is not None:
                raise reader.error from error
            outcome = Outcome("deferred", Reply(451, "4.4.1", str(error)))
        finally:
            reader.close()
        return {recipient.id: outcome for recipient in recipients}

    def _headers_for(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> dict[str, str]:
        addresses = [recipient.address for recipient in recipients]
        envelope = {
            "id": message.id,
            "sender": message.sender,
            "recipients": addresses,
            "user": message.user,
            "client": message.client,
            "trace": message.trace,
        }
        key = f"{message.id}-{'-'.join(str(recipient.id) for recipient in recipients)}"
        return {
            **self._headers,
            "Content-Length": str(message.size),
            "Idempotency-Key": key,
            # JSON in ASCII: whatever is in an address, it stays inside of the header.
            "Netserve-Envelope": json.dumps(envelope),
        }


def outcome_of(answer: Answer, remote: str) -> Outcome:
    """What an answer means; see the module.

    Arguments:
        answer: of the hook.
        remote: the hook as ``host:port``.
    """
    status = answer.status
    said = f"HTTP {status} {answer.reason}".rstrip()
    words = " ".join(answer.body[: 4 * _SHOWN].decode("utf-8", "replace").split())
    if words and words.isprintable():
        said = f"{said}: {words[:_SHOWN]}"
    if status // 100 == 2:
        return Outcome("delivered", Reply(250, "2.0.0", said), remote, "relayed")
    if status // 100 == 4 and status not in _ABOUT_US | _LATER:
        return Outcome("failed", Reply(554, "5.0.0", said), remote)
    return Outcome("deferred", Reply(451, "4.3.0", said), remote)


class _Watched:
    """Reads a body, and remembers why it could not be read: to the HTTP client that is no answer.

    Arguments:
        body: what is read.
    """

    def __init__(self, body: BodyReader) -> None:
        self._body = body
        self.error: OutboxError | None = None

    def read(self, size: int = -1, /) -> bytes:
        """See `BodyReader`."""
        try:
            return self._body.read(size)
        except OutboxError as error:
            self.error = error
            raise

    def close(self) -> None:
        """See `BodyReader`."""
        self._body.close()


def _body(reader: BodyReader, size: int) -> Body:
    return reader.read() if size <= CHUNK else _pieces(reader)


async def _pieces(reader: BodyReader) -> AsyncIterator[bytes]:
    while piece := reader.read(CHUNK):
        yield piece
