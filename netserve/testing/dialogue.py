r"""Tests of the SMTP server machine that read as what client and server say to each other.

::

    def test_a_message() -> None:
        talk = Dialogue(SmtpServer(ServerOptions(hostname="mx.test"))).expect("220 mx.test")
        talk.client("HELO client").expect("250 mx.test")
        talk.client("MAIL FROM:<a@b.test>").expect("250 2.1.0")
        ...
        assert talk.messages[0].data == b"Subject: x\r\n\r\nHello\r\n"

Events are accepted as they come, unless ``decide`` refuses one, or leaves it open for later by
`WAIT`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from netserve.mail.envelope import Reply
from netserve.mail.server.machine import SmtpServer
from netserve.mail.server.model import (
    ContentGiven,
    Event,
    MessageBegins,
    MessageDropped,
    MessageEnds,
    Signal,
    TLSWanted,
)

__all__ = ["WAIT", "Dialogue", "TakenMessage"]

WAIT: Final = "wait"
"""What ``decide`` gives for an event that is to be answered later."""

_Decision: TypeAlias = Reply | Literal["wait"] | None


@dataclass(slots=True)
class TakenMessage:
    """A message that the machine gave as a whole."""

    end: MessageEnds
    data: bytes


@dataclass(slots=True)
class Dialogue:
    """Plays the client, and the outside of the machine.

    Arguments:
        machine: what is tested.
        decide: gives None to accept an event, a reply to refuse it, or `WAIT`.
    """

    machine: SmtpServer
    decide: Callable[[Event], _Decision] = lambda _: None
    events: list[Event] = field(default_factory=list)
    """All events but parts of content."""
    messages: list[TakenMessage] = field(default_factory=list)
    """Those that were accepted."""
    dropped: list[Reply | None] = field(default_factory=list)
    """What the clients of dropped messages were told."""
    closed: bool = False
    """Whether the session is over."""
    said: bytes = b""
    """What the server said since the last `expect`."""
    _content: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.run()

    def client(self, *lines: str | bytes) -> Dialogue:
        """Send texts as lines, with CRLF behind each, and bytes as they are, all in one piece."""
        self.machine.receive(
            b"".join(line if isinstance(line, bytes) else f"{line}\r\n".encode() for line in lines)
        )
        return self.run()

    def expect(self, *replies: str) -> Dialogue:
        """Assert that exactly these replies have come, in this order.

        Arguments:
            replies: the beginning of each; of a reply of many lines the lines, all of them,
                parted by LF.
        """
        lines = self.said.decode().split("\r\n")
        assert lines.pop() == "", f"a reply has no end: {self.said!r}"  # noqa: S101 - a test
        wanted = [line for reply in replies for line in reply.split("\n")]
        seen = "\n".join(lines)
        matches = len(lines) == len(wanted) and all(map(str.startswith, lines, wanted))
        assert matches, f"the server said\n{seen}\n  instead of\n" + "\n".join(wanted)  # noqa: S101 - a test
        self.said = b""
        return self

    def ends(self) -> Dialogue:
        """Assert that the server has ended the session."""
        assert self.closed, "the session goes on"  # noqa: S101 - a test
        return self

    def accept(self, text: str = "") -> Dialogue:
        """Answer yes to an event that was left open."""
        self._accept(self.events[-1], text)
        return self.run()

    def refuse(self, reply: Reply) -> Dialogue:
        """Answer no to an event that was left open."""
        self.machine.refuse(reply)
        return self.run()

    def run(self) -> Dialogue:
        """Go on until the machine needs input, or an answer."""
        while True:
            event = self.machine.next_event()
            self.said += self.machine.output()
            if isinstance(event, Signal):
                if event is not Signal.SEND:
                    self.closed = event is Signal.CLOSED
                    return self
            elif isinstance(event, ContentGiven):
                self._content += event.data
            else:
                self.events.append(event)
                self._answer(event)

    def _answer(self, event: Event) -> None:
        if isinstance(event, MessageDropped):
            self.dropped.append(event.reply)
            return
        decision = self.decide(event)
        if decision is None:
            self._accept(event, "")
        elif isinstance(decision, Reply):
            self.machine.refuse(decision)

    def _accept(self, event: Event, text: str) -> None:
        if isinstance(event, TLSWanted):
            self.said += self.machine.output()
            self.machine.tls_started()
            return
        if isinstance(event, MessageBegins):
            self._content.clear()
        elif isinstance(event, MessageEnds):
            self.messages.append(TakenMessage(event, bytes(self._content)))
        self.machine.accept(text)
