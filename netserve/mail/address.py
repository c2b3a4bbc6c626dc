"""Mailboxes and paths as they stand in MAIL and RCPT: text in, a normalised mailbox out.

RFC 5321, 4.1.2 and 4.1.3 (paths, mailboxes, address literals), RFC 6531, 3.3 (UTF-8 in them).

A mailbox comes out without angle brackets and source route, and with a quoted local part only
where it needs the quotes (``"joe"@x`` is ``joe@x``). By the grammar no control character gets
through, so none of CR, LF and NUL either. Lengths are bounded and every pattern is linear.

Two things that small devices get wrong are taken as they are meant: a mailbox without its angle
brackets, and an underscore in a domain.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

import idna

MAX_MAILBOX: Final = 254
"""Octets of a mailbox: a path has 256 (RFC 5321, 4.5.3.1.3), two of them brackets."""
MAX_DOMAIN: Final = 255
"""Octets of a domain (RFC 5321, 4.5.3.1.2)."""

_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+"
_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]{0,61}[A-Za-z0-9_])?"
_UTF8_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\u0080-\U0010ffff]+"

_ORDINARY_PATH: Final = re.compile(
    rf"<({_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*)>(?= |\Z)", re.ASCII
)
"""What nearly every path is; only the others take the long way."""

_PATH: Final = re.compile(
    r"<(?:@[^\s@,:<>\"]+(?:,@[^\s@,:<>\"]+)*:)?"  # the source route is read over
    r"((?:\"(?:[^\"\\]|\\.)*\"|[^\s@<>\"]*)(?:@[^\s@<>\"]*)?)>(?= |\Z)"
)
_BARE_PATH: Final = re.compile(r"([^\s@<>\"]+@[^\s@<>\"]+)(?= |\Z)")

_DOT_STRING: Final = re.compile(rf"{_UTF8_ATOM}(?:\.{_UTF8_ATOM})*")
_QUOTED: Final = re.compile(r"\"((?:[^\"\\]|\\.)*)\"")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LITERAL: Final = re.compile(r"\[(IPv6:)?([0-9A-Fa-f:.]+)\]", re.IGNORECASE)
_HELO: Final = re.compile(r"[^\s()<>,;\"\\@\x00-\x20\x7f-\U0010ffff]{1,255}")


class AddressError(ValueError):
    """A path is not of RFC 5321's grammar.

    Arguments:
        why: for the peer; it holds nothing of what the peer sent.
        status: the enhanced status code, or an empty string where sender and recipient have
            one each (5.1.7 and 5.1.3).
    """

    def __init__(self, why: str, status: str = "") -> None:
        super().__init__(why)
        self.status = status


def parse_path(text: str) -> tuple[str, str]:
    """The mailbox of the path that the text begins with, and the text behind it.

    Arguments:
        text: what stands behind ``FROM:`` or ``TO:``; non-ASCII is taken, see `is_ascii`.

    Returns:
        The mailbox, empty for the null path ``<>``, or a local part alone (``postmaster``) where
        no domain was given; and the rest, without the space before it.

    Raises:
        AddressError: it does not begin with a path.
    """
    ordinary = _ORDINARY_PATH.match(text)
    if ordinary and ordinary.end() <= MAX_MAILBOX + 2:
        return ordinary[1], text[ordinary.end() + 1 :]
    match = _PATH.match(text) or _BARE_PATH.match(text)
    if match is None:
        raise AddressError("the address is malformed; write it as <user@example.org>")
    mailbox = match[1]
    return normalise_mailbox(mailbox) if mailbox else "", text[match.end() + 1 :]


def normalise_mailbox(mailbox: str) -> str:
    """The mailbox in its one form; a local part alone is taken.

    Raises:
        AddressError: it is not a mailbox, or too long.
    """
    if len(mailbox.encode("utf-8", "replace")) > MAX_MAILBOX:
        raise AddressError("the address is too long")
    if not mailbox.isprintable():
        raise AddressError("the address has characters that cannot stand in one")
    local, at, domain = split_mailbox(mailbox)
    local = _normalise_local_part(local)
    return f"{local}@{normalise_domain(domain)}" if at else local


def split_mailbox(mailbox: str) -> tuple[str, str, str]:
    """Local part, ``@`` and domain; the last two are empty for a local part alone."""
    quoted = _QUOTED.match(mailbox)
    if quoted:
        rest = mailbox[quoted.end() :]
        return quoted[0], rest[:1], rest[1:]
    return mailbox.partition("@")


def domain_of(mailbox: str) -> str:
    """The domain in lower case, or an empty string for a mailbox without one."""
    return split_mailbox(mailbox)[2].lower()


def _normalise_local_part(local: str) -> str:
    if _DOT_STRING.fullmatch(local):
        return local
    quoted = _QUOTED.fullmatch(local)
    if quoted is None:
        raise AddressError("the part before the @ is malformed")
    content = _QUOTED_PAIR.sub(r"\1", quoted[1])
    if _DOT_STRING.fullmatch(content):
        return content
    escaped = content.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def normalise_domain(domain: str) -> str:
    """The domain or address literal as it is, an internationalised one as its U-labels.

    Raises:
        AddressError: it is none of them.
    """
    if domain.startswith("["):
        if not is_address_literal(domain):
            raise AddressError("the address literal is malformed; write [192.0.2.1] or [IPv6:::1]")
        return domain
    if domain.isascii():
        if not _DOMAIN.fullmatch(domain) or len(domain) > MAX_DOMAIN:
            raise AddressError("the domain is malformed")
        return domain
    try:
        return idna.decode(idna.encode(domain, uts46=True))
    except idna.IDNAError:
        raise AddressError("the internationalised domain is malformed") from None


def ascii_domain(domain: str) -> str | None:
    """The domain with A-labels in place of U-labels (RFC 5890), or None where it has none."""
    if domain.isascii():
        return domain
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError:
        return None


def ascii_mailbox(mailbox: str) -> str | None:
    """The mailbox for a server without SMTPUTF8, or None: its local part has no such form."""
    if mailbox.isascii():
        return mailbox
    local, at, domain = split_mailbox(mailbox)
    ascii_form = ascii_domain(domain)
    return f"{local}{at}{ascii_form}" if local.isascii() and ascii_form is not None else None


def is_address_literal(text: str) -> bool:
    """Whether this is ``[192.0.2.1]`` or ``[IPv6:2001:db8::1]`` (RFC 5321, 4.1.3)."""
    match = _LITERAL.fullmatch(text)
    if match is None:
        return False
    try:
        ipaddress.IPv6Address(match[2]) if match[1] else ipaddress.IPv4Address(match[2])
    except ValueError:
        return False
    return True


def is_helo_name(text: str) -> bool:
    """Whether a HELO or EHLO name can be taken.

    RFC 5321 wants a domain or an address literal. Devices send their serial numbers and worse;
    the name only ever stands in logs and in ``Received:``, so it is held to what is harmless
    there: 1 to 255 printable ASCII characters that have no meaning in a header.
    """
    return _HELO.fullmatch(text) is not None
