"""How the client logs in: the mechanisms, and what is sent in each. Pure.

PLAIN (RFC 4616) and LOGIN with a password; OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's and
Microsoft's) with an OAuth2 access token. Of those that the server offers the first of the table is
taken.

A server that does not like a token says why in a further challenge. The answer to that has no
meaning; only then does it refuse.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from netserve.mail.client.events import Login

_HIDDEN: Final = b"***"
_SHORTEST: Final = 4  # what is shorter would make words of others unreadable, and hide nothing
_WORD: Final = re.compile(rb"[A-Za-z0-9+/=_~-]{12,}")
LONGEST_COMMAND: Final = 512
"""Bytes of a command, its CRLF included (RFC 5321, 4.5.3.1.4); a longer response is sent alone."""


_Said: TypeAlias = tuple[str, Sequence[str]]
"""AUTH, and the answers to the challenges."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is sent to log in.

    Arguments:
        command: AUTH, without CRLF.
        answers: to the challenges, in order, without CRLF.
        secret: the password or token that is in them.
    """

    command: str
    answers: Sequence[str]
    secret: str

    def hidden(self, line: bytes) -> bytes:
        """What the server says, without what it repeats of our secrets, whole or cut off."""
        sent = [
            word.encode()
            for word in (self.secret, *self.command.split()[2:], *self.answers)
            if len(word) >= _SHORTEST
        ]
        for word in sent:
            line = line.replace(word, _HIDDEN)
        return _WORD.sub(
            lambda match: _HIDDEN if any(match[0] in word for word in sent) else match[0], line
        )

    def __repr__(self) -> str:
        return "Exchange(***)"


def exchange_for(login: Login, offered: Collection[str]) -> Exchange | None:
    """What to send, or None where the server offers nothing that we know.

    Arguments:
        login: who we are.
        offered: the server's mechanisms, in upper case.
    """
    for mechanism, make in _MECHANISMS[login.is_token].items():
        if mechanism in offered:
            secret = login.password.reveal()
            return Exchange(*make(login.user, secret), secret)
    return None


def _plain(user: str, password: str) -> _Said:
    return _with_response("PLAIN", f"\0{user}\0{password}")


def _login(user: str, password: str) -> _Said:
    return "AUTH LOGIN", [_base64(user), _base64(password)]


def _oauthbearer(user: str, token: str) -> _Said:
    name = user.replace("=", "=3D").replace(",", "=2C")  # RFC 5801, 4
    response = f"n,a={name},\1auth=Bearer {token}\1\1"
    return _with_response("OAUTHBEARER", response, behind=_base64("\1"))


def _xoauth2(user: str, token: str) -> _Said:
    return _with_response("XOAUTH2", f"user={user}\1auth=Bearer {token}\1\1", behind="")


def _with_response(mechanism: str, response: str, *, behind: str | None = None) -> _Said:
    """A mechanism with an initial response, which goes with AUTH if it fits (RFC 4954, 4).

    Arguments:
        mechanism: its name.
        response: before base64.
        behind: the answer to a challenge that comes all the same; None: there is none.
    """
    answers = [] if behind is None else [behind]
    encoded = _base64(response)
    command = f"AUTH {mechanism} {encoded}"
    if len(command) + 2 <= LONGEST_COMMAND:
        return command, answers
    return f"AUTH {mechanism}", [encoded, *answers]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


_Make = Callable[[str, str], _Said]
_MECHANISMS: Final[Mapping[bool, Mapping[str, _Make]]] = {
    False: {"PLAIN": _plain, "LOGIN": _login},
    True: {"OAUTHBEARER": _oauthbearer, "XOAUTH2": _xoauth2},
}
