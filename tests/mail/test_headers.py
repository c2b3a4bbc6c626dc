"""The header section that comes in, and the fields that are added."""

import pytest

from netserve.mail.headers import (
    HEADER_TOO_LARGE,
    TOO_MANY_HOPS,
    Head,
    HeadReader,
    date_field,
    finder,
    message_id_field,
    protocol_word,
    received_field,
    received_message,
)
from netserve.testing import cut


def read(pieces: list[bytes], *, size: int = 200, hops: int = 3) -> tuple[bytes, HeadReader]:
    reader = HeadReader(size_limit=size, hop_limit=hops)
    given = b""
    for piece in pieces:
        if reader.head is None and reader.refused is None:
            given += reader.feed(piece)
        elif reader.refused is None:
            given += piece
    if reader.head is None and reader.refused is None:
        given += reader.finish()
    return given, reader


def every_way(data: bytes) -> list[list[bytes]]:
    return [[data], cut(data, range(len(data))), *(cut(data, [at]) for at in range(len(data)))]


@pytest.mark.parametrize(
    ("message", "head"),
    [
        (b"Subject: x\r\n\r\nbody\r\n", Head(0, False, False, True)),
        (b"Date: x\r\nMessage-ID: <y>\r\n\r\nbody\r\n", Head(0, True, True, True)),
        (b"RECEIVED: x\r\nreceived: y\r\nMESSAGE-id: z\r\n\r\n", Head(2, False, True, True)),
        (b"Subject: x\r\n Date: folded\r\n\r\nDate: body\r\n", Head(0, False, False, True)),
        (b"\r\nDate: in the body\r\n", Head(0, False, False, True)),
        (b"Just text\r\nDate: x\r\n\r\nmore\r\n", Head(0, False, False, False)),
        (b"Subject: no body\r\n", Head(0, False, False, True)),
        (b"Received : x\r\nDATE\t: y\r\nMessage-Id  : z\r\n\r\n", Head(1, True, True, True)),
        (b"A: b\r\nno field\r\nDate: x\r\nReceived: y\r\n\r\n", Head(0, False, False, True)),
        (b"A: b\r\n:\r\nDate: x\r\n\r\n", Head(0, False, False, True)),
        (b"A: b\r\n\xc3\xa4: c\r\nDate: x\r\n\r\n", Head(0, False, False, True)),
        (b" Date: x\r\nDate: y\r\n\r\n", Head(0, False, False, False)),
        (b"From root Sat Jan  3 01:05:34 1996\r\nDate: x\r\n\r\n", Head(0, True, False, True)),
        (b">From a\r\n>>From b\r\nDate: x\r\n\r\n", Head(0, True, False, True)),
        (b"From root\r\n\r\nDate: x\r\n", Head(0, False, False, True)),
        (b"From root\r\ntext\r\n", Head(0, False, False, False)),
        (b"From : a@b.test\r\nDate: x\r\n\r\n", Head(0, True, False, True)),
        (b"A: b\r\nFrom root\r\nDate: x\r\n\r\n", Head(0, False, False, True)),
        (b"", Head(0, False, False, False)),
    ],
)
def test_the_head_of_a_message(message: bytes, head: Head) -> None:
    for pieces in every_way(message):
        given, reader = read(pieces)
        assert given == message
        assert reader.head == head, pieces


def test_nothing_is_given_before_the_head_is_there() -> None:
    reader = HeadReader(size_limit=200, hop_limit=3)
    assert reader.feed(b"Subject: x\r\n") == b""
    assert reader.feed(b"To: y\r\n\r\nbody") == b"Subject: x\r\nTo: y\r\n\r\nbody"


def test_a_header_may_have_its_limit_and_no_byte_more() -> None:
    """S8: headers are limited by default."""
    field = b"X: " + b"y" * 195 + b"\r\n\r\n"
    assert read([field])[1].refused is None
    for pieces in every_way(b"X" + field):
        assert read(pieces)[1].refused == HEADER_TOO_LARGE


def test_text_before_any_field_is_no_header_that_is_too_large() -> None:
    """S8: only what may be a field is held until its line ends."""
    assert read([b"A: b\r\n" + b"x" * 300])[1].refused == HEADER_TOO_LARGE
    for pieces in every_way(b"A: b\r\nno field " + b"x" * 300 + b"\r\n"):
        given, reader = read(pieces)
        assert reader.refused is None
        assert len(given) == 317
    assert read([b"x" * 50] * 4 + [b"x", b" \t", b": y\r\n"])[1].refused == HEADER_TOO_LARGE


def test_a_message_in_a_loop_is_refused() -> None:
    """More hops than the limit (RFC 5321, 6.3)."""
    assert read([b"Received: x\r\n" * 3 + b"\r\n"])[1].refused is None
    assert read([b"Received: x\r\n" * 4 + b"\r\n"])[1].refused == TOO_MANY_HOPS


def test_a_spaced_received_counts() -> None:
    """Else two relays could send a message to and fro without end."""
    assert read([b"Received : x\r\nreceived\t: y\r\n" * 2 + b"\r\n"])[1].refused == TOO_MANY_HOPS


UNWANTED = ("bcc", "return-path")


@pytest.mark.parametrize(
    ("message", "kept"),
    [
        (b"Subject: x\r\n\r\nBcc: text\r\n", b"Subject: x\r\n\r\nBcc: text\r\n"),
        (b"Bcc: a\r\nSubject: x\r\n\r\ny\r\n", b"Subject: x\r\n\r\ny\r\n"),
        (b"S: x\r\nBCC :a,\r\n\tb\r\n c\r\nT: y\r\n\r\n", b"S: x\r\nT: y\r\n\r\n"),
        (b"Return-Path: <a>\r\nbcc: b\r\n\r\ny\r\n", b"\r\ny\r\n"),
        (b"Bcc: a\r\n", b"\r\n"),
        (b"X-Bcc: a\r\nBccs: b\r\n bcc: c\r\n\r\n", b"X-Bcc: a\r\nBccs: b\r\n bcc: c\r\n\r\n"),
        (b"S: x\r\nno field\r\nBcc: y\r\n", b"S: x\r\n\r\nno field\r\nBcc: y\r\n"),
        (b"Bcc: x\r\nno field\r\n", b"\r\nno field\r\n"),
        (b"text\r\n\r\nBcc: x\r\n", b"\r\ntext\r\n\r\nBcc: x\r\n"),
        (b"From a Mon\r\nS : x\r\n\r\ny : z\r\n", b"S: x\r\n\r\ny : z\r\n"),
        (b"S \t :x : y\r\n z :\r\nT\t: y\r\n\r\n", b"S:x : y\r\n z :\r\nT: y\r\n\r\n"),
        (b"S: x : y\r\n\r\n", b"S: x : y\r\n\r\n"),
        (b"From a Mon\r\n", b"\r\n"),
        (b"\r\ntext\r\n", b"\r\ntext\r\n"),
        (b"S: x\r\n", b"S: x\r\n"),
        (b"\r\n", b"\r\n"),
    ],
)  # fmt: skip
def test_what_goes_into_the_queue(message: bytes, kept: bytes) -> None:
    """S28: what only the submitting hop should see is removed; text never becomes a header."""
    for pieces in every_way(message):
        reader = HeadReader(size_limit=200, hop_limit=3, unwanted=finder(UNWANTED))
        queued = b""
        for piece in [*pieces, None]:
            if reader.head is not None:
                queued += piece or b""
                continue
            data = reader.finish() if piece is None else reader.feed(piece)
            if reader.head is not None:
                queued += received_message(data, reader.head, b"Added: x\r\n", UNWANTED)
        assert queued == b"Added: x\r\n" + kept, pieces


@pytest.mark.parametrize(
    ("esmtp", "tls", "authenticated", "smtputf8", "word"),
    [
        (False, False, False, False, "SMTP"),
        (True, False, False, False, "ESMTP"),
        (True, True, False, False, "ESMTPS"),
        (True, False, True, False, "ESMTPA"),
        (True, True, True, False, "ESMTPSA"),
        (True, False, False, True, "UTF8SMTP"),
        (True, True, True, True, "UTF8SMTPSA"),
    ],
)
def test_the_word_behind_with(
    esmtp: bool, tls: bool, authenticated: bool, smtputf8: bool, word: str
) -> None:
    assert (
        protocol_word(esmtp=esmtp, tls=tls, authenticated=authenticated, smtputf8=smtputf8) == word
    )


@pytest.mark.parametrize(
    ("client", "origin"),
    [("192.0.2.1", " ([192.0.2.1])"), ("2001:db8::1", " ([IPv6:2001:db8::1])"), ("", "")],
)
def test_received(client: str, origin: str) -> None:
    field = received_field(
        helo="client.test",
        client=client,
        hostname="mx.test",
        word="ESMTPS",
        queue_id="Q1",
        recipient="a@b.test",
        when=1_700_000_000.9,
    )
    assert field.decode() == (
        f"Received: from client.test{origin}\r\n"
        "\tby mx.test (netserve) with ESMTPS id Q1\r\n"
        "\tfor <a@b.test>;\r\n"
        "\tTue, 14 Nov 2023 22:13:20 +0000\r\n"
    )


@pytest.mark.parametrize(
    ("recipient", "told"),
    [("a@bücher.example", b"\tfor <a@xn--bcher-kva.example>;\r\n"), ("ü@x.example", b"Q1;\r\n")],
)
def test_an_internationalised_recipient_leaves_the_header_ascii(
    recipient: str, told: bytes
) -> None:
    """A server without SMTPUTF8 may be next."""
    field = received_field(
        helo="c.test",
        client="",
        hostname="mx.test",
        word="UTF8SMTP",
        queue_id="Q1",
        recipient=recipient,
        when=0,
    )
    assert field.isascii()
    assert told in field


def test_recipients_do_not_learn_of_each_other() -> None:
    field = received_field(
        helo="x", client="", hostname="mx.test", word="SMTP", queue_id="Q", recipient="", when=0
    )
    assert b"for" not in field


def test_fields_that_submission_adds() -> None:
    assert date_field(0) == b"Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
    assert message_id_field("Q1", "mx.test") == b"Message-ID: <Q1@mx.test>\r\n"
