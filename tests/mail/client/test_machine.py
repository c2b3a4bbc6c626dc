"""The SMTP client machine, as dialogues with a server."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.config.types import Secret
from netserve.mail.client.events import (
    ClientSettings,
    Closed,
    Done,
    Login,
    NeedBody,
    Ready,
    StartTLS,
)
from netserve.mail.client.machine import Client
from netserve.mail.client.states import TRANSITIONS, State
from netserve.mail.envelope import Recipient, Reply
from netserve.testing.machines import chunkings


@dataclass
class Mail:
    sender: str = "s@example.org"
    body_type: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    to: Sequence[Recipient] = field(default_factory=lambda: [Recipient("r@example.net")])
    text: bytes | None = b"Subject: x\r\n\r\n.dot\r\n"


TEXT = b"Subject: x\r\n\r\n..dot\r\n.\r\n"
EHLO = b"EHLO me.example\r\n"
MAIL, RCPT, DATA = b"MAIL FROM:<s@example.org>\r\n", b"RCPT TO:<r@example.net>\r\n", b"DATA\r\n"
LOGIN = Login("me", Secret("geheim"))
PLAIN = b"AUTH PLAIN AG1lAGdlaGVpbQ==\r\n"

WAYS = ["whole", "byte by byte"]


class Talk:
    """Plays a server against the machine: what it says, and what the client must say to that."""

    def __init__(self, way: str = "whole", **options: Any) -> None:
        self.client = Client(ClientSettings(hostname="me.example", remote="mx[1]:25", **options))
        self.way = way
        self.events: list[Any] = []

    def says(self, data: bytes, answer: bytes = b"") -> Talk:
        pieces = [data] if self.way == "whole" else [data[at : at + 1] for at in range(len(data))]
        sent = b""
        for piece in pieces:
            self.take(self.client.receive(piece))
            sent += self.client.data_to_send()
        assert sent == answer
        return self

    def take(self, events: Iterable[Any]) -> None:
        for event in events:
            self.events.append(event)
            if isinstance(event, StartTLS):
                self.take(self.client.tls_started())

    def opens(self, *extensions: str) -> Talk:
        lines = ["mx.example.net", *extensions]
        said = "".join(
            f"250{' ' if at == len(lines) - 1 else '-'}{line}\r\n" for at, line in enumerate(lines)
        )
        self.says(b"220 mx\r\n", EHLO).says(said.encode())
        assert isinstance(self.events.pop(), Ready)
        return self

    def sends(self, mail: Mail, answer: bytes) -> Talk:
        size = len(mail.text or b"")
        self.take(self.client.start(mail, mail.to, size, mail.text))
        assert self.client.data_to_send() == answer
        return self

    @property
    def kinds(self) -> list[str]:
        """Of the outcomes of the last message."""
        return [each.verdict for each in self.outcomes]

    @property
    def outcomes(self) -> Sequence[Any]:
        return [event for event in self.events if isinstance(event, Done)][-1].outcomes

    @property
    def why(self) -> str:
        """Why it was closed."""
        closed = self.events[-1]
        assert isinstance(closed, Closed)
        return str(closed.reply)


both_ways = pytest.mark.parametrize("way", WAYS)


@both_ways
def test_one_by_one(way: str) -> None:
    talk = Talk(way).opens().sends(Mail(), MAIL)
    talk.says(b"250 ok\r\n", RCPT).says(b"250 ok\r\n", DATA).says(b"354 go\r\n", TEXT)
    talk.says(b"250 2.0.0 queued as 7\r\n")
    assert talk.kinds == ["delivered"]
    assert talk.outcomes[0].reply == Reply(250, "2.0.0", "queued as 7")
    assert talk.outcomes[0].remote == "mx[1]:25"
    assert talk.outcomes[0].report == "relayed"
    talk.sends(Mail(), MAIL)  # the next message needs no RSET


@both_ways
def test_pipelined(way: str) -> None:
    talk = Talk(way).opens("PIPELINING", "DSN").sends(Mail(), MAIL + RCPT + DATA)
    talk.says(b"250 ok\r\n250 ok\r\n354 go\r\n", TEXT).says(b"250 ok\r\n")
    assert talk.kinds == ["delivered"]
    assert talk.outcomes[0].report == ""
    talk.client.quit()
    assert talk.client.data_to_send() == b"QUIT\r\n"
    talk.says(b"221 bye\r\n")
    assert talk.events[-1] == Closed(None)


@both_ways
def test_a_large_body_is_asked_for(way: str) -> None:
    talk = Talk(way).opens("PIPELINING").sends(Mail(text=None), MAIL + RCPT + DATA)
    talk.says(b"250 ok\r\n250 ok\r\n354 go\r\n")
    assert isinstance(talk.events[-1], NeedBody)
    for chunk in (b"a\r\n", b".", b"b\r\n"):
        talk.client.write_body(chunk)
    assert talk.client.data_to_send() == b"a\r\n..b\r\n"
    talk.client.end_body()
    assert talk.client.data_to_send() == b".\r\n"
    talk.says(b"250 ok\r\n")
    assert talk.kinds == ["delivered"]


def test_an_old_server_gets_helo() -> None:
    talk = Talk().says(b"220 mx\r\n", EHLO).says(b"502 what\r\n", b"HELO me.example\r\n")
    talk.says(b"250 hello\r\n").sends(Mail(), MAIL)
    assert talk.client.usable is False


TWO = [Recipient("a@example.net"), Recipient("b@example.net")]
TO_TWO = b"RCPT TO:<a@example.net>\r\nRCPT TO:<b@example.net>\r\n"


@pytest.mark.parametrize(
    ("replies", "body_sent", "last", "kinds"),
    [
        (b"250 1\r\n250 2\r\n550 no\r\n354 go\r\n", TEXT, b"250 ok\r\n", "delivered failed"),
        (b"250 1\r\n250 2\r\n452 full\r\n354 go\r\n", TEXT, b"250 ok\r\n", "delivered deferred"),
        (b"250 1\r\n250 2\r\n250 3\r\n354 go\r\n", TEXT, b"554 spam\r\n", "failed failed"),
        (b"250 1\r\n250 2\r\n250 3\r\n354 go\r\n", TEXT, b"451 later\r\n", "deferred deferred"),
        (b"250 1\r\n550 no\r\n250 3\r\n354 go\r\n", TEXT, b"451 later\r\n", "failed deferred"),
        (b"250 1\r\n552 many\r\n250 3\r\n354 go\r\n", TEXT, b"250 ok\r\n", "deferred delivered"),
        (b"250 1\r\n552 5.2.2 full\r\n250 3\r\n354 go\r\n", TEXT, b"250 k\r\n", "failed delivered"),
        # Nobody is left, and it wants the message all the same: an empty one, that goes nowhere.
        (b"250 1\r\n550 no\r\n450 no\r\n354 go\r\n", b".\r\n", b"250 ok\r\n", "failed deferred"),
        (b"550 bad\r\n503 no\r\n503 no\r\n354 go\r\n", b".\r\n", b"250 ok\r\n", "failed failed"),
        (b"451 hm\r\n503 no\r\n503 no\r\n503 no\r\n", b"", b"", "deferred deferred"),
        (b"530 login\r\n503 no\r\n503 no\r\n503 no\r\n", b"", b"", "deferred deferred"),
        (b"250 1\r\n550 no\r\n550 no\r\n503 no\r\n", b"RSET\r\n", b"250 ok\r\n", "failed failed"),
        (b"250 1\r\n250 2\r\n250 3\r\n451 no\r\n", b"RSET\r\n", b"250 ok\r\n", "deferred deferred"),
    ],
)
@both_ways
def test_each_recipient_has_its_outcome(
    way: str, replies: bytes, body_sent: bytes, last: bytes, kinds: str
) -> None:
    talk = Talk(way).opens("PIPELINING").sends(Mail(to=TWO), MAIL + TO_TWO + DATA)
    talk.says(replies, body_sent)
    if last:
        talk.says(last)
    assert talk.kinds == kinds.split()
    assert isinstance(talk.events[-1], Ready)
    assert talk.client.usable


@pytest.mark.parametrize(
    ("steps", "kinds"),
    [
        ([(b"550 no\r\n", b"")], ["failed", "failed"]),
        (
            [
                (b"250 1\r\n", b"RCPT TO:<a@example.net>\r\n"),
                (b"550 no\r\n", b"RCPT TO:<b@example.net>\r\n"),
                (b"450 no\r\n", b"RSET\r\n"),
                (b"250 ok\r\n", b""),
            ],
            ["failed", "deferred"],
        ),
    ],
)
def test_refused_one_by_one(steps: list[tuple[bytes, bytes]], kinds: list[str]) -> None:
    talk = Talk().opens().sends(Mail(to=TWO), MAIL)
    for said, answer in steps:
        talk.says(said, answer)
    assert talk.kinds == kinds
    assert talk.client.usable


@pytest.mark.parametrize(
    ("offered", "mail", "wire"),
    [
        (["SIZE 1000"], Mail(text=b"12345\r\n"), b"MAIL FROM:<s@example.org> SIZE=7\r\n"),
        (["8BITMIME"], Mail(body_type="8BITMIME"), b"MAIL FROM:<s@example.org> BODY=8BITMIME\r\n"),
        (["8BITMIME"], Mail(), MAIL),
        (["SMTPUTF8"], Mail(smtputf8=True), b"MAIL FROM:<s@example.org> SMTPUTF8\r\n"),
        (["SMTPUTF8"], Mail(sender="ü@example.org"), "MAIL FROM:<ü@example.org> SMTPUTF8\r\n"),
        (["SMTPUTF8"], Mail(to=[Recipient("ü@x.y")]), b"MAIL FROM:<s@example.org> SMTPUTF8\r\n"),
        (["DSN"], Mail(ret="HDRS", envid="q"), b"MAIL FROM:<s@example.org> RET=HDRS ENVID=q\r\n"),
        ([], Mail(ret="HDRS", envid="q"), MAIL),
        ([], Mail(sender=""), b"MAIL FROM:<>\r\n"),
        ([], Mail(sender='"a b>c"@x.y'), b'MAIL FROM:<"a b>c"@x.y>\r\n'),
    ],
)
def test_parameters_are_sent_where_they_are_offered(
    offered: list[str], mail: Mail, wire: bytes | str
) -> None:
    Talk().opens(*offered).sends(mail, wire.encode() if isinstance(wire, str) else wire)


def test_parameters_of_a_recipient() -> None:
    who = Recipient("r@example.net", frozenset({"FAILURE", "DELAY"}), "rfc822;o@example.net")
    talk = Talk().opens("DSN").sends(Mail(to=[who]), MAIL)
    wire = b"RCPT TO:<r@example.net> NOTIFY=DELAY,FAILURE ORCPT=rfc822;o@example.net\r\n"
    talk.says(b"250 ok\r\n", wire)


@pytest.mark.parametrize(
    ("offered", "mail", "status"),
    [
        (["SIZE 10"], Mail(), "5.3.4"),
        ([], Mail(body_type="8BITMIME"), "5.6.3"),
        ([], Mail(body_type="8BITMIME", text=None), "5.6.3"),
        (["8BITMIME"], Mail(body_type="BINARYMIME"), "5.6.3"),
        ([], Mail(smtputf8=True), "5.6.7"),
        ([], Mail(sender="ü@example.org"), "5.6.7"),
        ([], Mail(to=[Recipient("ü@example.org")]), "5.6.7"),
        ([], Mail(sender="a@b>\r\nRCPT TO:<c@d"), "5.1.7"),
        ([], Mail(sender="a@b> SIZE=1"), "5.1.7"),
        ([], Mail(to=[Recipient("a@b\r\nDATA")]), "5.1.3"),
        ([], Mail(to=[Recipient("a@b\n")]), "5.1.3"),
        ([], Mail(to=[Recipient("a\0@b")]), "5.1.3"),
        ([], Mail(to=[Recipient("a\ud800@b")]), "5.1.3"),
        ([], Mail(to=[Recipient("")]), "5.1.3"),
        (["DSN"], Mail(envid="a\r\nDATA"), "5.5.4"),
        (["DSN"], Mail(ret="FULL SIZE=1"), "5.5.4"),
        (["DSN"], Mail(to=[Recipient("a@b", original="rfc822;a\r\nDATA")]), "5.5.4"),
    ],
)
def test_what_the_server_can_not_take_is_not_sent(
    offered: list[str], mail: Mail, status: str
) -> None:
    """S7: CR, LF and NUL in the values of an envelope never reach a server."""
    talk = Talk().opens(*offered).sends(mail, b"")
    assert [(each.verdict, each.reply.status, each.remote) for each in talk.outcomes] == [
        ("failed", status, "")
    ]
    assert talk.client.usable
    talk.sends(Mail(text=b""), MAIL if "SIZE 10" not in offered else MAIL[:-2] + b" SIZE=0\r\n")


def test_one_bad_address_does_not_hinder_the_others() -> None:
    to = [Recipient("bad\r\n@x"), Recipient("r@example.net")]
    talk = Talk().opens("PIPELINING").sends(Mail(to=to), MAIL + RCPT + DATA)
    talk.says(b"250 ok\r\n250 ok\r\n354 go\r\n", TEXT).says(b"250 ok\r\n")
    assert talk.kinds == ["failed", "delivered"]


@pytest.mark.parametrize("name", ["a\r\nb", "a b", "a\0", "ä"])
def test_our_own_name_is_checked(name: str) -> None:
    """S7: no line ends in HELO names."""
    with pytest.raises(ValueError, match="host name"):
        ClientSettings(hostname=name)


# TLS and login.

OFFER_TLS = b"250-mx\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n"


@both_ways
def test_starttls_forgets_what_was_said_in_clear(way: str) -> None:
    talk = Talk(way, tls="verify", login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(OFFER_TLS, b"STARTTLS\r\n").says(b"220 go\r\n", EHLO)
    assert talk.client.extensions.auth == frozenset()
    talk.says(b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n", PLAIN).says(b"235 welcome\r\n")
    assert isinstance(talk.events[-1], Ready)


@pytest.mark.parametrize("behind", [b"2", b"250 mx\r\n", b"\0" * 10])
def test_bytes_behind_the_answer_to_starttls(behind: bytes) -> None:
    """S6: what came in clear behind the 220 is never taken for something that came by TLS."""
    talk = Talk(tls="may").says(b"220 mx\r\n", EHLO).says(OFFER_TLS, b"STARTTLS\r\n")
    talk.says(b"220 go\r\n" + behind)
    assert "behind its answer to STARTTLS" in talk.why
    assert not any(isinstance(event, StartTLS) for event in talk.events)
    assert not talk.client.secure


def test_bytes_that_come_in_clear_before_tls_begins() -> None:
    """S6: half a reply that came while the driver began TLS is never the beginning of one in it."""
    talk = Talk(tls="may").says(b"220 mx\r\n", EHLO).says(OFFER_TLS, b"STARTTLS\r\n")
    assert [type(event) for event in talk.client.receive(b"220 go\r\n")] == [StartTLS]
    assert talk.client.receive(b"250-mx") == []
    (closed,) = talk.client.tls_started()
    assert isinstance(closed, Closed)
    assert "behind its answer to STARTTLS" in str(closed.reply)
    assert talk.client.data_to_send() == b""
    assert not talk.client.secure


@pytest.mark.parametrize("level", ["encrypt", "verify"])
@pytest.mark.parametrize("refusal", [b"", b"454 not now\r\n", b"501 never\r\n"])
def test_no_tls_where_it_is_asked_for(level: str, refusal: bytes) -> None:
    talk = Talk(tls=level).says(b"220 mx\r\n", EHLO)
    if refusal:
        talk.says(OFFER_TLS, b"STARTTLS\r\n").says(refusal)
    else:
        talk.says(b"250 mx\r\n")
    assert talk.why.startswith("451 4.7.10")


@pytest.mark.parametrize("level", ["encrypt", "verify"])
def test_a_server_without_ehlo_has_no_tls(level: str) -> None:
    talk = Talk(tls=level).says(b"220 mx\r\n", EHLO).says(b"500 what\r\n", b"HELO me.example\r\n")
    assert talk.says(b"250 mx\r\n").why.startswith("451 4.7.10")


def test_level_may_goes_on_in_clear() -> None:
    talk = Talk(tls="may").says(b"220 mx\r\n", EHLO).says(OFFER_TLS, b"STARTTLS\r\n")
    talk.says(b"454 not now\r\n").sends(Mail(), MAIL)


def test_level_none_does_not_ask() -> None:
    Talk(tls="none").says(b"220 mx\r\n", EHLO).says(OFFER_TLS).sends(Mail(), MAIL)


def test_tls_from_the_first_byte_needs_no_starttls() -> None:
    talk = Talk(tls="verify", secure=True, login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250-STARTTLS\r\n250 AUTH=PLAIN\r\n", PLAIN)


def test_a_goodbye_that_repeats_the_login_does_not_show_it() -> None:
    """S17."""
    talk = Talk(tls="encrypt", secure=True, login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250 AUTH PLAIN\r\n", PLAIN).says(b"421 not with " + PLAIN)
    assert talk.why == "421 not with AUTH PLAIN ***"


def test_auth_login() -> None:
    talk = Talk(tls="none", login=Login("me", Secret("geheim"), in_clear=True))
    talk.says(b"220 mx\r\n", EHLO).says(b"250-mx\r\n250 AUTH LOGIN\r\n", b"AUTH LOGIN\r\n")
    talk.says(b"334 VXNlcm5hbWU6\r\n", b"bWU=\r\n").says(b"334 UGFzc3dvcmQ6\r\n", b"Z2VoZWlt\r\n")
    talk.says(b"235 welcome\r\n").sends(Mail(), MAIL)


@pytest.mark.parametrize(
    ("offer", "answer", "refusal", "why"),
    [
        (b"AUTH PLAIN", PLAIN, b"535 5.7.8 wrong\r\n", "the server refuses the login: 535 5.7.8"),
        (b"AUTH PLAIN", PLAIN, b"454 4.7.0 later\r\n", "the server refuses the login: 454 4.7.0"),
        (b"AUTH PLAIN", PLAIN, b"334 more\r\n", "the server refuses the login: 334"),
        (
            b"AUTH PLAIN",
            PLAIN,
            b"500 no " + PLAIN,
            "the server refuses the login: 500 no AUTH PLAIN ***",
        ),
        (b"AUTH CRAM-MD5", b"", b"", "no way to log in that we know"),
        (b"SIZE", b"", b"", "no way to log in that we know"),
    ],
)
def test_a_login_that_fails_is_temporary(
    offer: bytes, answer: bytes, refusal: bytes, why: str
) -> None:
    talk = Talk(tls="encrypt", secure=True, login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250 " + offer + b"\r\n", answer)
    if refusal:
        talk.says(refusal)
    assert talk.why.startswith("451 ")
    assert why in talk.why


TOKEN = Login("me@x", Secret("t0k"), is_token=True)
XOAUTH2 = b"AUTH XOAUTH2 dXNlcj1tZUB4AWF1dGg9QmVhcmVyIHQwawEB\r\n"
BEARER = b"AUTH OAUTHBEARER bixhPW1lQHgsAWF1dGg9QmVhcmVyIHQwawEB\r\n"
ERROR = b"334 eyJzdGF0dXMiOiI0MDEifQ==\r\n"


@pytest.mark.parametrize(
    ("offer", "command", "answer"),
    [
        (b"AUTH PLAIN XOAUTH2", XOAUTH2, b"\r\n"),
        (b"AUTH XOAUTH2 OAUTHBEARER", BEARER, b"AQ==\r\n"),
    ],
)
@both_ways
def test_a_token(way: str, offer: bytes, command: bytes, answer: bytes) -> None:
    for refused in (False, True):
        talk = Talk(way, tls="encrypt", secure=True, login=TOKEN).says(b"220 mx\r\n", EHLO)
        talk.says(b"250-mx\r\n250 " + offer + b"\r\n", command)
        if refused:
            talk.says(ERROR, answer).says(b"535 5.7.8 no\r\n")
            assert talk.why == "451 4.3.0 the server refuses the login: 535 5.7.8 no"
            assert talk.events[-1].login_refused
        else:
            assert isinstance(talk.says(b"235 welcome\r\n").events[-1], Ready)


def test_a_token_that_is_too_long_for_a_command() -> None:
    """RFC 4954, 4: it is sent when it is asked for."""
    login = Login("me@x", Secret("t" * 2000), is_token=True)
    talk = Talk(tls="encrypt", secure=True, login=login).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250 AUTH XOAUTH2\r\n", b"AUTH XOAUTH2\r\n")
    response = b"user=me@x\1auth=Bearer " + b"t" * 2000 + b"\1\1"
    talk.says(b"334 \r\n", base64.b64encode(response) + b"\r\n").says(ERROR, b"\r\n")
    talk.says(b"535 no\r\n")
    assert talk.events[-1].login_refused


@pytest.mark.parametrize("login", [TOKEN, LOGIN])
def test_a_token_is_no_password(login: Login) -> None:
    """Neither is sent in the other's place."""
    talk = Talk(tls="encrypt", secure=True, login=login).says(b"220 mx\r\n", EHLO)
    offer = b"AUTH PLAIN LOGIN" if login.is_token else b"AUTH XOAUTH2 OAUTHBEARER"
    talk.says(b"250-mx\r\n250 " + offer + b"\r\n")
    assert "no way to log in that we know" in talk.why


@pytest.mark.parametrize(("reply", "refused"), [(b"535 no\r\n", True), (b"454 no\r\n", False)])
def test_only_a_refusal_for_good_is_about_the_login(reply: bytes, refused: bool) -> None:
    talk = Talk(tls="encrypt", secure=True, login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250 AUTH PLAIN\r\n", PLAIN).says(reply)
    assert talk.events[-1].login_refused is refused


def test_no_login_in_clear() -> None:
    """S17: the password does not go out where anyone could read it."""
    talk = Talk(tls="may", login=LOGIN).says(b"220 mx\r\n", EHLO)
    talk.says(b"250-mx\r\n250 AUTH PLAIN LOGIN\r\n")
    assert "login is not sent without TLS" in talk.why
    assert "geheim" not in repr(talk.client.settings)


# What goes wrong.


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"554 go away\r\n", "451 4.3.0 the server does not greet us: 554 go away"),
        (b"421 4.3.2 closing\r\n", "421 4.3.2 closing"),
        (b"SSH-2.0-OpenSSH\r\n", "451 4.5.0 the reply is not in the form of SMTP"),
        (b"x" * 5000, "451 4.5.0 a line of the reply is too long"),
        (b"220-x\r\n" * 500, "451 4.5.0 the reply has too many lines"),
    ],
)
def test_no_session(said: bytes, why: str) -> None:
    talk = Talk()
    talk.take(talk.client.receive(said))
    assert talk.why == why
    assert talk.client.receive(b"220 mx\r\n") == []


PLACES = ["mail", "rcpt", "data", "body", "final"]


def in_place(place: str, *, large: bool = False) -> Talk:
    """A dialogue that has come to where the reply of this place is waited for."""
    mail = Mail(text=None if large or place == "body" else Mail().text)
    talk = Talk().opens().sends(mail, MAIL)
    for state, said in (("mail", b"250 1\r\n"), ("rcpt", b"250 2\r\n"), ("data", b"354 go\r\n")):
        if place == state:
            return talk
        talk.take(talk.client.receive(said))
        talk.client.data_to_send()
    return talk


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "said",
    [b"421 4.3.2 closing\r\n", b"garbage\r\n", b"299-\r\n200 x\r\n", None],
    ids=["421", "garbage", "codes", "lost"],
)
def test_it_ends_in_the_middle(place: str, said: bytes | None) -> None:
    talk = in_place(place)
    if said is None:
        talk.take(talk.client.lost(Reply(451, "4.4.2", "the connection was lost")))
    else:
        talk.take(talk.client.receive(said))
    assert talk.kinds == ["deferred"]
    assert isinstance(talk.events[-1], Closed)
    assert talk.client.state is State.CLOSED
    assert talk.client.data_to_send() == b""
    if said is None and place == "final":
        assert "it may have arrived" in str(talk.outcomes[0].reply)


@pytest.mark.parametrize(("said", "kind"), [(b"552 big\r\n", "failed"), (b"452 x\r\n", "deferred")])
def test_a_reply_in_the_middle_of_the_body_ends_it(said: bytes, kind: str) -> None:
    talk = in_place("body")
    talk.client.write_body(b"x\r\n")
    assert talk.client.data_to_send() == b"x\r\n"
    talk.take(talk.client.receive(said))
    assert talk.kinds == [kind]
    assert talk.client.state is State.CLOSED
    talk.client.write_body(b"more")
    talk.client.end_body()
    assert talk.client.data_to_send() == b""


@pytest.mark.parametrize("place", ["body", "data"])
def test_a_250_before_the_end_of_the_body_is_no_delivery(place: str) -> None:
    talk = in_place(place)
    said = b"250 ok\r\n" if place == "body" else b"354 go\r\n250 ok\r\n"
    talk.take(talk.client.receive(said))
    assert talk.kinds == ["deferred"]


def test_an_answer_before_the_question_ends_the_session() -> None:
    talk = Talk().opens().sends(Mail(), MAIL)
    talk.take(talk.client.receive(b"250 1\r\n250 2\r\n354 go\r\n250 ok\r\n"))
    assert talk.kinds == ["deferred"]
    assert "before it was asked" in talk.why


def test_a_server_that_leaves_unasked_is_heard() -> None:
    """RFC 5321, 3.8: 421 may stand behind the reply to a command, as where errors are too many."""
    talk = Talk().opens("PIPELINING").sends(Mail(), MAIL + RCPT + DATA)
    said = b"250 ok\r\n250 ok\r\n550 no\r\n421 4.7.0 Too many errors\r\n"
    talk.take(talk.client.receive(said))
    assert "Too many errors" in talk.why


@both_ways
@pytest.mark.parametrize("extensions", [(), ("PIPELINING",)], ids=["one by one", "pipelined"])
def test_a_goodbye_behind_the_last_reply_undoes_no_delivery(
    way: str, extensions: tuple[str, ...]
) -> None:
    """RFC 5321, 3.8: what the 250 took is delivered; the 421 behind it ends the session alone."""
    mail = Mail(to=[Recipient("r@example.net"), Recipient("q@example.net")])
    second = b"RCPT TO:<q@example.net>\r\n"
    talk = Talk(way).opens(*extensions)
    if extensions:
        talk.sends(mail, MAIL + RCPT + second + DATA)
        talk.says(b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n", TEXT)
    else:
        talk.sends(mail, MAIL).says(b"250 ok\r\n", RCPT).says(b"250 ok\r\n", second)
        talk.says(b"550 5.1.1 no\r\n", DATA).says(b"354 go\r\n", TEXT)
    talk.says(b"250 2.0.0 queued\r\n421 4.3.2 closing\r\n")
    assert [type(event) for event in talk.events] == [Done, Ready, Closed]
    assert talk.kinds == ["delivered", "failed"]
    assert [str(outcome.reply) for outcome in talk.outcomes] == ["250 2.0.0 queued", "550 5.1.1 no"]
    assert talk.why == "421 4.3.2 closing"
    assert talk.client.state is State.CLOSED
    assert not talk.client.usable
    assert talk.client.lost(Reply(451, "4.4.2", "the connection was lost")) == []
    talk.client.quit()
    assert talk.client.data_to_send() == b""


@pytest.mark.parametrize("tail", [b"2", b"250 more\r\n"])
def test_a_connection_that_says_too_much_is_not_used_again(tail: bytes) -> None:
    talk = Talk().opens("PIPELINING").sends(Mail(), MAIL + RCPT + DATA)
    talk.says(b"250 ok\r\n250 ok\r\n354 go\r\n", TEXT).says(b"250 ok\r\n" + tail)
    assert talk.kinds == ["delivered"]
    assert not talk.client.usable


def test_the_table_leads_from_the_banner_to_everything_but_closed() -> None:
    seen = {State.BANNER}
    while more := {to for state in seen for to in TRANSITIONS[state].values()} - seen:
        seen |= more
    assert seen == set(State) - {State.CLOSED}


REPLIES = st.sampled_from(
    [
        *(b"%d x\r\n" % code for code in (220, 221, 235, 250, 334, 354, 421, 450, 451, 503, 550)),
        b"250-x\r\n250-PIPELINING\r\n250-SIZE 9\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n",
        b"250-x\r\n250 PIPELINING\r\n",
        b"250-x\r\n250 AUTH LOGIN\r\n",
        b"250-",
        b"\r\n",
    ]
)


@settings(max_examples=400)
@given(
    said=st.one_of(st.binary(), st.lists(st.one_of(REPLIES, st.binary(max_size=4))).map(b"".join)),
    level=st.sampled_from(["none", "may", "encrypt"]),
    login=st.booleans(),
    large=st.booleans(),
    cuts=st.data(),
)
def test_any_server_gives_every_recipient_an_outcome(
    said: bytes, level: str, login: bool, large: bool, cuts: st.DataObject
) -> None:
    """S8: no exception, nothing kept beyond the limits, and no recipient forgotten."""
    talk = Talk(tls=level, login=LOGIN if login else None)
    started = 0
    mail = Mail(to=TWO, text=None if large else b"x\r\n")
    for piece in cuts.draw(chunkings(said)):
        talk.take(talk.client.receive(piece))
        if isinstance(talk.events[-1] if talk.events else None, NeedBody):
            talk.client.write_body(b"x\r\n")
            talk.client.end_body()
        talk.client.data_to_send()
        if talk.client.usable:
            started += 1
            talk.take(talk.client.start(mail, mail.to, 3, mail.text))
            talk.client.data_to_send()
    talk.take(talk.client.lost(Reply(451, "4.4.2", "lost")))
    done = [event for event in talk.events if isinstance(event, Done)]
    assert len(done) == started
    assert all(len(event.outcomes) == 2 for event in done)
    assert isinstance(talk.events[-1], Closed)
    assert sum(isinstance(event, Closed) for event in talk.events) == 1
