"""Files that verbs write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO


def open_new(path: Path) -> IO[bytes]:
    """Open a new file for its owner alone.

    Raises:
        FileExistsError: something of this name is there.
        OSError: it cannot be made.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
