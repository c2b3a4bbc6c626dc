"""Paths and mailboxes (RFC 5321, 4.1.2)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.address import (
    AddressError,
    ascii_domain,
    ascii_mailbox,
    domain_of,
    is_address_literal,
    is_helo_name,
    normalise_mailbox,
    parse_path,
    split_mailbox,
)

GOOD = [
    ("<user@example.org>", "user@example.org", ""),
    ("<user@example.org> SIZE=1 BODY=7BIT", "user@example.org", "SIZE=1 BODY=7BIT"),
    ("<>", "", ""),
    ("<> SIZE=1", "", "SIZE=1"),
    ("<postmaster>", "postmaster", ""),
    ("<Postmaster>", "Postmaster", ""),
    ("<a.b+c=d/e!f@x-y.example>", "a.b+c=d/e!f@x-y.example", ""),
    ('<"joe doe"@example.org>', '"joe doe"@example.org', ""),
    ('<"joe"@example.org>', "joe@example.org", ""),
    ('<"j\\oe"@example.org>', "joe@example.org", ""),
    ('<"a\\"b\\\\c"@example.org>', '"a\\"b\\\\c"@example.org', ""),
    ('<"a@b"@example.org> X', '"a@b"@example.org', "X"),
    ('<"a>b"@example.org>', '"a>b"@example.org', ""),
    ('<""@example.org>', '""@example.org', ""),
    ("<user@[192.0.2.1]>", "user@[192.0.2.1]", ""),
    ("<user@[IPv6:2001:db8::1]>", "user@[IPv6:2001:db8::1]", ""),
    ("<@one.example,@two.example:user@example.org>", "user@example.org", ""),
    ("<@one.example:user@example.org> SIZE=1", "user@example.org", "SIZE=1"),
    ("<jürgen@example.org>", "jürgen@example.org", ""),
    ("<user@bücher.example>", "user@bücher.example", ""),
    ("<user@BÜCHER。example>", "user@bücher.example", ""),
    ("<scanner_1@printers_2.example>", "scanner_1@printers_2.example", ""),
    ("user@example.org", "user@example.org", ""),
    ("user@example.org SIZE=1", "user@example.org", "SIZE=1"),
    ("<user@example.org> ", "user@example.org", ""),
    (f"<user@{'x' * 63}.org>", f"user@{'x' * 63}.org", ""),
]

BAD = [
    "",
    "<",
    "<user@example.org",
    "user",
    "<user@example.org>SIZE=1",
    "<<user@example.org>>",
    "<us er@example.org>",
    "<user@exam ple.org>",
    "<.user@example.org>",
    "<user.@example.org>",
    "<us..er@example.org>",
    "<user@>",
    "<@example.org>",
    "<user@-x.example>",
    "<user@x-.example>",
    "<user@x..example>",
    "<user@.example>",
    "<user@example.>",
    "<user@exa$mple.org>",
    "<a@b@example.org>",
    '<"joe@example.org>',
    '<"joe"doe@example.org>',
    "<user@[192.0.2.256]>",
    "<user@[192.0.2.1>",
    "<user@[2001:db8::1]>",
    "<user@[IPv6:192.0.2.1]>",
    "<user@[tag:value]>",
    "<user@example.org\r\nRCPT TO:<x@y.example>>",
    '<"a\r\nb"@example.org>',
    '<"a\0b"@example.org>',
    "<a\0b@example.org>",
    "<user@example.org\n>",
    '<"tab\tin it"@example.org>',
    "<a\u2028b@example.org>",
    "<a\x85b@example.org>",
    "<user@exa\u200bmple\u2028.org>",
    f"<user@{'x' * 64}.org>",
    f"<{'x' * 250}@example.org>",
    f"<user@{'xx.' * 100}org>",
    f"<{'ü' * 130}@x.example>",
]


@pytest.mark.parametrize(("text", "mailbox", "rest"), GOOD)
def test_a_path_and_what_stands_behind_it(text: str, mailbox: str, rest: str) -> None:
    assert parse_path(text) == (mailbox, rest)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_path_is_refused(text: str) -> None:
    """S7: CR, LF and NUL in addresses are refused."""
    with pytest.raises(AddressError):
        parse_path(text)


@given(st.text(alphabet=st.sampled_from('ab.@<>"\\[]:, \r\n\0\tü1'), max_size=40))
def test_any_text_is_a_clean_mailbox_or_refused(text: str) -> None:
    """S7: what gets through has no control character, and stays the same when read again."""
    try:
        mailbox, _ = parse_path(text)
    except AddressError:
        return
    assert mailbox.isprintable()
    if mailbox:
        assert normalise_mailbox(mailbox) == mailbox
        assert parse_path(f"<{mailbox}>")[0] == mailbox


def test_a_long_line_of_dots_and_quotes_is_read_in_no_time() -> None:
    for text in (
        "<" + "a." * 50_000,
        '<"' + '\\"' * 50_000,
        "<@" + "a,@" * 50_000,
        "<@a:" * 50_000,
    ):
        with pytest.raises(AddressError):
            parse_path(text)


@pytest.mark.parametrize(
    ("mailbox", "parts"),
    [
        ("a@b.example", ("a", "@", "b.example")),
        ('"a@b"@c.example', ('"a@b"', "@", "c.example")),
        ("postmaster", ("postmaster", "", "")),
    ],
)
def test_a_mailbox_is_split_at_its_own_at_sign(mailbox: str, parts: tuple[str, str, str]) -> None:
    assert split_mailbox(mailbox) == parts


def test_the_domain_is_in_lower_case() -> None:
    assert domain_of('"A@B"@Example.ORG') == "example.org"
    assert domain_of("postmaster") == ""


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("[192.0.2.1]", True),
        ("[IPv6:::1]", True),
        ("[ipv6:::1]", True),
        ("[::1]", False),
        ("[IPv6:1]", False),
        ("192.0.2.1", False),
        ("[]", False),
    ],
)
def test_address_literals(text: str, right: bool) -> None:
    assert is_address_literal(text) is right


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("mx.example.org", True),
        ("[192.0.2.1]", True),
        ("[IPv6:::1]", True),
        ("SCANNER_3000", True),
        ("", False),
        ("a b", False),
        ("a\rb", False),
        ("a\nb", False),
        ("a\0b", False),
        ("a(b)", False),
        ("a;b", False),
        ("ä", False),
        ("x" * 256, False),
    ],
)
def test_helo_names(name: str, right: bool) -> None:
    """S7: CR and LF in HELO names are refused."""
    assert is_helo_name(name) is right


@pytest.mark.parametrize(
    ("mailbox", "ascii_form"),
    [
        ("a@example.org", "a@example.org"),
        ("", ""),
        ("postmaster", "postmaster"),
        ("a@bücher.example", "a@xn--bcher-kva.example"),
        ('"a@b"@bücher.example', '"a@b"@xn--bcher-kva.example'),
        ("ü@example.org", None),
        ("ü@bücher.example", None),
        ("a@\u200d.example", None),
    ],
)
def test_a_mailbox_for_a_server_without_smtputf8(mailbox: str, ascii_form: str | None) -> None:
    assert ascii_mailbox(mailbox) == ascii_form


def test_a_domain_with_a_labels() -> None:
    assert ascii_domain("Example.org") == "Example.org"
    assert ascii_domain("BÜCHER.example") == "xn--bcher-kva.example"
    assert ascii_domain("ü" * 80 + ".example") is None
