"""Keeps a refresh token that came in place of the one in the config: blocking, for a thread.

There is one file for each login, for its owner alone. It is replaced in one step, and synced,
before the new token is used: an endpoint that has given a new one may not take the old one any
more. With another refresh token in the config the file does not count.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Final

from netserve.config.types import Secret
from netserve.durable import replace_file

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
        kept = {"of": self._mark, "refresh_token": token.reveal()}
        replace_file(self.path, json.dumps(kept).encode())
