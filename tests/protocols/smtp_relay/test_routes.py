"""The routes: what the file may say, and which route a recipient gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netserve.protocols.smtp_relay.delivery.deliver import Deliver
from netserve.protocols.smtp_relay.delivery.maildir.folders import (
    UnsafeName,
    check_template,
    folder_for,
    refusal,
)
from netserve.protocols.smtp_relay.delivery.ways.smarthost import tls_level
from netserve.protocols.smtp_relay.routes import Route, RouteTable


def table(*matches: dict[str, Any]) -> RouteTable:
    """One route for each match; it refuses with its number."""
    return RouteTable(
        Route.model_validate({"match": match, "deliver": {"refuse": str(number)}})
        for number, match in enumerate(matches)
    )


def found(routes: RouteTable, recipient: str, sender: str = "s@x", user: str = "") -> str | None:
    route = routes.find(sender, recipient, user)
    return None if route is None else route.deliver.refuse


@pytest.mark.parametrize(
    ("pattern", "address", "fits"),
    [
        ("*@example.org", "a@example.org", True),
        ("*@Example.org", "a@EXAMPLE.ORG", True),
        ("*@example.org", "a@sub.example.org", False),
        ("*@*.example.org", "a@sub.example.org", True),
        ("*@example.org", "a@example.org.evil.net", False),
        ("*@example.org", "a@b@example.org", True),
        ("ops-?@example.org", "ops-1@example.org", True),
        ("ops-?@example.org", "ops-12@example.org", False),
        ("Bob@example.org", "bob@example.org", False),  # RFC 5321, 2.4
        ("*@[192.0.2.1]", "a@[192.0.2.1]", True),
        ("*@[192.0.2.1]", "a@1", False),
        ("*@bücher.test", "a@xn--bcher-kva.test", True),
        ("*@xn--bcher-kva.test", "a@BÜCHER.test", True),
        ("*@*.bücher.test", "a@x.xn--bcher-kva.test", True),
        ("*@bü*.test", "a@bücher.test", True),
        ("*", "a@b", True),
        ("*", "", True),
        ("<>", "", True),
        ("<>", "a@b", False),
        ("postmaster", "Postmaster", True),
        ("postmaster", "postmaster@example.org", False),
        ("*@example.org", "postmaster", False),
    ],
)
def test_address_patterns(pattern: str, address: str, fits: bool) -> None:
    assert (found(table({"recipient": pattern}), address) == "0") is fits
    assert (found(table({"sender": pattern}), "r@x", sender=address) == "0") is fits


def test_the_first_that_matches_decides() -> None:
    routes = table(
        {"recipient": ["a@x", "b@x"], "sender": "*@boss"}, {"user": "*"}, {"recipient": "*@x"}
    )
    assert found(routes, "a@x", sender="me@boss") == "0"
    assert found(routes, "b@x", sender="me@boss", user="u") == "0"
    assert found(routes, "b@x", user="u") == "1"
    assert found(routes, "b@x") == "2"
    assert found(routes, "b@y") is None


def test_a_user_pattern_never_matches_nobody() -> None:
    assert found(table({"user": "*"}), "a@b") is None
    assert found(table({"user": ["x", "printer-*"]}), "a@b", user="printer-2") == "0"


def test_many_stars_take_bounded_time() -> None:
    """S18: a pattern of many wildcards against a long address."""
    assert found(table({"recipient": "*a" * 30 + "b@x"}), "a" * 5000 + "@x") is None


GOOD = [
    {"smarthost": "smtp.example.org:587"},
    {"smarthost": ["[::1]:25", "192.0.2.1:25"], "tls": "none", "connections": 3, "uses": 1},
    {"smarthost": "a:465", "login": {"user": "u", "password": "p"}},
    {"smarthost": "a:25", "tls": "may", "login": {"user": "u", "password": "p", "in_clear": True}},
    {"smarthost": "a:25", "idle": "30s", "timeouts": {"connect": "5s"}},
    {"maildir": "./var/{domain}/{local}"},
    {"discard": True},
    {"refuse": "no such user"},
]


@pytest.mark.parametrize("deliver", GOOD)
def test_good_ways(deliver: dict[str, Any]) -> None:
    Deliver.model_validate(deliver, context={"folder": Path("/etc")})


@pytest.mark.parametrize(
    ("deliver", "message"),
    [
        (
            {},
            "needs exactly one of smarthost, mx, http, maildir, discard, refuse; has none of them",
        ),
        ({"discard": True, "refuse": "x"}, "has discard and refuse"),
        ({"discard": False}, "Input should be True"),
        ({"smarthost": "smtp.example.org"}, "write host:port"),
        ({"smarthost": "a:0"}, "not a port: 0"),
        ({"smarthost": "a:70000"}, "not a port: 70000"),
        ({"smarthost": "a b:25"}, "write host:port"),
        ({"smarthost": []}, "at least one is needed"),
        ({"smarthost": ["a:25", "A:25"]}, "the same smarthost twice"),
        ({"smarthost": 25}, "write host:port"),
        ({"maildir": "x", "tls": "verify"}, "tls: only together with smarthost"),
        ({"maildir": "{name}"}, "unknown placeholder {name}; known are {local} and {domain}"),
        ({"maildir": "{local"}, "unknown placeholder {"),
        ({"refuse": "a\r\n250 ok"}, "one line"),
        ({"refuse": " "}, "one line"),
        ({"smarthost": "a:25", "tls": "must"}, "'verify', 'dane', 'mta-sts' or 'dane+mta-sts'"),
        ({"smarthost": "a:25", "ca": "ca.pem"}, "ca: only together with tls: verify"),
        (
            {"smarthost": "a:25", "tls": "encrypt", "login": {"user": "u", "password": "p"}},
            "could give the password to anyone on the way",
        ),
        ({"smarthost": "a:25", "login": {"user": "", "password": "p"}}, "at least 1 character"),
        ({"smarthost": "a:25", "connections": 0}, "greater than or equal to 1"),
    ],
)
def test_bad_ways(deliver: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as raised:
        Deliver.model_validate(deliver)
    assert message in str(raised.value)


@pytest.mark.parametrize("pattern", ["example.org", "@example.org", "a@", "", []])
def test_bad_patterns(pattern: Any) -> None:
    with pytest.raises(ValidationError):
        table({"recipient": pattern})


def test_the_default_level_of_tls() -> None:
    login = {"user": "u", "password": "p"}
    assert tls_level(Deliver.model_validate({"smarthost": "a:25"})) == "may"
    assert tls_level(Deliver.model_validate({"smarthost": "a:25", "login": login})) == "verify"


def test_a_password_is_not_shown() -> None:
    """S17."""
    login = {"user": "u", "password": "geheim"}
    assert "geheim" not in repr(Deliver.model_validate({"smarthost": "a:25", "login": login}))


# Folders.


@pytest.mark.parametrize(
    ("template", "address", "folder"),
    [
        ("/v/all", "../x@y", "/v/all"),
        ("/v/{domain}/{local}", "Bob@Example.ORG", "/v/example.org/bob"),
        ("/v/{local}", '"a b"@x', "/v/a b"),
        ("/v/{local}", "postmaster", "/v/postmaster"),
        ("/v/m-{local}-{domain}", "a+b@x", "/v/m-a+b-x"),
        ("/v/{domain}/{local}", "jürgen@bücher.example", "/v/xn--bcher-kva.example/jürgen"),
        ("/v/{domain}", "a@[192.0.2.1]", "/v/[192.0.2.1]"),
        ("/v/.{local}", "a", "/v/.a"),
        ("/v/{local}", '"{domain} ~ $HOME %s *"@x', "/v/{domain} ~ $home %s *"),
        ("/v/{local}", '"a\\b\\\\c"@x', "/v/ab\\c"),
    ],
)
def test_folders(template: str, address: str, folder: str) -> None:
    assert folder_for(check_template(Path(template)), address) == Path(folder)


@pytest.mark.parametrize(
    "addresses",
    [
        [
            "a@bücher.example",
            "a@BÜCHER.example",
            "a@xn--bcher-kva.example",
            "A@XN--Bcher-Kva.Example",
        ],
        [
            "a@x.example",
            "\uff41@x.example",
            "\uff21@\uff58。example",
            "\U0001d41a@x.example",
            '"a"@x.example',
        ],
        ["é@x", "e\u0301@x", "É@x", "E\u0301@x"],
        ["fi@x", "ﬁ@x", "FI@x"],
        ["k@x", "\u212a@x"],
        ["5@x", "⑤@x", "\uff15@x", "⁵@x"],
        ["ab@x", "a\ufe0fb@x", "a\u034fb@x", "\u3164ab@x", "ab\uffa0@x", "a\U000e0100b@x"],
        ["a@[IPv6:2001:db8::1]", "a@[ipv6:2001:0DB8:0::0:1]"],
        ["οδος@x", "ΟΔΟΣ@x"],
    ],
)
def test_one_mailbox_has_one_folder(addresses: list[str]) -> None:
    """S18: however it is written."""
    folders = {folder_for(Path("/v/{domain}/{local}"), address) for address in addresses}
    assert len(folders) == 1


@pytest.mark.parametrize(
    "addresses",
    [["straße@x", "strasse@x"], ["\u0131@x", "i@x"], ["a.b@x", "ab@x"], ["a@x", "\u0430@x"]],
)
def test_other_mailboxes_have_other_folders(addresses: list[str]) -> None:
    folders = {folder_for(Path("/v/{domain}/{local}"), address) for address in addresses}
    assert len(folders) == len(addresses)


def test_an_address_without_a_domain_is_of_this_host() -> None:
    """RFC 5321, 4.5.1: everybody takes mail for postmaster."""
    folder = folder_for(Path("/v/{domain}/{local}"), "Postmaster", origin="MX.example")
    assert folder == Path("/v/mx.example/postmaster")


def test_a_path_may_be_too_long() -> None:
    template = Path("/v" + "/{local}" * 20)
    assert refusal(template, "a" * 180 + "@x") is None
    assert refusal(template, "a" * 200 + "@x") is not None


@pytest.mark.parametrize(
    "address",
    ["..@x", ".a@x", "a/b@x", '"../../etc"@x', '"/etc"@x', '"a\\/b"@x', '"a\0b"@x', '""@x',
     "a@..", "a@../x", "postmaster", "a" * 300 + "@x", "a\n@x", "a@", ".@x", '"a."@x', '"a "@x',
     '" a"@x', "a\u2024@x", "\u2025@x", "\u2024\u2024@x", "\u2026@x", "\uff0e\uff0e@x",
     "a\uff0fb@x",
     "℀@x", "\ufe52a@x", "\u3164@x", "a\x7f@x", "a\u200b@x", "a\u202e@x", "a\x85@x", "a\udc80@x",
     "a@。。",
     "a@..b", "a@b/c", "a@.b", "a@b.", "ü" * 130 + "@x", "a@" + "ü" * 64 + ".example",
     "\u2024a@x", "a@xn--\xfc", "\xa8@x"],
)  # fmt: skip
def test_an_address_does_not_leave_the_folder(address: str) -> None:
    """S18: neither a separator, nor dots, NUL or an empty name."""
    with pytest.raises(UnsafeName):
        folder_for(Path("/v/{domain}/{local}"), address)


@given(st.text())
def test_no_address_at_all_leaves_the_folder(address: str) -> None:
    """S18."""
    try:
        folder = folder_for(Path("/v/{domain}/{local}"), address)
    except UnsafeName:
        return
    assert folder.parts[:2] == ("/", "v")
    assert len(folder.parts) == 4
    assert ".." not in folder.parts
    assert "\0" not in str(folder)
    # What was folded is not folded further.
    domain, local = folder.parts[2:]
    if '"' not in local:
        assert folder_for(Path("/v/{domain}/{local}"), f"{local}@{domain}") == folder
