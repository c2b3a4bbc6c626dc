"""What the fields of a head say about its message: where the body ends, and what becomes of the
connection (RFC 9112, 6 and 9).

What two implementations could read in two ways is refused, as RFC 9112 allows everywhere and asks
for in most places: more than one Content-Length, both Content-Length and Transfer-Encoding,
Transfer-Encoding in HTTP/1.0, and every transfer coding but ``chunked`` alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from netserve.http.h1.events import Request, Response
from netserve.http.h1.fields import Fields, members
from netserve.http.h1.limits import Limits
from netserve.http.h1.request_line import RequestLine, is_authority
from netserve.http.h1.status_line import StatusLine
from netserve.http.h1.violations import Kind, Unsendable, Violated, too_large, violated

FRAMING: Final = frozenset({b"content-length", b"transfer-encoding"})

_DIGITS: Final = re.compile(rb"[0-9]+").fullmatch
_MOST_DIGITS: Final = 18
"""Of a Content-Length; longer ones are past every limit, and past what others can count to."""

_MOST_HOSTS: Final = 256
_LONGEST_HOST: Final = 255
_hosts: Final[set[bytes]] = set()
"""Values of Host that were checked: most requests of a server have the same few."""

Values: TypeAlias = Mapping[bytes, Sequence[bytes]]


def read_request(line: RequestLine, fields: Fields, limits: Limits) -> Request:
    """The request of a head that came.

    Raises:
        Violated: it is none that can be answered.
    """
    method, target, minor, path, authority = line
    values = fields.values
    host = _read_host(values.get(b"host"), minor)
    request = Request(method, target, fields, minor, authority or host, path, 0, minor > 0)
    if len(values) > 1 or not host:
        _read_more(request, fields, limits)
    return request


def _read_host(hosts: Sequence[bytes] | None, minor: int) -> bytes:
    """The value of Host (RFC 9112, 3.2)."""
    if hosts is None:
        if minor > 0:
            violated("missing Host")
        return b""
    if len(hosts) > 1:
        violated("more than one Host")
    host = hosts[0]
    if host not in _hosts:
        if not is_authority(host):
            violated("invalid Host", host)
        if len(_hosts) >= _MOST_HOSTS:
            _hosts.clear()
        if len(host) <= _LONGEST_HOST:
            _hosts.add(host)
    return host


def _read_more(request: Request, fields: Fields, limits: Limits) -> None:
    """What else of the fields matters to a request."""
    minor, values, options = request.minor, fields.values, fields.options
    request.length = length = read_length(values, minor)
    if length is None:
        if limits.length_required:
            violated("Content-Length required", status=411, kind=Kind.UNSUPPORTED)
    elif limits.body is not None and length > limits.body:
        too_large("body too large", 413)
    request.keep_alive = keeps_alive(options, minor)
    # In HTTP/1.0 there is neither Expect nor Upgrade (RFC 9110, 10.1.1 and 7.8).
    if minor > 0:
        if b"expect" in values:
            if members(values[b"expect"]) != [b"100-continue"]:
                violated("unsupported expectation", status=417, kind=Kind.UNSUPPORTED)
            request.expects_continue = length != 0
        if b"upgrade" in values and b"upgrade" in options:
            request.upgrade = b", ".join(values[b"upgrade"])


def read_response(line: StatusLine, fields: Fields, limits: Limits, *, method: bytes) -> Response:
    """The response of a head that came, for any status but 1xx, or of 101.

    Arguments:
        line: its status line.
        fields: its field lines.
        limits: of the client.
        method: of the request that it answers.

    Raises:
        Violated: nobody can say where it ends, or it is larger than the limit.
    """
    minor, status, reason = line
    values = fields.values
    response = Response(status, reason, fields, minor)
    if status == 101 or (method == b"CONNECT" and 200 <= status <= 299):
        response.switched = True
        return response
    response.keep_alive = keeps_alive(fields.options, minor)
    length = read_length(values, minor)
    if has_no_body(status, method):
        return response
    if length is None or b"content-length" not in values:
        response.length = None
        if b"transfer-encoding" not in values:
            response.keep_alive = False  # it ends with the connection
    elif limits.body is not None and length > limits.body:
        too_large("body too large", 413)
    else:
        response.length = length
    return response


def has_no_body(status: int, method: bytes) -> bool:
    """Whether such a response ends with its head, whatever its fields say (RFC 9112, 6.3)."""
    return method == b"HEAD" or status in {204, 304} or status < 200


def read_length(values: Values, minor: int) -> int | None:
    """The length of a body by its fields; None: chunked; 0 also where they say nothing.

    Raises:
        Violated: they contradict each other, or make no sense.
    """
    codings = values.get(b"transfer-encoding")
    lengths = values.get(b"content-length")
    if codings is not None:
        if lengths is not None:
            violated("both Content-Length and Transfer-Encoding")
        if minor == 0:
            violated("Transfer-Encoding in HTTP/1.0")
        _check_codings(codings)
        return None
    if lengths is None:
        return 0
    if len(lengths) > 1:
        violated("more than one Content-Length")
    if not _DIGITS(lengths[0]):
        violated("invalid Content-Length", lengths[0])
    if len(lengths[0]) > _MOST_DIGITS:
        too_large("body too large", 413)
    return int(lengths[0])


def _check_codings(values: Sequence[bytes]) -> None:
    """Take ``chunked``, and nothing else (RFC 9112, 6.1)."""
    if len(values) == 1 and values[0].lower() == b"chunked":
        return
    codings = members(values)
    if codings[-1:] == [b"chunked"] and codings.count(b"chunked") == 1 and len(codings) > 1:
        violated(
            "unsupported transfer coding",
            b", ".join(values),
            status=501,
            kind=Kind.UNSUPPORTED,
        )
    violated("invalid Transfer-Encoding", b", ".join(values))


def keeps_alive(options: Sequence[bytes], minor: int) -> bool:
    """Whether the connection may live on, by the options of Connection (RFC 9112, 9.3)."""
    if minor > 0:
        return b"close" not in options
    return b"keep-alive" in options and b"close" not in options


def sent_length(values: Values) -> int | None:
    """The length of a body that is to be sent; None: chunked; -1: the fields say nothing.

    Raises:
        Unsendable: they contradict each other.
    """
    if b"content-length" not in values and b"transfer-encoding" not in values:
        return -1
    try:
        return read_length(values, 1)
    except Violated as error:
        raise Unsendable(str(error)) from None
