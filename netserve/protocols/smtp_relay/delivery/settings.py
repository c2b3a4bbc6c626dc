"""What is done with a message, as the file says it: models of `deliver` and all below it."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema
from yarl import URL

from netserve.config.types import (
    Duration,
    FilePath,
    Networks,
    PositiveInt,
    Rates,
    Secret,
    Section,
    Words,
    WrittenPath,
    one_or_many,
)
from netserve.errors import InvalidValue
from netserve.http.options import Upstreams
from netserve.protocols.smtp_relay.delivery.folders import check_template
from netserve.protocols.smtp_relay.delivery.login_settings import Login
from netserve.protocols.smtp_relay.delivery.outgoing_settings import DKIM, Rewrite, Signatures
from netserve.protocols.smtp_relay.lists import ONE_OR_MANY_TEXTS, not_empty

TLSLevel: TypeAlias = Literal["none", "may", "encrypt", "verify", "dane", "mta-sts", "dane+mta-sts"]


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
            raise InvalidValue(
                "not a smarthost; write host:port, such as smtp.example.org:587 or [::1]:25"
            )
        self.host = match["literal"] or match["name"].lower()
        self.port = int(match["port"])
        if not 0 < self.port < 65536:
            raise InvalidValue(
                "not a port: {port}; a port is a number from 1 to 65535",
                otherwise="not a port: a port is a number from 1 to 65535",
                port=self.port,
            )

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
            raise InvalidValue("not a smarthost; write host:port, such as smtp.example.org:587")

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
        raise InvalidValue("the same smarthost twice")
    return value


Smarthosts: TypeAlias = Annotated[
    tuple[Smarthost, ...],
    BeforeValidator(one_or_many),
    AfterValidator(not_empty),
    AfterValidator(_no_duplicates),
    ONE_OR_MANY_TEXTS,
    Words("host:port or list of them"),
]
"""One smarthost or a list of them, the first choice first."""


def _check_refusal(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise InvalidValue("the text of a refusal is one line, and not empty")
    return text


class Timeouts(Section):
    """How long a server may take, by phase (RFC 5321, 4.5.3.2)."""

    connect: Duration = 30.0
    """For the connection to be made, for each smarthost or address."""
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


def _check_hook_url(text: str) -> str:
    url = URL(text)
    if url.scheme not in {"http", "https"} or not url.raw_host:
        raise InvalidValue("not a URL of a hook; write for example https://app.example.org/mail")
    if url.raw_user is not None or url.raw_fragment:
        raise InvalidValue("a hook's URL has no user and no fragment; give a token or headers")
    return text


def _check_header_names(headers: dict[str, str | Secret]) -> dict[str, str | Secret]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            otherwise = "not the name of a header"
            what = "not the name of a header: {name}"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=repr(name))
        if name.lower() in _OWN_HEADERS:
            otherwise = "this header is set by netserve"
            what = "{name} is set by netserve"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=name)
        text = value if isinstance(value, str) else value.reveal()
        if not text.isprintable() or not text.isascii():
            otherwise = "this value can't stand in a header"
            what = "the value of {name} can't stand in a header"
            raise InvalidValue(what, at=(name,), otherwise=otherwise, name=name)
    return headers


_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OWN_HEADERS: Final = frozenset(
    {"content-length", "content-type", "host", "idempotency-key", "netserve-envelope",
     "transfer-encoding"}
)  # fmt: skip


class Hook(Section):
    """An application that takes messages over HTTP, by POST."""

    url: Annotated[str, AfterValidator(_check_hook_url)]
    """Where it takes them: `https://app.example.org/mail`."""
    token: Secret | None = None
    """Sent as `Authorization: Bearer`; keep it out of the file by `!env`, `!file` or
    `!credential`."""
    headers: Annotated[dict[str, str | Secret], AfterValidator(_check_header_names)] = Field(
        default={}
    )
    """Headers that are sent with each message."""
    timeout: Annotated[Duration, Field(gt=0)] = 60.0
    """For the whole of a message, answer included."""
    allow_upstreams: Upstreams = ()
    """Addresses, networks and host names that may be asked though they are not public."""
    ca: FilePath | None = None
    """Trust only these certificates (PEM), not the system's."""

    def __hash__(self) -> int:
        return hash((Hook, self.url))  # a mapping, as headers are one, has no hash


_WAYS: Final = ("smarthost", "mx", "http", "maildir", "discard", "refuse")
_ONLY_WITH: Final = (
    (
        ("tls", "ca", "allow_addresses", "dkim", "rewrite", "uses", "idle", "timeouts"),
        ("smarthost", "mx"),
    ),
    (("login",), ("smarthost",)),
    (("port", "total_connections"), ("mx",)),
    (("connections", "batch"), ("smarthost", "mx", "http")),
)
"""Options, and the ways that they are for."""
_WITH_CERTIFICATES: Final = ("verify", "mta-sts", "dane+mta-sts")
"""Levels of TLS at which a certificate may be checked by who has signed it."""


def _one_of(names: tuple[str, ...]) -> str:
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))


class Deliver(Section):
    """What is done with a message: exactly one of smarthost, mx, http, maildir, discard, refuse."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [way]} for way in _WAYS]})

    smarthost: Smarthosts | None = None
    """Servers that take the mail, as `host:port`, in order: the next where one can't be reached."""
    mx: Literal[True] | None = None
    """`true`: straight to the servers of each recipient's domain, as DNS names them."""
    http: Hook | None = None
    """An application that takes the mail over HTTP."""
    maildir: Annotated[WrittenPath, AfterValidator(check_template)] | None = None
    """A Maildir; `{local}` and `{domain}` in its path are the recipient's, one folder each."""
    discard: Literal[True] | None = None
    """`true`: the message is thrown away, and counts as delivered."""
    refuse: Annotated[str, AfterValidator(_check_refusal)] | None = None
    """The message fails with this text; the sender gets a bounce."""

    tls: TLSLevel | None = None
    """TLS to a server: `none`; `may` (where offered, any certificate); `encrypt` (always, any
    certificate); `verify` (always, name and chain checked); `dane` (as the server's TLSA records
    ask for, else `may`); `mta-sts` (as the domain's MTA-STS policy asks for, else `may`);
    `dane+mta-sts` (by TLSA records where there are some, else by the policy, else `may`). With a
    login the default is `verify`, otherwise `may`. On port 465 TLS begins with the first byte, at
    any level but `none`."""
    ca: FilePath | None = None
    """With `verify` and `mta-sts`: trust only these certificates (PEM), not the system's; also for
    the servers of MTA-STS policies."""
    login: Login | None = None
    """Name and password for the smarthosts, or OAuth2."""
    dkim: Signatures | None = None
    """Signatures that messages get on their way out; a list for several."""
    rewrite: Rewrite | None = None
    """Other senders for servers that do not take every one."""
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """With `mx`: the port of the servers."""
    allow_addresses: Networks = ()
    """Networks that mail by `mx` may go to though they are not public, such as `10.0.0.0/8`; also
    for the servers of MTA-STS policies."""
    connections: PositiveInt = 20
    """Concurrent connections: to all smarthosts of the route, to one domain by `mx`, or to the
    hook; over all services that go there with the same login."""
    total_connections: PositiveInt = 200
    """With `mx`: concurrent connections to all domains together, over all services."""
    uses: PositiveInt = 1000
    """Messages on one connection before it is closed."""
    idle: Duration = 300.0
    """A connection without a message for so long is closed."""
    batch: PositiveInt = 50
    """Recipients of a message that are handed over in one go."""
    quota: Rates = ()
    """So many recipients in a time at the most, as the provider has it: `250/hour`, or a list such
    as `[20/minute, 250/hour, 10000/day]`. What is over it waits; it is kept over a restart, and
    holds over all services that go there with the same login. With `mx` each domain has its own."""
    timeouts: Timeouts = Timeouts()
    """How long a server may take."""

    @property
    def signatures(self) -> tuple[DKIM, ...]:
        """All of `dkim`."""
        if self.dkim is None:
            return ()
        return (self.dkim,) if isinstance(self.dkim, DKIM) else self.dkim

    @property
    def tls_level(self) -> TLSLevel:
        """The level of TLS, with the default filled in."""
        return self.tls or ("verify" if self.login else "may")

    @model_validator(mode="after")
    def _exactly_one_way(self) -> Deliver:
        ways = [way for way in _WAYS if getattr(self, way) is not None]
        if len(ways) != 1:
            found = f"has {' and '.join(ways)}" if ways else "has none of them"
            raise InvalidValue(f"needs exactly one of {', '.join(_WAYS)}; " + found)
        for options, owners in _ONLY_WITH:
            stray = [name for name in options if name in self.model_fields_set]
            if stray and ways[0] not in owners:
                raise InvalidValue(", ".join(stray) + ": only together with " + _one_of(owners))
        return self

    @model_validator(mode="after")
    def _consistent_tls(self) -> Deliver:
        if self.ca is not None and self.tls_level not in _WITH_CERTIFICATES:
            raise InvalidValue("ca: only together with tls: " + _one_of(_WITH_CERTIFICATES))
        if self.login and self.tls_level != "verify" and not self.login.in_clear:
            raise InvalidValue(
                "tls: {level} could give the " + self.login.word + " to anyone on the way;"
                " write tls: verify, or in_clear: true in login",
                level=self.tls_level,
            )
        return self
