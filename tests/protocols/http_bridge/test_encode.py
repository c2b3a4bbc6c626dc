"""Encoding by place: whatever a value is, it stays in its place."""

import io
import json
import re
from http.client import parse_headers
from typing import Any
from unittest.mock import patch
from urllib.parse import parse_qs, parse_qsl, quote, quote_plus, unquote_to_bytes
from xml.etree import ElementTree

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from netserve.protocols.http_bridge import bodies
from netserve.protocols.http_bridge.bodies import form_body, json_body, parse_body
from netserve.protocols.http_bridge.encode import (
    Misfit,
    UrlTemplate,
    form_value,
    header_value,
    json_text,
    query_part,
    whole_path,
    whole_query,
    xml_text,
)
from netserve.wire.template import as_text

NAMES = {"request", "path", "query", "target", "host", "peer"}
NASTY = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.text("/.?#%&=@:;\\2eEfF5cC\r\n\0\"'{}<>+ x", max_size=20).map(str.encode),
)


def url(text: str, hosts: tuple[str, ...] = (), **values: bytes | str) -> str:
    return str(UrlTemplate.parse(text, NAMES, hosts).render(values))


@pytest.mark.parametrize(
    ("template", "values", "result"),
    [
        ("http://h/{request}", {"request": b"healthz"}, "http://h/healthz"),
        ("http://h/{request}", {"request": b"a/b?c#d"}, "http://h/a%2Fb%3Fc%23d"),
        ("http://h/{request}", {"request": b"100% \xff"}, "http://h/100%25%20%FF"),
        ("http://h/{request}", {"request": b""}, "http://h/"),
        ("http://h/{request}", {"request": b"..."}, "http://h/..."),
        ("http://h/v{request}.json", {"request": b"."}, "http://h/v..json"),
        ("http://h/{path}", {"path": b"a/b?c#d"}, "http://h/a/b%3Fc%23d"),
        ("http://h/{path}", {"path": b"/a%20b%zz"}, "http://h/a%20b%25zz"),
        ("http://h{path}", {"path": b"/a"}, "http://h/a"),
        ("http://h{path}", {"path": b"@evil.example/"}, "http://h/@evil.example/"),
        ("http://h{path}", {"path": b":80@evil/"}, "http://h/:80@evil/"),
        ("http://h{path}?{query}", {"path": "/a", "query": "b=c&d#e"}, "http://h/a?b=c&d%23e"),
        ("http://h:81{target}", {"target": "/a?b=c?d"}, "http://h:81/a?b=c?d"),
        ("http://h/x?q={request}&y=1", {"request": b"a&b=c d"}, "http://h/x?q=a%26b%3Dc%20d&y=1"),
        ("http://h?q={request}", {"request": b"/?"}, "http://h/?q=%2F%3F"),
        ("http://h/x?y={path}", {"path": b"../a"}, "http://h/x?y=..%2Fa"),
        ("https://h/fixed", {}, "https://h/fixed"),
    ],
)
def test_urls(template: str, values: dict[str, bytes | str], result: str) -> None:
    assert url(template, **values) == result


@pytest.mark.parametrize("encode", [query_part, form_value, json_text, xml_text, header_value])
@settings(deadline=None)
@given(value=st.one_of(NASTY.map(as_text), st.text(max_size=40)), at=st.integers(0, 40))
def test_an_encoder_gives_the_same_for_pieces(encode: Any, value: str, at: int) -> None:
    """Long values are encoded a piece at a time."""
    assume(value.encode("utf-8", "replace"))
    try:
        whole = encode(value)
    except Misfit:
        with pytest.raises(Misfit):
            encode(value[:at]) + encode(value[at:])
        return
    assert encode(value[:at]) + encode(value[at:]) == whole


@settings(deadline=None, max_examples=500)
@given(value=st.text("./\\;%2eEfF5cC3bBx", max_size=12))
def test_a_path_that_climbs_is_found_however_it_is_written(value: str) -> None:
    """By another way: a regular expression over the text as it came."""
    separator = r"(?:[/\\;]|%2f|%5c|%3b)"
    climbs = re.compile(
        rf"(?:^|{separator})(?:\.|%2e){{1,2}}(?:{separator}|$)", re.IGNORECASE
    ).search(value)
    if climbs:
        with pytest.raises(Misfit):
            whole_path(value)
    else:
        whole_path(value)


@settings(deadline=None)
@given(value=NASTY.map(as_text))
def test_percent_encoding_is_that_of_the_standard_library(value: str) -> None:
    escaped = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", value)
    for ours, theirs in (
        (query_part(value), quote(value, safe="", errors="surrogateescape")),
        (form_value(value), quote_plus(value, errors="surrogateescape")),
        (whole_query(value), quote(escaped, safe="/!$&'()*+,;=:@%?", errors="surrogateescape")),
    ):
        assert ours == theirs


@settings(deadline=None)
@given(value=NASTY, count=st.integers(0, 3))
def test_a_body_in_pieces_is_the_body(value: bytes, count: int) -> None:
    body = form_body({"a": "<{request}>", "b": "{request}"}, {"request"})
    with patch.object(bodies, "PIECE", 3):
        pieces = list(body.pieces({"request": value * count}))
    assert b"".join(pieces) == body.render({"request": value * count})
    assert all(len(piece) <= 36 for piece in pieces)


@pytest.mark.parametrize("value", [b".", b"..", b"../x", b"x/..", b"..\\x", b"x/../y", b"..;a/b"])
def test_dot_segments_are_refused(value: bytes) -> None:
    for template in ("http://h/a/{path}", "http://h/a/{request}"):
        with pytest.raises(Misfit, match=r"a path with \. or \.\."):
            url(template, path=value, request=value)


@pytest.mark.parametrize(
    "value", [b"%2e%2E", b"%2e", b".%2e/x", b"%2e%2e%2fx", b"a%2f..", b"a%5c..%5c", b"..%3bx"]
)
def test_encoded_dot_segments_are_refused_in_a_path(value: bytes) -> None:
    with pytest.raises(Misfit):
        url("http://h/a/{path}", path=value)


def test_what_was_encoded_is_encoded_again_in_a_part() -> None:
    assert url("http://h/a/{request}/b", request=b"%2e%2E") == "http://h/a/%252e%252E/b"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{request}", "begins with http://"),
        ("ftp://h/", "begins with http://"),
        ("htt{request}://h/", "begins with http://"),
        ("http://{request}/", "takes no placeholder in front of its path"),
        ("http://{request}", "takes no placeholder in front of its path"),
        ("http://a.{request}/", "takes no placeholder in front of its path"),
        ("http://{request}.example/", "takes no placeholder in front of its path"),
        ("http://h:{request}/", "takes no placeholder in front of its path"),
        ("http://h{request}", "takes no placeholder in front of its path"),
        ("http://{path}", "takes no placeholder in front of its path"),
        ("http://user:{request}@h/", "takes no placeholder in front of its path"),
        ("http://user:pw@h/", "has a password in it"),
        ("http:///x", "is not a URL|has no host"),
        ("http://h:99999/", "is not a URL"),
        ("http://h/#{request}", "has a fragment"),
        ("http://h/x{target}", "takes {target} right behind the host"),
        ("http://h{target}x", "takes {target} right behind the host"),
        ("http://h/{requst}", "did you mean {request}"),
        ("http://h/{request.x}", "is not a placeholder"),
    ],
)
def test_urls_that_are_refused_when_they_are_compiled(template: str, message: str) -> None:
    """S11: the file alone says which hosts are asked."""
    with pytest.raises(ValueError, match=message):
        UrlTemplate.parse(template, NAMES)


def test_a_host_from_the_list() -> None:
    """S11: a value chooses a host only among those that the file lists."""
    hosts = ("a.example", "B.example")
    assert url("http://{host}:81/{request}", hosts, host="A.Example", request="x") == (
        "http://a.example:81/x"
    )
    assert url("http://{host}{path}", hosts, host="b.example", path="x") == "http://b.example/x"
    for value in ["", "c.example", "a.example.", "a.example:80", "a.example/", "x@a.example"]:
        with pytest.raises(Misfit, match="a host that is not allowed"):
            url("http://{host}/", hosts, host=value)
    with pytest.raises(ValueError, match="takes no placeholder"):
        UrlTemplate.parse("http://{host}.example/", NAMES, hosts)


@given(NASTY)
def test_a_value_can_not_leave_its_part_of_the_url(value: bytes) -> None:
    """Read back, each part holds the value, and the others what they held."""
    template = UrlTemplate.parse("http://h.example:81/a/{request}/b?c={request}&d=e", NAMES)
    try:
        made = template.render({"request": value})
    except Misfit:
        assume(False)
    assert (made.scheme, made.raw_host, made.port, made.raw_fragment) == (
        "http",
        "h.example",
        81,
        "",
    )
    assert made.raw_user is None
    _, first, middle, last = made.raw_path.split("/")
    assert (first, unquote_to_bytes(middle), last) == ("a", value, "b")
    parsed = parse_qsl(
        made.raw_query_string, keep_blank_values=True, encoding="utf-8", errors="surrogateescape"
    )
    assert [(name, text.encode("utf-8", "surrogateescape")) for name, text in parsed] == [
        ("c", value),
        ("d", b"e"),
    ]


@given(NASTY)
def test_a_path_can_not_leave_the_path_nor_climb(value: bytes) -> None:
    template = UrlTemplate.parse("http://h.example:81/base/{path}?x=y", NAMES)
    try:
        made = template.render({"path": value})
    except Misfit:
        return
    assert (made.raw_host, made.port, made.raw_query_string) == ("h.example", 81, "x=y")
    assert made.raw_path.startswith("/base/")
    decoded = unquote_to_bytes(made.raw_path).replace(b"\\", b"/").replace(b";", b"/")
    assert not {b".", b".."} & set(decoded.split(b"/"))


@given(NASTY, NASTY)
def test_a_target_can_not_leave_the_host(path: bytes, query: bytes) -> None:
    template = UrlTemplate.parse("http://h.example:81{target}", NAMES)
    try:
        made = template.render({"target": path + b"?" + query})
    except Misfit:
        return
    assert (made.raw_host, made.port, made.raw_user) == ("h.example", 81, None)
    assert str(made).isascii()
    assert not {" ", "\r", "\n", "\0", "#"} & set(str(made))


@given(NASTY)
def test_a_header_value_gives_one_header(value: bytes) -> None:
    """What passes is one header for another implementation (the standard library's)."""
    try:
        made = header_value(value.decode("utf-8", "surrogateescape"))
    except Misfit:
        return
    line = b"X: " + made.encode("utf-8", "surrogateescape") + b"\r\n"
    parsed = parse_headers(io.BytesIO(b"Host: h\r\n" + line + b"Y: z\r\n\r\n"))
    assert parsed.keys() == ["Host", "X", "Y"]
    assert parsed.get_payload() == ""


@pytest.mark.parametrize("value", ["a\rb", "a\nb", "a\r\nX: y", "a\0b", "\x1b[0m", "\x7f"])
def test_control_characters_in_headers(value: str) -> None:
    with pytest.raises(Misfit, match="control character"):
        header_value(value)


JSON = "application/json"


@given(NASTY)
def test_a_value_is_one_json_string(value: bytes) -> None:
    """In quotes or without them, in `json` or in `body`."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        for made in (json_body("{request}", NAMES), parse_body('"{request}"', NAMES, JSON)):
            with pytest.raises(Misfit, match="not UTF-8"):
                made.render({"request": value})
        return
    values = {"request": value}
    mapped = json_body({"a": ["x{request}y", 1, None], "{b}": True}, NAMES)
    assert json.loads(mapped.render(values)) == {"a": [f"x{text}y", 1, None], "{b}": True}
    written = parse_body('{{"a": "x{request}y", "b": {request}}}', NAMES, "application/x+json; a=b")
    assert json.loads(written.render(values)) == {"a": f"x{text}y", "b": text}


@given(NASTY)
def test_a_value_is_one_field_of_a_form(value: bytes) -> None:
    for made in (
        form_body({"a": "{request}", "b&": "c"}, NAMES),
        parse_body("a={request}&b%26=c", NAMES, "application/x-www-form-urlencoded"),
    ):
        fields = parse_qs(
            made.render({"request": value}).decode(),
            keep_blank_values=True,
            errors="surrogateescape",
        )
        assert fields == {"a": [value.decode("utf-8", "surrogateescape")], "b&": ["c"]}


@given(st.text(max_size=30))
def test_a_value_is_one_text_in_xml(value: str) -> None:
    made = parse_body('<a b="{request}">{request}</a>', NAMES, "text/xml; charset=utf-8")
    try:
        body = made.render({"request": value})
    except Misfit:
        return
    try:
        element = ElementTree.fromstring(body)
    except ElementTree.ParseError:
        assume(not any(ord(c) in range(0xFFFE, 0x10000) for c in value))
        raise
    assert len(element) == 0
    assert element.attrib["b"].split() == value.split() == (element.text or "").split()


def test_another_body_stays_as_it_is() -> None:
    assert parse_body("<{request}>", NAMES, "text/plain").render({"request": b"\xff"}) == b"<\xff>"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: parse_body('{{"a": }}', NAMES, JSON), "is not JSON"),
        (lambda: parse_body('"\\{request}"', NAMES, JSON), "behind a backslash"),
        (lambda: parse_body("{nothing}", NAMES, ""), "there is no placeholder"),
        (lambda: json_body({"a": float("nan")}, NAMES), "no form in JSON"),
        (lambda: json_body({"a": object()}, NAMES), "no form in JSON: a object"),
        (lambda: form_body({"a": "{"}, NAMES), "without its counterpart"),
    ],
)
def test_bodies_that_are_refused_when_they_are_compiled(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
