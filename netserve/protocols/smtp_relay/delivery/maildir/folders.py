"""A recipient's folder from a template path: ``./var/mail/{domain}/{local}``. No I/O.

An address that says the same has the same folder: names are in lower case, characters that are
only another form of others are folded (Unicode's NFKC), and domains are in ASCII, with A-labels. A
quoted local part stands without its quotes.

What a sender chooses can't lead out of the template: a value with a separator, with a dot or a
space at its begin or end, with a control character or too many bytes makes no folder at all, and
its recipient is refused. That is decided after the folding, so that no other form of a dot or a
slash gets through.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from pathlib import Path
from typing import Final

from netserve.errors import InvalidValue
from netserve.mail.address import ascii_domain, is_address_literal
from netserve.mail.envelope import Reply

PLACEHOLDERS: Final = ("{local}", "{domain}")

_BRACES: Final = re.compile(r"\{[^{}]*\}|[{}]")
_LONGEST: Final = 255
"""NAME_MAX of the usual file systems, in bytes."""
_LONGEST_PATH: Final = 4096 - len("/new/") - _LONGEST
"""PATH_MAX of Linux, less what stands in a Maildir, in bytes."""
_IGNORABLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that are printable, and show nothing (Unicode's Default_Ignorable_Code_Point)."""


class UnsafeName(ValueError):
    """A part of the address can't name a folder."""


def check_template(path: Path) -> Path:
    """The path itself, if each brace in it belongs to a known placeholder.

    Raises:
        ValueError: it has another brace.
    """
    for brace in _BRACES.findall(str(path)):
        if brace not in PLACEHOLDERS:
            raise InvalidValue(
                "unknown placeholder {brace}; known are {{local}} and {{domain}}", brace=brace
            )
    return path


def folder_for(template: Path, address: str, *, origin: str = "") -> Path:
    """The folder of one recipient.

    Arguments:
        template: what `check_template` let pass.
        address: the mailbox without angle brackets.
        origin: the domain of an address that has none (``postmaster``).

    Raises:
        UnsafeName: the address can't be a part of a path.
    """
    if not any(placeholder in part for part in template.parts for placeholder in PLACEHOLDERS):
        return template
    local, _, domain = address.rpartition("@")
    if not local:
        local, domain = domain, origin
    values = {"{local}": _folded(_unquoted(local)), "{domain}": _domain(domain)}
    folder = Path()
    for part in template.parts:
        name = _BRACES.sub(lambda brace: _safe(values[brace[0]]), part)
        if len(name.encode()) > _LONGEST:
            raise UnsafeName("the address is too long for the name of a folder")
        folder /= name
    if len(str(folder).encode()) > _LONGEST_PATH:
        raise UnsafeName("the address is too long for the path of a folder")
    return folder


def refusal(template: Path, address: str, *, origin: str = "") -> Reply | None:
    """Why mail for a recipient is not accepted, or None.

    Arguments:
        template: of the folders.
        address: the mailbox without angle brackets.
        origin: see `folder_for`.
    """
    try:
        folder_for(template, address, origin=origin)
    except UnsafeName as error:
        return Reply(553, "5.1.3", str(error))
    return None


def _folded(text: str) -> str:
    """The text in the one form that all its forms have."""
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _IGNORABLE.sub("", text)).lower()
    return _IGNORABLE.sub("", unicodedata.normalize("NFKC", text))


def _domain(domain: str) -> str:
    """A domain in ASCII, or an address literal in its shortest form."""
    if is_address_literal(domain):
        tag = "ipv6:" if ":" in domain else ""
        return f"[{tag}{ipaddress.ip_address(domain[1 + len(tag) : -1])}]"
    ascii_form = ascii_domain(domain)
    if ascii_form is None:
        raise UnsafeName("the domain of the address can't be the name of a folder")
    return ascii_form.lower()


def _unquoted(local: str) -> str:
    if len(local) >= 2 and local[0] == local[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    return local


def _safe(value: str) -> str:
    """The value, if it can stand anywhere in the name of a folder."""
    if not value or value.strip(". ") != value or "/" in value or not value.isprintable():
        raise UnsafeName("the address can't be the name of a folder")
    return value
