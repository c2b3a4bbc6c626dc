"""aiosmtpd on uvloop that takes mail and keeps it: in a folder, synced, or in memory.

The arguments are the port, and the folder or ``-`` for memory. To a folder it answers 250 once the
message is in a file and synced, which is what `netserve` promises; in memory it promises nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections import deque
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP


class InFiles:
    """Each message becomes a file; the sync waits in a thread, so that sessions do not."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder_fd = os.open(folder, os.O_RDONLY)
        self._numbers = itertools.count()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        path = self._folder / str(next(self._numbers))
        await asyncio.get_running_loop().run_in_executor(None, self._keep, path, envelope.content)
        return "250 OK"

    def _keep(self, path: Path, content: bytes) -> None:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.fsync(self._folder_fd)


class InMemory:
    """The last messages are kept, so that memory does not grow with the measurement."""

    def __init__(self) -> None:
        self._kept: deque[bytes] = deque(maxlen=100)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self._kept.append(envelope.content)
        return "250 OK"


async def main(port: int, folder: str) -> None:
    handler = InMemory() if folder == "-" else InFiles(Path(folder))
    server = await asyncio.get_running_loop().create_server(
        partial(SMTP, handler, hostname="localhost"), "127.0.0.1", port
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
