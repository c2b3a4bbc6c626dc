"""The options of `login`: a password, or OAuth2."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from netserve.config.types import FilePath, Secret, Section
from netserve.errors import InvalidValue

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|[0-9A-Fa-f:.]+")


def _check_token_url(text: str) -> str:
    wanted = "write the URL of the token endpoint, such as https://oauth2.example.org/token"
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        raise InvalidValue("not a URL; " + wanted) from None
    host = url.hostname or ""
    if url.scheme not in {"https", "http"} or not _HOST.fullmatch(host) or not text.isprintable():
        raise InvalidValue("not a URL of https; " + wanted)
    if url.username is not None or url.fragment:
        raise InvalidValue("neither a login nor a fragment can stand in it; " + wanted)
    if url.scheme == "http" and not _is_loopback(host):
        raise InvalidValue("the secrets would go out in clear; write https")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class OAuth2(Section):
    """Where access tokens come from (RFC 6749)."""

    token_url: Annotated[str, AfterValidator(_check_token_url)]
    """The provider's token endpoint."""
    client_id: Annotated[str, Field(min_length=1)]
    """The application's id at the provider."""
    client_secret: Secret | None = None
    """The application's secret; left out for one that has none."""
    refresh_token: Secret | None = None
    """The account's refresh token; a new one that the provider gives is kept in the state folder.
    Left out, the application logs in for itself (client credentials)."""
    scope: str = ""
    """What the token is to be good for, where the provider asks for it."""
    ca: FilePath | None = None
    """Trust only these certificates (PEM) for the endpoint, not the system's."""

    @model_validator(mode="after")
    def _something_to_trade(self) -> OAuth2:
        if self.refresh_token is None and self.client_secret is None:
            raise InvalidValue("a refresh_token is needed, or a client_secret without one")
        return self


class Login(Section):
    """Who we are to a smarthost: AUTH PLAIN or LOGIN, with `oauth2` OAUTHBEARER or XOAUTH2."""

    user: Annotated[str, Field(min_length=1)]
    """The user's name."""
    password: Secret | None = None
    """The password; keep it out of the file by `!env`, `!file` or `!credential`."""
    oauth2: OAuth2 | None = None
    """Instead of a password: access tokens of OAuth2."""
    in_clear: bool = False
    """Whether the password or token may be sent without TLS, or over TLS without a checked name."""

    @property
    def word(self) -> str:
        """What is secret about it."""
        return "password" if self.oauth2 is None else "access token"

    @model_validator(mode="after")
    def _one_way(self) -> Login:
        if (self.password is None) == (self.oauth2 is None):
            raise InvalidValue("a login has either password or oauth2")
        if self.oauth2 is not None and not self.user.isprintable():
            raise InvalidValue("user: a control character is in it")
        return self
