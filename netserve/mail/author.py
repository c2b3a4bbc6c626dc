"""Who a message says it is from: the addresses of its From field (RFC 5322, 3.6.2).

It is read strictly, since somebody is held to what it says: a text that two programs could read
differently, or more than one such field, is read as nothing.
"""

from __future__ import annotations

from email.errors import NonASCIILocalPartDefect, ObsoleteHeaderDefect
from email.headerregistry import HeaderRegistry
from typing import Any, Final

from netserve.mail.fields import fields_end, fields_of
from netserve.mail.mailboxes import mailboxes_of

_LONGEST: Final = 1024
"""Bytes of a field that is read."""
_HARMLESS: Final = (NonASCIILocalPartDefect, ObsoleteHeaderDefect)
"""A period in a name, an internationalised address: the standard of another year has them."""
_REGISTRY: Final = HeaderRegistry()


def authors(section: bytes) -> tuple[str, ...]:
    """The addresses in the From field; none if there is no such field, or no clear one.

    Arguments:
        section: a header section, with CRLF after each line; what comes after it is not read.
    """
    fields = [each for each in fields_of(section[: fields_end(section)]) if each.name == "from"]
    if len(fields) != 1 or len(fields[0].raw) > _LONGEST:
        return ()
    if any(b"=?" in mailbox.address for mailbox in mailboxes_of(fields[0].body)):
        return ()  # RFC 2047, 5: no encoded word there, though the library decodes it
    try:
        header: Any = _REGISTRY("from", fields[0].value.decode())
        addresses = tuple(address.addr_spec for address in header.addresses)
    except Exception:  # it is not UTF-8, or the library stumbles over it in one of many ways
        return ()
    clear = all(isinstance(defect, _HARMLESS) for defect in header.defects)
    return addresses if clear else ()
