"""The options of `smtp-relay`."""

from __future__ import annotations

import re
import socket
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from netserve.config.types import (
    Duration,
    ImportPath,
    Network,
    Networks,
    PositiveInt,
    Secret,
    Section,
    Size,
)
from netserve.plugin import Limits, Settings
from netserve.protocols.smtp_relay.delivery.dns_settings import Dns
from netserve.protocols.smtp_relay.receiving.relaying import LOOPBACK, open_relay
from netserve.protocols.smtp_relay.routes import AddressPatterns, Route

_HOSTNAME: Final = re.compile(
    r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)
_KIB: Final = 1024


def _own_name() -> str:
    name = socket.gethostname()
    return name if _HOSTNAME.fullmatch(name) else "localhost"


def _check_hostname(name: str) -> str:
    if len(name) > 255 or not _HOSTNAME.fullmatch(name):
        raise ValueError("not a host's name; write one such as relay.example.org")
    return name


def _check_networks(networks: tuple[Network, ...]) -> tuple[Network, ...]:
    if (reason := open_relay(networks)) is not None:
        raise ValueError(reason)
    return networks


class SmtpLimits(Limits):
    """What a relay may use."""

    message_size: Size = 25 * _KIB * _KIB
    """The largest message, in bytes; it is what SIZE says."""
    header_size: Size = 100 * _KIB
    """The largest header section of a message."""
    line_length: Size = 2 * _KIB
    """The longest line of a message, its end included."""
    recipients: PositiveInt = 1000
    """Recipients of one message."""
    hops: PositiveInt = 50
    """`Received` fields of a message; with more it is taken to be in a loop."""
    errors: PositiveInt = 20
    """Commands of one connection that were refused, before it is closed."""
    login_attempts: PositiveInt = 3
    """Logins of one connection that failed, before it is closed."""
    idle_commands: PositiveInt = 100
    """Commands in a row that bring no mail, before the connection is closed."""
    data_timeout: Duration = 600.0
    """Time for the content of one message."""


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
            raise ValueError("first is longer than longest")
        return self


class SmtpRelaySettings(Settings):
    """Takes mail over SMTP, keeps it safe in the queue, and delivers it by routes."""

    hostname: Annotated[str, AfterValidator(_check_hostname)] = Field(default_factory=_own_name)
    """The name of this host, for the greeting, EHLO, `Received` and bounces; the default is the
    system's."""
    role: Literal["relay", "submission"] = "relay"
    """`relay` takes mail from the networks of `relay_for` without a login; `submission` wants a
    login of everybody, and adds a missing `Date` and `Message-ID`."""
    relay_for: Annotated[Networks, AfterValidator(_check_networks)] = LOOPBACK
    """Networks whose clients need no login; loopback unless given."""
    users: dict[str, Secret] = Field(default={})
    """Who may log in: by name a password, or its argon2 hash (`$argon2id$…`)."""
    checker: ImportPath | None = None
    """Logins are checked by this object instead of `users`: an `ICredentialsChecker` of
    `twisted.cred` for user names and passwords."""
    senders: dict[str, AddressPatterns] = Field(default={})
    """By user, the sender addresses that this user may use: `{scanner: "scan@example.org"}`. Who is
    not listed may use any."""
    starttls: bool = True
    """With `tls`: connections begin in clear and STARTTLS is offered; `false` for TLS from the
    first byte (port 465)."""
    login_without_tls: bool = False
    """Offer AUTH on connections in clear too, for devices that have no TLS."""
    normalise_newlines_for: Networks = ()
    """Networks whose bare LF and CR are taken for line ends; from others they are refused."""
    limits: SmtpLimits = SmtpLimits()
    """What the service may use."""
    retry: Retry = Retry()
    """When a message that could not be delivered is tried again."""
    dns: Dns = Dns()
    """Where DNS is asked, for routes by `mx` and for TLS by `dane` and `mta-sts`."""
    routes: Annotated[tuple[Route, ...], Field(min_length=1)]
    """Where mail goes; the first route that matches."""

    @model_validator(mode="after")
    def _somebody_may_send(self) -> SmtpRelaySettings:
        if self.users and self.checker:
            raise ValueError("users and checker: only one of them can check logins")
        if self.role == "submission" and not self.has_logins:
            raise ValueError("role submission wants a login of everybody: list users")
        if self.checker is None and (strangers := self.senders.keys() - self.users.keys()):
            raise ValueError(
                f"senders names users who are not listed: {', '.join(sorted(strangers))}"
            )
        if self.has_logins and self.tls is None and not self.login_without_tls:
            raise ValueError(
                "users can log in over TLS only: give tls, or set login_without_tls: true"
            )
        return self

    @property
    def has_logins(self) -> bool:
        """Whether anybody can log in."""
        return bool(self.users or self.checker)

    @property
    def begins_in_clear(self) -> bool:
        """Whether connections begin without TLS."""
        return self.tls is None or self.starttls
