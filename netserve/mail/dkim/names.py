"""The names that a DKIM record stands at: the domain that signs, and the selector. Pure."""

from __future__ import annotations

import re
from typing import Final

from netserve.errors import InvalidValue
from netserve.mail.address import ascii_domain

_LABEL: Final = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_SELECTOR: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def check_domain(text: str) -> str:
    """The domain in lower case, with A-labels where it was written with U-labels.

    Raises:
        ValueError: it is none, with what would be one.
    """
    domain = (ascii_domain(text) or "").lower()
    if not _DOMAIN.fullmatch(domain) or len(domain) > 253:
        raise InvalidValue("not a domain; write one such as example.org")
    return domain


def check_selector(text: str) -> str:
    """The selector in lower case.

    Raises:
        ValueError: it is none, with what would be one.
    """
    if not _SELECTOR.fullmatch(text) or len(text) > 63:
        raise InvalidValue("not a selector; write the name before ._domainkey, such as s1")
    return text.lower()
