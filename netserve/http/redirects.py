"""What a redirect makes of a request (RFC 9110, 15.4); pure.

Each hop is a request of its own, so its address is checked like the first one's. What was meant
for one origin does not reach another: on the way to a different scheme, host or port only the
headers that describe the body and the wish for an answer go along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from multidict import CIMultiDict
from yarl import URL

STATUSES: Final = frozenset({301, 302, 303, 307, 308})

_FOR_ANY_ORIGIN: Final = frozenset(
    {"accept", "accept-charset", "accept-encoding", "accept-language", "range", "user-agent"}
)
_OF_THE_BODY: Final = frozenset(
    {"content-type", "content-encoding", "content-language", "content-length", "content-md5"}
)


@dataclass(frozen=True, slots=True)
class Hop:
    """A request that may be redirected.

    Arguments:
        method: in capitals.
        url: with scheme and host.
        headers: those of the request.
        keeps_body: whether the body is sent along.
    """

    method: str
    url: URL
    headers: Mapping[str, str]
    keeps_body: bool = True


def next_hop(hop: Hop, status: int, location: str) -> Hop:
    """The request that follows a redirect.

    Arguments:
        hop: the request that was answered.
        status: one of `STATUSES`.
        location: the answer's ``Location``.

    Raises:
        ValueError: it leads to where a request of ours does not go; the text says why.
    """
    try:
        url = hop.url.join(URL(location)).with_fragment(None)
        origin = url.origin()
    except (ValueError, TypeError):
        raise ValueError("redirects to what is not a URL") from None
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError("redirects to what is not HTTP")
    if hop.url.scheme == "https" and url.scheme == "http":
        raise ValueError("redirects from https to http")
    if url.user is not None or url.password is not None:
        raise ValueError("redirects to a URL with a password")
    method, keeps_body = hop.method, hop.keeps_body
    if (status == 303 and method != "HEAD") or (status in {301, 302} and method == "POST"):
        method, keeps_body = "GET", False
    headers = CIMultiDict(hop.headers)
    for name in set(headers):
        of_body = name.lower() in _OF_THE_BODY
        if (of_body and not keeps_body) or (
            not of_body and origin != hop.url.origin() and name.lower() not in _FOR_ANY_ORIGIN
        ):
            del headers[name]
    return Hop(method, url, headers, keeps_body)
