"""8-bit mail becomes 7-bit mail that says the same, as Python's own mail parser reads it."""

from __future__ import annotations

import email
import email.message
import re
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.fields import fields_of, head_size, join_fields
from netserve.mail.lines import has_long_line
from netserve.mail.seven_bit.conversion import Converter
from netserve.mail.seven_bit.plan import Scan
from netserve.mail.seven_bit.structure import DEEPEST, LARGEST_HEADER, MOST_PARTS
from netserve.testing import chunkings, cut


def scan(message: bytes, pieces: list[bytes] | None = None) -> Scan:
    size = head_size(message)
    scanned = Scan(fields_of(message[:size]))
    for piece in [message[size:]] if pieces is None else pieces:
        scanned.feed(piece)
    scanned.finish()
    return scanned


def convert(message: bytes, pieces: list[bytes] | None = None, *, narrow: bool = True) -> bytes:
    scanned = scan(message, pieces)
    assert not narrow or scanned.obstacle == ""
    size = head_size(message)
    fields = fields_of(message[:size])
    plan = scanned.plan(narrow=narrow)
    converter = Converter(plan, fields)
    body = b"".join(
        [converter.feed(piece) for piece in ([message[size:]] if pieces is None else pieces)]
    )
    return join_fields(plan.header(0, fields)) + b"\r\n" + body + converter.finish()


def contents(message: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded content of each leaf."""
    return [
        (part.get_content_type(), content(part))
        for part in email.message_from_bytes(message).walk()
        if not part.is_multipart()
    ]


def content(part: Message) -> bytes:
    # Python takes the CRLF before a delimiter for LF, and lines likewise.
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    return payload.replace(b"\r\n", b"\n").rstrip(b"\n")


TEXT = "Grüße, Ада\r\n"
MIXED = (
    "From: a@b\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n"
    'Content-Type: multipart/mixed; boundary="=_a b"\r\n\r\n'
    "Preamble\r\n"
    "--=_a b\r\n\r\n"
    "no header: ä\r\n"
    "--=_a b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "<p>ü = 3 \t\r\n.\r\n\r\n"
    "--=_a b \t\r\nContent-Type: application/json\r\nContent-Disposition: attachment\r\n\r\n"
    '{"ö": 1}\r\n'
    "--=_a b\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: BINARY\r\n\r\n"
    "plain\r\n--=_a bc\r\n-\r\n"
    "--=_a b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "JVBERi0=\r\n"
    "--=_a b--\r\nEpilogue\r\n"
).encode()


def test_a_text() -> None:
    message = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + TEXT.encode()
    assert convert(message) == (
        b"Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"Gr=C3=BC=C3=9Fe, =D0=90=D0=B4=D0=B0\r\n"
    )


def test_parts() -> None:
    converted = convert(MIXED)
    assert converted.isascii()
    assert contents(converted) == contents(MIXED)
    encodings = re.findall(rb"Content-Transfer-Encoding: (\S+)", converted)
    assert encodings == [b"7bit", b"quoted-printable", b"quoted-printable", b"base64", b"7bit",
                         b"base64"]  # fmt: skip
    assert b"\r\nPreamble\r\n" in converted
    assert converted.endswith(b"--=_a b--\r\nEpilogue\r\n")
    assert b"plain\r\n--=_a bc\r\n-\r\n--=_a b\r\n" in converted


@pytest.mark.parametrize(
    ("body", "charset"),
    [(TEXT.encode(), b"utf-8"), (b"Gr\xfc\xdfe\r\n", b"unknown-8bit"), (b"\xc3", b"unknown-8bit")],
)
def test_a_text_that_does_not_say_what_it_is(body: bytes, charset: bytes) -> None:
    converted = convert(b"Subject: x\r\n\r\n" + body)
    assert (b"Content-Type: text/plain; charset=" + charset + b"\r\n") in converted
    assert b"MIME-Version: 1.0\r\n" in converted
    (found,) = contents(converted)
    assert found[1] == body.replace(b"\r\n", b"\n").rstrip(b"\n")


NESTED = (
    "Content-Type: multipart/digest; boundary=d\r\n\r\n"
    "--d\r\n\r\n"
    "Subject: of the inner one\r\nContent-Type: multipart/mixed; boundary=e\r\n\r\n"
    "--e\r\n\r\nä\r\n--e--\r\n\r\n"
    "--d\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    "Subject: second\r\n\r\nö\r\n"
    "--d\r\nContent-Type: message/global\r\n\r\n"
    "Subject: für Ähnliches\r\n\r\nü\r\n"
    "--d--\r\n"
).encode()


def test_messages_inside_of_messages() -> None:
    converted = convert(NESTED)
    assert converted.isascii()
    assert (
        b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nSubject: second\r\n" in converted
    )
    assert b"message/global\r\nContent-Transfer-Encoding: base64\r\n\r\n" in converted
    assert converted.count(b"quoted-printable") == 2
    encoded = b"\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n=C3=B6"
    assert b"Subject: second" + encoded in converted


SIGNED = (
    b"Content-Type: multipart/mixed; boundary=m\r\n\r\n"
    b"--m\r\nContent-Type: multipart/signed; boundary=s; protocol=x\r\n\r\n"
    b"--s\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: 8bit\r\n\r\n%s\r\n"
    b"--s\r\nContent-Type: application/pgp-signature\r\n\r\nxyz\r\n--s--\r\n"
    b"--m\r\nContent-Type: text/plain\r\n\r\n%s\r\n--m--\r\n"
)


def test_what_is_signed_stays_where_it_can() -> None:
    message = SIGNED % (b"plain", b"\xc3\xa4")
    converted = convert(message)
    assert message.partition(b"--s--")[0].partition(b"\r\n\r\n")[2] in converted
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=A4\r\n--m--" in converted


def deep(count: int) -> bytes:
    begin = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at)
        for at in range(count)
    )
    return begin + b"\r\n\xff\r\n"


@pytest.mark.parametrize(
    ("message", "obstacle"),
    [
        (SIGNED % (b"\xff", b""), "a part of it is signed or encrypted, and 8-bit"),
        (SIGNED.replace(b"signed", b"encrypted") % (b"\xff", b""), "signed or encrypted"),
        (
            b"Content-Type: application/x\r\nContent-Transfer-Encoding: base64\r\n\r\n\xff\r\n",
            "a part of it is 8-bit that may not be, of type application/x",
        ),
        (b"Content-Transfer-Encoding: x-uue\r\n\r\n\xff\r\n", "of type text/plain"),
        (b"Content-Type: message/partial\r\n\r\n\xff\r\n", "of type message/partial"),
        (b"Content-Type: multipart/mixed\r\n\r\n\xff\r\n", "of type multipart/mixed"),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xff\r\n--b\r\n\r\nx\r\n",
            "8-bit text stands outside of its parts",
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xff\r\n\r\nx\r\n",
            "the header of a part is 8-bit",
        ),
        (deep(DEEPEST + 1), "the parts of the message are too deep"),
        (
            b"Content-Type: multipart/x; boundary=b\r\n\r\n" + b"--b\r\n\r\n" * (MOST_PARTS + 1),
            "the message has too many parts",
        ),
        (
            b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" + b"x:\r\n" * LARGEST_HEADER,
            "the header of a part is too large",
        ),
        (
            b"Content-Type: multipart/x; boundary=b\r\n\r\n--b\r\n" + b"x" * (LARGEST_HEADER + 1),
            "the header of a part is too large",
        ),
    ],
)  # fmt: skip
def test_what_is_not_converted(message: bytes, obstacle: str) -> None:
    """S8: depth, parts and headers are limited; nothing is guessed about what may not change."""
    assert obstacle in scan(message).obstacle


def test_the_limits_are_reached_without_harm() -> None:
    assert convert(deep(DEEPEST)).isascii()
    many = b"Content-Type: multipart/x; boundary=b\r\n\r\n" + b"--b\r\n\r\n\xff\r\n" * MOST_PARTS
    assert convert(many).isascii()


def test_what_is_seen_in_a_scan() -> None:
    assert not scan(b"Content-Transfer-Encoding: 8bit\r\n\r\nplain\r\n").eight_bit
    assert scan(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\xff\r\n").eight_bit
    wide = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xff\r\n\r\nx\r\n"
    assert scan(wide).wide_header


def test_a_line_without_end_is_converted_in_pieces() -> None:
    """S8: 4 MiB without a line end, in text and in base64."""
    for kind in (b"text/plain; charset=utf-8", b"image/x"):
        line = ("ä bc" * 256 * 1024).encode()
        message = b"Content-Type: " + kind + b"\r\n\r\n" + line + b"\r\n"
        size = head_size(message)
        pieces = [message[at : at + 65536] for at in range(size, len(message), 65536)]
        converted = convert(message, pieces)
        assert contents(converted) == contents(message)
        assert max(map(len, converted.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 76


# Lines that are too long.

LONG = b"word " * 300
QP = b"Content-Transfer-Encoding: Quoted-Printable\r\n"
LONG_PARTS = b"\r\n--b\r\n".join(
    (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + LONG,
        b"Content-Type: text/html; charset=utf-8\r\nX: " + LONG + b"\r\n\r\n<p>\xc3\xa4" + LONG,
        b"Content-Type: application/json\r\n\r\n{" + LONG + b"}",
        b"Content-Transfer-Encoding: base64\r\nContent-Type: image/x\r\n\r\n" + b"QUJD" * 1000,
        QP + b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + b"=C3=A4-" * 400,
        b"Content-Type: message/rfc822\r\n\r\nSubject: " + LONG + b"\r\n\r\n" + LONG,
        b"Content-Type: text/plain\r\n\r\nshort\xc3\xa4 \r\n--b--\r\n" + LONG + b"\r\n",
    )
)


@pytest.mark.parametrize("narrow", [True, False])
def test_long_lines_of_every_kind(narrow: bool) -> None:
    """S28: encoded, cut or folded, and the leaves say the same."""
    if narrow:
        message = LONG_PARTS
    else:
        message = LONG_PARTS.replace(b"short", b"short \xff")
    converted = convert(message, narrow=narrow)
    assert not has_long_line(converted)
    assert contents(converted) == contents(message)
    encodings = re.findall(rb"Content-Transfer-Encoding: (\S+)", converted)
    assert encodings[:4] == [b"quoted-printable", b"base64", b"base64", b"Quoted-Printable"]
    assert converted.isascii() is narrow
    assert (b"short \xff\xc3\xa4 \r\n" in converted) is not narrow


def test_a_long_text_without_a_type() -> None:
    (found,) = contents(convert(b"Subject: x\r\n\r\n" + b"x" * 5000 + b"\r\n", narrow=False))
    assert found == ("text/plain", b"x" * 5000)


@pytest.mark.parametrize(
    ("message", "obstacle"),
    [
        (SIGNED % (LONG, b""), "a part of it is signed or encrypted"),
        (SIGNED.replace(b"xyz", LONG) % (b"", b""), "a part of it is signed or encrypted"),
        (SIGNED.replace(b"--s\r\n", LONG + b"\r\n--s\r\n", 1) % (b"", b""), ""),
        (
            SIGNED.replace(b"pgp-signature", b"x\r\nX: " + LONG) % (b"", b""),
            "a part of it is signed or encrypted",
        ),
        (b"Content-Transfer-Encoding: x-uue\r\n\r\n" + LONG + b"\r\n", "is not known"),
        (b"Content-Type: message/delivery-status\r\n\r\nX: " + LONG + b"\r\n", ""),
        (b"Content-Type: multipart/mixed\r\n\r\n" + LONG + b"\r\n", ""),
        (deep(DEEPEST + 1), "too deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_shorter(message: bytes, obstacle: str) -> None:
    scanned = scan(message)
    assert obstacle in scanned.long_obstacle
    if not obstacle:
        assert scanned.long_obstacle == ""
        assert scanned.long_lines
        assert not has_long_line(convert(message, narrow=False))


@pytest.mark.parametrize("encoding", [b"", b"Content-Transfer-Encoding: quoted-printable\r\n"])
def test_a_line_does_not_become_a_delimiter(encoding: bytes) -> None:
    """Whoever writes a text cannot have us make parts of it that a filter before us did not see."""
    for before in range(60, 80):
        text = (
            b"x" * before + b"--b" + b"y" * 1000 + b"--b\r\n" + b"x" * (988 + before) + b"--b\r\n"
        )
        message = (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
            b"Content-Type: text/plain\r\n" + encoding + b"\r\n" + text + b"--b--\r\n"
        )
        converted = convert(message, narrow=False)
        assert not has_long_line(converted)
        assert contents(converted) == contents(message)


@pytest.mark.parametrize("length", [4094, 4095, 4096, 4097, 4098, 8191, 8192, 8193])
def test_a_long_line_is_the_same_in_any_pieces(length: int) -> None:
    """Its size is told, and its hash signed, before it is sent in pieces of another size."""
    head = b"Content-Type: text/plain; charset=utf-8\r\n\r\n"
    body = ("ä- =" * 4096)[: length - 1].encode()[:length] + b"x\r\nend \r\n"
    converted = convert(head + body)
    assert contents(converted) == contents(head + body)
    for ends in ([1], [length - 1], [length], [4096], [4097, 8192], range(0, length, 100)):
        assert convert(head + body, cut(body, ends)) == converted


# Properties.

PIECES = st.sampled_from(
    [b"--b", b"--b--", b"--c", b"--c--", b"--b ", b"-", b"", b".", b" ", b"x=y \t", b"\xff\xfe",
     "ä".encode() * 60, b"x" * 80, b"Content-Type: text/plain", b"Content-Type: image/x",
     b"Content-Type: multipart/mixed; boundary=c", b"Content-Type: message/rfc822",
     b"Content-Transfer-Encoding: 8bit", b"X: folded", b"\tmore", b"x --b" * 300,
     b"X: " + b"y" * 1500]
)  # fmt: skip
BODIES = st.lists(PIECES, max_size=20).map(lambda lines: b"\r\n".join([*lines, b""]))
HEADS = st.sampled_from(
    [b"Content-Type: multipart/mixed; boundary=b\r\n\r\n", b"Subject: x\r\n\r\n",
     b"Content-Type: image/x\r\n\r\n", b"Content-Type: multipart/digest; boundary=b\r\n\r\n"]
)  # fmt: skip


@given(HEADS, BODIES, st.data())
def test_any_body_in_any_pieces(head: bytes, body: bytes, cuts: st.DataObject) -> None:
    """No 8-bit byte is left, the leaves say the same, and pieces do not matter."""
    message = head + body
    if scan(message).obstacle:
        return
    converted = convert(message)
    assert converted.isascii()
    if not scan(message).long_obstacle:
        assert not has_long_line(converted)
    assert convert(message, cuts.draw(chunkings(body))) == converted
    if not has_long_line(message):
        assert contents(converted) == contents(message)
        return
    # A line of a preamble, or of a header of a part, goes on with a space where it was cut.
    seen, wanted = (
        [(kind, b"".join(text.split())) for kind, text in contents(each)]
        for each in (converted, message)
    )
    assert seen == wanted
