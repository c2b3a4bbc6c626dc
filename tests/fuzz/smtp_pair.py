"""Both SMTP machines against each other, with any message, however the network cuts (S5).

An input is: options, the server's decisions, the sizes of the network's and the body's pieces, and
behind these four bytes the body, as `coding` writes it, with a NUL between the messages. What must
hold, beside no exception on either side:

- what the client calls delivered the server has taken, byte for byte, once for each message, with
  just the recipients that are delivered; what it does not call so, the server has not taken;
- no reply surprises the client: each session ends by QUIT, unless the server ends it by 421.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from netserve.mail.client.states import State
from netserve.mail.envelope import Recipient, Reply
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
from tests.fuzz.coding import decode, encode
from tests.fuzz.smtp_client import Mail

NAME: Final = "smtp_pair"

WORDS: Final = [
    b"\r\n", b".", b"..", b"\r\n.", b"\r\n..", b".\r\n", b"\r\n.\r\n", b"\r\n..\r\n", b"QUIT\r\n",
    b"MAIL FROM:<x@y.z>\r\n", b"Subject: x\r\n", b"\r\n\r\n", b"x" * 62, b"y" * 130, b"\xff",
    b"RSET", b"Received: x\r\n",
]  # fmt: skip
LIMITS: Final = ServerLimits(text_line=128, message_size=600, header_size=200, hops=3, errors=9)
TO: Final = (Recipient("r@example.net"), Recipient("q@example.net", frozenset({"NEVER"})))
MAX_MAILS: Final = 3


def seeds() -> list[bytes]:
    """Sessions to begin with."""
    text = [WORDS[10], WORDS[0], WORDS[4], WORDS[6], WORDS[8], b"x"]
    return [
        encode([0, 0, 0, 0, *text], WORDS),
        encode([1, 0, 1, 1, *text, 0, *text], WORDS),
        encode([2, 0x20, 3, 2, *text, 0, WORDS[13], 0, *text], WORDS),
        encode([6, 0x18, 60, 9, *text], WORDS),
        bytes.fromhex("2a2a000000bc000000bc"),  # the server says goodbye behind its last reply
    ]


class Hop:
    """The server's side.

    Arguments:
        options: how the session is to be, as bits.
        decisions: two bits for each of the first four events, which begin again then.
    """

    def __init__(self, options: int, decisions: int) -> None:
        self.machine = SmtpServer(
            ServerOptions(
                hostname="mx.test", limits=LIMITS, starttls=bool(options & 2),
                auth=bool(options & 4), auth_in_clear=True,
            )
        )  # fmt: skip
        self.hides_pipelining = bool(options & 1)
        self.decisions = decisions
        self.taken: list[tuple[int, bytes]] = []
        """The count of recipients and the content of each message."""
        self.open: Any = None
        self.closed = False
        self._events = 0
        self._content: list[bytes] = []

    def receive(self, data: bytes) -> bytes:
        """Give it to the machine; what it says to that."""
        self.machine.receive(data)
        return self.run()

    def run(self) -> bytes:
        """Go on until the machine waits for something; what it has said."""
        said = b""
        while True:
            event = self.machine.next_event()
            said += self.machine.output()
            if isinstance(event, Signal):
                if event is not Signal.SEND:
                    self.closed = event is Signal.CLOSED
                    return (
                        said.replace(b"250-PIPELINING\r\n", b"") if self.hides_pipelining else said
                    )
            elif isinstance(event, ContentGiven):
                self._content.append(event.data)
            elif not isinstance(event, MessageDropped):
                self._events += 1
                if self.decisions >> self._events % 4 * 2 & 3 == 1:
                    self.open = event
                    return said
                self.answer(event, self.decisions >> self._events % 4 * 2 & 3)

    def settle(self) -> bytes:
        """Answer what was left open; what is said to that."""
        event, self.open = self.open, None
        self.answer(event, 0)
        return self.run()

    def answer(self, event: Any, decision: int) -> None:
        """Say yes, or no for now, or no for good."""
        if isinstance(event, TLSWanted):
            self.machine.tls_started()
            return
        if isinstance(event, MessageBegins):
            self._content.clear()
        if decision < 2:
            if isinstance(event, MessageEnds):
                self.taken.append((len(event.recipients), b"".join(self._content)))
            self.machine.accept()
        else:
            self.machine.refuse(Reply(450 if decision == 2 else 550, "", "no"))


class Session:
    """Both sides, and the network between them.

    Arguments:
        options: how the session is to be, as bits.
        decisions: of the server.
        network: bytes of a piece.
        chunk: bytes of a piece of a body; 0 to give it as a whole.
        texts: of the messages.
    """

    def __init__(
        self, options: int, decisions: int, network: int, chunk: int, texts: list[bytes]
    ) -> None:
        self.hop = Hop(options, decisions)
        self.client = Client(
            ClientSettings(
                hostname="me.example", tls="may" if options & 2 else "none",
                login=Login("me", Secret("x"), in_clear=True) if options & 4 else None,
            )
        )  # fmt: skip
        self.network = network
        self.chunk = chunk
        self.waiting = iter(texts)
        self.sent: list[bytes] = []
        self.done: list[Done] = []
        self.closed: Closed | None = None

    def run(self) -> None:
        """Let them talk until both have nothing more to say."""
        to_client = self.hop.run()
        while True:
            to_server = b""
            for piece in pieces(to_client, self.network):
                to_server += self.act(self.client.receive(piece))
            to_client = b""
            for piece in pieces(to_server, self.network):
                to_client += self.hop.receive(piece)
            while self.hop.open is not None:
                to_client += self.hop.settle()
            if not to_client:
                return

    def act(self, events: list[Any]) -> bytes:
        """What the client asks for; what it says."""
        said = self.client.data_to_send()
        for event in events:
            if isinstance(event, StartTLS):
                said += self.act(self.client.tls_started())
            elif isinstance(event, Done):
                self.done.append(event)
            elif isinstance(event, Closed):
                self.closed = event
            elif isinstance(event, Ready):
                if self.client.usable:  # else a goodbye came behind the reply
                    said += self.begin()
            elif isinstance(event, NeedBody):
                for piece in pieces(self.sent[-1], self.chunk):
                    self.client.write_body(piece)
                self.client.end_body()
                said += self.client.data_to_send()
        return said

    def begin(self) -> bytes:
        """The next message, or the end."""
        text = next(self.waiting, None)
        if text is None:
            self.client.quit()
            return self.act([])
        self.sent.append(text)
        mail = Mail(TO, text, body_type="7BIT" if text.isascii() else "8BITMIME")
        return self.act(self.client.start(mail, TO, len(text), None if self.chunk else text))


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    """The data in pieces; as a whole where the size is 0."""
    size = size or max(len(data), 1)
    for at in range(0, len(data), size):
        yield data[at : at + size]


def message(data: bytes) -> bytes:
    """A body as the queue has it: CRLF, and no other CR or LF."""
    text = decode(data, WORDS).replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") or not text else text + b"\r\n"


def run_one(data: bytes) -> None:
    """One input."""
    options, decisions, network, chunk = (data + b"\0\0\0\0")[:4]
    texts = [message(part) for part in data[4:].split(b"\0", MAX_MAILS - 1)]
    texts = [text.replace(b"\0", b"") for text in texts]
    session = Session(options, decisions, network, chunk % 16, texts)
    session.run()
    assert session.closed is not None, "the session does not end"
    assert session.client.state is State.CLOSED
    why = session.closed.reply
    assert why is None or why.code == 421 or not session.sent, why
    assert len(session.done) == len(session.sent)
    taken = iter(session.hop.taken)
    for text, done in zip(session.sent, session.done, strict=True):
        delivered = sum(outcome.verdict == "delivered" for outcome in done.outcomes)
        if delivered:
            assert next(taken) == (delivered, text)
    assert next(taken, None) is None, "a message was taken that is not delivered"
    if why is None:
        assert len(session.sent) == len(texts)
