"""A message as JSON describes it: what an application posts, read and checked. No I/O.

===============  ==================================================================
field            what
===============  ==================================================================
``from``         who it is from; also the envelope's sender, unless there is one
``sender``       the envelope's sender, who gets reports; ``""`` for nobody
``to``           who it is for: one or a list
``cc``, ``bcc``  the same; those of ``bcc`` are in the envelope only
``reply_to``     who gets answers
``subject``      a text
``text``         the text
``html``         the same as HTML; with ``text`` the reader's program chooses
``headers``      further fields by name
``attachments``  a list of ``content`` (base64) with ``filename``, ``content_type``
                 and, for what the HTML refers to as ``cid:NAME``, its ``cid``
===============  ==================================================================

Somebody is ``user@example.org``, ``Name <user@example.org>`` or an object of ``name`` and
``address``. No text that ends up in a header can have a line end or any other control character,
so that nothing can add a field.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import idna

from netserve.mail.address import AddressError, normalise_mailbox, split_mailbox

MAX_FIELDS: Final = 100
"""Further header fields."""
MAX_ATTACHMENTS: Final = 1000
MAX_TEXT: Final = 8000
"""Characters of a subject, or of another header field."""
MAX_NAME: Final = 255
"""Characters of a file's name, as file systems have it, or of a content type."""
LONGEST_WORD: Final = 900
"""Characters without a space in a header field; a line has 998 (RFC 5322, 2.1.1)."""

_NAME: Final = re.compile(r"[!-9;-~]{1,76}")
_OURS: Final = re.compile(
    r"from|to|cc|bcc|reply-to|subject|sender|mime-version|content-.*|received|return-path",
    re.IGNORECASE,
)
"""Fields that have a place of their own, or that say what others have done."""
_MEDIA: Final = re.compile(r"([A-Za-z0-9!#$&^_.+-]{1,64})/([A-Za-z0-9!#$&^_.+-]{1,64})")
_PARAMETER: Final = re.compile(r'\s*;\s*([A-Za-z0-9_-]{1,64})\s*=\s*(?:"([^"\\]*)"|([^\s";]+))')
_COMPOSITE: Final = frozenset({"message", "multipart"})
_CID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.@-]{1,200}")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")
_SPACES: Final = re.compile(r"[ \t\r\n]+")


class DraftError(ValueError):
    """A field is missing, not known, or has a value that it cannot have.

    Arguments:
        field: the way to it, such as ``attachments[2].content``.
        what: what is wrong, and what would be right.
    """

    def __init__(self, field: str, what: str) -> None:
        super().__init__(f"{field}: {what}" if field else what)
        self.field = field
        self.what = what


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Somebody.

    Arguments:
        name: as people read it; may be empty.
        address: the mailbox, in its one form; ASCII wherever that says the same.
    """

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Attachment:
    """A part beside the text.

    Arguments:
        content: base64 in its strict form, which was checked.
        media: type and subtype.
        parameters: of the content type.
        filename: may be empty.
        cid: what the HTML calls it; empty for what is not shown there.
    """

    content: str
    media: tuple[str, str]
    parameters: tuple[tuple[str, str], ...] = ()
    filename: str = ""
    cid: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A message to be built by `netserve.mail.mime`; see the module."""

    author: Mailbox
    sender: str
    to: tuple[Mailbox, ...] = ()
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: tuple[Mailbox, ...] = ()
    subject: str = ""
    text: str | None = None
    html: str | None = None
    headers: tuple[tuple[str, str], ...] = field(default=())
    attachments: tuple[Attachment, ...] = field(default=())

    def recipients(self) -> Iterator[tuple[str, str]]:
        """The way to each recipient, and the address; each address once."""
        seen: set[str] = set()
        for name, several in (("to", self.to), ("cc", self.cc), ("bcc", self.bcc)):
            for at, mailbox in enumerate(several):
                if mailbox.address not in seen:
                    seen.add(mailbox.address)
                    yield f"{name}[{at}]", mailbox.address

    @property
    def is_internationalised(self) -> bool:
        """Whether an address is not ASCII, so that it needs SMTPUTF8 (RFC 6531)."""
        several = (self.author, *self.to, *self.cc, *self.bcc, *self.reply_to)
        return not (self.sender.isascii() and all(one.address.isascii() for one in several))


def read_draft(data: object) -> Draft:
    """The message that parsed JSON describes.

    Arguments:
        data: of the module's form; contents of attachments are taken out of it.

    Raises:
        DraftError: it is not of that form.
    """
    values = _object("", data, _READERS)
    if "author" not in values:
        raise DraftError("from", "is missing")
    if not (values.get("to") or values.get("cc") or values.get("bcc")):
        raise DraftError("to", "is missing: a message is for somebody")
    values.setdefault("sender", values["author"].address)
    return Draft(**values)


_Reader = Callable[[str, Any], Any]


def _object(way: str, data: object, readers: Mapping[str, tuple[str, _Reader]]) -> dict[str, Any]:
    """The values of an object; one that is null is as good as left out."""
    if not isinstance(data, dict):
        raise DraftError(way, "is not an object")
    values: dict[str, Any] = {}
    for key in list(data):
        place = f"{way}.{key}" if way else key
        if key not in readers:
            shown = place if place.isprintable() and len(place) < 100 else way
            raise DraftError(shown, f"a field is not known; there are {', '.join(readers)}")
        value = data.pop(key)
        if value is not None:
            name, read = readers[key]
            values[name] = read(place, value)
    return values


def _line(way: str, value: object) -> str:
    """A text that can stand in a header."""
    if not isinstance(value, str):
        raise DraftError(way, "is not a text")
    if not value.isprintable():
        raise DraftError(way, "has a line end or another character that cannot stand in a header")
    if len(value) > MAX_TEXT:
        raise DraftError(way, f"is longer than {MAX_TEXT} characters")
    if any(len(word) > LONGEST_WORD for word in value.split(" ")):
        raise DraftError(way, f"has a word of more than {LONGEST_WORD} characters")
    return value.strip(" ")


def _name(way: str, value: object) -> str:
    """A text that can stand in a header as a parameter, which takes long to encode."""
    text = _line(way, value)
    if len(text) > MAX_NAME:
        raise DraftError(way, f"is longer than {MAX_NAME} characters")
    return text


def _body(way: str, value: object) -> str:
    if not isinstance(value, str):
        raise DraftError(way, "is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DraftError(way, "is not Unicode: half of a surrogate pair is in it") from None
    if "\0" in value:
        raise DraftError(way, "has a NUL in it")
    return value


def _mailbox(way: str, value: object) -> Mailbox:
    if isinstance(value, dict):
        values = _object(way, value, {"name": ("name", _line), "address": ("address", _line)})
        if "address" not in values:
            raise DraftError(f"{way}.address", "is missing")
        return Mailbox(values.get("name", ""), _address(f"{way}.address", values["address"]))
    text = _line(way, value)
    name, opened, address = text.removesuffix(">").rpartition("<")
    if not opened or not text.endswith(">"):
        return Mailbox("", _address(way, text))
    name = name.rstrip(" ")
    quoted = _QUOTED.fullmatch(name)
    if quoted is None and '"' in name:
        raise DraftError(way, "has quotes that do not match")
    return Mailbox(_ESCAPE.sub(r"\1", quoted[1]) if quoted else name, _address(way, address))


def _mailboxes(way: str, value: object) -> tuple[Mailbox, ...]:
    if not isinstance(value, list):
        return (_mailbox(way, value),)
    return tuple(_mailbox(f"{way}[{at}]", one) for at, one in enumerate(value))


def _address(way: str, text: str) -> str:
    """A mailbox with a domain, as ASCII where the part before the @ allows it."""
    try:
        mailbox = normalise_mailbox(text)
    except AddressError as error:
        raise DraftError(way, str(error)) from None
    local, at, domain = split_mailbox(mailbox)
    if not at:
        raise DraftError(way, "the address has no domain")
    if local.isascii() and not domain.isascii():
        return f"{local}@{idna.encode(domain).decode()}"
    return mailbox


def _sender(way: str, value: object) -> str:
    text = _line(way, value)
    return _address(way, text) if text else ""


def _headers(way: str, value: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        raise DraftError(way, "is not an object")
    if len(value) > MAX_FIELDS:
        raise DraftError(way, f"has more than {MAX_FIELDS} fields")
    fields: list[tuple[str, str]] = []
    for name, texts in value.items():
        if not _NAME.fullmatch(name):
            raise DraftError(way, "has a name that no header field can have")
        place = f"{way}.{name}"
        if _OURS.fullmatch(name):
            raise DraftError(place, "cannot be given here")
        several = texts if isinstance(texts, list) else [texts]
        fields += [(name, _line(place, text)) for text in several]
    if len(fields) > MAX_FIELDS:
        raise DraftError(way, f"has more than {MAX_FIELDS} fields")
    return tuple(fields)


def _attachments(way: str, value: object) -> tuple[Attachment, ...]:
    if not isinstance(value, list):
        raise DraftError(way, "is not a list")
    if len(value) > MAX_ATTACHMENTS:
        raise DraftError(way, f"has more than {MAX_ATTACHMENTS} attachments")
    return tuple(_attachment(f"{way}[{at}]", one) for at, one in enumerate(value))


def _attachment(way: str, value: object) -> Attachment:
    values = _object(way, value, _ATTACHMENT)
    if "content" not in values:
        raise DraftError(f"{way}.content", "is missing")
    media, parameters = values.pop("content_type", (("application", "octet-stream"), ()))
    return Attachment(media=media, parameters=parameters, **values)


def _content(way: str, value: object) -> str:
    """Base64 that was checked, in slices: the bytes are decoded again where they are sent on."""
    if not isinstance(value, str):
        raise DraftError(way, "is not a text")
    text = _SPACES.sub("", value) if "\n" in value or "\r" in value else value
    try:
        for start in range(0, len(text), SLICE):
            decode_slice(text, start)
    except ValueError:
        raise DraftError(way, "is not base64") from None
    return text


SLICE: Final = 57 * 4 // 3 * 750
"""Characters of base64 that are decoded at a time: a whole number of lines of a message."""


def decode_slice(text: str, start: int) -> bytes:
    """The bytes of one slice.

    Arguments:
        text: base64.
        start: a multiple of `SLICE`.

    Raises:
        ValueError: it is not base64; padding stands at the end only.
    """
    piece = text[start : start + SLICE]
    if piece.endswith("=") and start + SLICE < len(text):
        raise ValueError("padding inside")
    return binascii.a2b_base64(piece.encode("ascii"), strict_mode=True)


def _media(way: str, value: object) -> tuple[tuple[str, str], tuple[tuple[str, str], ...]]:
    text = _name(way, value)
    media = _MEDIA.match(text)
    if media is None:
        raise DraftError(way, "is not a media type; write one such as application/pdf")
    if media[1].lower() in _COMPOSITE:
        raise DraftError(way, f"a part of type {media[1].lower()} is not taken")
    at, parameters = media.end(), dict[str, str]()
    while at < len(text):
        found = _PARAMETER.match(text, at)
        if found is None or not found[0].isascii() or found[1].lower() in parameters:
            raise DraftError(way, "has a parameter that is malformed")
        parameters[found[1].lower()] = found[3] if found[2] is None else found[2]
        at = found.end()
    return (media[1].lower(), media[2].lower()), tuple(parameters.items())


def _cid(way: str, value: object) -> str:
    text = _line(way, value)
    if not _CID.fullmatch(text):
        raise DraftError(way, "is not a content id; write letters, digits, dots and dashes")
    return text


_ATTACHMENT: Final[Mapping[str, tuple[str, _Reader]]] = {
    "filename": ("filename", _name),
    "content_type": ("content_type", _media),
    "content": ("content", _content),
    "cid": ("cid", _cid),
}
_READERS: Final[Mapping[str, tuple[str, _Reader]]] = {
    "from": ("author", _mailbox),
    "sender": ("sender", _sender),
    "to": ("to", _mailboxes),
    "cc": ("cc", _mailboxes),
    "bcc": ("bcc", _mailboxes),
    "reply_to": ("reply_to", _mailboxes),
    "subject": ("subject", _line),
    "text": ("text", _body),
    "html": ("html", _body),
    "headers": ("headers", _headers),
    "attachments": ("attachments", _attachments),
}
"""Field of the JSON -> attribute of the draft, and what reads it."""
