"""The shared HTTP client: one pool a service, an address guard, bounded decompression.

`Context.http` is an `HttpClients`; a service asks it for an `HttpClient` by its `ClientOptions`.
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
