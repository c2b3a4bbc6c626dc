"""Keeps a refresh token that came in place of the one in the config: blocking, for a thread.

There is one file for each login, for its owner alone. It is replaced in one step, and synced,
before the new token is used: an endpoint that has given a new one may not take the old one any
more. With another refresh token in the config the file does not count.
"""

from __future__ import annotations

import contextlib
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Final

from netserve.config.types import Secret

LARGEST: Final = 64 * 1024
"""Bytes of a file."""


class TokenFile:
    """The file of one login.

    Arguments:
        folder: where it is; it is made when there is something to keep.
        login: names the login: endpoint, client and user.
        configured: the refresh token of the config.
    """

    def __init__(self, folder: Path, login: str, configured: Secret) -> None:
        self.path = folder / f"{sha256(login.encode()).hexdigest()[:32]}.json"
        self._configured = configured
        self._mark = sha256(configured.reveal().encode()).hexdigest()

    def load(self) -> Secret:
        """The refresh token to use: the one that was kept, or the one of the config.

        Raises:
            OSError: the file is there and can't be read.
        """
        try:
            with self.path.open("rb") as file:
                kept = json.loads(file.read(LARGEST))
        except FileNotFoundError:
            return self._configured
        except ValueError:
            return self._configured  # not whole, or not ours
        if not isinstance(kept, dict) or kept.get("of") != self._mark:
            return self._configured
        token = kept.get("refresh_token")
        return Secret(token) if isinstance(token, str) and token else self._configured

    def save(self, token: Secret) -> None:
        """Keep a refresh token; once this returns it is there, also after a power loss.

        Raises:
            OSError: it is not kept.
        """
        folder = self.path.parent
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".new")
        content = json.dumps({"of": self._mark, "refresh_token": token.reveal()}).encode()
        temporary.unlink(missing_ok=True)
        try:
            _write(temporary, content)
            temporary.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(path, flags, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
