"""The routes of a relay: which message goes where. Models of the file, and the matching.

A route has a `match` and a `deliver`. The first route of the list that matches a recipient decides
about it. Nothing here does I/O; the outbox asks again at each attempt, so that a corrected file
also moves what is queued already.

An address pattern is ``local@domain`` with ``*`` for any run of characters and ``?`` for one. The
domain is compared without regard to case, the local part with it (RFC 5321, 2.4). ``*`` alone is
any address, ``<>`` the null sender, ``postmaster`` the one address that may lack a domain.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from netserve.config.types import Duration, FilePath, PositiveInt, Secret, Section
from netserve.protocols.smtp_relay.folders import check_template

TLSLevel: TypeAlias = Literal["none", "may", "encrypt", "verify"]


def _one_or_many(value: object) -> object:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("at least one is needed")
    return value


def _check_address_pattern(pattern: str) -> str:
    if pattern in {"*", "<>"} or pattern.lower() == "postmaster":
        return pattern
    local, at, domain = pattern.rpartition("@")
    if not at:
        raise ValueError(
            f'not an address pattern; for a whole domain write "*@{pattern or "example.org"}"'
        )
    if not local or not domain:
        raise ValueError("an address pattern has something on both sides of its @")
    return pattern


def _check_user_pattern(pattern: str) -> str:
    if not pattern:
        raise ValueError('a user pattern is not empty; "*" is any authenticated user')
    return pattern


_ONE_OR_MANY_TEXTS: Final = WithJsonSchema(
    {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
)

AddressPatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_check_address_pattern)], ...],
    BeforeValidator(_one_or_many),
    AfterValidator(_not_empty),
    _ONE_OR_MANY_TEXTS,
]
"""One address pattern or a list of them."""

UserPatterns: TypeAlias = Annotated[
    tuple[Annotated[str, AfterValidator(_check_user_pattern)], ...],
    BeforeValidator(_one_or_many),
    AfterValidator(_not_empty),
    _ONE_OR_MANY_TEXTS,
]
"""One pattern of user names or a list of them."""


class Smarthost:
    """A server that mail is handed to: ``smtp.example.org:587``, ``192.0.2.1:25``, ``[::1]:25``.

    Arguments:
        text: as it stands in the file.

    Raises:
        ValueError: it is not of that form.
    """

    __slots__ = ("host", "port")

    _FORM: Final = re.compile(
        r"(?:\[(?P<literal>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?))"
        r":(?P<port>[0-9]{1,5})"
    )

    host: str
    """A name or an address, without brackets."""
    port: int

    def __init__(self, text: str) -> None:
        match = self._FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                "not a smarthost; write host:port, such as smtp.example.org:587 or [::1]:25"
            )
        self.host = match["literal"] or match["name"].lower()
        self.port = int(match["port"])
        if not 0 < self.port < 65536:
            raise ValueError(f"not a port: {self.port}; a port is a number from 1 to 65535")

    @property
    def tls_from_start(self) -> bool:
        """Whether TLS begins with the first byte, as it does on port 465 (RFC 8314, 3.3)."""
        return self.port == 465

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Smarthost) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash((Smarthost, self.host, self.port))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: object) -> Smarthost:
            if isinstance(value, Smarthost):
                return value
            if isinstance(value, str):
                return cls(value)
            raise ValueError("not a smarthost; write host:port, such as smtp.example.org:587")

        return core_schema.no_info_plain_validator_function(
            check, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^.+:\d{1,5}$"}


def _no_duplicates(value: tuple[Smarthost, ...]) -> tuple[Smarthost, ...]:
    if len(set(value)) != len(value):
        raise ValueError("the same smarthost twice")
    return value


Smarthosts: TypeAlias = Annotated[
    tuple[Smarthost, ...],
    BeforeValidator(_one_or_many),
    AfterValidator(_not_empty),
    AfterValidator(_no_duplicates),
    _ONE_OR_MANY_TEXTS,
]
"""One smarthost or a list of them, the first choice first."""


def _check_refusal(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("the text of a refusal is one line, and not empty")
    return text


class Login(Section):
    """Who we are to a smarthost (AUTH PLAIN or LOGIN)."""

    user: Annotated[str, Field(min_length=1)]
    """The user's name."""
    password: Secret
    """The password; keep it out of the file by `!env`, `!file` or `!credential`."""
    in_clear: bool = False
    """Whether the password may be sent without TLS, or over TLS without a checked name."""


class Timeouts(Section):
    """How long a smarthost may take, by phase (RFC 5321, 4.5.3.2)."""

    connect: Duration = 30.0
    """For the connection to be made, for each smarthost."""
    greeting: Duration = 300.0
    """For the greeting, for TLS, and for each reply to EHLO and AUTH."""
    mail: Duration = 300.0
    """For the reply to MAIL and RSET."""
    recipient: Duration = 300.0
    """For the reply to each RCPT."""
    data: Duration = 120.0
    """For the reply to DATA."""
    block: Duration = 180.0
    """For each block of a message to be taken."""
    end: Duration = 600.0
    """For the reply to the end of a message."""


class Match(Section):
    """What a route is for; all that is given must match."""

    recipient: AddressPatterns | None = None
    """The recipient's address: `"*@example.org"`, or a list of which one matches."""
    sender: AddressPatterns | None = None
    """The sender's address; `"<>"` is the null sender of bounces."""
    user: UserPatterns | None = None
    """The user who authenticated; `"*"` is any of them, and never somebody who did not."""


_WAYS: Final = ("smarthost", "maildir", "discard", "refuse")
_OF_SMARTHOSTS: Final = (
    "tls", "ca", "login", "connections", "uses", "idle", "batch", "timeouts",
)  # fmt: skip


class Deliver(Section):
    """What is done with a message: exactly one of smarthost, maildir, discard and refuse."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [way]} for way in _WAYS]})

    smarthost: Smarthosts | None = None
    """Servers that take the mail, as `host:port`, in order: the next where one can't be reached."""
    maildir: Annotated[FilePath, AfterValidator(check_template)] | None = None
    """A Maildir; `{local}` and `{domain}` in its path are the recipient's, one folder each."""
    discard: Literal[True] | None = None
    """`true`: the message is thrown away, and counts as delivered."""
    refuse: Annotated[str, AfterValidator(_check_refusal)] | None = None
    """The message fails with this text; the sender gets a bounce."""

    tls: TLSLevel | None = None
    """TLS to a smarthost: `none`; `may` (where offered, any certificate); `encrypt` (always, any
    certificate); `verify` (always, name and chain checked). With a login the default is `verify`,
    otherwise `may`. On port 465 TLS begins with the first byte, at any level but `none`."""
    ca: FilePath | None = None
    """With `verify`: trust only these certificates (PEM), not the system's."""
    login: Login | None = None
    """Name and password for the smarthosts."""
    connections: PositiveInt = 20
    """Connections at one time, over all smarthosts of the route."""
    uses: PositiveInt = 1000
    """Messages on one connection before it is closed."""
    idle: Duration = 300.0
    """A connection without a message for so long is closed."""
    batch: PositiveInt = 50
    """Recipients of a message that are handed over in one go."""
    timeouts: Timeouts = Timeouts()
    """How long a smarthost may take."""

    @property
    def tls_level(self) -> TLSLevel:
        """The level of TLS, with the default filled in."""
        return self.tls or ("verify" if self.login else "may")

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Deliver:
        ways = [way for way in _WAYS if getattr(self, way) is not None]
        if len(ways) != 1:
            found = f"has {' and '.join(ways)}" if ways else "has none of them"
            raise ValueError(f"needs exactly one of {', '.join(_WAYS)}; {found}")
        if ways != ["smarthost"]:
            stray = [name for name in _OF_SMARTHOSTS if name in self.model_fields_set]
            if stray:
                raise ValueError(f"{', '.join(stray)}: only together with smarthost")
        return self

    @model_validator(mode="after")
    def _consistent_tls(self) -> Deliver:
        if self.ca is not None and self.tls_level != "verify":
            raise ValueError("ca: only together with tls: verify")
        if self.login and self.tls_level != "verify" and not self.login.in_clear:
            raise ValueError(
                f"tls: {self.tls_level} could give the password to anyone on the way;"
                " write tls: verify, or in_clear: true in login"
            )
        return self


class Route(Section):
    """What is done with the messages that match."""

    match: Match = Match()
    """Which messages; without it: all."""
    deliver: Deliver
    """What is done with them."""


_Test: TypeAlias = Callable[[str], bool]


def _glob(pattern: str) -> Callable[[str], object]:
    # Brackets are no wildcards here: they stand in address literals. What fnmatch makes of the
    # rest runs in bounded time, however many stars there are.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]"))).match


def _address_test(pattern: str) -> _Test:
    if pattern == "*":
        return lambda _: True
    if pattern == "<>":
        return lambda address: address == ""
    local, at, domain = pattern.rpartition("@")
    if not at:
        return lambda address: address.lower() == "postmaster"
    match_local, match_domain = _glob(local), _glob(domain.lower())

    def test(address: str) -> bool:
        local, at, domain = address.rpartition("@")
        return bool(at and match_domain(domain.lower()) and match_local(local))

    return test


def _user_test(pattern: str) -> _Test:
    match = _glob(pattern)
    return lambda user: bool(user and match(user))


def _any_of(patterns: tuple[str, ...] | None, compiled: Callable[[str], _Test]) -> _Test | None:
    if patterns is None:
        return None
    tests = [compiled(pattern) for pattern in patterns]
    return tests[0] if len(tests) == 1 else lambda value: any(test(value) for test in tests)


def address_matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """A test whether one of the address patterns matches an address."""
    tests = [_address_test(pattern) for pattern in patterns]
    return lambda address: any(test(address) for test in tests)


class RouteTable:
    """Finds the route of a recipient.

    Arguments:
        routes: in the order of the file.
    """

    __slots__ = ("_rows", "routes")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._rows = [
            (
                _any_of(route.match.recipient, _address_test),
                _any_of(route.match.sender, _address_test),
                _any_of(route.match.user, _user_test),
                route,
            )
            for route in self.routes
        ]

    def find(self, sender: str, recipient: str, user: str = "") -> Route | None:
        """The first route that matches, or None.

        Arguments:
            sender: the mailbox without angle brackets, empty for the null sender.
            recipient: the mailbox without angle brackets.
            user: who authenticated, or an empty string.
        """
        for of_recipient, of_sender, of_user, route in self._rows:
            if (
                (of_recipient is None or of_recipient(recipient))
                and (of_sender is None or of_sender(sender))
                and (of_user is None or of_user(user))
            ):
                return route
        return None
