"""OAuth2 without I/O: what is asked of a token endpoint, and what its answers mean.

RFC 6749: a refresh token is traded for an access token (6), or the client's own secret is where
there is no refresh token (4.4). A new refresh token in the answer takes the place of the old one.
Nothing that is said of an answer shows a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from netserve.config.types import Secret

LARGEST_ANSWER: Final = 64 * 1024
"""Bytes of an endpoint's answer."""
LONGEST_TOKEN: Final = 8 * 1024
"""Characters of a token; AUTH has 12288 bytes for it in base64 (RFC 4954, 4)."""
DEFAULT_LIFE: Final = 300.0
"""Seconds for which a token is used whose life is not told."""
MARGIN: Final = 60.0
"""Seconds before its end in which a token is not used any more."""

_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_WORD: Final = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]{1,100}")
_LONGEST_DESCRIPTION: Final = 300


class TokenRefused(Exception):
    """An answer without a token; the text says why, and has no secret in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who asks, and for what.

    Arguments:
        client_id: of the application.
        client_secret: of the application, or None for one that has none.
        refresh_token: of the account, or None where the application acts for itself.
        scope: what the token is to be good for, or an empty string.
    """

    client_id: str
    client_secret: Secret | None
    refresh_token: Secret | None
    scope: str

    def form(self) -> bytes:
        """The body of the request, as a form."""
        fields = {"client_id": self.client_id}
        if self.client_secret is not None:
            fields["client_secret"] = self.client_secret.reveal()
        if self.refresh_token is None:
            fields["grant_type"] = "client_credentials"
        else:
            fields["grant_type"] = "refresh_token"
            fields["refresh_token"] = self.refresh_token.reveal()
        if self.scope:
            fields["scope"] = self.scope
        return urlencode(fields).encode()

    def granted(self, status: int, body: bytes) -> Grant:
        """What an answer grants.

        Arguments:
            status: of HTTP.
            body: of the answer.

        Raises:
            TokenRefused: nothing.
        """
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if status != 200 or not isinstance(answer, dict):
            raise TokenRefused(self._refusal(status, answer))
        token = _token(answer.get("access_token"))
        kind = answer.get("token_type", "Bearer")
        if token is None or not isinstance(kind, str) or kind.lower() != "bearer":
            raise TokenRefused("the answer has no access token that we could use")
        rotated = _token(answer.get("refresh_token"))
        if self.refresh_token is None or rotated == self.refresh_token:
            rotated = None
        return Grant(token, _life(answer.get("expires_in")), rotated)

    def _refusal(self, status: int, answer: object) -> str:
        """An error of RFC 6749, 5.2, in a few words."""
        words = [f"HTTP status {status}"]
        if isinstance(answer, dict):
            error, description = answer.get("error"), answer.get("error_description")
            if isinstance(error, str) and _WORD.fullmatch(error):
                words = [error]
            if isinstance(description, str):
                text = " ".join(description.split())[:_LONGEST_DESCRIPTION]
                words.append("".join(c for c in text if c.isprintable()))
        return _without(": ".join(word for word in words if word), self._secrets())

    def _secrets(self) -> list[str]:
        secrets = (self.client_secret, self.refresh_token)
        return [secret.reveal() for secret in secrets if secret is not None]


@dataclass(frozen=True, slots=True)
class Grant:
    """What was granted.

    Arguments:
        token: the access token.
        life: seconds for which it is good.
        refresh_token: to be used from now on, or None: the one of before.
    """

    token: Secret
    life: float
    refresh_token: Secret | None


def usable_for(life: float) -> float:
    """Seconds for which a token is used, of the life that it has."""
    return max(life - MARGIN, life / 2)


def _token(value: object) -> Secret | None:
    """A token that AUTH could carry, or None."""
    if isinstance(value, str) and len(value) <= LONGEST_TOKEN and _TOKEN.fullmatch(value):
        return Secret(value)
    return None


def _life(value: Any) -> float:
    try:
        life = float(value)  # some write it as a text
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_LIFE
    return min(life, 7 * 86400.0) if life > 0 else DEFAULT_LIFE


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    return text
