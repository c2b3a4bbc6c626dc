"""The SMTP client machine against any server at all.

An input is: options, the messages, where the second way cuts, and behind these three bytes what the
server says, as `coding` writes it, with a NUL between its turns: in each turn it answers to all
that the client has said until then. Each turn is fed three ways. What must hold:

- no exception, whatever comes;
- the same events and commands for all ways, up to where the server says more than it was asked;
- each command is one line, without control characters; the password and, where TLS is asked for,
  the mail go out inside TLS only; nothing goes out behind the end;
- each message gets one outcome a recipient. By the replies as a second, simple reading of the input
  counts them, it is ``delivered`` where MAIL, RCPT, DATA and the message itself were taken, and
  never else; ``failed`` only where the server said 5yz, or does not offer what the message needs;
- the body arrives, dots taken away, byte for byte, and only behind 354 (S5);
- what is held is bounded, however much comes (S8).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

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
from netserve.mail.client.replies import MAX_LINE, MAX_LINES
from netserve.mail.client.states import State
from netserve.mail.envelope import Recipient, Reply
from tests.fuzz.coding import decode, encode
from tests.fuzz.held import held

NAME: Final = "smtp_client"

WORDS: Final = [
    b"\r\n", b"220 mx\r\n", b"250 ok\r\n", b"354 go\r\n", b"250-mx\r\n", b"250-PIPELINING\r\n",
    b"250-SIZE 100\r\n", b"250-8BITMIME\r\n", b"250-SMTPUTF8\r\n", b"250-DSN\r\n",
    b"250-STARTTLS\r\n", b"250 AUTH PLAIN\r\n", b"250 AUTH=LOGIN\r\n", b"250 CHUNKING\r\n",
    b"235 2.7.0 in\r\n", b"334 VXNlcm5hbWU6\r\n", b"450 4.2.0 later\r\n", b"452 4.5.3 many\r\n",
    b"550 5.1.1 nobody\r\n", b"552 many\r\n", b"503 5.5.1 no\r\n", b"535 5.7.8 wrong\r\n",
    b"421 4.3.2 bye\r\n", b"502 5.5.2 what\r\n", b"221 bye\r\n", b"250 2.0.0 queued\r\n",
    b"250\r\n", b"250 STARTTLS\r\n", b"250 SIZE\r\n", b"250-", b"250 ", b"550-5.1.1 a\r\n",
    b"550 5.1.1 b\r\n", b"y" * 700, b"\xff", "\u00e9".encode(), b"\t", b"\n", b"\r",
    b"250 2.1.5 ok\r\n250 2.1.5 ok\r\n", b"250 ok\r\n250 ok\r\n354 go\r\n",
    b"250-a\r\n" * 40, b"250-PIPELINING\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n",
    b"199 x\r\n",
    b"600 x\r\n", b"25", b"354 go\r\n250 ok\r\n", b"220 begin\r\n", b"251 forwarded\r\n", b"-",
    b"500 5.5.1 what\r\n",
    b"\x00",
]  # fmt: skip
TURN: Final = b"\0"

_BOUND: Final = MAX_LINE * MAX_LINES + 20_000
_ANY_REPLY: Final = re.compile(rb"(?:[2-5][0-9]{2}-[^\n]*\n)*([2-5][0-9]{2})(?: [^\n]*|\r)?\n")
_COMMAND: Final = re.compile(
    rb"(?:EHLO|HELO) me\.example|STARTTLS|AUTH (?:PLAIN [A-Za-z0-9+/=]+|LOGIN)|[A-Za-z0-9+/]+=*"
    rb"|MAIL FROM:<[^\x00-\x20<>]*>[ -~]*|RCPT TO:<[^\x00-\x20<>]+>[ -~]*|DATA|RSET|QUIT|\."
)
_BODIES: Final = frozenset({b"(body)", b"."})
"""What is asked behind 354: a body, or an empty one."""
_PASSWORD: Final = (b"AG1lAGdlaGVpbQ==", b"Z2VoZWlt")


@dataclass(frozen=True)
class Mail:
    """A message to send."""

    to: tuple[Recipient, ...]
    text: bytes
    sender: str = "s@example.org"
    body_type: str = "7BIT"
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""


ONE, TWO = Recipient("r@example.net"), Recipient("q@example.net", frozenset({"NEVER"}))
MAILS: Final = [
    Mail((ONE,), b"Subject: x\r\n\r\n.dot\r\n"),
    Mail((ONE, TWO), b".\r\n..\r\nno end", sender="", ret="HDRS", envid="a"),
    Mail((TWO, Recipient("\u00e9@example.net"), ONE), b"", smtputf8=False),
    Mail((ONE,), "\u00e9\r\n".encode() * 20, body_type="8BITMIME"),
]


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    go = [WORDS[1], 0, WORDS[2], 0]
    plain = [WORDS[2], 0, WORDS[2], 0, WORDS[3], 0, WORDS[25], 0]
    pipelined = [WORDS[1], 0, WORDS[42], 0, WORDS[40], 0, WORDS[25], 0]
    begins = [WORDS[1], 0, WORDS[4], WORDS[27], 0, WORDS[47], 0]
    return [
        encode([0, 0, 9, *go, *plain, *plain, WORDS[24]], WORDS),
        encode([4, 0, 9, *pipelined, WORDS[40], 0, WORDS[18]], WORDS),
        encode([1, 1, 9, *begins, WORDS[13], 0, WORDS[2], 0, WORDS[16], 0, WORDS[18]], WORDS),
        encode([8 + 32, 2, 9, WORDS[1], 0, WORDS[4], WORDS[11], 0, WORDS[14], 0, *plain], WORDS),
        encode([8 + 32, 2, 9, WORDS[1], 0, WORDS[12], 0, WORDS[15], 0, WORDS[15], 0], WORDS),
        encode([0, 3, 9, WORDS[1], 0, WORDS[23], 0, WORDS[2], 0, *plain], WORDS),
        encode([0, 0, 9, WORDS[1], 0, WORDS[42], 0, WORDS[39], WORDS[20], 0], WORDS),
    ]


class Driver:
    """What is around the machine: sends, begins TLS, gives messages, notes all that happens.

    Arguments:
        options: how the session is to be, as bits.
        mails: which messages, two bits each.
    """

    __slots__ = (
        "asked", "begins", "client", "closed", "done", "mails", "settings", "split", "started",
        "transcript",
    )  # fmt: skip

    def __init__(self, options: int, mails: int) -> None:
        level = ("may", "encrypt", "none", "verify")[options & 3]
        login = Login("me", Secret("geheim"), in_clear=bool(options & 32))
        self.settings = ClientSettings(
            hostname="me.example", remote="mx", tls=level, secure=bool(options & 16),
            login=login if options & 8 else None,
        )  # fmt: skip
        self.split = bool(options & 4)
        self.mails = [MAILS[mails >> at & 3] for at in (0, 2)]
        self.client = Client(self.settings)
        self.transcript: list[Any] = []
        self.started: list[Mail] = []
        self.done: list[Done] = []
        self.asked: list[bytes] = [b"(connection)"]
        "What each reply answers to, in order."
        self.begins: list[int] = []
        "Where in `asked` each message begins."
        self.closed: Closed | None = None

    def feed(self, data: bytes) -> None:
        """Give it to the machine, and do what it asks for."""
        events = self.client.receive(data)
        if events or self.client._out:
            self.act(events)

    def act(self, events: list[Any]) -> None:
        """What the machine asks for."""
        self.send()
        for event in events:
            assert self.closed is None, "something behind the end"
            kind = type(event)
            self.transcript.append(event)
            if kind is StartTLS:
                self.act(self.client.tls_started())
            elif kind is Done:
                self.done.append(event)
                self.check_outcomes(event)
            elif kind is Closed:
                self.closed = event
                assert self.client.state is State.CLOSED
            elif kind is NeedBody:
                self.give_body()
            elif kind is Ready:
                self.go_on()

    def go_on(self) -> None:
        """The next message, or the end."""
        client = self.client
        if not client.usable:
            return
        if not self.mails:
            client.quit()
            self.act([])
            return
        mail = self.mails.pop(0)
        self.started.append(mail)
        self.begins.append(len(self.asked))
        body = None if self.split else mail.text
        self.act(client.start(mail, mail.to, len(mail.text), body))

    def give_body(self) -> None:
        """The body in pieces."""
        text = self.started[-1].text
        for at in range(0, len(text), 3):
            self.client.write_body(text[at : at + 3])
        self.client.end_body()
        self.act([])

    def send(self) -> None:
        """Take what is to be sent, and hold it to the rules."""
        data = self.client.data_to_send()
        if not data:
            return
        assert self.closed is None
        self.transcript.append(data)
        secure = self.client.secure
        settings = self.settings
        if self.client.state is State.FINAL and data != b".\r\n":
            self.check_body(data)
            return
        assert data.endswith(b"\r\n")
        for line in data[:-2].split(b"\r\n"):
            assert _COMMAND.fullmatch(line), line
            self.asked.append(line)
            if not secure:
                assert settings.tls in {"none", "may"} or not line.startswith((b"MAIL", b"RCPT"))
                assert (
                    settings.login is None
                    or settings.login.in_clear
                    or not any(secret in line for secret in _PASSWORD)
                )

    def check_body(self, data: bytes) -> None:
        """The body as it went out is the message, and has one end, at its end (S5)."""
        self.asked.append(b"(body)")
        assert data.endswith(b"\r\n.\r\n") or data == b".\r\n"
        assert (b"\r\n" + data).index(b"\r\n.\r\n") == len(data) - 3
        lines = data[:-3].split(b"\r\n")
        text = b"\r\n".join(line.removeprefix(b".") for line in lines)
        right = self.started[-1].text
        assert text == (right if right.endswith(b"\r\n") or not right else right + b"\r\n")

    def check_outcomes(self, done: Done) -> None:
        """One for each recipient; a failure has its reason."""
        mail = self.started[-1]
        assert len(done.outcomes) == len(mail.to)
        for outcome in done.outcomes:
            code = outcome.reply.code
            assert outcome.verdict != "delivered" or code // 100 == 2
            assert outcome.verdict != "failed" or code // 100 == 5
            assert outcome.verdict == "delivered" or code // 100 != 2

    def check_held(self) -> None:
        """What is held is bounded (S8)."""
        assert held(self.client) <= _BOUND

    def check_delivered(self, said: bytes) -> None:
        """By a second reading: what was delivered was taken at every step, and nothing else was.

        Arguments:
            said: all that the server said.
        """
        codes = [int(match[1]) for match in _ANY_REPLY.finditer(said)][: self.client.replies]
        answers = list(zip(self.asked, codes, strict=False))
        ends = [*self.begins[1:], len(answers)]
        for begin, end, done in zip(self.begins, ends, self.done, strict=False):
            part = answers[begin:end]
            steps = [each for each in part if not each[0].startswith(b"RCPT")][:3]
            sent = [code // 100 for _, code in steps] == [2, 3, 2] and steps[2][0] in _BODIES
            wanted = sum(asked.startswith(b"RCPT") and code // 100 == 2 for asked, code in part)
            delivered = sum(outcome.verdict == "delivered" for outcome in done.outcomes)
            assert delivered == (wanted if sent else 0), (part, done)


def comparable(transcript: list[Any]) -> list[Any]:
    """What happened, with what is sent in one piece."""
    seen: list[Any] = []
    for item in transcript:
        kind = type(item)
        if kind is bytes and seen and type(seen[-1]) is bytes:
            seen[-1] += item
        else:
            seen.append(kind if kind is StartTLS or kind is Ready or kind is NeedBody else item)
    return seen


def run_one(data: bytes) -> None:
    """One input."""
    options, mails, cut = (data + b"\0\0\0")[:3]
    turns = [decode(turn, WORDS) for turn in data[3:].split(TURN)]
    whole, tail, pieces = (Driver(options, mails) for _ in range(3))
    together = True
    for turn in turns:
        client = pieces.client
        expected = len(pieces.asked)
        whole.feed(turn)
        at = cut * len(turn) >> 8
        tail.feed(turn[:at])
        tail.feed(turn[at:])
        for byte in turn:
            # Where the server says more than it was asked, it matters how it is cut.
            together = together and client.replies < expected
            pieces.feed(b"%c" % byte)
        if together:
            seen = comparable(pieces.transcript)
            assert seen == comparable(whole.transcript)
            assert seen == comparable(tail.transcript)
    whole.check_held()
    pieces.check_delivered(b"".join(turns))
    pieces.act(pieces.client.lost(Reply(451, "4.4.2", "lost")))
    assert pieces.closed is not None
    assert len(pieces.done) == len(pieces.started)
    assert not pieces.client.receive(b"250 ok\r\n")
    assert not pieces.client.data_to_send()
