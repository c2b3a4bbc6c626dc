"""The two forms of a message that is posted: JSON, and as it is with an envelope. No I/O."""

from __future__ import annotations

import json
import re
from math import inf
from typing import IO, Final

from multidict import MultiMapping

from netserve.mail.address import AddressError, normalise_mailbox
from netserve.mail.draft import Draft, read_draft

MAX_VALUES: Final = 20_000
"""Values in a message's JSON, counted roughly: each takes many times the memory that it has in the
text, and some time of the reactor's even in a thread."""
_LONGEST_NUMBER: Final = 20

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_OF_VALUES: Final = (b",", b"[", b"{")


class Refused(Exception):
    """A request that is not taken.

    Arguments:
        status: HTTP's.
        what: why, for who sent it.
        field: the part of it that is wrong, or an empty string.
        retry_after: seconds after which it may be taken, or None.
    """

    def __init__(
        self, status: int, what: str, *, field: str = "", retry_after: int | None = None
    ) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.field = field
        self.retry_after = retry_after


def read_json(file: IO[bytes]) -> Draft:
    """The message that JSON describes; a large one takes a while, and is for a thread.

    Arguments:
        file: has the JSON.

    Raises:
        Refused: it is not JSON, or of too many values.
        DraftError: it does not describe a message.
    """
    file.seek(0)
    text = file.read()
    if _has_too_many_values(text):
        raise Refused(400, f"there are more than {MAX_VALUES} values in it")
    try:
        data = json.loads(text, parse_int=_number, parse_float=_number)
    except UnicodeDecodeError:
        raise Refused(400, "this is not JSON: it is not UTF-8") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise Refused(400, f"this is not JSON: {error.msg}, {where}") from None
    except (RecursionError, ValueError):
        raise Refused(400, "this is not JSON of a message") from None
    return read_draft(data)


def _number(text: str) -> float:
    """A number, of which a message has none: a long one would take long to read."""
    return float(text) if len(text) <= _LONGEST_NUMBER else inf


def _has_too_many_values(text: bytes) -> bool:
    """Whether it would take too much memory to parse this."""
    if sum(map(text.count, _OF_VALUES)) <= MAX_VALUES:
        return False
    # Commas and brackets in strings do not count. Of strings there are two to one of those signs
    # at the most, so that this loop is short.
    values = at = 0
    for number, string in enumerate(_STRING.finditer(text)):
        values += sum(text.count(sign, at, string.start()) for sign in _OF_VALUES)
        at = string.end()
        if values > MAX_VALUES or number > 2 * MAX_VALUES:
            return True
    return values + sum(text.count(sign, at) for sign in _OF_VALUES) > MAX_VALUES


def read_envelope(
    query: MultiMapping[str], headers: MultiMapping[str]
) -> tuple[str, list[tuple[str, str]]]:
    """The sender, and each recipient with the name of its place.

    Arguments:
        query: of the request.
        headers: of the request.

    Raises:
        Refused: it is not there, or wrong.
    """
    senders, recipients = query.getall("from", []), query.getall("to", [])
    senders += headers.getall("X-Envelope-From", [])
    recipients += [
        one for several in headers.getall("X-Envelope-To", []) for one in several.split(",")
    ]
    if unknown := set(query) - {"from", "to"}:
        raise Refused(400, "is not known; there are from and to", field=min(unknown)[:100])
    if len(senders) != 1:
        raise Refused(400, "the envelope has one sender, which may be empty", field="from")
    if not recipients:
        raise Refused(400, "is missing: a message is for somebody", field="to")
    places = {
        _mailbox(f"to[{at}]", one): f"to[{at}]" for at, one in reversed([*enumerate(recipients)])
    }
    sender = senders[0].strip(" <>")
    return (
        _mailbox("from", sender) if sender else "",
        [(place, address) for address, place in reversed(places.items())],
    )


def _mailbox(field: str, text: str) -> str:
    try:
        mailbox = normalise_mailbox(text.strip(" <>"))
    except AddressError as error:
        raise Refused(400, str(error), field=field) from None
    if "@" not in mailbox:
        raise Refused(400, "the address has no domain", field=field)
    return mailbox
