"""Programs of Twisted's own: the same code on netserve's reactor and on Twisted's.

Arguments: the reactor, `netserve` or `twisted`; `web` or `ftp`; the port; for `ftp` the folder that
it serves to everybody.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.argv[1] == "netserve":
    from netserve.reactor import install
else:
    from twisted.internet.epollreactor import install
install()

from twisted.internet import reactor  # noqa: E402, TID253 - after its installation

PAGE = b"x" * 1024


def web() -> Any:
    """A site with one static page."""
    from twisted.web.resource import Resource
    from twisted.web.server import Site
    from twisted.web.static import Data

    root = Resource()
    root.putChild(b"", Data(PAGE, "text/plain"))
    return Site(root)


def ftp(folder: str) -> Any:
    """A server of files for anonymous users."""
    from twisted.cred.checkers import AllowAnonymousAccess
    from twisted.cred.portal import Portal
    from twisted.protocols.ftp import FTPFactory, FTPRealm

    return FTPFactory(Portal(FTPRealm(folder), [AllowAnonymousAccess()]))


if __name__ == "__main__":
    loop: Any = reactor
    factory = web() if sys.argv[2] == "web" else ftp(sys.argv[4])
    loop.listenTCP(int(sys.argv[3]), factory, backlog=1000, interface="127.0.0.1")
    loop.run()
