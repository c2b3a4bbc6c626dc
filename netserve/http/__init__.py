"""The shared HTTP client: one pool a service, an address guard, bounded decompression.

`Context.http` is an `HttpClients`; a service asks it for an `HttpClient` by its `ClientOptions`.

Beside it stands netserve's own HTTP/1.1, in three packages, each of which begins with a tour:

============  ====================================================================================
`h1`          the machines of both sides: bytes in, events out; no I/O
`serving`     connections of clients, on the reactor's transports
`upstream`    connections to upstreams, and the pool that keeps and shares them
============  ====================================================================================

Both drivers use `corked` (what is sent in one go is one write) and `deadlines` (many waits, one
timer); all use `guard`, `decompress` and `errors`.
"""

from netserve.http.client import Answer, Body, ClientOptions, HttpClient, HttpClients, Pace, place
from netserve.http.errors import HttpError
from netserve.http.guard import AddressGuard

__all__ = [
    "AddressGuard",
    "Answer",
    "Body",
    "ClientOptions",
    "HttpClient",
    "HttpClients",
    "HttpError",
    "Pace",
    "place",
]
