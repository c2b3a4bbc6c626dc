"""Builds a message from a draft, as the pieces that it consists of: header, texts, attachments.

The structure and the texts are the standard library's ``email``. Attachments are put in their
places as the pieces are asked for, slice by slice, so that a large one is in memory once, as it
came. What is built is 7-bit, except for the header of a message whose addresses need SMTPUTF8.

=====================================  ==============================================
a draft with                           is
=====================================  ==============================================
a text, or HTML                        text/plain, or text/html
both                                   multipart/alternative of them
HTML, and attachments with a cid       multipart/related around the HTML
other attachments                      multipart/mixed around all that
=====================================  ==============================================
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator, Sequence
from email import policy
from email.charset import Charset
from email.header import Header
from email.message import EmailMessage, Message
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from netserve.mail.draft import SLICE, Attachment, Draft, Mailbox, decode_slice

_Entity: TypeAlias = "Message[str, str]"
_POLICY: Final = policy.SMTP.clone(cte_type="7bit")
_UTF8: Final = Charset("utf-8")
_ATOMS: Final = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_TO_ESCAPE: Final = re.compile(r'(["\\])')
_ESCAPED: Final = r"\\\1"
_PLAIN: Final = "!#$&+-.^_`{}|~"
"""Signs that need no escape in a parameter (RFC 2231, 7: `attribute-char`)."""
_LONG_VALUE: Final = 50
"""Characters of a parameter's value beyond which it is written in pieces."""
_LINE: Final = 76
_LINE_BYTES: Final = 57
_PIECE: Final = 64 * 1024
_LONG: Final = 256 * 1024
"""Characters beyond which a text is handled as an attachment is."""


def build(draft: Draft, *, token: str) -> list[bytes | Attachment]:
    """The message: texts, and between them the attachments that are to stand there.

    Arguments:
        draft: what is built.
        token: random letters and digits that cannot be guessed; boundaries are made of it.
    """
    marker = f"={token}="  # in no line of base64 or quoted-printable, and not to be guessed
    parts = _Parts(token)
    entity = parts.entity(draft, marker)
    first, *others = (_header(draft) + entity.as_bytes(policy=_POLICY)).split(marker.encode())
    built: list[bytes | Attachment] = [first]
    for attachment, text in zip(parts.placed, others, strict=True):
        built += [attachment, text]
    return built


def pieces(built: Sequence[bytes | Attachment]) -> Iterator[bytes]:
    """A built message as its bytes, in pieces of at most 64 KiB."""
    for part in built:
        if isinstance(part, Attachment):
            yield from _encoded(part)
        else:
            for start in range(0, len(part), _PIECE):
                yield part[start : start + _PIECE]


def _encoded(attachment: Attachment) -> Iterator[bytes]:
    """An attachment as lines of base64, without the last line's end."""
    content = attachment.content
    for start in range(0, len(content), SLICE):
        data = decode_slice(content, start)
        lines = [
            binascii.b2a_base64(data[at : at + _LINE_BYTES], newline=False)
            for at in range(0, len(data), _LINE_BYTES)
        ]
        piece = b"\r\n".join(lines)
        yield piece + b"\r\n" if start + SLICE < len(content) else piece


class _Parts:
    """Makes the entities of one message.

    Arguments:
        token: for boundaries.
    """

    def __init__(self, token: str) -> None:
        self.placed: list[Attachment] = []
        """The attachments in the order of their places."""
        self._token = token
        self._boundaries = 0

    def entity(self, draft: Draft, marker: str) -> _Entity:
        """The whole message, with a marker where an attachment is to be."""
        is_shown = [bool(one.cid and draft.html is not None) for one in draft.attachments]
        shown = [one for one, here in zip(draft.attachments, is_shown, strict=True) if here]
        beside = [one for one, here in zip(draft.attachments, is_shown, strict=True) if not here]
        bodies = [self._text(draft.text, "plain", marker)] if draft.text is not None else []
        if draft.html is not None:
            html = self._text(draft.html, "html", marker)
            bodies.append(self._around("related", [html, *self._attached(shown, marker)]))
        if not bodies and not beside:
            bodies = [self._text("", "plain", marker)]
        whole = [self._around("alternative", bodies)] if bodies else []
        return self._around("mixed", [*whole, *self._attached(beside, marker)], always=not whole)

    def _around(self, subtype: str, parts: Sequence[_Entity], *, always: bool = False) -> _Entity:
        """The parts in a multipart entity; a single one stays as it is."""
        if len(parts) == 1 and not always:
            return parts[0]
        self._boundaries += 1
        outer = EmailMessage(_POLICY)
        outer["MIME-Version"] = "1.0"
        outer["Content-Type"] = f"multipart/{subtype}"
        outer.set_boundary(f"={self._token}.{self._boundaries}")
        for part in parts:
            del part["MIME-Version"]
            outer.attach(part)  # type: ignore[arg-type]  # any message may be attached
        return outer

    def _text(self, text: str, subtype: str, marker: str) -> _Entity:
        lines = text.replace("\r\n", "\n").replace("\r", "\n")
        if len(lines) > _LONG:
            # The library takes its time, and twenty times the memory.
            whole = lines if lines.endswith("\n") else f"{lines}\n"
            content = binascii.b2a_base64(whole.replace("\n", "\r\n").encode(), newline=False)
            one = Attachment(content.decode(), ("text", subtype), (("charset", "utf-8"),))
            self.placed.append(one)
            return _entity(one, marker, None)
        entity: Any = EmailMessage(_POLICY)
        entity.set_content(lines, subtype=subtype)
        made: _Entity = entity
        return made

    def _attached(self, several: Sequence[Attachment], marker: str) -> list[_Entity]:
        self.placed += several
        return [_entity(one, marker, "inline" if one.cid else "attachment") for one in several]


def _entity(attachment: Attachment, marker: str, disposition: str | None) -> _Entity:
    """A part that has a marker in place of its content.

    Its header is written here: the library reads what it is given, and finds encoded words in it.
    """
    entity: _Entity = Message()
    media, filename = attachment.media, attachment.filename
    entity["Content-Type"] = _structured("/".join(media), attachment.parameters)
    entity["Content-Transfer-Encoding"] = "base64"
    if disposition is not None:
        parameters = (("filename", filename),) if filename else ()
        entity["Content-Disposition"] = _structured(disposition, parameters)
    if attachment.cid:
        entity["Content-ID"] = f"<{attachment.cid}>"
    entity["MIME-Version"] = "1.0"
    entity.set_payload(marker)
    return entity


def _structured(value: str, parameters: Sequence[tuple[str, str]]) -> str:
    """A value and its parameters, one a line, each in pieces where it is long (RFC 2231)."""
    return ";\r\n ".join([value, *(part for each in parameters for part in _parameter(*each))])


def _parameter(name: str, text: str) -> Iterator[str]:
    if text.isascii() and len(text) < _LONG_VALUE and "=?" not in text:
        yield f'{name}="{_TO_ESCAPE.sub(_ESCAPED, text)}"'
        return
    encoded = [quote(character, safe=_PLAIN) for character in text]
    pieces = [f"utf-8''{''.join(encoded)}"]
    if len(pieces[0]) < _LONG_VALUE:
        yield f"{name}*={pieces[0]}"
        return
    pieces = ["utf-8''"]
    for character in encoded:
        if len(pieces[-1]) + len(character) > _LONG_VALUE:
            pieces.append("")
        pieces[-1] += character
    for number, piece in enumerate(pieces):
        yield f"{name}*{number}*={piece}"


# The header, apart from what tells of the content.


def _header(draft: Draft) -> bytes:
    utf8 = draft.is_internationalised
    fields = [
        _addresses("From", (draft.author,), utf8=utf8),
        _addresses("To", draft.to, utf8=utf8),
        _addresses("Cc", draft.cc, utf8=utf8),
        _addresses("Reply-To", draft.reply_to, utf8=utf8),
        _unstructured("Subject", draft.subject, utf8=utf8) if draft.subject else "",
        *(_unstructured(name, text, utf8=utf8) for name, text in draft.headers),
    ]
    return "".join(fields).encode()


def _addresses(name: str, mailboxes: Sequence[Mailbox], *, utf8: bool) -> str:
    """A field of addresses, one a line."""
    if not mailboxes:
        return ""
    lines = ",\r\n\t".join(_mailbox(one, utf8=utf8) for one in mailboxes)
    return f"{name}: {lines}\r\n"


def _mailbox(mailbox: Mailbox, *, utf8: bool) -> str:
    name = mailbox.name
    if not name:
        return mailbox.address
    if not name.isascii() and not utf8:
        return f"{_encoded_words(name, 0)}\r\n\t<{mailbox.address}>"
    phrase = name if _ATOMS.fullmatch(name) else '"' + _TO_ESCAPE.sub(_ESCAPED, name) + '"'
    return (
        f"{phrase} <{mailbox.address}>"
        if len(phrase) < _LINE
        else (f"{_folded(phrase, 0)}\r\n\t<{mailbox.address}>")
    )


def _unstructured(name: str, text: str, *, utf8: bool) -> str:
    begin = len(name) + 2
    plain = text.isascii() or utf8
    return f"{name}: {_folded(text, begin) if plain else _encoded_words(text, begin)}\r\n"


def _encoded_words(text: str, begin: int) -> str:
    """Text as encoded words (RFC 2047), folded."""
    header = Header(text, _UTF8, maxlinelen=_LINE, header_name="x" * max(begin - 2, 0))
    return header.encode(linesep="\r\n")


def _folded(text: str, begin: int) -> str:
    """Text with a line end before some of its spaces, so that its lines are short if they can be.

    Arguments:
        text: printable.
        begin: characters that stand before it on its first line.
    """
    lines: list[str] = []
    line, used = "", begin
    for word in re.findall(r" *[^ ]+| +$", text):
        if line.strip() and used + len(line) + len(word) > _LINE:
            lines.append(line)
            line, used = "", 0
        line += word
    return "\r\n".join([*lines, line])
