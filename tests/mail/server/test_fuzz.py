"""The SMTP server machine given anything at all."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from netserve.mail.envelope import Reply
from netserve.mail.server.machine import MAX_OUTPUT, SmtpServer
from netserve.mail.server.model import (
    ContentGiven,
    CredentialsGiven,
    Event,
    MessageBegins,
    MessageDropped,
    MessageEnds,
    ServerLimits,
    ServerOptions,
    Signal,
)
from netserve.testing import chunkings, feed_three_ways
from netserve.testing.dialogue import Dialogue

LIMITS = ServerLimits(
    command_line=100, text_line=60, message_size=400, header_size=120, recipients=3, buffered=5000
)
REPLY = re.compile(rb"(?:[2-5][0-9]{2}-[ -~]*\r\n)*[2-5][0-9]{2} [ -~]*\r\n")

WORDS = [
    b"EHLO x", b"HELO x", b"MAIL FROM:<a@b.test>", b"MAIL FROM:<> SMTPUTF8 SIZE=9",
    b"RCPT TO:<c@d.test>", b"RCPT TO:<postmaster>", b"DATA", b".", b"..", b"", b"RSET", b"NOOP",
    b"BDAT 5", b"BDAT 0 LAST", b"BDAT 12 LAST", b"BDAT x", b"QUIT", b"AUTH PLAIN AG1lAHg=",
    b"AUTH LOGIN", b"bWU=", b"*", b"STARTTLS", b"VRFY x", b"Subject: x", b"text", b"x" * 70,
    b"x" * 120, b"\0", b"\xff", b"GET / HTTP/1.1",
]  # fmt: skip
lines = st.tuples(
    st.one_of(st.sampled_from(WORDS), st.binary(max_size=12)),
    st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"", b"\n.\r\n", b"\r\n.\r\n"]),
).map(b"".join)
streams = st.one_of(st.binary(max_size=300), st.lists(lines, max_size=25).map(b"".join))
in_session = streams.map(
    lambda data: b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n" + data
)
REFUSAL = Reply(450, "4.0.0", "No")


def machine(normalise: bool = False) -> SmtpServer:
    return SmtpServer(
        ServerOptions(
            hostname="mx.test", limits=LIMITS, starttls=True, auth=True, auth_in_clear=True,
            normalise=normalise,
        )
    )  # fmt: skip


@settings(max_examples=400)
@given(
    st.one_of(streams, in_session), st.lists(st.booleans(), max_size=8), st.booleans(), st.data()
)
def test_any_bytes_at_all(
    stream: bytes, refusals: list[bool], normalise: bool, data: st.DataObject
) -> None:
    """No exception, replies well formed, events in order, memory bounded (S4, S8)."""
    say_no = iter(refusals)
    talk = Dialogue(
        machine(normalise),
        lambda event: REFUSAL if next(say_no, False) else None,
    )
    for piece in data.draw(chunkings(stream)):
        talk.client(piece)
        assert len(talk.machine._input) <= LIMITS.buffered + len(piece)
        assert talk.machine._output_size <= MAX_OUTPUT
    talk.machine.lost()
    talk.run()
    rest = talk.said
    while rest:
        reply = REPLY.match(rest)
        assert reply, rest
        rest = rest[reply.end() :]
    begun = 0
    for event in talk.events:
        if isinstance(event, MessageBegins):
            begun += 1
        elif isinstance(event, MessageEnds | MessageDropped):
            begun -= 1
            assert begun >= 0
    for message in talk.messages:
        content = message.data
        assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")
        assert b"\0" not in content
        assert len(content) == message.end.size <= LIMITS.message_size
        assert max(map(len, content.split(b"\r\n")), default=0) <= LIMITS.text_line - 2
        assert 1 <= len(message.end.recipients) <= LIMITS.recipients


def outcome(pieces: list[bytes]) -> tuple[bytes, list[Event], list[bytes]]:
    talk = Dialogue(machine())
    for piece in pieces:
        talk.client(piece)
    events = [
        MessageDropped(event.reply and REFUSAL) if isinstance(event, MessageDropped) else event
        for event in talk.events
    ]
    said = re.sub(rb"55[02] 5[ -~]*", b"refused", talk.said)
    return said, events, [message.data for message in talk.messages]


@given(
    st.one_of(streams, in_session).filter(lambda data: b"STARTTLS" not in data.upper()), st.data()
)
def test_how_the_network_cuts_it_does_not_matter(stream: bytes, data: st.DataObject) -> None:
    """S5. STARTTLS is left out, since what stands behind it in one piece is refused on purpose.

    So is content that is sent behind a DATA that was refused: whether it was there already is what
    decides about it. And a message that breaks two rules is refused for the one that is seen first.
    """
    whole, pieces = outcome([stream]), outcome(data.draw(chunkings(stream)))
    if b"421 4.7.0 Content was sent before" not in whole[0] + pieces[0]:
        assert pieces == whole


@given(
    st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"x", b"QUIT\r\n", b"\0"])).map(b"".join)
)
def test_content_is_never_taken_for_commands(content: bytes) -> None:
    """S4: the machine never leaves DATA early."""
    talk = Dialogue(machine())
    talk.client("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA")
    talk.said = b""
    talk.client(content)
    if b"\r\n.\r\n" not in b"\r\n" + content:
        talk.expect()


def events_of(server: SmtpServer, data: bytes) -> list[object]:
    """Accept everything; give the events, with the output among them."""
    server.receive(data)
    seen: list[object] = []
    while True:
        event = server.next_event()
        output = server.output()
        if output:
            seen.append(output)
        if isinstance(event, Signal):
            if event is not Signal.SEND:
                return seen
        elif isinstance(event, ContentGiven):
            seen.append(("content", event.data))
        else:
            seen.append(event)
            if not isinstance(event, MessageDropped):
                server.accept()


def together(events: list[object]) -> list[object]:
    """Parts of output and of content as one each."""
    joined: list[object] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, bytes) and isinstance(last, bytes):
            joined[-1] = last + event
        elif isinstance(event, tuple) and isinstance(last, tuple):
            joined[-1] = ("content", last[1] + event[1])
        else:
            joined.append(event)
    return joined


def test_a_session_fed_three_ways() -> None:
    """Whole, byte by byte, and cut at every offset: the same events and replies."""
    session = (
        b"EHLO x\r\nAUTH LOGIN\r\nbWU=\r\nc2VjcmV0\r\n"
        b"MAIL FROM:<a@b.test> BODY=8BITMIME\r\nRCPT TO:<c@d.test>\r\nDATA\r\n"
        b"Subject: x\r\n\r\n..\r\n.\r\n"
        b"MAIL FROM:<>\r\nRCPT TO:<c@d.test>\r\nBDAT 5\r\na: b\rBDAT 3 LAST\r\n\nxyQUIT\r\n"
    )
    expected = together(events_of(machine(), session))
    assert sum(isinstance(event, MessageEnds) for event in expected) == 2
    assert sum(isinstance(event, CredentialsGiven) for event in expected) == 1
    feed_three_ways(machine, session, expected, feed=events_of, normalise=together)
