"""The options of request-response: what the file may say, and what it is told otherwise."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from netserve.protocols.request_response.settings import RequestResponseSettings

BASE = {"protocol": "request-response", "listen": "tcp:7008"}


def settings(**options: Any) -> RequestResponseSettings:
    return RequestResponseSettings.model_validate({**BASE, **options})


def test_the_short_forms() -> None:
    made = settings(framing="line", rules=({"match": "ping", "reply": "pong"},))
    assert made.rules[0].match.exact == b"ping"
    assert made.rules[0].reply == "pong"
    assert made.limits.request_size == 65536


def test_bytes() -> None:
    made = settings(rules=({"match": {"prefix": {"hex": "02"}}, "reply": {"hex": "06 0a"}},))
    assert made.rules[0].match.prefix == b"\x02"
    assert made.rules[0].reply == b"\x06\n"


@pytest.mark.parametrize(
    ("options", "where", "what"),
    [
        ({}, (), "a reply is needed: rules, a handler, or reply"),
        ({"reply": "{nmae}"}, ("reply",), "there is no placeholder {nmae}"),
        ({"reply": "{reqest}"}, ("reply",), "did you mean {request}?"),
        ({"reply": 5}, ("reply",), "not a text, nor bytes in hex"),
        ({"reply": "x", "error": "{request}"}, ("error",), "there is no placeholder {request}"),
        ({"reply": "x", "oversized": "{"}, ("oversized",), "a { at character 1"),
        ({"reply": "x", "timeout": "0s"}, ("timeout",), "greater than 0"),
        ({"reply": "x", "encoding": "ebcdic"}, ("encoding",), "'utf-8' or 'latin-1'"),
        ({"handler": "shop"}, ("handler",), "write module:object"),
        ({"reply": "x", "limits": {"pipeline": 0}}, ("limits", "pipeline"), "greater than or"),
        ({"reply": "x", "limits": {"request_size": 0}}, ("limits", "request_size"), "greater"),
        (
            {"rules": ({"match": {"regex": "(a"}, "reply": "x"},)},
            ("rules", 0, "match", "regex"),
            "not a regular expression of RE2: missing )",
        ),
        (
            {"rules": ({"match": {"regex": "(?P<peer>a)"}, "reply": "x"},)},
            ("rules", 0, "match", "regex"),
            "a group cannot be named peer: {peer} is taken",
        ),
        (
            {"rules": ({"match": {"regex": "a", "exact": "a"}, "reply": "x"},)},
            ("rules", 0, "match"),
            "exactly one of exact, prefix and regex is needed",
        ),
        (
            {"rules": ({"match": {}, "reply": "x"},)},
            ("rules", 0, "match"),
            "exactly one of exact, prefix and regex is needed",
        ),
        (
            {"rules": ({"match": {"regex": "(?P<name>a)"}, "reply": "{nmae}"},)},
            ("rules", 0, "reply"),
            "there is no placeholder {nmae}; did you mean {name}?",
        ),
        (
            {"rules": ({"match": "a", "reply": "{rest}"},)},
            ("rules", 0, "reply"),
            "there is no placeholder {rest}",
        ),
        ({"rules": ({"match": "a"},)}, ("rules", 0, "reply"), "Field required"),
        ({"rules": ({"match": 5, "reply": "x"},)}, ("rules", 0, "match"), "neither a text nor"),
    ],
)
def test_wrong_options(options: dict[str, Any], where: tuple[Any, ...], what: str) -> None:
    """S18: patterns and templates are refused when the file is read, at their place in it."""
    with pytest.raises(ValidationError) as caught:
        settings(**options)
    [error] = caught.value.errors()
    assert error["loc"] == where
    assert what in error["msg"]


def test_the_schema_knows_the_short_forms() -> None:
    schema = RequestResponseSettings.model_json_schema()
    hello = {
        **BASE,
        "framing": "line",
        "rules": [
            {"match": {"regex": "^my name is (?P<name>\\w+)$"}, "reply": "Hello, {name}!"},
            {"match": "ping", "reply": {"hex": "06"}},
        ],
        "reply": "Hello, client!",
    }
    jsonschema.validate(hello, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**hello, "reply": 5}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**hello, "rules": [{"match": {"regexp": "x"}, "reply": "x"}]}, schema)
