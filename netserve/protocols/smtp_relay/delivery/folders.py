"""A recipient's folder from a template path: ``./var/mail/{domain}/{local}``.

What a sender chooses can't lead out of the template: a value with a separator, a leading dot, a
control character or too many bytes makes no folder at all, and its recipient is refused.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from netserve.errors import InvalidValue

PLACEHOLDERS: Final = ("{local}", "{domain}")

_BRACES: Final = re.compile(r"\{[^{}]*\}|[{}]")
_LONGEST: Final = 255
"""NAME_MAX of the usual file systems, in bytes."""


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


def folder_for(template: Path, address: str) -> Path:
    """The folder of one recipient.

    Names are in lower case, so that one person has one folder; a quoted local part stands without
    its quotes.

    Arguments:
        template: what `check_template` let pass.
        address: the mailbox without angle brackets.

    Raises:
        UnsafeName: the address can't be a part of a path.
    """
    if not any(placeholder in part for part in template.parts for placeholder in PLACEHOLDERS):
        return template
    local, _, domain = address.rpartition("@")
    if not local:
        local, domain = domain, ""
    values = {"{local}": _unquoted(local).lower(), "{domain}": domain.lower()}
    folder = Path()
    for part in template.parts:
        name = _BRACES.sub(lambda brace: _safe(values[brace[0]]), part)
        if len(name.encode()) > _LONGEST:
            raise UnsafeName("the address is too long for the name of a folder")
        folder /= name
    return folder


def _unquoted(local: str) -> str:
    if len(local) >= 2 and local[0] == local[-1] == '"':
        return re.sub(r"\\(.)", r"\1", local[1:-1], flags=re.DOTALL)
    return local


def _safe(value: str) -> str:
    """The value, if it can stand anywhere in the name of a folder."""
    if not value or value.startswith(".") or "/" in value or not value.isprintable():
        raise UnsafeName("the address can't be the name of a folder")
    return value
