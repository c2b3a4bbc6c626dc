"""Templates: only names, all of them known when the service is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.wire.template import Template

NAMES = {"name", "request", "peer"}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("Hello, {name}!", "Hello, world!"),
        ("{name}{request}", "worldGET"),
        ("", ""),
        ("{{name}}", "{name}"),
        ("{{{name}}}", "{world}"),
        ("{{}}", "{}"),
        ('{{"name": "{name}"}}', '{"name": "world"}'),
        ("é {name}", "é world"),
    ],
)
def test_render(text: str, rendered: str) -> None:
    template = Template.parse(text, NAMES)
    values: dict[str, bytes | str] = {"name": "world", "request": b"GET"}
    assert template.render(values) == rendered
    assert template.render_bytes(values) == rendered.encode()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Hello, {nmae}!", "there is no placeholder {nmae}; did you mean {name}?"),
        ("{xyzzy}", "there is no placeholder {xyzzy}; there are {name}, {peer}, {request}"),
        ("{", "a { at character 1 without its counterpart; write {{ for the brace itself"),
        ("ab}", "a } at character 3 without its counterpart; write }} for the brace itself"),
        ("{name", "a { at character 1 without its counterpart; write {{ for the brace itself"),
        ("{}", "{} is not a placeholder"),
        ("{0}", "{0} is not a placeholder"),
        ("{name.__class__}", "{name.__class__} is not a placeholder"),
        ("{name[0]}", "{name[0]} is not a placeholder"),
        ("{name!r}", "{name!r} is not a placeholder"),
        ("{name:>99999999}", "{name:>99999999} is not a placeholder"),
        ("{ name }", "{ name } is not a placeholder"),
        ("{näme}", "{näme} is not a placeholder"),
    ],
)
def test_refused(text: str, error: str) -> None:
    """S18: a template reaches no attributes, and nothing that it was not given."""
    with pytest.raises(ValueError, match=r"placeholder|counterpart") as caught:
        Template.parse(text, NAMES)
    assert error in str(caught.value)


def test_without_any_names() -> None:
    with pytest.raises(ValueError, match="there are none here"):
        Template.parse("{name}")


def test_a_value_is_not_a_template() -> None:
    """S18: braces in a value are nothing special."""
    template = Template.parse("{name} {request}", NAMES)
    assert template.render({"name": "{request}", "request": "{{"}) == "{request} {{"


def test_constant() -> None:
    assert Template.parse("a{{b").constant == "a{b"
    assert Template.parse("{name}", NAMES).constant is None


def test_bytes_are_kept() -> None:
    template = Template.parse("<{request}>", NAMES)
    assert template.render_bytes({"request": b"\xff\0"}) == b"<\xff\0>"
    assert template.render({"request": b"\xff"}) == "<\udcff>"


def test_another_encoding() -> None:
    template = Template.parse("é{name}", NAMES)
    assert template.render_bytes({"name": "ü"}, "latin-1") == b"\xe9\xfc"
    with pytest.raises(UnicodeEncodeError):
        template.render_bytes({"name": "€"}, "latin-1")


def in_path(value: str) -> str:
    return quote(value, safe="", errors="surrogateescape")


def in_json(value: str) -> str:
    return json.dumps(value)[1:-1]


def test_an_encoder_for_each_place() -> None:
    url = Template.parse("http://h/{name}?q={request}&p={peer}", NAMES)
    assert url.before() == ["http://h/", "http://h/?q=", "http://h/?q=&p="]
    encoders: list[Callable[[str], str]] = [
        str.upper if "?" in before else in_path for before in url.before()
    ]
    values: dict[str, bytes | str] = {"name": b"a/b\xff", "request": "x", "peer": "y"}
    assert url.render(values, encoders) == "http://h/a%2Fb%FF?q=X&p=Y"


@given(value=st.text())
def test_a_value_stays_in_its_place(value: str) -> None:
    template = Template.parse('{{"name": "{name}"}}', NAMES)
    assert json.loads(template.render({"name": value}, in_json)) == {"name": value}


@given(text=st.text(alphabet="{}na1. ", max_size=12))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        template = Template.parse(text, {"n", "a"})
    except ValueError:
        return
    assert set(template.names) <= {"n", "a"}
    assert len(template.literals) == len(template.names) + 1
