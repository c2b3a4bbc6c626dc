"""The server's side: connections of clients on the reactor's transports.

=============  ===================================================================================
`factory`      `HttpServerFactory`: what the hosting layer is given, with a handler
`connection`   `ServerConnection`: drives a `netserve.http.h1.ServerMachine`
`exchange`     `Exchange`: one request and its response, for the handler
`options`      `ServerOptions`: time, work per turn, bytes
=============  ===================================================================================

The life of a request: the factory makes a connection -> `dataReceived` feeds the machine -> the
handler is called with an `Exchange` -> the exchange's `receiver` gets the body, and the handler
responds through the exchange -> the connection goes on with the next request, or ends.
"""

from netserve.http.serving.exchange import IGNORED, Exchange, Handler, RequestReceiver
from netserve.http.serving.factory import HttpServerFactory
from netserve.http.serving.options import ServerOptions

__all__ = [
    "IGNORED",
    "Exchange",
    "Handler",
    "HttpServerFactory",
    "RequestReceiver",
    "ServerOptions",
]
