r"""Field lines (header and trailer fields), kept byte for byte (RFC 9110, 5; RFC 9112, 5).

A `Field` exists only for a line that may be sent: `read_field` makes one from a line that was
received, `make_field` from a name and a value. So whatever holds fields can be written out
without another look, as the very bytes that came.

Most lines of real traffic repeat (``Host``, ``User-Agent``, ``Accept``, ``Server``). The last
`_MOST_REMEMBERED` checked lines are kept in a dictionary, so that a known line costs one lookup;
``python -m bench.http_heads`` compares this with other parsers. Lines that may hold a secret are
not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, NoReturn

from netserve.http.h1.violations import violated

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_FIELD_LINE: Final = re.compile(rb"(" + _TOKEN + rb"):([\t\x20-\x7e\x80-\xff]*)").fullmatch
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*").fullmatch
is_token: Final = re.compile(_TOKEN).fullmatch
"""Whether bytes are a token (RFC 9110, 5.6.2); None where they are not."""

_MOST_REMEMBERED: Final = 1024
_LONGEST_REMEMBERED: Final = 160
_SECRET: Final = frozenset(
    {b"authorization", b"cookie", b"proxy-authorization", b"set-cookie", b"x-api-key"}
)


class Field(NamedTuple):
    """One field line.

    Arguments:
        name: as it came.
        value: without the whitespace around it.
        key: the name in lower case.
        line: the whole line as it came, without its CRLF.
    """

    name: bytes
    value: bytes
    key: bytes
    line: bytes


_known: Final[dict[bytes, Field]] = {}
known: Final = _known.get
"""The field of a line that was checked before, or None."""


def read_field(line: bytes) -> Field:
    """The field of a line that was received.

    Arguments:
        line: without its CRLF.

    Raises:
        Violated: the line is not a field line (RFC 9112, 5).
    """
    match = _FIELD_LINE(line)
    if match is None:
        _explain(line)
    name, value = match.groups()
    field = Field(name, value.strip(b" \t"), name.lower(), line)
    if len(line) <= _LONGEST_REMEMBERED and field.key not in _SECRET:
        if len(_known) >= _MOST_REMEMBERED:
            _known.clear()
        _known[line] = field
    return field


def make_field(name: bytes, value: bytes) -> Field:
    """A field of our own.

    Raises:
        ValueError: the name is not a token, or the value holds a control character (RFC 9110, 5.5)
            or whitespace at an end.
    """
    if not is_token(name):
        raise ValueError(f"not a field name: {name!r}")
    if not _VALUE(value) or value != value.strip(b" \t"):
        raise ValueError(f"the value of {name.decode()} cannot stand in a field")
    return Field(name, value, name.lower(), b"%b: %b" % (name, value))


def _explain(line: bytes) -> NoReturn:
    """Raise what is wrong with a line that is not a field line."""
    name, colon, _ = line.partition(b":")
    if line[:1] in {b" ", b"\t"}:
        violated("obsolete line folding", line)
    if b"\r" in line:
        violated("bare CR", line)
    if not colon:
        violated("field line without a colon", line)
    if not name:
        violated("empty field name", line)
    if name[-1:] in {b" ", b"\t"}:
        violated("whitespace before the colon of a field", line)
    if not is_token(name):
        violated("invalid character in a field name", line)
    # The value may be a secret: only its field is named.
    violated("invalid character in a field value", name)


class Fields(list[Field]):
    """The field lines of one message, in order; not to be changed once they are here.

    Derived values are cached on the object. A machine returns the same object when a peer repeats
    the same lines on a connection, as nearly every client does, and sending the same object twice
    serialises it once.

    Arguments:
        fields: the lines.
        block: all of them as they came, each with its CRLF, where that is at hand.
    """

    __slots__ = ("_block", "_end_to_end", "_options", "_values")

    def __init__(self, fields: Iterable[Field] = (), block: bytes | None = None) -> None:
        super().__init__(fields)
        self._block = block
        self._end_to_end: Fields | None = None
        self._options: Sequence[bytes] | None = None
        self._values: Mapping[bytes, Sequence[bytes]] | None = None

    @property
    def block(self) -> bytes:
        """All lines as they are sent, each with its CRLF."""
        if self._block is None:
            self._block = b"".join([field.line + b"\r\n" for field in self])
        return self._block

    @property
    def values(self) -> Mapping[bytes, Sequence[bytes]]:
        """The values of the fields that say how the message is framed and what becomes of the
        connection (`SPECIAL`), in order, by the name in lower case.
        """
        if self._values is None:
            values: dict[bytes, list[bytes]] = {}
            for field in [field for field in self if field.key in SPECIAL]:
                values.setdefault(field.key, []).append(field.value)
            self._values = values
        return self._values

    @property
    def options(self) -> Sequence[bytes]:
        """The options of Connection, in lower case (RFC 9110, 7.6.1)."""
        if self._options is None:
            self._options = members(self.values.get(b"connection", ()))
        return self._options

    @property
    def end_to_end(self) -> Fields:
        """The fields that a gateway passes on (RFC 9110, 7.6.1): without those that concern the
        connection, and those that Connection names.

        Host and the fields of framing stay, even where Connection names them: they are not its to
        take away. Transfer-Encoding stays since the machine on the other side goes by it.
        """
        if self._end_to_end is None:
            dropped = (HOP_BY_HOP.union(self.options)) - _KEPT
            passed = [field for field in self if field.key not in dropped]
            self._end_to_end = self if len(passed) == len(self) else Fields(passed)
        return self._end_to_end


SPECIAL: Final = frozenset(
    {b"connection", b"content-length", b"expect", b"host", b"keep-alive", b"transfer-encoding",
     b"upgrade"}
)  # fmt: skip
"""Fields that the machines go by."""
HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade"}
)
"""Fields of one connection; a gateway does not pass them on as they are."""
_KEPT: Final = frozenset({b"content-length", b"host", b"transfer-encoding"})


def as_fields(fields: Sequence[Field]) -> Fields:
    """The same as `Fields`."""
    return fields if isinstance(fields, Fields) else Fields(fields)


# Looking fields up.


def find(fields: Iterable[Field], key: bytes) -> bytes | None:
    """The value of the first field with this name.

    Arguments:
        fields: where to look.
        key: the name in lower case.
    """
    for field in fields:
        if field.key == key:
            return field.value
    return None


def find_all(fields: Iterable[Field], key: bytes) -> list[bytes]:
    """The values of all fields with this name, in order."""
    return [field.value for field in fields if field.key == key]


def members(values: Iterable[bytes]) -> list[bytes]:
    """The members of a comma-separated list over any number of lines, in lower case.

    See RFC 9110, 5.6.1. Quoted strings are not looked at: the lists that are read here (Connection,
    Transfer-Encoding, Upgrade, Expect) have none, or are refused.
    """
    found = [member.strip(b" \t").lower() for value in values for member in value.split(b",")]
    return [member for member in found if member]


def without(fields: Sequence[Field], keys: frozenset[bytes] | set[bytes]) -> list[Field]:
    """The fields whose names, in lower case, are not among the keys."""
    return [field for field in fields if field.key not in keys]
