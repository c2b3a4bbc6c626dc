"""Logins, through `twisted.cred`: any checker of user names and passwords fits."""

from __future__ import annotations

import hmac
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from netserve.config.types import Secret
from netserve.crossing import ensure_deferred
from netserve.errors import OptionError
from netserve.mail.users_file import (
    LARGEST,
    UsersFileError,
    dummy_hash,
    is_hash,
    parse_users,
)

AT_ONCE: Final = max(2, min(4, len(os.sched_getaffinity(0))))
"""Passwords that are verified at a time; each takes a processor and some memory."""

_USUAL_HASH: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$ox1ZZSuMoFCRFBGWciOYUw"
    "$8ENcVL6LeMmikyzh8Zr4ydYG95uDcwHhVY75W+FGcvA"
)
"""As `netserve passwd` makes them."""

_Users = Mapping[str, str]


@implementer(ICredentialsChecker)
class UsersChecker:
    """Checks logins against users that the file lists.

    Arguments:
        users: gives, by name, the password or its argon2 hash; it is called in a thread.
        reactor: whose threads do the hashing, which takes a while on purpose.
    """

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: Callable[[], _Users], *, reactor: Any) -> None:
        self._users = users
        self._reactor = reactor
        self._hasher = PasswordHasher()
        self._turn = DeferredSemaphore(AT_ONCE)
        self._dummy: tuple[_Users, str] = ({}, "")

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        """The user's name, from the Deferred; UnauthorizedLogin when it is not the password.

        Who cancels it gives up the turn that it waits for; a thread that has begun goes on, and
        has its turn until it ends.
        """
        return ensure_deferred(self._checked(credentials))

    async def _checked(self, credentials: Any) -> bytes:
        await self._turn.acquire()
        answer: Deferred[bytes] = Deferred()

        def ended(result: Any) -> None:
            self._turn.release()
            if not answer.called:
                answer.callback(result)

        reactor = self._reactor
        checking = deferToThreadPool(reactor, reactor.getThreadPool(), self._check, credentials)
        checking.addBoth(ended)
        return await answer

    def _check(self, credentials: Any) -> bytes:
        name: bytes = credentials.username
        users = self._users()
        kept = users.get(name.decode())
        if kept is not None and not is_hash(kept):
            if hmac.compare_digest(kept.encode(), credentials.password):
                return name
            kept = None
        try:
            self._hasher.verify(kept or self._dummy_of(users), credentials.password)
        except VerificationError:
            raise UnauthorizedLogin from None
        if kept is None:
            raise UnauthorizedLogin
        return name

    def _dummy_of(self, users: _Users) -> str:
        """What is verified where there is no hash, so that a refusal takes as long as for others.

        Two threads may make it at the same time, and make the same.
        """
        of, dummy = self._dummy
        if of is not users:
            hashes = (kept for kept in users.values() if is_hash(kept))
            dummy = dummy_hash(hashes, _USUAL_HASH)
            self._dummy = users, dummy
        return dummy


def listed_users(users: Mapping[str, Secret]) -> _Users:
    """The users of the option ``users``, whose hashes the settings have looked at."""
    return {name: secret.reveal() for name, secret in users.items()}


class UsersFile:
    """The users of the option ``users_file``, read again when the file has changed.

    A change that is wrong is logged, and the users stay as they were.

    Arguments:
        path: of the file.
        log: is told of a change, and of what is wrong with one.
        post: calls a function in the reactor's thread.

    Raises:
        OptionError: it cannot be read, or a line of it is wrong.
    """

    def __init__(self, path: Path, *, log: Logger, post: Callable[..., object]) -> None:
        self._path = path
        self._log = log
        self._post = post
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        try:
            self._users = self._read()
        except ValueError as error:
            # The file of users is named in it, and nothing of what is in there.
            otherwise = "this file of users cannot be used"
            raise OptionError(
                ("users_file",), "{reason}", otherwise=otherwise, reason=error
            ) from None

    def users(self) -> _Users:
        """The users by now; may be called by any thread."""
        with self._lock:
            if self._signature() != self._seen:
                self._read_again()
            return self._users

    def _read_again(self) -> None:
        try:
            self._users = self._read()
        except ValueError as error:
            what = "the users stay as they were: {reason}"
            self._post(self._log.error, what, reason=str(error))
        else:
            what = "the users of {path} have changed: {count} now"
            self._post(self._log.info, what, path=str(self._path), count=len(self._users))

    def _signature(self) -> tuple[int, ...]:
        try:
            status = self._path.stat()
        except OSError:
            return (0,)
        return status.st_mtime_ns, status.st_size, status.st_ino

    def _read(self) -> _Users:
        """The users of the file.

        Raises:
            ValueError: why not, with the place.
        """
        self._seen = self._signature()
        try:
            with self._path.open("rb") as file:
                data = file.read(LARGEST + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise ValueError(f"{self._path}: {reason}; `netserve passwd` makes one") from None
        if len(data) > LARGEST:
            raise ValueError(f"{self._path}: too large to be a file of users")
        try:
            return parse_users(data.decode())
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{self._path}:{line}: not UTF-8") from None
        except UsersFileError as error:
            raise ValueError(f"{self._path}:{error.line}: {error.what}") from None
