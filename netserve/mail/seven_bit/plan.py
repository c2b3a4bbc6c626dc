"""What has to be done to a message so that it has no 8-bit bytes, or no lines of more than 998
octets, or why that can't be done.

A leaf with 8-bit bytes, or with such a line, is encoded: text as quoted-printable, all else as
base64. Where 8-bit bytes were only announced, the label is corrected. A leaf that has an encoding
already is cut to shorter lines by the rules of that encoding; a header of a part is folded, and
what stands between parts is cut. Everything else stays as it is, byte for byte.

Not converted to 7-bit are headers of parts and what stands between parts, which have no encoding,
and parts that already have one, since what is wrong in them is not ours to guess. Nothing is
changed inside of multipart/signed and multipart/encrypted: the signature would be broken, and a
program that signs mail is to send it in 7-bit form, in short lines (RFC 1847, 2.1). A message
inside of the message that has such an obstacle in it is encoded as a whole, as a message/global,
which may be (RFC 6532, 3.7); that takes another look at the body (`scanning`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeGuard

from netserve.mail.fields import HeaderField, make_field
from netserve.mail.folding import Kind
from netserve.mail.lines import LONGEST_WITH_END, has_long_line, measure
from netserve.mail.seven_bit.structure import Entity, TooComplex, Walker

_WIDE: Final = frozenset({b"8bit", b"binary"})
_RIGID: Final = frozenset(
    {b"message/partial", b"message/external-body", b"message/delivery-status"}
    | {b"message/disposition-notification"}
)
"""Types that may have no encoding, by their standards."""
_CUTTABLE: Final[Mapping[bytes, Kind]] = {
    b"base64": "base64",
    b"quoted-printable": "quoted-printable",
}
"""Encodings whose lines may be cut without a change of the content."""
_MOST_SCANS: Final = 4
_SEALED: Final = "a part of it is signed or encrypted"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done.

    Arguments:
        encodings: by the number of an entity its new Content-Transfer-Encoding.
        charset: for a message that says nothing of its type; empty where it does.
        inner: the numbers of messages inside of this one.
        cuts: by the number of an entity how its long lines are cut.
        opaque: the numbers of messages inside of this one that are encoded as a whole.
        folds: whether headers of parts, and what stands between parts, may have long lines.
    """

    encodings: Mapping[int, bytes]
    charset: bytes = b""
    inner: Collection[int] = ()
    cuts: Mapping[int, Kind] = field(default_factory=dict)
    opaque: Collection[int] = ()
    folds: bool = False

    def header(self, number: int, fields: Sequence[HeaderField]) -> Sequence[HeaderField]:
        """The header of an entity as it is to be; the same fields where nothing changes."""
        encoding = self.encodings.get(number)
        if encoding is None:
            return fields
        kept = [each for each in fields if each.name != "content-transfer-encoding"]
        if number in self.opaque:
            kept = [each for each in kept if each.name != "content-type"]
            kept.append(make_field("Content-Type", b"message/global"))
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
        opaque: the numbers of messages inside of it that are to be encoded as a whole.
    """

    __slots__ = ("_charset", "_found", "_opaque", "_walker", "eight_bit")

    eight_bit: bool
    """Whether an 8-bit byte has come."""

    def __init__(self, fields: Sequence[HeaderField], opaque: frozenset[int] = frozenset()) -> None:
        self.eight_bit = False
        self._opaque = opaque
        self._found = _Found()
        self._charset = _Charset() if "content-type" not in {each.name for each in fields} else None
        self._walker: Walker | None = None
        try:
            self._walker = Walker(fields, self._found, opaque)
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
    def long_lines(self) -> bool:
        """Whether a line of more than 998 octets has been seen."""
        return self._found.long_lines

    @property
    def obstacle(self) -> str:
        """Why the message can't be converted to 7-bit, or an empty string."""
        return self._found.wide_obstacle

    @property
    def long_obstacle(self) -> str:
        """Why its long lines can't be made shorter, or an empty string."""
        return self._found.long_obstacle

    def stays_wide(self, plan: Plan | None) -> bool:
        """Whether 8-bit bytes are left when the plan, if there is one, has been carried out."""
        found = self._found
        if plan is None or found.wide_obstacle:
            return self.eight_bit
        return not found.wide.keys() <= plan.encodings.keys()

    def plan(self, *, narrow: bool = True) -> Plan:
        """How it is converted, where there is no obstacle: long lines in any case.

        Arguments:
            narrow: to 7-bit as well.
        """
        found = self._found
        charset = b"" if self._charset is None else self._charset.name()
        encodings = found.long if not narrow else found.labels | found.wide | found.long
        opaque = self._opaque & encodings.keys()
        return Plan(encodings, charset, found.inner, found.cuts, opaque, found.long_lines)

    def opaque(self, *, narrow: bool) -> frozenset[int]:
        """Messages inside of this one that have an obstacle in them, and should be opaque.

        Arguments:
            narrow: it is converted to 7-bit.
        """
        found = self._found
        return frozenset(found.long_messages | (found.wide_messages if narrow else set()))

    def _give_up(self, error: TooComplex) -> None:
        self._walker = None
        self._found.give_up(str(error))


def scanning(
    fields: Sequence[HeaderField], *, narrow: bool
) -> Generator[Callable[[bytes], object], None, Scan]:
    """Looks through a body as often as it takes to know how it can be converted.

    Each item is to be fed the whole body before the next one is asked for; the scan is returned.

    Arguments:
        fields: of the message's header.
        narrow: it is to be converted to 7-bit, if it has 8-bit bytes.
    """
    opaque: frozenset[int] = frozenset()
    for _ in range(_MOST_SCANS):
        scan = Scan(fields, opaque)
        yield scan.feed
        scan.finish()
        found = scan.opaque(narrow=narrow)
        if found <= opaque:
            break
        opaque |= found
    return scan


class _Found:
    """What the walker has told so far."""

    __slots__ = (
        "_column", "_entity", "_sealed_messages", "cuts", "inner", "labels", "long", "long_lines",
        "long_messages", "long_obstacle", "wide", "wide_header", "wide_messages", "wide_obstacle",
    )  # fmt: skip

    def __init__(self) -> None:
        self.labels: dict[int, bytes] = {}
        "By entity, the label of one that only announces 8-bit bytes."
        self.wide: dict[int, bytes] = {}
        "By entity, the encoding of one that has 8-bit bytes."
        self.long: dict[int, bytes] = {}
        "By entity, the encoding of one that has long lines."
        self.cuts: dict[int, Kind] = {}
        self.inner: set[int] = set()
        self.wide_header = False
        self.long_lines = False
        self.wide_obstacle = ""
        self.long_obstacle = ""
        self.wide_messages: set[int] = set()
        "Messages inside of this one that can't be converted to 7-bit but as a whole."
        self.long_messages: set[int] = set()
        self._sealed_messages: set[int] = set()
        self._entity: Entity | None = None
        self._column = 0

    def give_up(self, why: str) -> None:
        """The message can't be converted at all; what else it has in it is not known."""
        self._hinder(why)
        self._hinder_long(why)

    def _hinder(self, why: str, entity: Entity | None = None) -> None:
        """The message can't be converted to 7-bit; the first reason counts.

        Arguments:
            why: in words.
            entity: in which that is, if it is in one.
        """
        if self._is_in_message(entity):
            self.wide_messages.add(entity.message)
        self.wide_obstacle = self.wide_obstacle or why

    def _hinder_long(self, why: str, entity: Entity | None = None) -> None:
        if self._is_in_message(entity):
            self.long_messages.add(entity.message)
        self.long_obstacle = self.long_obstacle or why

    def _is_in_message(self, entity: Entity | None) -> TypeGuard[Entity]:
        """Whether something is in a message inside of this one, which may be encoded."""
        if entity is None or not entity.message:
            return False
        return entity.message not in self._sealed_messages

    def begin(self, entity: Entity) -> None:
        """Content that comes now is of this entity."""
        self._entity = entity
        self._column = 0
        if entity.encoding in _WIDE and not entity.sealed:
            self.labels[entity.number] = b"7bit"

    def part(self, entity: Entity, fields: Sequence[HeaderField], end: bytes | None) -> None:
        if self._entity is not None and self._entity.kind == "message":
            self.inner.add(entity.number)
        self.begin(entity)
        if entity.kind == "message" and entity.sealed:
            self._sealed_messages.add(entity.number)
        if not all(each.raw.isascii() for each in fields):
            self.wide_header = True
            self._hinder("the header of a part is 8-bit", entity)
        if any(has_long_line(each.raw) for each in fields):
            self._long_between(entity)

    def content(self, data: bytes) -> None:
        entity = self._entity
        if entity is None:
            return
        if not data.isascii():
            self._wide_content(entity)
        if entity.number not in self.long and entity.number not in self.cuts:
            self._column = measure(data, self._column, LONGEST_WITH_END)
            if self._column < 0:
                self._long_content(entity)

    def _wide_content(self, entity: Entity) -> None:
        if entity.sealed:
            self._hinder(f"{_SEALED}, and 8-bit", entity)
        elif entity.is_encoded or entity.type in _RIGID or entity.type.startswith(b"multipart/"):
            why = f"a part of it is 8-bit that may not be, of type {_word(entity.type)}"
            self._hinder(why, entity)
        else:
            self.wide[entity.number] = _encoding_for(entity)

    def _long_content(self, entity: Entity) -> None:
        self._column = 0
        self.long_lines = True
        if entity.sealed:
            self._hinder_long(_SEALED, entity)
        elif entity.is_encoded:
            kind = _CUTTABLE.get(entity.encoding)
            if kind is None:
                self._hinder_long("a part of it has an encoding that is not known", entity)
            else:
                self.cuts[entity.number] = kind
        elif entity.type in _RIGID or entity.type.startswith(b"multipart/"):
            self.cuts[entity.number] = "text"
        else:
            self.long[entity.number] = _encoding_for(entity)

    def content_ends(self, *, cut: bool) -> None:
        """Nothing is to be noted."""

    def between(self, data: bytes) -> None:
        if not data.isascii():
            self._hinder("8-bit text stands outside of its parts", self._entity)
        if has_long_line(data):
            self._long_between(self._entity)

    def _long_between(self, entity: Entity | None) -> None:
        """A header of a part, or text outside of parts, has a long line."""
        self.long_lines = True
        if entity is not None and entity.sealed:
            self._hinder_long(_SEALED, entity)


def _encoding_for(entity: Entity) -> bytes:
    return b"quoted-printable" if entity.type.startswith(b"text/") else b"base64"


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
