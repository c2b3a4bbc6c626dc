"""Echo servers in Python, all the same program on different ground.

Arguments: the kind, the port, and for TLS a file with certificate and key. Kinds: `netserve` and
`twisted`, the same Twisted protocol on netserve's reactor and on Twisted's default one; `uvloop`
and `asyncio`, the same asyncio protocol on the two loops.
"""

from __future__ import annotations

import asyncio
import importlib
import resource
import ssl
import sys
from pathlib import Path
from typing import Any


def serve_twisted(port: int, certificate: str | None) -> None:
    """On the reactor that is installed."""
    from twisted.internet import reactor
    from twisted.internet.protocol import Factory, Protocol
    from twisted.internet.ssl import PrivateCertificate

    class Echo(Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

    loop: Any = reactor
    factory = Factory.forProtocol(Echo)
    if certificate is None:
        loop.listenTCP(port, factory, backlog=1000, interface="127.0.0.1")
    else:
        options = PrivateCertificate.loadPEM(Path(certificate).read_bytes()).options()
        loop.listenSSL(port, factory, options, backlog=1000, interface="127.0.0.1")
    loop.run()


class Echo(asyncio.Protocol):
    """What both asyncio kinds run."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve_asyncio(port: int, certificate: str | None) -> None:
    """On the loop that runs."""
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", port, ssl=context, backlog=1000)
    await server.serve_forever()


def main(kind: str, port: int, certificate: str | None = None) -> None:
    """Serve until killed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if kind == "netserve":
        importlib.import_module("netserve.reactor").install()
        serve_twisted(port, certificate)
    elif kind == "twisted":
        serve_twisted(port, certificate)
    elif kind == "uvloop":
        importlib.import_module("uvloop").run(serve_asyncio(port, certificate))
    else:
        asyncio.run(serve_asyncio(port, certificate))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
