"""The settings of the bridge: what they take, what they refuse, and what they become."""

from collections.abc import Callable
from typing import Any

import pytest
from multidict import CIMultiDict
from pydantic import ValidationError

from netserve.config.types import Secret
from netserve.protocols.http_bridge.plan import Plan

URL = "http://127.0.0.1:7000/{request}"


def test_the_shipped_form(settings_of: Callable[..., Any]) -> None:
    settings = settings_of(
        framing="line",
        request={"method": "GET", "url": URL, "timeout": "5s"},
        response="{status} {body}",
        allow_upstreams=["127.0.0.1"],
    )
    plan = Plan.of(settings)
    assert (plan.method, plan.url.host) == ("GET", "127.0.0.1")
    assert str(plan.url.render({"request": b"healthz"})) == "http://127.0.0.1:7000/healthz"
    assert plan.reply(200, "OK", {}, b"ok") == b"200 ok"


@pytest.mark.parametrize(
    ("request_options", "method"),
    [({}, "GET"), ({"body": "x"}, "POST"), ({"json": {}}, "POST"), ({"method": "PUT"}, "PUT")],
)
def test_the_method_by_default(
    settings_of: Callable[..., Any], request_options: dict[str, Any], method: str
) -> None:
    assert Plan.of(settings_of(request={"url": URL, **request_options})).method == method


def test_over_http_the_method_is_the_one_that_came(settings_of: Callable[..., Any]) -> None:
    for given in ({}, {"method": "{method}"}):
        settings = settings_of(framing="http", request={"url": "http://h{target}", **given})
        assert Plan.of(settings).method is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"framing": "lines"}, "framing"),
        ({"request": {"url": "{request}"}}, "request.url: begins with http://"),
        ({"request": {"url": "http://{request}/"}}, "request.url: takes no placeholder"),
        ({"request": {"url": "http://h/{status}"}}, "request.url: there is no placeholder"),
        ({"request": {"url": URL, "method": "{method}"}}, "request.method: {method} is there"),
        ({"request": {"url": URL, "method": "get"}}, "request.method"),
        ({"request": {"url": URL, "body": "x", "json": {}}}, "body and json: a request has one"),
        ({"request": {"url": URL, "headers": {"X Y": "z"}}}, "not the name of a header"),
        ({"request": {"url": URL, "headers": {"Connection": "z"}}}, "header of the connection"),
        ({"request": {"url": URL, "headers": {"Content-Length": "1"}}}, "header of the connection"),
        ({"request": {"url": URL, "headers": {"X": "a\r\nb"}}}, "control character"),
        ({"request": {"url": URL, "headers": {"X": "1", "x": "2"}}}, "is there twice"),
        ({"request": {"url": URL, "redirects": 21}}, "request.redirects"),
        ({"request": {"url": URL, "timeout": "0s"}}, "request.timeout"),
        ({"response": "{request}"}, "response: there is no placeholder"),
        ({"error": "{body}"}, "error: there is no placeholder"),
        ({"allow_upstreams": "127.1"}, "not an address or network"),
        ({"limits": {"requests": 0}}, "limits.requests"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_settings_that_are_refused(
    settings_of: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        settings_of(**{"request": {"url": URL}, **options})
    (problem,) = caught.value.errors()[:1]
    assert message in f"{'.'.join(map(str, problem['loc']))} {problem['msg']}"


def test_a_secret_in_a_header_shows_nowhere_but_in_the_header(
    settings_of: Callable[..., Any],
) -> None:
    """S17: it is sent, and printed by nothing."""
    headers = {"Authorization": Secret("Bearer hunter2")}
    settings = settings_of(request={"url": URL, "headers": headers})
    assert "hunter2" not in repr(settings) + str(settings.model_dump())
    assert Plan.of(settings).headers_for({}) == {"Authorization": "Bearer hunter2"}


def test_headers_of_an_answer(settings_of: Callable[..., Any]) -> None:
    settings = settings_of(request={"url": URL}, response="{reason}|{header_x_y}|{header_none}")
    assert Plan.of(settings).reply(200, "OK", CIMultiDict({"X-Y": "z"}), b"") == b"OK|z|"
