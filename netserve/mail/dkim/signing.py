"""The field ``DKIM-Signature``: which fields it covers, and how it is made (RFC 6376, 3.5 and 5).

A signature covers each field of `SIGNED` that the message has, and says of those of `ALWAYS` that
there is no further one (5.4.2): a second From that somebody puts in front breaks it. Of the other
fields that a message must have only once the same is said where it has one, so that a server
further on may still add a Date that is missing. ``l=`` is never there: the body is covered to its
end.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from netserve.mail.address import ascii_domain
from netserve.mail.dkim.canonical import BodyHash, Form, relaxed_field, simple_field
from netserve.mail.dkim.keys import SigningKey
from netserve.mail.fields import HeaderField
from netserve.mail.mailboxes import mailboxes_of

ALWAYS: Final = ("from", "reply-to", "subject", "to", "cc")
"""Fields that nobody may add, whether the message has one or not."""
ONCE: Final = (
    "sender", "date", "message-id", "in-reply-to", "references",
    "mime-version", "content-type", "content-transfer-encoding",
)  # fmt: skip
"""Fields of which nobody may add a second one."""
SIGNED: Final = (
    *ALWAYS, *ONCE, "content-id", "content-description",
    "resent-from", "resent-sender", "resent-to", "resent-cc", "resent-date", "resent-message-id",
    "list-id", "list-help", "list-unsubscribe", "list-unsubscribe-post", "list-subscribe",
    "list-post", "list-owner", "list-archive",
)  # fmt: skip
"""Fields that are signed, as many as the message has (5.4.1)."""
NEVER: Final = frozenset(
    {"return-path", "received", "comments", "keywords", "bcc", "resent-bcc", "dkim-signature"}
)
"""Fields that are not signed, since they change on the way (5.4)."""

MOST_OF_A_NAME: Final = 50
"""Fields of one name that are signed; the ones on top of those are not."""

_WIDTH: Final = 72
_FIELD_FORMS: Final = {"relaxed": relaxed_field, "simple": simple_field}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Signs for one domain with one key.

    Arguments:
        domain: the tag ``d=``, in ASCII.
        selector: the tag ``s=``.
        key: signs.
        header_form: the canonical form of fields.
        body_form: that of the body.
        identity: the tag ``i=``, in ASCII, or an empty string.
        life: seconds until the signature expires (``x=``), or None.
        signed: names of the fields that are signed, in lower case; ``from`` among them.
    """

    domain: str
    selector: str
    key: SigningKey
    header_form: Form = "relaxed"
    body_form: Form = "relaxed"
    identity: str = ""
    life: float | None = None
    signed: Sequence[str] = SIGNED

    def field(self, fields: Sequence[HeaderField], body_hash: bytes, now: float) -> bytes:
        """The field to be put in front of the message, its CRLF included.

        Arguments:
            fields: of the message's header.
            body_hash: of its body in `body_form`.
            now: unix seconds.
        """
        names, covered = self._covered(fields)
        unsigned = self._unsigned(names, body_hash, int(now))
        form = _FIELD_FORMS[self.header_form]
        parts = [form(raw) for raw in covered]
        parts.append(form(unsigned).removesuffix(b"\r\n"))
        signature = base64.b64encode(self.key.sign(b"".join(parts))).decode()
        lines = [signature[at : at + _WIDTH] for at in range(0, len(signature), _WIDTH)]
        return unsigned + "\r\n\t ".join(lines).encode() + b"\r\n"

    def _covered(self, fields: Sequence[HeaderField]) -> tuple[list[str], list[bytes]]:
        """The names of ``h=``, and the fields in their order: of each name the last one first."""
        found: dict[str, list[bytes]] = {}
        for field in fields:
            found.setdefault(field.name, []).append(field.raw)
        names: list[str] = []
        covered: list[bytes] = []
        for name in self.signed:
            own = found.get(name, ())
            names += [name] * min(len(own), MOST_OF_A_NAME)
            covered += own[: -MOST_OF_A_NAME - 1 : -1]
            if len(own) <= MOST_OF_A_NAME and (name in ALWAYS or (own and name in ONCE)):
                names.append(name)
        return names, covered

    def _unsigned(self, names: Sequence[str], body_hash: bytes, now: int) -> bytes:
        """The field up to the signature itself, which is missing."""
        tags = [
            "v=1",
            f"a={self.key.algorithm}",
            f"c={self.header_form}/{self.body_form}",
            f"d={self.domain}",
            f"s={self.selector}",
            f"t={now}",
        ]
        if self.life is not None:
            tags.append(f"x={now + max(int(self.life), 1)}")
        if self.identity:
            tags.append(f"i={self.identity.replace('=', '=3D')}")  # RFC 6376, 2.11
        first = _folded("DKIM-Signature: ", [f"{tag}; " for tag in tags])
        covered = _folded("\th=", [f"{name}:" for name in names]).removesuffix(":")
        hashed = base64.b64encode(body_hash).decode()
        return f"{first}\r\n{covered};\r\n\tbh={hashed};\r\n\tb=".encode()


class Signatures:
    """What signs the messages of one route.

    Arguments:
        always: sign every message.
        by_domain: sign the messages whose From is of that domain or of one below it; the nearest
            domain counts.
    """

    __slots__ = ("_always", "_by_domain")

    def __init__(self, always: Sequence[Signer], by_domain: Mapping[str, Sequence[Signer]]) -> None:
        self._always = tuple(always)
        self._by_domain = {domain: tuple(signers) for domain, signers in by_domain.items()}

    def of(self, fields: Sequence[HeaderField]) -> tuple[Signer, ...]:
        """Those that sign a message with such a header."""
        if not self._by_domain:
            return self._always
        domain = from_domain(fields)
        while domain:
            if (found := self._by_domain.get(domain)) is not None:
                return (*self._always, *found)
            domain = domain.partition(".")[2]
        return self._always


class Hashing:
    """The hashes of one body that some signers need, each canonical form once.

    Arguments:
        signers: at least one.
    """

    __slots__ = ("_hashes", "_signers")

    def __init__(self, signers: Sequence[Signer]) -> None:
        self._signers = signers
        self._hashes = {form: BodyHash(form) for form in {each.body_form for each in signers}}

    def update(self, data: bytes) -> None:
        """Take the next chunk of the body."""
        for hashing in self._hashes.values():
            hashing.update(data)

    def fields(self, fields: Sequence[HeaderField], now: float) -> bytes:
        """The signatures, to be put in front of the message.

        Arguments:
            fields: of the message's header.
            now: unix seconds.
        """
        hashes = {form: hashing.digest() for form, hashing in self._hashes.items()}
        return b"".join(each.field(fields, hashes[each.body_form], now) for each in self._signers)


def why_unsigned(fields: Sequence[HeaderField]) -> str:
    """Why nobody signs such a message, or an empty string.

    A signature covers the author (RFC 6376, 5.4), so there has to be one that it could be about.
    """
    found = [field for field in fields if field.name == "from"]
    if not found:
        return "it has no From field"
    addresses = [mailbox.address for field in found for mailbox in mailboxes_of(field.body)]
    return "" if any(map(_is_address, addresses)) else "its From field has no address"


def _is_address(text: bytes) -> bool:
    local, at, domain = text.rpartition(b"@")
    return bool(local and at and domain)


def from_domain(fields: Sequence[HeaderField]) -> str:
    """The domain of the message's author in ASCII and lower case, or an empty string.

    It is that of the first address of the only From; with two of them nobody can tell.
    """
    found = [field for field in fields if field.name == "from"]
    mailboxes = mailboxes_of(found[0].body) if len(found) == 1 else []
    if not mailboxes:
        return ""
    domain = mailboxes[0].address.rpartition(b"@")[2].decode("utf-8", "replace")
    return (ascii_domain(domain) or "").lower()


def _folded(begin: str, words: Iterable[str]) -> str:
    """Words behind a begin, in lines of a bearable width; a fold may stand between any two."""
    lines = [begin]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append("\t ")
        lines[-1] += word
    return "\r\n".join(line.rstrip(" ") for line in lines)
