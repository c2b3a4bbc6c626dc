"""Options of the ways that hand mail over by SMTP."""

from __future__ import annotations

from typing import Literal, TypeAlias

from netserve.config.types import Duration, FilePath, Networks, PositiveInt, Section
from netserve.errors import InvalidValue
from netserve.protocols.smtp_relay.delivery.options import ConnectionOptions, QuotaOptions, one_of
from netserve.protocols.smtp_relay.delivery.smtp.outgoing_options import DKIM, Rewrite, Signatures

TLSLevel: TypeAlias = Literal["none", "may", "encrypt", "verify", "dane", "mta-sts", "dane+mta-sts"]

WITH_CERTIFICATES = ("verify", "mta-sts", "dane+mta-sts")
"""Levels of TLS at which a certificate may be checked by its issuer."""


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


class SmtpOptions(Section):
    """Of ways that hand mail over by SMTP."""

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
    dkim: Signatures | None = None
    """Signatures that messages get on their way out; a list for several."""
    rewrite: Rewrite | None = None
    """Other senders for servers that do not take every one."""
    allow_addresses: Networks = ()
    """Networks that mail by `mx` may go to though they are not public, such as `10.0.0.0/8`; also
    for the servers of MTA-STS policies."""
    uses: PositiveInt = 1000
    """Messages on one connection before it is closed."""
    idle: Duration = 300.0
    """A connection without a message for so long is closed."""
    timeouts: Timeouts = Timeouts()
    """How long a server may take."""

    @property
    def signatures(self) -> tuple[DKIM, ...]:
        """All of `dkim`."""
        if self.dkim is None:
            return ()
        return (self.dkim,) if isinstance(self.dkim, DKIM) else self.dkim


class SmtpRoute(SmtpOptions, ConnectionOptions, QuotaOptions):
    """All that a route by SMTP has, of whichever way."""


def level_of(options: SmtpOptions, default: TLSLevel = "may") -> TLSLevel:
    """The level of TLS, with the default filled in.

    Arguments:
        options: of the route.
        default: the level without `tls`.

    Raises:
        ValueError: `ca` has no meaning at this level.
    """
    level = options.tls or default
    if options.ca is not None and level not in WITH_CERTIFICATES:
        raise InvalidValue("ca: only together with tls: " + one_of(WITH_CERTIFICATES))
    return level
