"""Logins, through `twisted.cred`: any checker of user names and passwords fits."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from netserve.config.types import Secret

_HASH: Final = "$argon2"


@cache
def _nobody() -> str:
    """What is verified for a user who does not exist, so that an answer takes as long as for
    others. Hashing takes a while and much memory, so this waits for the first login.
    """
    return PasswordHasher().hash("nobody")


@implementer(ICredentialsChecker)
class UsersChecker:
    """Checks logins against the users of the file.

    Arguments:
        users: by name a password, or its argon2 hash.
        reactor: whose threads do the hashing, which takes a while on purpose.

    Raises:
        ValueError: what looks like a hash is none.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Mapping[str, Secret], *, reactor: Any) -> None:
        self._users = {name.encode(): secret for name, secret in users.items()}
        self._reactor = reactor
        self._hasher = PasswordHasher()
        for name, secret in users.items():
            if secret.reveal().startswith(_HASH):
                try:
                    self._hasher.check_needs_rehash(secret.reveal())
                except InvalidHashError:
                    raise ValueError(f"the hash of the user {name} is none of argon2") from None

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        """The user's name, from the Deferred; UnauthorizedLogin when it is not the password."""
        return deferToThreadPool(
            self._reactor, self._reactor.getThreadPool(), self._check, credentials
        )

    def _check(self, credentials: Any) -> bytes:
        name: bytes = credentials.username
        secret = self._users.get(name)
        nobody = _nobody()  # also where it is not needed, so that the first login tells nothing
        kept = nobody if secret is None else secret.reveal()
        if kept.startswith(_HASH):
            try:
                self._hasher.verify(kept, credentials.password)
            except VerificationError:
                raise UnauthorizedLogin from None
        elif not hmac.compare_digest(kept.encode(), credentials.password):
            raise UnauthorizedLogin
        if secret is None:
            raise UnauthorizedLogin
        return name
