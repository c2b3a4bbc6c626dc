"""A bridge's settings, compiled: what a request becomes, and what an answer becomes. Pure.

Placeholders of the request, by where it comes from:

=================  ================================================================
by a framing       ``{request}`` the frame, ``{path}`` the same as a path, ``{peer}``
over HTTP          ``{path}``, ``{query}``, ``{target}`` (path and query), ``{method}``,
                   ``{body}``, ``{peer}``, ``{header_NAME}``
=================  ================================================================

In ``{header_NAME}`` the header's hyphens are underscores; one that did not come is empty. An
answer has ``{status}``, ``{reason}``, ``{body}`` and ``{header_NAME}``, an error ``{error}``,
``{kind}`` (one word) and ``{status}``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from yarl import URL

from netserve.config.types import Secret
from netserve.errors import InvalidValue
from netserve.protocols.http_bridge.bodies import (
    BodyTemplate,
    form_body,
    json_body,
    parse_body,
)
from netserve.protocols.http_bridge.encode import Misfit, UrlTemplate, Values, header_value
from netserve.wire.template import Template

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to one connection, and are not passed on (RFC 9110, 7.6.1)."""

_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class RequestPlan(Protocol):
    """The options of a request, as `netserve.protocols.http_bridge.settings` has them."""

    @property
    def method(self) -> str | None: ...
    @property
    def url(self) -> str: ...
    @property
    def hosts(self) -> tuple[str, ...]: ...
    @property
    def headers(self) -> Mapping[str, str | Secret]: ...
    @property
    def body(self) -> str | None: ...
    @property
    def json_(self) -> dict[str, Any] | None: ...
    @property
    def form(self) -> dict[str, str] | None: ...


class Limits(Protocol):
    """The limits of a bridge that a plan keeps to."""

    @property
    def value_size(self) -> int: ...


class BridgePlan(Protocol):
    """The options of a bridge that are compiled; its settings model checks itself by them."""

    @property
    def request(self) -> RequestPlan: ...
    @property
    def response(self) -> str | None: ...
    @property
    def error(self) -> str: ...
    @property
    def limits(self) -> Limits: ...
    @property
    def over_http(self) -> bool: ...


class _Names(frozenset[str]):
    """The placeholders there are, and ``header_NAME`` for every header."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (isinstance(name, str) and header_of(name) is not None)


_FRAMED: Final = frozenset({"request", "path", "peer"})
_OVER_HTTP: Final = _Names({"method", "path", "query", "target", "body", "peer"})
_ANSWER: Final = _Names({"status", "reason", "body"})
_ERROR: Final = frozenset({"error", "kind", "status"})


def header_of(name: str) -> str | None:
    """The header that a placeholder such as ``header_content_type`` stands for, or None."""
    header = name.removeprefix("header_")
    if header == name or not header.isascii() or not header.isidentifier():
        return None
    return header.replace("_", "-")


def header_values(names: frozenset[str], headers: Mapping[str, str]) -> dict[str, bytes]:
    """The values of the placeholders that stand for headers."""
    return {
        name: headers.get(header, "").encode("utf-8", "surrogateescape")
        for name in names
        if (header := header_of(name))
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one bridge makes of requests and answers; made by `of`.

    Arguments:
        method: None: the one that came.
        url: the URL.
        headers: names and values.
        fixed_headers: all of them, when none has a placeholder.
        body: None: none, or over HTTP the one that came.
        response: None: the body that came.
        error: the reply where there is no answer.
        names: the placeholders of the request that are used.
        value_size: the most bytes of a value in the URL or in a header.
    """

    method: str | None
    url: UrlTemplate
    headers: tuple[tuple[str, Template], ...]
    fixed_headers: Mapping[str, str] | None
    body: BodyTemplate | None
    response: Template | None
    error: Template
    names: frozenset[str]
    value_size: int
    _short: frozenset[str]
    _answer_headers: frozenset[str]

    @classmethod
    def of(cls, settings: BridgePlan) -> Plan:
        """Compile the settings.

        Raises:
            InvalidValue: they make no sense, with the way to the option.
        """
        names = _OVER_HTTP if settings.over_http else _FRAMED
        request = settings.request
        with _naming("request", "url"):
            url = UrlTemplate.parse(request.url, names, request.hosts)
        body = _body(request, names)
        headers = _headers(request, names, body)
        with _naming("response"):
            text = settings.response
            response = None if text is None else Template.parse(text, _ANSWER)
        with _naming("error"):
            error = Template.parse(settings.error, _ERROR)
        used = [url.template, *(template for _, template in headers)]
        used += [body.template] if body else []
        return cls(
            method=_method(settings, body),
            url=url,
            headers=headers,
            fixed_headers=_fixed(headers),
            body=body,
            response=response,
            error=error,
            names=frozenset(name for template in used for name in template.names),
            value_size=settings.limits.value_size,
            _short=frozenset(url.template.names).union(*(it.names for _, it in headers)),
            _answer_headers=frozenset(name for name in response.names if header_of(name))
            if response
            else frozenset(),
        )

    def head(self, values: Values) -> tuple[URL, Mapping[str, str]]:
        """The URL and the headers of a request.

        Raises:
            Misfit: a value can't stand where it should, or is longer than it may be there.
        """
        for name in self._short:
            if len(values[name]) > self.value_size:
                raise Misfit(
                    f"more than {self.value_size} bytes for a part of the URL or of a header"
                )
        return self.url.render(values), self.headers_for(values)

    def headers_for(self, values: Values) -> Mapping[str, str]:
        """The headers of a request.

        Raises:
            Misfit: a value can't stand in a header.
        """
        if self.fixed_headers is not None:
            return self.fixed_headers
        return {name: template.render(values, header_value) for name, template in self.headers}

    def reply(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """The reply for an answer."""
        if self.response is None:
            return body
        values: dict[str, bytes | str] = {"status": str(status), "reason": reason, "body": body}
        if self._answer_headers:
            values |= header_values(self._answer_headers, headers)
        return self.response.render_bytes(values)

    def error_reply(self, text: str, kind: str, status: int) -> bytes:
        """The reply where there is no answer."""
        return self.error.render_bytes({"error": text, "kind": kind, "status": str(status)})


def _method(settings: BridgePlan, body: BodyTemplate | None) -> str | None:
    method = settings.request.method
    if method == "{method}" and not settings.over_http:
        raise InvalidValue("{method} is there over HTTP only", at=("request", "method"))
    if method is None and not settings.over_http:
        return "POST" if body else "GET"
    return None if method == "{method}" else method


def _body(request: RequestPlan, names: Collection[str]) -> BodyTemplate | None:
    if request.json_ is not None:
        with _naming("request", "json"):
            return json_body(request.json_, names)
    if request.form is not None:
        with _naming("request", "form"):
            return form_body(request.form, names)
    if request.body is not None:
        told = [value for name, value in request.headers.items() if name.lower() == "content-type"]
        content_type = told[0] if told and isinstance(told[0], str) else ""
        with _naming("request", "body"):
            return parse_body(request.body, names, content_type)
    return None


def _headers(
    request: RequestPlan, names: Collection[str], body: BodyTemplate | None
) -> tuple[tuple[str, Template], ...]:
    headers = []
    for name, value in request.headers.items():
        with _naming("request", "headers", name):
            _check_header(name, request)
            text = value.reveal() if isinstance(value, Secret) else value
            template = Template.parse(text, names)
            for literal in template.literals:
                header_value(literal)
            headers.append((name, template))
    told = {name.lower() for name, _ in headers}
    if body and body.content_type and "content-type" not in told:
        headers.append(("Content-Type", Template((body.content_type,))))
    return tuple(headers)


def _check_header(name: str, request: RequestPlan) -> None:
    if not _TOKEN.fullmatch(name):
        raise InvalidValue("is not the name of a header")
    if name.lower() in HOP_BY_HOP or name.lower() in {"content-length", "expect"}:
        raise InvalidValue("is a header of the connection; netserve sets it as needed")
    if [other.lower() for other in request.headers].count(name.lower()) > 1:
        raise InvalidValue("is there twice")


def _fixed(headers: tuple[tuple[str, Template], ...]) -> Mapping[str, str] | None:
    if any(template.names for _, template in headers):
        return None
    return {name: template.render({}) for name, template in headers}


@contextmanager
def _naming(*option: str) -> Iterator[None]:
    """Add the way to an option to what is wrong with it."""
    try:
        yield
    except InvalidValue as error:
        raise error.inside(option) from None
    except Misfit as error:  # what it says has nothing of the value in it
        raise InvalidValue(str(error), at=option) from None
