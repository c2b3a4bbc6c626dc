"""The two ways to tell a password: AUTH PLAIN (RFC 4616) and AUTH LOGIN, as the server sees them.

A mechanism is a generator: it yields challenges, is sent the client's responses, and returns user
and password. `Exchange` runs one, and does the base64 of RFC 4954.
"""

from __future__ import annotations

import binascii
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

MAX_LINE: Final = 12288
"""Bytes of a line of an exchange, its CRLF included (RFC 4954, 4)."""


class BadResponse(ValueError):
    """A response is not of its mechanism's form."""


_Mechanism: TypeAlias = Generator[bytes, bytes, tuple[str, str]]


def _decode(text: bytes) -> bytes:
    if text == b"=":  # an empty response on the line of AUTH (RFC 4954, 4)
        return b""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        raise BadResponse("not base64") from None


def _text(response: bytes) -> str:
    try:
        text = response.decode()
    except UnicodeDecodeError:
        raise BadResponse("not UTF-8") from None
    if "\0" in text:
        raise BadResponse("NUL in it")
    return text


def _user(response: bytes) -> str:
    user = _text(response)
    if not user or not user.isprintable():
        raise BadResponse("not a user's name")
    return user


def _plain() -> _Mechanism:
    parts = (yield b"").split(b"\0")
    if len(parts) != 3:
        raise BadResponse("not three parts")
    identity, user = _text(parts[0]), _user(parts[1])
    if identity not in {"", user}:
        raise BadResponse("nobody may act for another one")
    return user, _text(parts[2])


def _login() -> _Mechanism:
    user = _user((yield b"Username:"))
    return user, _text((yield b"Password:"))


MECHANISMS: Final[dict[str, Callable[[], _Mechanism]]] = {"PLAIN": _plain, "LOGIN": _login}
"""What is offered, in this order."""


class Exchange:
    """One run of a mechanism.

    Arguments:
        mechanism: one of `MECHANISMS`.

    Raises:
        KeyError: it is none of them.
    """

    __slots__ = ("_generator", "challenge", "mechanism")

    challenge: str
    """What the client is asked next, in base64."""

    def __init__(self, mechanism: str) -> None:
        self.mechanism = mechanism
        self._generator = MECHANISMS[mechanism]()
        self._set_challenge(next(self._generator))

    def respond(self, response: bytes) -> tuple[str, str] | None:
        """User and password, or None when there is another `challenge`.

        Arguments:
            response: in base64, as it came.

        Raises:
            BadResponse: it is not of the mechanism's form; the exchange is over.
        """
        try:
            self._set_challenge(self._generator.send(_decode(response)))
        except StopIteration as finished:
            user, password = finished.value
            return user, password
        return None

    def _set_challenge(self, challenge: bytes) -> None:
        self.challenge = binascii.b2a_base64(challenge, newline=False).decode()
