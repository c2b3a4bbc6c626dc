"""The way in over HTTP: an application posts a message, as JSON or as it is, and gets its queue id.

==================  =====================================================================
``POST /messages``  a message; ``Authorization: Bearer TOKEN`` says whose it is
==================  =====================================================================

``application/json`` is described in `netserve.mail.draft`. ``message/rfc822`` is the message
itself, with ``from`` and one or more ``to`` in the query, or in ``X-Envelope-From`` and
``X-Envelope-To``.

======  ======================================================================================
status  when
======  ======================================================================================
202     the message is on the disk: ``{"id": …, "trace": …}``
400     something of it is wrong: ``{"error": …, "field": …}``
401     there is no token, or not a known one
403     the sender or a recipient is not taken
408     it took too long
409     a request with the same Idempotency-Key is under way
413     it is too large
415     it is of another type
422     the Idempotency-Key was another message's
429     too much in this time, or at one time, or too many wrong tokens; ``Retry-After`` tells
        when to try again
503     it cannot be kept now; the same
======  ======================================================================================

A message as it is goes on to the queue while it comes. JSON goes to a temporary file once it is
longer than 64 KiB, and such files are read one after another, so that what is in memory is bounded.
They are read in threads, as is what has many attachments, which takes a while to build.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final, TypeVar, cast

from aiohttp import web
from twisted.cred.error import UnauthorizedLogin
from twisted.python.failure import Failure

from netserve.config.types import Secret
from netserve.crossing import turn_of
from netserve.http.connection import HttpConnection
from netserve.http.requests import BadRequest, Upload
from netserve.http.server import HttpServer
from netserve.mail.draft import Attachment, Draft, DraftError
from netserve.mail.mime import build, pieces
from netserve.outbox import OutboxError
from netserve.outbox.errors import storage_error
from netserve.protocols.smtp_relay.receiving.http_forms import (
    Refused,
    read_envelope,
    read_json,
)
from netserve.protocols.smtp_relay.receiving.idempotency import Claim, Window
from netserve.protocols.smtp_relay.receiving.logins import TryLater
from netserve.protocols.smtp_relay.receiving.posting import (
    Poster,
    Posting,
    check,
    check_space,
    not_kept,
)
from netserve.protocols.smtp_relay.receiving.taking import Shared, tell_accepted
from netserve.wire.peer import LOCAL, counting_key, parse_address

PATH: Final = "/messages"
IN_MEMORY: Final = 64 * 1024
"""Bytes of JSON that are kept in memory while they come."""
_FEW: Final = 20
"""Attachments with which a message is built at once."""
LONGEST_LINE: Final = 64 * 1024
"""Bytes of a request's line, and of a header: many recipients may stand there."""
_LONGEST_KEY: Final = 255
_ENVELOPE: Final = ("X-Envelope-From", "X-Envelope-To")
_T = TypeVar("_T")
_RAW: Final = frozenset({"message/rfc822", "message/global"})


class HttpIntake:
    """Answers requests for one service.

    Arguments:
        shared: with its other ways in.
        tokens: by name.
        folder: for temporary files.
        idle_timeout: seconds that a connection may wait for a request.
    """

    def __init__(
        self, shared: Shared, tokens: Mapping[str, Secret], *, folder: Path, idle_timeout: float
    ) -> None:
        self._shared = shared
        self._folder = folder
        # Found by its digest, so that the time it takes tells nothing of a token.
        self._names = {_digest(token.reveal()): name for name, token in tokens.items()}
        self._window = Window(shared.context.reactor.seconds)
        self._turn = asyncio.Lock()
        limits = shared.reception.options_of_files.limits
        self._largest = limits.message_size
        # Base64 is four thirds of what it says, and there are names and quotes around it.
        self._largest_json = limits.message_size * 3 // 2 + IN_MEMORY
        self.server = HttpServer(
            self.answer,
            turns=shared.context.turns,
            log=shared.context.log,
            refuse=self._refuse_unread,
            give_up=True,
            keepalive_timeout=idle_timeout,
            head_size=2 * LONGEST_LINE,
            read_bufsize=IN_MEMORY,  # a hundred large messages at once are nothing special
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )

    def _refuse_unread(self, status: int, reason: str) -> web.Response:
        """The answer to a request that cannot be read."""
        self._shared.context.metrics.errors["refused"] += 1
        return web.json_response({"error": reason}, status=status)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            answer = await self._answer(request)
        except Refused as refused:
            return self._refuse(request, refused)
        except BadRequest as error:
            return self._refuse(request, Refused(error.status, str(error)))
        except DraftError as error:
            return self._refuse(request, Refused(400, error.what, field=error.field))
        except TimeoutError:
            return self._refuse(request, Refused(408, "the message took too long"))
        except Exception:
            context = self._shared.context
            context.metrics.errors["internal"] += 1
            context.log.failure(
                "a request of {peer} failed",
                peer=request.remote,
                connection_id=_connection(request).connection_id,
            )
            return _response(request, 500, {"error": "something went wrong here"})
        return _response(request, 202, answer)

    def _refuse(self, request: web.BaseRequest, refused: Refused) -> web.StreamResponse:
        context, status = self._shared.context, refused.status
        context.metrics.errors["login" if status == 401 else "refused"] += 1
        context.log.info(  # this is Twisted's logger
            "refused a request of {client}: {status} {field}{reason}",
            client=request.remote or LOCAL,
            status=status,
            field=f"{refused.field}: " if refused.field else "",
            reason=refused.what,
            connection_id=_connection(request).connection_id,
        )
        answer = {"error": refused.what}
        if refused.field:
            answer["field"] = refused.field
        response = _response(request, status, answer)
        if refused.retry_after is not None:
            response.headers["Retry-After"] = str(refused.retry_after)
        if status == 401:
            response.headers["WWW-Authenticate"] = 'Bearer realm="netserve"'
            response.force_close()  # one guess and one line of log a connection
        if status == 405:
            response.headers["Allow"] = "POST"
        return response

    async def _answer(self, request: web.BaseRequest) -> Mapping[str, Any]:
        poster = self._poster(request)
        if request.path != PATH:
            raise Refused(404, f"there is only {PATH} here")
        if request.method != "POST":
            raise Refused(405, "a message is posted")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Refused(415, "the message is packed; send it as it is")
        if not self._shared.places.take(poster.user):
            raise Refused(429, "too many requests of this user at one time", retry_after=1)
        try:
            return await self._take_once(request, poster)
        finally:
            self._shared.places.leave(poster.user)

    def _poster(self, request: web.BaseRequest) -> Poster:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(401, "a token is wanted: Authorization: Bearer TOKEN")
        client = request.remote or ""
        if parse_address(client) is None:
            client = ""
        name = self._names.get(_digest(token.strip()))
        try:
            user = self._shared.logins.check_token(client, name)
        except UnauthorizedLogin:
            raise Refused(401, "nobody has this token") from None
        except TryLater as later:
            what = "too many wrong tokens came from this address"
            raise Refused(429, what, retry_after=later.wait) from None
        word = "HTTPS" if request.secure else "HTTP"
        connection = _connection(request)
        return Poster(user, client, word, connection.connection_id, connection.new_trace())

    def _claim(self, request: web.BaseRequest, poster: Poster) -> Claim | None:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return None
        if not 0 < len(key) <= _LONGEST_KEY or not key.isprintable():
            what = f"a key has 1 to {_LONGEST_KEY} characters"
            raise Refused(400, what, field="Idempotency-Key")
        claim = self._window.claim((poster.user, key))
        if claim is None:
            what = "a request with this key is under way"
            raise Refused(409, what, field="Idempotency-Key", retry_after=1)
        return claim

    async def _take_once(self, request: web.BaseRequest, poster: Poster) -> Mapping[str, Any]:
        """Take it, or give the answer of the request with the same key that was taken before."""
        claim = self._claim(request, poster)
        if claim is None:
            return await self._take(request, poster, None)
        try:
            if claim.known is not None:
                return await self._again(request, claim, claim.known.answer)
            return await self._take(request, poster, claim)
        finally:
            claim.leave()

    async def _again(
        self, request: web.BaseRequest, claim: Claim, answer: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The answer that there was, for the same message."""
        await self._read(request, self._largest_json, claim, lambda _: None)
        if not claim.is_the_same:
            raise Refused(422, "this key was another message's", field="Idempotency-Key")
        return answer

    async def _read(
        self,
        request: web.BaseRequest,
        limit: int,
        claim: Claim | None,
        take: Callable[[bytes], object],
    ) -> None:
        """Hand on the content of a request, within its limits of size and time."""
        if claim is not None:
            where = [request.content_type, request.raw_path]
            where += [value for name in _ENVELOPE for value in request.headers.getall(name, [])]
            claim.update("\0".join(where).encode("utf-8", "surrogateescape"))
        async with asyncio.timeout(self._shared.reception.data_timeout):
            async for piece in Upload(request, limit):
                if claim is not None:
                    claim.update(piece)
                take(piece)

    async def _take(
        self, request: web.BaseRequest, poster: Poster, claim: Claim | None
    ) -> Mapping[str, Any]:
        if request.content_type in _RAW:
            return await self._take_raw(request, poster, claim)
        if request.content_type == "application/json":
            return await self._take_json(request, poster, claim)
        raise Refused(415, "a message is application/json or message/rfc822")

    async def _take_raw(
        self, request: web.BaseRequest, poster: Poster, claim: Claim | None
    ) -> Mapping[str, Any]:
        sender, recipients = read_envelope(request.query, request.headers)
        check(self._shared, poster, sender, recipients)
        addresses = [address for _, address in recipients]
        utf8 = not "".join([sender, *addresses]).isascii()
        posting = Posting(self._shared, poster, sender, addresses, smtputf8=utf8)
        try:
            await self._read(request, self._largest, claim, posting.write)
            return await self._keep(posting, claim)
        finally:
            posting.abort()

    async def _take_json(
        self, request: web.BaseRequest, poster: Poster, claim: Claim | None
    ) -> Mapping[str, Any]:
        def spool(piece: bytes) -> None:
            try:
                file.write(piece)
            except OSError as error:
                raise not_kept(self._shared, poster, storage_error(error)) from None

        check_space(self._shared)  # it is looked for again when the message is known
        with tempfile.SpooledTemporaryFile(IN_MEMORY, dir=str(self._folder)) as file:
            await self._read(request, self._largest_json, claim, spool)
            token = f"{self._shared.context.random.getrandbits(128):032x}"
            if file.tell() <= IN_MEMORY:
                draft = read_json(file)
                if len(draft.attachments) <= _FEW:
                    return await self._take_built(draft, build(draft, token=token), poster, claim)
            async with self._turn:
                draft, built = await _in_thread(_read_and_build, file, token)
                return await self._take_built(draft, built, poster, claim)

    async def _take_built(
        self,
        draft: Draft,
        built: Sequence[bytes | Attachment],
        poster: Poster,
        claim: Claim | None,
    ) -> Mapping[str, Any]:
        recipients = list(draft.recipients())
        check(self._shared, poster, draft.sender, recipients)
        addresses = [address for _, address in recipients]
        utf8 = draft.is_internationalised
        posting = Posting(self._shared, poster, draft.sender, addresses, smtputf8=utf8)
        try:
            address = counting_key(poster.client)
            for piece in pieces(built):
                await turn_of(self._shared.context.turns, address)
                posting.write(piece)
            return await self._keep(posting, claim)
        finally:
            posting.abort()

    async def _keep(self, posting: Posting, claim: Claim | None) -> Mapping[str, Any]:
        """Commit it, and only then have an answer; that goes on when the client is gone."""
        context = self._shared.context
        envelope, size, committed = posting.commit()
        connection_id = posting.connection_id
        answered: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
        if claim is not None:
            claim.is_committing = True

        def kept(queue_id: str) -> None:
            tell_accepted(context, queue_id, envelope, size, connection_id=connection_id)
            answer = {"id": queue_id, "trace": posting.trace}
            if claim is not None:
                claim.taken(answer)
            if not answered.done():
                answered.set_result(answer)

        def failed(failure: Failure) -> None:
            if claim is not None:
                claim.end()
            error: BaseException = failure.value  # type: ignore[assignment]  # a failure has one
            if isinstance(error, OutboxError):
                error = posting.not_kept(error)
            if not answered.done():
                answered.set_exception(error)

        committed.addCallbacks(kept, failed)
        return await answered


def _read_and_build(file: IO[bytes], token: str) -> tuple[Draft, list[bytes | Attachment]]:
    draft = read_json(file)
    return draft, build(draft, token=token)


async def _in_thread(work: Callable[..., _T], *arguments: Any) -> _T:
    """What a function gives that runs in a thread.

    A thread cannot be stopped: who is cancelled waits for its end all the same, since there is to
    be no more than one.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with suppress(Exception):
            await running
        raise


def _response(request: web.BaseRequest, status: int, answer: Mapping[str, Any]) -> web.Response:
    response = web.json_response(answer, status=status)
    if not request.content.is_eof():
        response.force_close()  # what stands behind it is not read
    return response


def _connection(request: web.BaseRequest) -> HttpConnection:
    """The connection of a request."""
    return cast("HttpConnection", request.protocol)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
