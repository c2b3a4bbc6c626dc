"""What has to be done to a message so that it has no 8-bit bytes, or why that can't be done.

A leaf with 8-bit bytes is encoded: text as quoted-printable, all else as base64. Where 8-bit bytes
were only announced, the label is corrected. Everything else stays as it is, byte for byte.

Not converted are headers of parts and what stands between parts, which have no encoding; parts that
already have one, since what is wrong in them is not ours to guess; and what is inside of
multipart/signed and multipart/encrypted: the signature would be broken, and who signs mail is to
send it in 7-bit form (RFC 1847, 2.1).
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from netserve.mail.fields import HeaderField, make_field
from netserve.mail.seven_bit.structure import Entity, TooComplex, Walker

_WIDE: Final = frozenset({b"8bit", b"binary"})
_RIGID: Final = frozenset(
    {b"message/partial", b"message/external-body", b"message/delivery-status"}
    | {b"message/disposition-notification"}
)
"""Types that may have no encoding, by their standards."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Arguments:
        encodings: by the number of an entity its new Content-Transfer-Encoding.
        charset: for a message that says nothing of its type; empty where it does.
        inner: the numbers of messages inside of this one.
    """

    encodings: Mapping[int, bytes]
    charset: bytes = b""
    inner: Collection[int] = ()

    def header(self, number: int, fields: Sequence[HeaderField]) -> Sequence[HeaderField]:
        """The header of an entity as it is to be; the same fields where nothing changes."""
        encoding = self.encodings.get(number)
        if encoding is None:
            return fields
        kept = [each for each in fields if each.name != "content-transfer-encoding"]
        names = {each.name for each in kept}
        # Without it an encoding means nothing, also in a message inside of another (RFC 2045, 4).
        if (number == 0 or number in self.inner) and "mime-version" not in names:
            kept.append(make_field("MIME-Version", b"1.0"))
        if number == 0 and self.charset:
            kept.append(make_field("Content-Type", b"text/plain; charset=" + self.charset))
        kept.append(make_field("Content-Transfer-Encoding", encoding))
        return kept


class Scan:
    """Looks through the body of a message, once.

    Arguments:
        fields: of its header.
    """

    __slots__ = ("_charset", "_found", "_walker", "eight_bit")

    eight_bit: bool
    """Whether an 8-bit byte has come."""

    def __init__(self, fields: Sequence[HeaderField]) -> None:
        self.eight_bit = False
        self._found = _Found()
        self._charset = _Charset() if "content-type" not in {each.name for each in fields} else None
        self._walker: Walker | None = None
        try:
            self._walker = Walker(fields, self._found)
        except TooComplex as error:
            self._give_up(error)
        else:
            self._found.begin(self._walker.top)

    def feed(self, data: bytes) -> None:
        """Take the next chunk of the body."""
        self.eight_bit = self.eight_bit or not data.isascii()
        if self._charset is not None:
            self._charset.feed(data)
        if self._walker is not None:
            try:
                self._walker.feed(data)
            except TooComplex as error:
                self._give_up(error)

    def finish(self) -> None:
        """The body is over: the properties below are final now."""
        if self._walker is not None:
            try:
                self._walker.finish()
            except TooComplex as error:
                self._give_up(error)

    @property
    def wide_header(self) -> bool:
        """Whether the header of a part has 8-bit bytes (RFC 6532)."""
        return self._found.wide_header

    @property
    def obstacle(self) -> str:
        """Why the message can't be converted, or an empty string."""
        return self._found.obstacle

    def plan(self) -> Plan:
        """How it is converted, where there is no obstacle."""
        charset = b"" if self._charset is None else self._charset.name()
        return Plan(self._found.encodings, charset, self._found.inner)

    def _give_up(self, error: TooComplex) -> None:
        self._walker = None
        self._found.hinder(str(error))


class _Found:
    """What the walker has told so far."""

    __slots__ = ("_entity", "encodings", "inner", "obstacle", "wide_header")

    def __init__(self) -> None:
        self.encodings: dict[int, bytes] = {}
        self.inner: set[int] = set()
        self.wide_header = False
        self.obstacle = ""
        self._entity: Entity | None = None

    def hinder(self, why: str) -> None:
        """The message can't be converted; the first reason counts."""
        self.obstacle = self.obstacle or why

    def begin(self, entity: Entity) -> None:
        """Content that comes now is of this entity."""
        self._entity = entity
        if entity.encoding in _WIDE and not entity.sealed:
            self.encodings[entity.number] = b"7bit"

    def part(self, entity: Entity, fields: Sequence[HeaderField], end: bytes | None) -> None:
        if self._entity is not None and self._entity.kind == "message":
            self.inner.add(entity.number)
        self.begin(entity)
        if not all(each.raw.isascii() for each in fields):
            self.wide_header = True
            self.hinder("the header of a part is 8-bit")

    def content(self, data: bytes) -> None:
        entity = self._entity
        if entity is None or data.isascii():
            return
        if entity.sealed:
            self.hinder("a part of it is signed or encrypted, and 8-bit")
        elif entity.is_encoded or entity.type in _RIGID or entity.type.startswith(b"multipart/"):
            self.hinder(f"a part of it is 8-bit that may not be, of type {_word(entity.type)}")
        else:
            text = entity.type.startswith(b"text/")
            self.encodings[entity.number] = b"quoted-printable" if text else b"base64"

    def content_ends(self, *, cut: bool) -> None:
        """Nothing is to be noted."""

    def between(self, data: bytes) -> None:
        if not data.isascii():
            self.hinder("8-bit text stands outside of its parts")


class _Charset:
    """Guesses the charset of a text that does not name it: UTF-8 is hardly ever met by chance."""

    __slots__ = ("_decoder", "_is_utf8")

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_utf8 = True

    def feed(self, data: bytes, *, final: bool = False) -> None:
        """Take a piece of the text."""
        if self._is_utf8:
            try:
                self._decoder.decode(data, final)
            except UnicodeDecodeError:
                self._is_utf8 = False

    def name(self) -> bytes:
        """The charset, where the text is over; see RFC 1428, 3, for the other one."""
        self.feed(b"", final=True)
        return b"utf-8" if self._is_utf8 else b"unknown-8bit"


def _word(media: bytes) -> str:
    return media[:80].decode("ascii", "replace")
