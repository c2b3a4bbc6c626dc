"""The grammar of the commands and of their parameters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserve.mail.envelope import Recipient
from netserve.mail.server.commands import (
    MailCommand,
    Refusal,
    decode_xtext,
    encode_xtext,
    parse_bdat,
    parse_line,
    parse_mail,
    parse_rcpt,
)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"NOOP", ("NOOP", "")),
        (b"noop  ", ("NOOP", "")),
        (b"Mail FROM:<a@b>", ("MAIL", "FROM:<a@b>")),
        (b"EHLO   x", ("EHLO", "x")),
        (b"", ("", "")),
        ("VRFY jürgen".encode(), ("VRFY", "jürgen")),
    ],
)
def test_a_line_is_verb_and_argument(line: bytes, parts: tuple[str, str]) -> None:
    assert parse_line(line) == parts


@pytest.mark.parametrize("line", [b"NOOP\0", b"NOOP a\rb", b"\x1b[31m", b"EHLO a\tb", b"\xff\xfe"])
def test_a_line_with_a_control_character_is_refused(line: bytes) -> None:
    """S7: CR and NUL in a command are refused."""
    with pytest.raises(Refusal, match=r"^500 5\.5\.2"):
        parse_line(line)


@pytest.mark.parametrize(
    ("argument", "command"),
    [
        ("FROM:<a@b.test>", MailCommand("a@b.test")),
        ("from:<a@b.test>", MailCommand("a@b.test")),
        ("FROM: <a@b.test>", MailCommand("a@b.test")),
        ("FROM:<>", MailCommand("")),
        ("FROM:<a@b.test> SIZE=100", MailCommand("a@b.test", size=100)),
        ("FROM:<a@b.test> BODY=7bit", MailCommand("a@b.test")),
        ("FROM:<a@b.test>  body=8bitmime", MailCommand("a@b.test", body="8BITMIME")),
        ("FROM:<ü@b.test> SMTPUTF8", MailCommand("ü@b.test", smtputf8=True)),
        (
            "FROM:<a@b.test> RET=hdrs ENVID=QQ+2B1",
            MailCommand("a@b.test", ret="HDRS", envid="QQ+2B1"),
        ),
        ("FROM:<a@b.test> AUTH=<>", MailCommand("a@b.test", auth="<>")),
        ("FROM:<a@b.test> AUTH=e+3Dmc2@b.test", MailCommand("a@b.test", auth="e+3Dmc2@b.test")),
    ],
)
def test_mail(argument: str, command: MailCommand) -> None:
    assert parse_mail(argument) == command


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("", "501 5.5.4"),
        ("<a@b.test>", "501 5.5.4"),
        ("TO:<a@b.test>", "501 5.5.4"),
        ("FROM:", "501 5.1.7"),
        ("FROM:<a@b..test>", "501 5.1.7"),
        ("FROM:<root>", "553 5.1.7"),
        ("FROM:<ü@b.test>", "553 5.6.7"),
        ("FROM:<ü@b.test> SIZE=1", "553 5.6.7"),
        ("FROM:<a@b.test> SIZE=x", "501 5.5.4"),
        ("FROM:<a@b.test> SIZE=-1", "501 5.5.4"),
        ("FROM:<a@b.test> SIZE=" + "9" * 21, "501 5.5.4"),
        ("FROM:<a@b.test> SIZE", "501 5.5.4"),
        ("FROM:<a@b.test> SIZE=1 SIZE=1", "501 5.5.4"),
        ("FROM:<a@b.test> BODY=BINARYMIME", "501 5.5.4"),
        ("FROM:<a@b.test> SMTPUTF8=1", "501 5.5.4"),
        ("FROM:<a@b.test> RET=ALL", "501 5.5.4"),
        ("FROM:<a@b.test> ENVID=a+0D+0Ab", "501 5.5.4"),
        ("FROM:<a@b.test> ENVID=a+zz", "501 5.5.4"),
        ("FROM:<a@b.test> ENVID=" + "x" * 101, "501 5.5.4"),
        ("FROM:<a@b.test> AUTH=", "501 5.5.4"),
        ("FROM:<a@b.test> NOTIFY=NEVER", "555 5.5.4"),
        ("FROM:<a@b.test> X-UNKNOWN=1", "555 5.5.4"),
        ("FROM:<a@b.test> =", "501 5.5.4"),
    ],
)
def test_mail_is_refused(argument: str, reply: str) -> None:
    with pytest.raises(Refusal, match=f"^{reply}"):
        parse_mail(argument)


@pytest.mark.parametrize(
    ("argument", "recipient"),
    [
        ("TO:<a@b.test>", Recipient("a@b.test")),
        ("to: <a@b.test>", Recipient("a@b.test")),
        ("TO:<postmaster>", Recipient("postmaster")),
        ("TO:<a@b.test> NOTIFY=never", Recipient("a@b.test", frozenset({"NEVER"}))),
        (
            "TO:<a@b.test> NOTIFY=SUCCESS,delay ORCPT=rfc822;x+2By@b.test",
            Recipient("a@b.test", frozenset({"SUCCESS", "DELAY"}), "rfc822;x+2By@b.test"),
        ),
        (
            "TO:<a@b.test> ORCPT=rfc822;a=b@b.test",
            None,
        ),
        ("TO:<ü@b.test> ORCPT=utf-8;ü@b.test", Recipient("ü@b.test", original="utf-8;ü@b.test")),
    ],
)
def test_rcpt(argument: str, recipient: Recipient | None) -> None:
    if recipient is None:  # xtext has no bare equals sign
        with pytest.raises(Refusal, match=r"^501 5\.5\.4"):
            parse_rcpt(argument, smtputf8=True)
    else:
        assert parse_rcpt(argument, smtputf8=True) == recipient


@pytest.mark.parametrize(
    ("argument", "reply"),
    [
        ("FROM:<a@b.test>", "501 5.5.4"),
        ("TO:<>", "553 5.1.3"),
        ("TO:<root>", "553 5.1.3"),
        ("TO:<a@b@c.test>", "501 5.1.3"),
        ("TO:<ü@b.test>", "553 5.6.7"),
        ("TO:<a@b.test> ORCPT=utf-8;ü@b.test", "553 5.6.7"),
        ("TO:<a@b.test> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("TO:<a@b.test> NOTIFY=", "501 5.5.4"),
        ("TO:<a@b.test> NOTIFY=DELAY,DELAY", "501 5.5.4"),
        ("TO:<a@b.test> ORCPT=rfc822", "501 5.5.4"),
        ("TO:<a@b.test> ORCPT=rfc822;", "501 5.5.4"),
        ("TO:<a@b.test> ORCPT=rfc822;a+0Ab", "501 5.5.4"),
        ("TO:<a@b.test> ORCPT=rfc822;" + "x" * 500, "501 5.5.4"),
        ("TO:<a@b.test> SIZE=1", "555 5.5.4"),
    ],
)
def test_rcpt_is_refused(argument: str, reply: str) -> None:
    with pytest.raises(Refusal, match=f"^{reply}"):
        parse_rcpt(argument, smtputf8=False)


@pytest.mark.parametrize(
    ("argument", "parts"), [("0", (0, False)), ("86 LAST", (86, True)), ("1  last", (1, True))]
)
def test_bdat(argument: str, parts: tuple[int, bool]) -> None:
    assert parse_bdat(argument) == parts


@pytest.mark.parametrize("argument", ["", "x", "-1", "1 FIRST", "1 LAST LAST", "9" * 21, "٣"])
def test_bdat_is_refused(argument: str) -> None:
    with pytest.raises(Refusal, match=r"^501 5\.5\.4"):
        parse_bdat(argument)


@given(st.text(st.characters(max_codepoint=127), min_size=1))
def test_xtext_comes_back(text: str) -> None:
    encoded = encode_xtext(text)
    assert decode_xtext(encoded) == text
    assert encoded.isprintable()
    assert not set(encoded) & set(" =")


@pytest.mark.parametrize("text", ["", "a b", "a=b", "+2b", "+", "ü"])
def test_what_is_no_xtext(text: str) -> None:
    with pytest.raises(ValueError, match="not xtext"):
        decode_xtext(text)


@given(st.binary(max_size=200))
def test_any_line_is_read_or_refused(line: bytes) -> None:
    try:
        _, argument = parse_line(line)
    except Refusal:
        return
    for parse in (parse_mail, lambda text: parse_rcpt(text, smtputf8=True), parse_bdat):
        for text in (argument, f"FROM:<a@b.test> {argument}", f"TO:<a@b.test> {argument}"):
            try:
                parse(text)
            except Refusal as refused:
                assert 500 <= refused.reply.code <= 555  # noqa: PT017 - most are refused
