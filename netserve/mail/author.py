"""Who a message says it is from: the addresses of its From field (RFC 5322, 3.6.2).

It is read strictly, since somebody is held to what it says: a text that two programs could read
differently, or more than one such field, is read as nothing.
"""

from __future__ import annotations

import re
from email.errors import NonASCIILocalPartDefect, ObsoleteHeaderDefect
from email.headerregistry import HeaderRegistry
from typing import Any, Final

_FIELD: Final = re.compile(rb"^from[ \t]*:((?:[^\r]|\r\n[ \t])*)\r\n", re.IGNORECASE | re.MULTILINE)
_LONGEST: Final = 1024
"""Bytes of a field that is read."""
_HARMLESS: Final = (NonASCIILocalPartDefect, ObsoleteHeaderDefect)
"""A period in a name, an internationalised address: the standard of another year has them."""
_REGISTRY: Final = HeaderRegistry()


def authors(section: bytes) -> tuple[str, ...]:
    """The addresses in the From field; none where there is no such field, or no clear one.

    Arguments:
        section: a header section, with CRLF behind each line; what comes behind it is not read.
    """
    end = section.find(b"\r\n\r\n")
    fields = _FIELD.findall(section if end < 0 else section[: end + 2])
    if len(fields) != 1 or len(fields[0]) > _LONGEST:
        return ()
    try:
        text = fields[0].replace(b"\r\n", b"").decode()
        header: Any = _REGISTRY("from", text)
        addresses = tuple(address.addr_spec for address in header.addresses)
    except (ValueError, RecursionError, IndexError):
        return ()  # not UTF-8, or what the library stumbles over
    clear = all(isinstance(defect, _HARMLESS) for defect in header.defects)
    return addresses if clear else ()
