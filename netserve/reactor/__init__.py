"""The reactor that netserve uses, chosen here and nowhere else.

`install` must run before anything imports ``twisted.internet.reactor``.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.main import installReactor

from netserve.errors import StartError
from netserve.reactor.loop import new_loop
from netserve.reactor.reactor import NetserveReactor

__all__ = ["NetserveReactor", "install", "new_loop"]

# Where it is found, by those who look for `install` beside a reactor's class.
NetserveReactor.__module__ = __name__


def install() -> Any:
    """Install the reactor, and return it; the second call returns the first one's.

    Raises:
        StartError: another reactor is installed already.
    """
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is not None:
        if isinstance(installed, NetserveReactor):
            return installed
        raise StartError(
            f"netserve runs on its own reactor, but {type(installed).__name__} is installed;"
            " leave out --reactor, or give --reactor netserve"
        )
    reactor = NetserveReactor()
    installReactor(reactor)
    return reactor
