"""What goes between the SMTP client machine and its driver: settings in, events out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from netserve.config.types import Secret
from netserve.mail.envelope import Outcome, Reply


@dataclass(frozen=True, slots=True)
class Login:
    """Who we are to a server.

    Arguments:
        user: the name.
        password: or the access token.
        in_clear: it may go out without TLS.
        is_token: it is an OAuth2 access token (RFC 6750).
    """

    user: str
    password: Secret
    in_clear: bool = False
    is_token: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What a session is to be like.

    Arguments:
        hostname: our name, for EHLO.
        remote: the server in logs and outcomes, ``smtp.example.org[192.0.2.1]:587``.
        tls: `none`, `may` (where offered), or `encrypt` and `verify`, which are the same here: it
            is the driver's TLS that checks a certificate.
        level: what that TLS is called in outcomes, such as ``dane``; or an empty string.
        secure: TLS is there before the first byte.
        login: who we are, or None.

    Raises:
        ValueError: the hostname can't be sent.
    """

    hostname: str
    remote: str = ""
    tls: Literal["none", "may", "encrypt", "verify"] = "may"
    level: str = ""
    secure: bool = False
    login: Login | None = None

    def __post_init__(self) -> None:
        if not (self.hostname.isascii() and self.hostname.isprintable()) or " " in self.hostname:
            raise ValueError("the host name is not one")


class StartTLS:
    """The server waits for TLS: begin it, then call `Client.tls_started`."""


class Ready:
    """`Client.start` may be called."""


class NeedBody:
    """The server takes the body: `Client.write_body`, and `Client.end_body` behind the last."""


@dataclass(frozen=True, slots=True)
class Done:
    """A message is through.

    Arguments:
        outcomes: one for each recipient, in the order of `Client.start`.
    """

    outcomes: Sequence[Outcome]


@dataclass(frozen=True, slots=True)
class Closed:
    """The session is over; the driver closes the connection.

    Arguments:
        reply: why, or None behind QUIT.
        login_refused: since the server does not take the login, for good.
    """

    reply: Reply | None
    login_refused: bool = False


Event: TypeAlias = StartTLS | Ready | NeedBody | Done | Closed
