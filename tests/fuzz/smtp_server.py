"""The SMTP server machine against any client at all.

An input is: options, decisions, where the second way cuts, and behind these three bytes the
session, as `coding` writes it. Each is fed three ways. What must hold:

- no exception, whatever comes;
- the same events and replies for all ways (where they may differ on purpose, see `_APART`);
- every reply in its place: the answer to an event is the next thing that is said, there is at most
  one reply for each line, and none while content comes in, up to ``CRLF.CRLF`` or the last byte of
  a chunk, as a second, simple reading of the input has it (S4);
- what is held is bounded by the limits, however much comes (S8);
- content is clean, and within its limits; what the machine says of its header and its lines is what
  a second, simple reading of it says;
- a line with only a dot ends a message early where the options say so and the client is silent, and
  nowhere else;
- the state fits what is known of the message, and behind the end nothing happens any more.
"""

from __future__ import annotations

import re
from typing import Any, Final

from netserve.mail.envelope import Reply
from netserve.mail.server.core import MAX_OUTPUT
from netserve.mail.server.machine import SmtpServer
from netserve.mail.server.model import (
    ContentGiven,
    MessageBegins,
    MessageDropped,
    MessageEnds,
    ServerLimits,
    ServerOptions,
    Signal,
    TLSWanted,
)
from netserve.mail.server.states import State
from tests.fuzz.coding import decode, encode
from tests.fuzz.held import held

NAME: Final = "smtp_server"

WORDS: Final = [
    b"\r\n", b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.test>\r\n",
    b"MAIL FROM:<> SMTPUTF8 SIZE=9 BODY=8BITMIME RET=HDRS ENVID=a+2Bb\r\n",
    b"RCPT TO:<c@d.test>\r\n", b"RCPT TO:<postmaster>\r\n",
    b"RCPT TO:<d@d.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;d@d.test\r\n",
    b"DATA\r\n", b".\r\n", b"\r\n.\r\n", b"..", b"BDAT 5\r\n", b"BDAT 12 LAST\r\n",
    b"BDAT 0 LAST\r\n", b"BDAT ", b" LAST\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n",
    b"AUTH PLAIN AG1lAHg=\r\n", b"AUTH LOGIN\r\n", b"bWU=\r\n", b"*\r\n", b"STARTTLS\r\n",
    b"VRFY x\r\n", b"HELP\r\n", b"GET / HTTP/1.1\r\n", b"Subject: x\r\n", b"Received: x\r\n",
    b"Date: x\r\nMessage-ID: <x>\r\n", b"text\r\n", b"x" * 70, b"y" * 500, b"\n.\r\n",
    b"\r.\r\n", b"\n.\n", b"\r\n.\n", b"\r\n.\r", b"\n", b"\r", b"\0", b"\xff",
    "\u00e9".encode(), b"MAIL FROM:<", b"RCPT TO:<", b">\r\n", b"AUTH ", b" SIZE=", b" NOTIFY=",
    b" ORCPT=", b"@[127.0.0.1]", b'"a b"@c.test', b"EHLO [127.0.0.1]\r\n", b"EHLO ",
    b" BODY=", b" AUTH=<>", b" SMTPUTF8", b"@x", b"PLAIN ", b"\r\nQUIT\r\n", b"\t", b"BDAT 3\r\n",
    b"From x\r\n", b">From ", b"received :", b"\r\r\n",
]  # fmt: skip

TIGHT: Final = ServerLimits(
    command_line=90, text_line=60, message_size=200, header_size=90, hops=1, recipients=2,
    errors=4, auth_attempts=2, idle_commands=6, buffered=400,
)  # fmt: skip
ROOMY: Final = ServerLimits(text_line=1200, message_size=3000, header_size=700, buffered=4000)

_FIXED: Final = 8192 + MAX_OUTPUT
"""Bytes beside those that the limits allow: one exchange of AUTH, one batch of replies."""
_APART: Final = re.compile(
    rb"220 2\.0\.0 Begin TLS|421 4\.7\.0 (?:Nothing may|Content was sent|Too much was)"
    rb"|503 5\.5\.1 Wait for 354"
)
"""From here on the ways may part, on purpose: these depend on what has come already."""
_TWO_RULES: Final = re.compile(rb"55[024] 5\.(?:3\.4|6\.0|6\.11|4\.6) [ -~]*")
"""A message that breaks two rules is refused for the one that is seen first."""
_REPLY: Final = re.compile(rb"(?:([2-5][0-9]{2})-[ -~]*\r\n)*[2-5][0-9]{2}(?: [ -~]*)?\r\n")
_BDAT: Final = re.compile(rb"[Bb][Dd][Aa][Tt] +([0-9]+)[^\n]*\n\Z")
_INSIDE: Final = frozenset({State.DATA, State.CHUNK, State.SKIP})
"""Where what comes is content."""
_WITHOUT_MAIL: Final = frozenset({State.START, State.READY, State.AUTH, State.TLS, State.CLOSED})

ACCEPT, LATER, REFUSE, REFUSE_FOR_GOOD = 0, 1, 2, 3


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    envelope = [WORDS[1], WORDS[3], WORDS[5]]
    return [
        encode([0, 0, 9, *envelope, WORDS[8], WORDS[28], WORDS[0], WORDS[11], WORDS[10]], WORDS),
        encode([3, 0, 9, *envelope, WORDS[12], b"a: b", WORDS[13], WORDS[32], WORDS[19]], WORDS),
        encode([7, 0, 9, WORDS[1], WORDS[21], WORDS[22], WORDS[22], *envelope[1:]], WORDS),
        encode([1, 0, 9, WORDS[1], WORDS[24], WORDS[1], WORDS[20], WORDS[18]], WORDS),
        encode([9, 0, 40, *envelope, WORDS[8], WORDS[31], WORDS[34], WORDS[36], WORDS[10]], WORDS),
        encode([0, 0x1B, 5, *envelope, WORDS[8], WORDS[31], WORDS[10], *envelope[1:]], WORDS),
        encode([136, 0, 9, *envelope, WORDS[8], b"a: b\n\nc", b"\n.\n"], WORDS),
        encode(
            [136, 0, 9, *envelope, WORDS[8], WORDS[-4], b"received :", WORDS[-1], b".\n"], WORDS
        ),
        encode([64, 0, 9, *envelope, WORDS[8], WORDS[28], WORDS[10]], WORDS),
        encode([64, 0, 9, *envelope, WORDS[12], b"a: b", WORDS[13], WORDS[32], WORDS[19]], WORDS),
    ]


class Outside:
    """What is around the machine: takes its output, decides about its events, notes both.

    Arguments:
        options: how the session is to be, as bits.
        decisions: bits, two for each of the first four events, which begin again then.
    """

    __slots__ = (
        "begun", "content", "decisions", "drains", "events", "limits", "machine", "open", "replies",
        "transcript",
    )  # fmt: skip

    def __init__(self, options: int, decisions: int) -> None:
        self.limits = TIGHT if options & 1 else ROOMY
        self.drains = bool(options & 32)
        self.decisions = decisions
        self.machine = SmtpServer(
            ServerOptions(
                hostname="mx.test", limits=self.limits, starttls=bool(options & 2),
                auth=bool(options & 4), auth_in_clear=True, normalise=bool(options & 8),
                refuse_early_talk=bool(options & 64), lone_dot_ends=bool(options & 128),
            ),
            tls=bool(options & 16),
        )  # fmt: skip
        self.transcript: list[Any] = []
        self.content: list[bytes] = []
        self.events = self.begun = self.replies = 0
        self.open: Any = None
        self.run()

    def feed(self, data: bytes) -> int:
        """Give it to the machine; the number of replies that came of it."""
        machine = self.machine
        machine.receive(data)
        event = machine.next_event()
        said = machine.output()
        if event is Signal.NEED_DATA and not said:
            return 0  # as for most bytes
        before = self.replies
        self.run(event, said)
        return self.replies - before

    def settle(self) -> None:
        """Answer the event that was left open."""
        if self.open is not None:
            self._answer(self.open, ACCEPT)
            self.run()

    def finish(self) -> None:
        """Answer all that is open, until nothing is; then the client is silent."""
        while self.open is not None:
            self.settle()
        machine = self.machine
        assert machine.state is State.DATA or not machine.at_lone_dot
        ends, taken = machine.at_lone_dot, self.events
        machine.silent()
        self.run()
        while self.open is not None:
            self.settle()
        assert not machine.at_lone_dot
        assert ends or self.events == taken

    def run(self, event: Any = None, said: bytes = b"") -> None:
        """Go on until the machine waits for something; event and output may be there already."""
        machine = self.machine
        while True:
            if event is None:
                event = machine.next_event()
                said = machine.output()
            self._said(said)
            if event.__class__ is Signal:
                if event is not Signal.SEND:
                    break
            elif event.__class__ is ContentGiven:
                assert self.begun == 1
                self.content.append(event.data)
            else:
                self._take(event)
                if self.open is not None:
                    break
            event = None
        self._check_state()

    def _said(self, data: bytes) -> None:
        if not data:
            return
        at = 0
        while at < len(data):
            reply = _REPLY.match(data, at)
            assert reply, data
            at = reply.end()
            self.replies += 1
        transcript = self.transcript
        if transcript and transcript[-1].__class__ is bytes:
            transcript[-1] += data
        else:
            transcript.append(data)

    def _take(self, event: Any) -> None:
        self.events += 1
        if event.__class__ is MessageDropped:
            self.begun -= 1
            assert self.begun == 0
            self.content.clear()
            self.transcript.append("dropped")
            return
        if event.__class__ is MessageEnds:
            self._check_message(event)
        self.transcript.append(event)
        if self.events == 3 and self.drains:
            self.machine.drain()
        decision = self.decisions >> self.events % 4 * 2 & 3
        assert self.machine.next_event() is Signal.PAUSED
        if decision == LATER:
            self.open = event
        else:
            self._answer(event, decision)

    def _answer(self, event: Any, decision: int) -> None:
        """Say yes or no; the next thing that is said must be just that."""
        machine = self.machine
        self.open = None
        if machine.state is State.CLOSED:
            return
        if event.__class__ is TLSWanted:
            machine.tls_started()
            assert not machine.helo
            assert not machine.user
            assert not machine.output()
            return
        if decision < REFUSE:
            if event.__class__ is MessageBegins:
                self.begun += 1
                assert self.begun == 1
                self.content.clear()
            elif event.__class__ is MessageEnds:
                self.begun -= 1
            machine.accept("kept")
        else:
            if event.__class__ is MessageEnds:
                self.begun -= 1
            code = 450 if decision == REFUSE else 550
            machine.refuse(Reply(code, f"{code // 100}.0.0", f"No {self.events}"))
            if machine.state is not State.SKIP:
                said = machine.output()
                assert said.startswith(b"%d %d.0.0 No %d\r\n" % (code, code // 100, self.events))
                self._said(said)

    def _check_message(self, event: MessageEnds) -> None:
        limits = self.limits
        content = b"".join(self.content)
        lines = content.count(b"\r\n")
        assert lines == content.count(b"\r") == content.count(b"\n")
        assert b"\0" not in content
        assert content.endswith(b"\r\n") or not content
        assert len(content) == event.size <= limits.message_size
        assert max(map(len, content.split(b"\r\n"))) <= limits.text_line - 2
        assert 1 <= len(event.recipients) <= limits.recipients
        assert event.eight_bit is (not content.isascii())
        assert event.long_lines is (max(map(len, content.split(b"\r\n"))) > 998)
        head = event.head
        seen = (head.hops, head.has_date, head.has_message_id, head.begin, head.end)
        assert seen == simple_head(content)
        assert head.hops <= limits.hops
        self.transcript.append(content)
        self.transcript.append(None)  # so that no reply is joined with it

    def _check_state(self) -> None:
        machine = self.machine
        state = machine.state
        if state in _WITHOUT_MAIL:
            if self.open is None:
                assert machine.idle or state is State.TLS
                assert not machine.recipients
                assert not machine.in_content
        elif state is State.MAIL:
            assert machine.announced
            assert not machine.recipients
        elif state is State.RCPT:
            assert machine.recipients
        elif state is not State.SKIP:
            assert machine.in_content

    def check_held(self) -> None:
        """What is held is within the limits (S8)."""
        limits = self.limits
        bound = (
            limits.buffered
            + limits.header_size
            + min(limits.recipients, self.events) * 8 * limits.command_line
        )
        assert held(self.machine) <= bound + _FIXED

    def check_end(self) -> None:
        """When the client is gone, everything is over, and nothing more happens."""
        machine = self.machine
        machine.lost()
        self.open = None
        self.run()
        assert machine.state is State.CLOSED
        assert self.begun == 0
        machine.receive(b"NOOP\r\n")
        machine.end(Reply(421, "4.4.2", "Too slow"))
        machine.silent()
        assert machine.next_event() is Signal.CLOSED
        assert not machine.output()
        assert not machine.buffered
        assert held(machine) <= 512


def simple_head(content: bytes) -> tuple[int, bool, bool, int, int]:
    """A second reading of a header: what `Head` has, line by line."""
    names: list[bytes] = []
    begin = end = 0
    for line in content.splitlines(keepends=True):
        name, colon, _ = line.partition(b":")
        name = name.rstrip(b" \t").lower()
        is_field = bool(colon and name) and all(32 < byte < 127 for byte in name)
        if line[:1] in (b" ", b"\t"):
            if not names:
                break
        elif is_field:
            names.append(name)
        elif not names and line.lstrip(b">").startswith(b"From "):
            begin = end = end + len(line)
            continue
        else:
            break
        end += len(line)
    return names.count(b"received"), b"date" in names, b"message-id" in names, begin, end


def byte_by_byte(outside: Outside, stream: bytes) -> None:
    """Feed it so, and hold the replies to a second reading of the input."""
    machine = outside.machine
    lines = 0
    quiet_until = -1
    for at, byte in enumerate(stream):
        if outside.open is not None:
            outside.settle()
            if machine.state in _INSIDE:
                quiet_until = end_of_content(machine.state, stream, at - 1)
        said = outside.feed(b"%c" % byte)
        if byte == 10:
            lines += 1
        if at < quiet_until:
            assert not said, f"a reply within content, at {at}"
            assert machine.state in _INSIDE, f"content was left at {at}"
        else:
            if at == quiet_until:
                assert said or outside.open is not None, f"no reply behind content, at {at}"
            if machine.state in _INSIDE:
                quiet_until = end_of_content(machine.state, stream, at)
            assert outside.replies <= lines + 2, "more replies than lines, banner and 421"


def end_of_content(state: State, stream: bytes, at: int) -> int:
    """The offset of its last byte, of the content that begins behind the line that ends here."""
    if state is State.DATA:
        end = (b"\r\n" + stream[at + 1 :]).find(b"\r\n.\r\n")
        return len(stream) if end < 0 else at + end + 3
    command = _BDAT.search(stream[stream.rfind(b"\n", 0, at) + 1 : at + 1])
    assert command, stream[: at + 1]
    return at + int(command[1])


def comparable(transcript: list[Any]) -> list[Any]:
    """The transcript up to where the ways may part."""
    seen: list[Any] = []
    for item in transcript:
        if item.__class__ is not bytes:
            seen.append(item)
            continue
        apart = _APART.search(item)
        text = item[: apart.start()] if apart else item
        seen.append(_TWO_RULES.sub(b"refused", text))
        if apart:
            seen.append(...)
            break
    return seen


def check_same(one: list[Any], other: list[Any]) -> None:
    """Both are the same, up to where one of them parts on purpose."""
    if ... in one or ... in other:
        length = min(
            (each.index(...) - 1 for each in (one, other) if ... in each),
        )
        assert one[:length] == other[:length]
        return
    assert one == other


def run_one(data: bytes) -> None:
    """One input."""
    options, decisions, cut = (data + b"\0\0\0")[:3]
    stream = decode(data[3:], WORDS)
    whole = Outside(options, decisions)
    whole.feed(stream)
    whole.check_held()
    whole.finish()
    tail = Outside(options, decisions)
    at = cut * len(stream) >> 8
    tail.feed(stream[:at])
    tail.settle()
    tail.feed(stream[at:])
    tail.finish()
    pieces = Outside(options, decisions)
    byte_by_byte(pieces, stream)
    pieces.finish()
    seen = comparable(pieces.transcript)
    check_same(seen, comparable(whole.transcript))
    check_same(seen, comparable(tail.transcript))
    pieces.check_end()
