"""The request line, its target and the authority that it is for (RFC 9112, 3; RFC 9110, 4.2, 7.2).

=============  =========================  ==============================================
form           example                    taken
=============  =========================  ==============================================
origin         ``/a?b``                   with every method but CONNECT
absolute       ``http://a.example/b``     with every method but CONNECT; http and https
authority      ``a.example:443``          with CONNECT only
asterisk       ``*``                      with OPTIONS only
=============  =========================  ==============================================

A target is kept as it came. It may hold any visible ASCII character but ``#``, and bytes above
127: neither is dropped, decoded or normalised.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from netserve.http.h1.fields import is_token
from netserve.http.h1.violations import Kind, violated

_TARGET: Final = rb"[\x21\x22\x24-\x7e\x80-\xff]"
_ORIGIN_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/" + _TARGET + rb"*) HTTP/1\.([0-9])"
).fullmatch
_is_target: Final = re.compile(_TARGET + rb"+").fullmatch
_VERSION: Final = re.compile(rb"HTTP/([0-9])\.([0-9])").fullmatch
_ABSOLUTE: Final = re.compile(rb"([A-Za-z][A-Za-z0-9+\-.]*)://([^/?]*)(.*)", re.DOTALL).fullmatch
# RFC 3986, 3.2.2; no empty label, which name servers would not know either.
_LABEL: Final = rb"(?:[A-Za-z0-9\-_~!$&'()*+,;=]|%[0-9A-Fa-f]{2})+"
_HOST: Final = (
    rb"(?:\[[0-9A-Fa-f:.]+\]|\[[vV][0-9A-Fa-f]+\.[A-Za-z0-9\-._~!$&'()*+,;=:]+\]"
    rb"|" + _LABEL + rb"(?:\." + _LABEL + rb")*\.?)"
)
_AUTHORITY: Final = re.compile(_HOST + rb"(?::([0-9]{0,5}))?").fullmatch
_HIGHEST_PORT: Final = 65535
_STARTS_A_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]").match
_SCHEMES: Final = frozenset({b"http", b"https"})


class RequestLine(NamedTuple):
    """A request line.

    Arguments:
        method: as it came.
        target: as it came.
        minor: of the version.
        path: path and query, ``*``, or empty for CONNECT.
        authority: of an absolute target or of CONNECT's; else empty.
    """

    method: bytes
    target: bytes
    minor: int
    path: bytes
    authority: bytes


def read_request_line(line: bytes, longest_method: int) -> RequestLine:
    """Read a request line.

    Arguments:
        line: without its CRLF.
        longest_method: the most bytes of a method.

    Raises:
        Violated: it is none (400), of another version (505), or the method is too long (501).
    """
    match = _ORIGIN_LINE(line)
    if match is None:
        return _read_slowly(line, longest_method)
    method, target, minor = match.groups()
    if len(method) > longest_method:
        _refuse_method()
    if method == b"CONNECT":
        violated("CONNECT needs a host and a port", target)
    return RequestLine(method, target, int(minor), target, b"")


def check_start(data: bytes) -> None:
    """Refuse what cannot become a request line, such as a TLS handshake, before it is complete.

    Raises:
        Violated: it begins like none.
    """
    if not _STARTS_A_METHOD(data) and not data.startswith(b"\r"):
        violated("not an HTTP request", data)


def is_authority(value: bytes) -> bool:
    """Whether it is a host with an optional port (RFC 9110, 7.2)."""
    match = _AUTHORITY(value)
    if match is None:
        return False
    port = match[1]
    return not port or int(port) <= _HIGHEST_PORT


def is_target(value: bytes) -> bool:
    """Whether it may stand in a request line as the target."""
    return _is_target(value) is not None


def _refuse_method() -> None:
    violated("method too long", status=501, kind=Kind.UNSUPPORTED)


def _read_slowly(line: bytes, longest_method: int) -> RequestLine:
    """Read a line whose target is not in origin form, or say what is wrong with it."""
    if not _STARTS_A_METHOD(line):
        violated("not an HTTP request", line)
    words = line.split(b" ")
    version = _VERSION(words[-1])
    if len(words) < 3 or version is None:
        # HTTP/0.9 had no version, and other protocols have lines like these.
        violated("malformed request line", line)
    if version[1] != b"1":
        violated("unsupported HTTP version", words[-1], status=505, kind=Kind.UNSUPPORTED)
    if len(words) > 3:
        violated("unexpected whitespace in the request line", line)
    method, target, _ = words
    if not is_token(method):
        violated("invalid character in the method", method)
    if len(method) > longest_method:
        _refuse_method()
    if not _is_target(target):
        violated("invalid character in the request target", target)
    path, authority = _read_target(method, target)
    return RequestLine(method, target, int(version[2]), path, authority)


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Path and authority of a target that is not in origin form."""
    if method == b"CONNECT":
        match = _AUTHORITY(target)
        if match is None or not match[1] or int(match[1]) > _HIGHEST_PORT:
            violated("CONNECT needs a host and a port", target)
        return b"", target
    if target == b"*":
        if method != b"OPTIONS":
            violated("only OPTIONS may have the target *", method)
        return b"*", b""
    match = _ABSOLUTE(target)
    if match is None:
        violated("invalid request target", target)
    scheme, authority, path = match.groups()
    if scheme.lower() not in _SCHEMES:
        violated("unsupported scheme in the request target", scheme)
    if not is_authority(authority):
        violated("invalid host in the request target", authority)
    if not path:
        return (b"*" if method == b"OPTIONS" else b"/"), authority
    return (b"/" + path if path.startswith(b"?") else path), authority
