"""The options of `smtp-relay`."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field, model_validator

from netserve.config.listen import Listen, ListenAddresses
from netserve.config.types import (
    Duration,
    ImportPath,
    Network,
    Networks,
    PositiveInt,
    Rate,
    ReadPath,
    Secret,
    Section,
    Shown,
    Size,
)
from netserve.errors import InvalidValue
from netserve.mail.users_file import hash_problem, is_hash
from netserve.plugin import Limits, Settings, Way
from netserve.protocols.smtp_relay.delivery.dns.options import Dns
from netserve.protocols.smtp_relay.receiving.relaying import LOOPBACK, open_relay, untied
from netserve.protocols.smtp_relay.routes import AddressPatterns, Route

_HOSTNAME: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_TOKEN: Final = re.compile(r"[!-~]+")
_SHORTEST_TOKEN: Final = 16
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_KIB: Final = 1024
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,76}")

Name: TypeAlias = Annotated[str, Shown()]
"""The name of a user."""


def _own_name() -> str:
    name = socket.gethostname()
    return name if _HOSTNAME.fullmatch(name) else "localhost"


def _check_hostname(name: str) -> str:
    if len(name) > 255 or not _HOSTNAME.fullmatch(name):
        raise InvalidValue("not a host's name; write one such as relay.example.org")
    return name


def _check_networks(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    if (reason := open_relay(networks)) is not None:
        raise reason
    return networks


def _check_field_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not _FIELD_NAME.fullmatch(name):
            raise ValueError(f"not the name of a header field: {name!r}; write one such as Bcc")
        if name.lower() == "received":
            raise ValueError("Received stays: without it a mail loop would never be noticed")
    return names


class SmtpLimits(Limits):
    """What a relay may use."""

    message_size: Size = 25 * _KIB * _KIB
    """The largest message, in bytes; it is what SIZE says."""
    header_size: Size = 100 * _KIB
    """The largest header section of a message."""
    line_length: Size = 1024 * _KIB
    """The longest line of a message, its end included. A line over 998 octets, which is SMTP's
    limit, is folded or encoded when the message is sent on."""
    recipients: PositiveInt = 1000
    """Recipients of one message."""
    hops: PositiveInt = 50
    """`Received` fields of a message; with more it is taken to be in a loop."""
    errors: PositiveInt = 20
    """Commands of one connection that were refused, without a message that was taken between them,
    before it is closed."""
    login_attempts: PositiveInt = 3
    """Logins of one connection that failed, before it is closed."""
    failed_logins: PositiveInt = 5
    """Logins of one user from one address that failed, over all connections, before the next one
    has to wait: for a second, and twice as long after each further failure."""
    failed_logins_per_address: PositiveInt = 50
    """The same for one address, whichever users are tried. It does not hold up a user who has
    logged in from there before, nor the networks of `rates.exempt`."""
    login_wait: Annotated[Duration, Field(gt=0)] = 300.0
    """The longest of these waits."""
    waiting_logins: PositiveInt = 16
    """Logins of one address that wait to be verified; further ones are put off."""
    idle_commands: PositiveInt = 100
    """Commands in a row that bring no mail, before the connection is closed."""
    data_timeout: Duration = 600.0
    """Time for the content of one message."""
    connections_per_user: PositiveInt = 100
    """Connections at one time that have logged in as the same user, and requests with its token."""


class MailRates(Section):
    """How much mail may be handed over in a time. A client may use it up at once; it is filled
    again evenly.
    """

    per_address: Rate = Rate(6000, 60.0)
    """Messages of one address (an IPv4 address, or a /64 of IPv6)."""
    recipients_per_address: Rate = Rate(30000, 60.0)
    """Recipients of the messages of one address."""
    per_user: Rate = Rate(10000, 3600.0)
    """Messages of one user."""
    recipients_per_user: Rate = Rate(50000, 3600.0)
    """Recipients of the messages of one user."""
    exempt: Networks = LOOPBACK
    """Networks whose addresses have no rates; loopback unless given."""


def _check_users(users: dict[str, Secret]) -> dict[str, Secret]:
    if not all(name and name.isprintable() for name in users):
        raise InvalidValue("a user's name is not empty, and has printable characters")
    return users


def _check_password(password: Secret) -> Secret:
    text = password.reveal()
    if not text:
        raise InvalidValue("the password is empty, so that everybody knows it")
    if is_hash(text) and (problem := hash_problem(text)) is not None:
        raise InvalidValue(problem)
    return password


Password: TypeAlias = Annotated[Secret, AfterValidator(_check_password)]
"""A password that users log in with, or its hash."""


def _check_token(token: Secret) -> Secret:
    text = token.reveal()
    if len(text) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(text):
        raise InvalidValue(
            f"a token has {_SHORTEST_TOKEN} letters, digits and signs or more; make one by:"
            " openssl rand -hex 20"
        )
    return token


def _check_tokens(tokens: dict[str, Secret]) -> dict[str, Secret]:
    if not all(name and name.isprintable() for name in tokens):
        raise InvalidValue("a token's name is not empty, and has printable characters")
    if len({token.reveal() for token in tokens.values()}) < len(tokens):
        raise InvalidValue("two names have the same token")
    return tokens


Token: TypeAlias = Annotated[Secret, AfterValidator(_check_token)]
"""What an application shows to post mail."""


class HttpWay(Section):
    """A way in over HTTP, for applications."""

    listen: ListenAddresses
    """Where requests come in; in the form of the service's own `listen`."""
    tokens: Annotated[dict[str, Token], Field(min_length=1), AfterValidator(_check_tokens)]
    """Who may post mail: by name a token. The name counts as that of a user who has logged in, in
    `routes`, `senders` and `rates`."""


class Retry(Section):
    """When a message that could not be delivered is tried again."""

    first: Annotated[Duration, Field(gt=0)] = 300.0
    """The wait after the first attempt; it doubles with each further one."""
    longest: Annotated[Duration, Field(gt=0)] = 4 * 3600.0
    """No wait is longer."""
    life: Duration = 5 * 86400.0
    """After so long a message is given up, and its sender told."""
    delay_notice: Duration = 4 * 3600.0
    """After so long the sender is told once that it waits; `0s` for never."""

    @model_validator(mode="after")
    def _first_is_not_longest(self) -> Retry:
        if self.first > self.longest:
            raise InvalidValue("first is longer than longest")
        return self


class SmtpRelaySettings(Settings):
    """Takes mail over SMTP, keeps it safe in the queue, and delivers it by routes."""

    hostname: Annotated[str, AfterValidator(_check_hostname), Shown()] = Field(
        default_factory=_own_name
    )
    """The name of this host, for the greeting, EHLO, `Received` and bounces; the default is the
    system's."""
    role: Literal["relay", "submission", "devices"] = "relay"
    """`relay` takes mail from the networks of `relay_for` without a login; `submission` wants a
    login of everybody, and adds a missing `Date` and `Message-ID`; `devices` takes mail of what
    `allow` names, however old: without a login, without TLS, with bare line feeds."""
    relay_for: Annotated[Networks, AfterValidator(_check_networks)] = LOOPBACK
    """Networks whose clients need no login; loopback unless given, for role `devices` those of
    `allow`."""
    users: Annotated[dict[Name, Password], AfterValidator(_check_users)] = Field(default={})
    """Who may log in: by name a password, or its argon2 hash (`$argon2id$…`). What looks like a
    hash has to be one that can be verified."""
    users_file: ReadPath | None = None
    """Users from a file that `netserve passwd` writes, in place of `users`; it is read again when
    it has changed."""
    checker: ImportPath | None = None
    """Logins are checked by this object in place of `users`: an `ICredentialsChecker` of
    `twisted.cred` for user names and passwords."""
    senders: dict[Name, AddressPatterns] = Field(default={})
    """By user, the sender addresses that this user may use: `{scanner: "scan@example.org"}`. Who is
    not listed may use any."""
    senders_in_header: bool = False
    """Hold users to their `senders` in the field From of the header too."""
    starttls: bool = True
    """With `tls`: connections begin in clear and STARTTLS is offered; `false` for TLS from the
    first byte. On an address `tls:`, such as `tls:465`, it is from the first byte in any case."""
    login_without_tls: bool = False
    """Offer AUTH on connections in clear too; for role `devices` it is offered so."""
    normalise_newlines_for: Networks = ()
    """Networks whose line ends are repaired: a bare LF ends a line, as does an LF after several
    CRs, and a CR anywhere else becomes a space. From others they are refused. For role `devices`
    it is everybody."""
    remove_headers: Annotated[tuple[str, ...], AfterValidator(_check_field_names)] = (
        "Bcc",
        "Resent-Bcc",
        "Return-Path",
        "Content-Length",
    )
    """Header fields that are removed from each message when it comes in, as its recipients should
    not see them; `[]` removes none."""
    refuse_early_talk: bool | None = None
    """Refuse clients that send commands before the greeting, or a message before the 354 that asks
    for it, as programs do that only send spam; `true` unless the role is `devices`."""
    limits: SmtpLimits = SmtpLimits()
    """What the service may use."""
    rates: MailRates = MailRates()
    """How much mail clients and users may hand over in a time."""
    http: HttpWay | None = None
    """A way in over HTTP beside that over SMTP."""
    retry: Retry = Retry()
    """When a message that could not be delivered is tried again."""
    dns: Dns = Dns()
    """Where DNS is asked, for routes by `mx` and for TLS by `dane` and `mta-sts`."""
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    """Where mail goes; the first route that matches."""

    def addresses(self) -> Iterator[tuple[Way, Listen]]:
        """Every address: those for SMTP, and those for HTTP."""
        yield from super().addresses()
        if self.http is not None:
            for index, listen in enumerate(self.http.listen):
                yield ("http", "listen", index), listen

    @model_validator(mode="after")
    def _tokens_are_not_overheard(self) -> SmtpRelaySettings:
        listens = self.http.listen if self.http is not None and self.begins_in_clear else ()
        for listen in listens:
            here = listen.kind == "unix" or listen.interface in _LOOPBACK_NAMES
            if not (here or listen.is_encrypted or self.login_without_tls):
                raise InvalidValue(
                    "http: tokens would go over {listen} in clear: write tls: for tcp:, listen on"
                    " 127.0.0.1, or set login_without_tls: true",
                    listen=listen,
                )
        return self

    @model_validator(mode="after")
    def _nobody_else_may_send(self) -> SmtpRelaySettings:
        if self.role == "devices" and (reason := untied(self.allow)) is not None:
            raise reason
        for _, listen in self.addresses():
            if listen.kind == "haproxy":
                raise InvalidValue(
                    "haproxy: believes whoever connects, so that anybody could claim an address of"
                    " relay_for; listen on tcp:, and name the balancer in proxy_protocol_from"
                )
        return self

    @model_validator(mode="after")
    def _somebody_may_send(self) -> SmtpRelaySettings:
        checking = {"users": self.users, "users_file": self.users_file, "checker": self.checker}
        given = [name for name, value in checking.items() if value]
        if len(given) > 1:
            raise InvalidValue(" and ".join(given) + ": only one of them can check logins")
        if self.role == "submission" and not given:
            raise InvalidValue(
                "role submission wants a login of everybody: give users or users_file"
            )
        if given and self.tls is None and not self.auth_in_clear:
            raise InvalidValue(
                "users can log in over TLS only: give tls, or set login_without_tls: true"
            )
        return self

    @model_validator(mode="after")
    def _senders_are_users(self) -> SmtpRelaySettings:
        all_known = self.checker is None and self.users_file is None
        known = self.users.keys() | (self.http.tokens.keys() if self.http else set())
        if all_known and (strangers := self.senders.keys() - known):
            raise InvalidValue(
                "senders names users who are not listed: {users}", users=tuple(sorted(strangers))
            )
        if self.senders_in_header and not self.senders:
            raise InvalidValue("senders_in_header holds users to their senders: list senders")
        return self

    @property
    def has_logins(self) -> bool:
        """Whether anybody can log in."""
        return bool(self.users or self.users_file or self.checker)

    @property
    def begins_in_clear(self) -> bool:
        """Whether connections begin without TLS, but for those of an address `tls:`."""
        return self.tls is None or self.starttls

    @property
    def is_for_devices(self) -> bool:
        """Whether it is tied to devices that it takes as they are."""
        return self.role == "devices"

    @property
    def auth_in_clear(self) -> bool:
        """Whether logins are taken without TLS."""
        return self.login_without_tls or self.is_for_devices

    @property
    def refuses_early_talk(self) -> bool:
        """Whether clients have to wait for the greeting and for 354."""
        if self.refuse_early_talk is None:
            return not self.is_for_devices
        return self.refuse_early_talk

    @property
    def completes_headers(self) -> bool:
        """Whether a missing Date and Message-ID are added (RFC 6409, 8)."""
        return self.role in {"submission", "devices"}

    @property
    def trusted(self) -> Networks:
        """Networks whose clients need no login."""
        if self.is_for_devices and "relay_for" not in self.model_fields_set:
            return self.allow
        return self.relay_for

    @property
    def normalised(self) -> Networks:
        """Networks whose line ends are repaired."""
        if self.is_for_devices and "normalise_newlines_for" not in self.model_fields_set:
            return self.allow
        return self.normalise_newlines_for
