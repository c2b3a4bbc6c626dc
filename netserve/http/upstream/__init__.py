"""The client's side: connections to upstreams, kept and shared.

==============  ==================================================================================
`pool`          `Pool` and its share of one origin, `Upstream`: who gets which connection
`origin`        `Origin`: host and port or UNIX socket, TLS, PROXY header
`outgoing`      `Outgoing`: one request on its way, for the caller
`connection`    `ClientConnection`: drives a `netserve.http.h1.ClientMachine`
`whole`         `fetch`: a request whose response is held as a whole
`dialing`       checked addresses, several of them side by side (Happy Eyeballs)
`resolving`     names to addresses that the guard lets pass
`tls`           `UpstreamTLS`: authorities, our certificate, the name that is checked
`proxy_header`  HAProxy's PROXY header, outward
`options`       `PoolOptions`: time, connections, bytes, addresses
`errors`        what goes wrong, in the words of `netserve.http.errors`
==============  ==================================================================================

The life of a request: `Upstream.send` -> a free connection, or a new one, or the queue -> the
machine's bytes on the transport -> the receiver gets what comes back -> the connection is free.
"""

from netserve.http.upstream.errors import CannotSend, PoolBusy, PoolClosed
from netserve.http.upstream.options import PoolOptions
from netserve.http.upstream.origin import Origin
from netserve.http.upstream.outgoing import Outgoing, ResponseReceiver
from netserve.http.upstream.pool import Pool, Upstream
from netserve.http.upstream.proxy_header import proxy_header
from netserve.http.upstream.tls import UpstreamTLS

__all__ = [
    "CannotSend",
    "Origin",
    "Outgoing",
    "Pool",
    "PoolBusy",
    "PoolClosed",
    "PoolOptions",
    "ResponseReceiver",
    "Upstream",
    "UpstreamTLS",
    "proxy_header",
]
