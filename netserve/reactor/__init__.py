"""The reactor that netserve uses, chosen here and nowhere else.

`install` must run before anything imports ``twisted.internet.reactor``.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.error import ReactorAlreadyInstalledError
from twisted.internet.main import installReactor

from netserve.reactor.loop import new_loop
from netserve.reactor.reactor import NetserveReactor

__all__ = ["NetserveReactor", "install", "new_loop"]

# Where it is found, by those who look for `install` beside a reactor's class.
NetserveReactor.__module__ = __name__


def install() -> Any:
    """Install the reactor, and return it; the second call returns the first one's.

    Raises:
        ReactorAlreadyInstalledError: another reactor is installed already.
    """
    installed: Any = sys.modules.get("twisted.internet.reactor")
    if installed is not None:
        if isinstance(installed, NetserveReactor):
            return installed
        raise ReactorAlreadyInstalledError(
            f"{type(installed).__name__} is installed already; call netserve.reactor.install()"
            " before anything imports twisted.internet.reactor"
        )
    reactor = NetserveReactor()
    installReactor(reactor)
    return reactor
