"""Large and small messages on their way through a preparation."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock

from netserve.mail.client.extensions import Extensions
from netserve.mail.envelope import Reply
from netserve.mail.fields import fields_of
from netserve.mail.outgoing import LARGEST_HEADER, Changes
from netserve.mail.queued import QueuedMessage, QueuedRecipient
from netserve.mail.rewriting import Rewriting
from netserve.mail.seven_bit.conversion import Converter
from netserve.mail.seven_bit.plan import Plan
from netserve.protocols.smtp_relay.delivery.smtp.preparing import (
    CHUNK,
    Preparation,
    Prepared,
    PreparedBody,
    Preparer,
)

reactor: Any = _reactor
ALL = Extensions(eight_bit=True, smtputf8=True)
REWRITES = Changes(Rewriting(author="me@example.org"))
TO = [QueuedRecipient(0, "r@example.net")]


def queued(text: bytes, opens: Callable[[], Any] | None = None, **options: Any) -> QueuedMessage:
    values: dict[str, Any] = {
        "id": "Q1",
        "number": 1,
        "service": "mail",
        "created": 1.0,
        "sender": "s@example.org",
        "size": len(text),
        "tasks": 1,
        "open_body": opens or (lambda: io.BytesIO(text)),
    }
    return QueuedMessage(**(values | options))


def preparation(changes: Changes | None, server: Extensions) -> Preparation:
    made = Preparer(changes, wall=lambda: 0.0, reactor=reactor).for_server(server)
    assert made is not None
    return made


async def prepared(
    message: QueuedMessage, changes: Changes | None, server: Extensions, *, small: bool
) -> Prepared | Reply:
    reader = message.body()
    body = reader.read() if small else None
    reader.close()
    made = preparation(changes, server)
    result: Prepared | Reply = await maybeDeferred(made.prepare, message, TO, body)
    return result


def test_nothing_is_prepared_where_nothing_is_to_be_done() -> None:
    preparer = Preparer(None, wall=lambda: 0.0, reactor=Clock())
    assert preparer.for_server(ALL) is None
    assert preparer.for_server(Extensions(smtputf8=True)) is not None
    assert Preparer(REWRITES, wall=lambda: 0.0, reactor=Clock()).for_server(ALL) is not None


@pytest_twisted.ensureDeferred
async def test_what_fits_goes_as_it_is() -> None:
    message = queued(b"Subject: x\r\n\r\nx\r\n")
    made = preparation(None, Extensions()).prepare(message, TO, b"all of it")
    assert isinstance(made, Prepared)
    assert (made.envelope, made.recipients, made.body) == (message, TO, b"all of it")


HEADS = [
    b"From: a@lan\r\n\r\n",
    b"From: a@lan\r\nX: " + b"y" * CHUNK + b"\r\n\r\n",  # longer than a chunk
    b"From: a@lan\r\nX: " + b"y" * (CHUNK - 19) + b"\r\n\r\n",  # its end is a chunk's end
    b"From: a@lan\r\nX: " + b"y" * (CHUNK - 20) + b"\r\n\r\n",
    b"From: a@lan\r\nX: " + b"y" * (CHUNK - 18) + b"\r\n\r\n",
    b"\r\n",
    b"From: a@lan\r\n",  # all there is
]


@pytest.mark.parametrize("head", HEADS, ids=range(len(HEADS)))
@pytest_twisted.ensureDeferred
async def test_large_and_small_bodies_become_the_same(head: bytes) -> None:
    body = b"" if head == HEADS[-1] else b"line\r\n" * 50_000
    message = queued(head + body)
    small = await prepared(message, REWRITES, ALL, small=True)
    large = await prepared(message, REWRITES, ALL, small=False)
    assert isinstance(small, Prepared)
    assert isinstance(large, Prepared)
    reader = large.open_body()
    pieces = []
    while piece := reader.read(CHUNK):
        assert len(piece) <= CHUNK
        pieces.append(piece)
    reader.close()
    assert b"".join(pieces) == small.body
    assert large.size == small.size == len(small.body or b"")


@pytest_twisted.ensureDeferred
async def test_a_header_that_is_too_large() -> None:
    """S8: a header that is changed is held in memory, so it has a limit."""
    for length, fits in ((LARGEST_HEADER - 40, True), (LARGEST_HEADER + 1, False)):
        message = queued(b"From: a@lan\r\nX: " + b"y" * length + b"\r\n\r\nbody\r\n")
        result = await prepared(message, REWRITES, ALL, small=False)
        if fits:
            assert isinstance(result, Prepared)
        else:
            assert isinstance(result, Reply)
            assert (result.code, result.status) == (552, "5.3.4")


@pytest_twisted.ensureDeferred
async def test_7_bit_mail_that_was_said_to_be_8_bit_is_sent_when_it_is_large() -> None:
    text = b"Subject: x\r\n\r\n" + b"plain\r\n" * 50_000
    message = queued(text, body_type="8BITMIME")
    result = await prepared(message, None, Extensions(), small=False)
    assert isinstance(result, Prepared)
    assert result.envelope.body_type == "7BIT"
    assert result.open_body().read() == text
    assert result.size == len(text)


@pytest_twisted.ensureDeferred
async def test_a_body_that_can_not_be_read_any_further() -> None:
    closed = []

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                raise OSError(5, "Input/output error")
            return super().read(size)

        def close(self) -> None:
            closed.append(self)
            super().close()

    text = b"Subject: x\r\n\r\n" + b"plain\r\n" * 50_000
    message = queued(text, lambda: Broken(text), body_type="8BITMIME")
    with pytest.raises(OSError, match="Input/output error"):
        await prepared(message, None, Extensions(), small=False)
    assert len(closed) == 3  # by us above, behind the header, and in the pass


@pytest_twisted.ensureDeferred
async def test_a_preparation_that_is_given_up_lets_the_body_go() -> None:
    opened: list[io.BytesIO] = []
    text = b"Subject: x\r\n\r\n" + b"plain\r\n" * 50_000

    def opens() -> io.BytesIO:
        opened.append(io.BytesIO(text))
        return opened[-1]

    message = queued(text, opens, body_type="8BITMIME")
    made = preparation(None, Extensions()).prepare(message, TO, None)
    assert isinstance(made, Deferred)
    made.addErrback(lambda _: None)
    made.cancel()
    assert [each.closed for each in opened] == [True, True]


@given(
    st.binary(max_size=300),
    st.binary(max_size=50),
    st.integers(1, 50),
    st.booleans(),
)
def test_a_prepared_body_in_any_pieces(body: bytes, head: bytes, size: int, convert: bool) -> None:
    old = b"old head\r\n\r\n"
    converter = None
    if convert:
        body = body.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        converter = Converter(Plan({0: b"base64"}), fields_of(b"Content-Type: image/x\r\n"))
    whole = PreparedBody(io.BytesIO(old + body), len(old), head, converter)
    expected = whole.read()
    if not convert:
        assert expected == head + body
        return
    again = Converter(Plan({0: b"base64"}), fields_of(b"Content-Type: image/x\r\n"))
    pieces = PreparedBody(io.BytesIO(old + body), len(old), head, again)
    found = []
    while piece := pieces.read(size):
        assert len(piece) <= size
        found.append(piece)
    assert b"".join(found) == expected
