"""The same bridge on treq, with kept connections.

The arguments are the port, the upstream's URL, to which each line is appended, and the reactor:
`netserve`, or stock Twisted's epoll reactor if it is left out.
"""

from __future__ import annotations

import sys
from typing import Any

if sys.argv[3:] == ["netserve"]:
    from netserve.reactor import install
else:
    from twisted.internet.epollreactor import install
install()

import treq  # noqa: E402 - imports the reactor
from twisted.internet import endpoints, reactor  # noqa: E402, TID253 - after its installation
from twisted.internet.defer import ensureDeferred  # noqa: E402
from twisted.internet.protocol import Factory  # noqa: E402
from twisted.protocols.basic import LineReceiver  # noqa: E402
from twisted.web.client import HTTPConnectionPool  # noqa: E402

POOL = HTTPConnectionPool(reactor)
POOL.maxPersistentPerHost = 100


class Bridge(LineReceiver):
    """One request a line; its caller waits for each answer before the next line."""

    def lineReceived(self, line: bytes) -> None:
        ensureDeferred(self._ask(line.decode())).addErrback(self._failed)

    async def _ask(self, line: str) -> None:
        response = await treq.get(sys.argv[2] + line, pool=POOL, timeout=5)
        body = await treq.content(response)
        self.sendLine(b"%d %b" % (response.code, body))

    def _failed(self, failure: Any) -> None:
        failure.printTraceback()
        self.transport.loseConnection()


if __name__ == "__main__":
    endpoint = endpoints.TCP4ServerEndpoint(reactor, int(sys.argv[1]), interface="127.0.0.1")
    endpoint.listen(Factory.forProtocol(Bridge))
    reactor.run()
