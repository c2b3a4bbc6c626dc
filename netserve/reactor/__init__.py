"""The reactor that netserve uses, chosen here and nowhere else.

`install` must run before anything imports ``twisted.internet.reactor``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.main import installReactor

from netserve.errors import StartError


def new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's loop, or the standard one where uvloop is not installed."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def install() -> Any:
    """Install the reactor, and return it; the second call returns the first one's.

    Raises:
        StartError: another reactor is installed already.
    """
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is not None:
        if isinstance(installed, AsyncioSelectorReactor):
            return installed
        raise StartError(
            f"netserve runs on its own reactor, but {type(installed).__name__} is installed;"
            " leave out --reactor, or give --reactor netserve"
        )
    loop = new_loop()
    # Without it, tasks that are made before the loop runs never wake.
    asyncio.set_event_loop(loop)
    reactor = AsyncioSelectorReactor(loop)
    installReactor(reactor)  # type: ignore[no-untyped-call]  # Twisted has no annotation here
    return reactor
