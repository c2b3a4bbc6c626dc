"""The SMTP server machine, as dialogues."""

from base64 import b64encode

import pytest

from netserve.mail.envelope import Recipient, Reply
from netserve.mail.server.machine import SmtpServer
from netserve.mail.server.model import (
    CredentialsGiven,
    MessageBegins,
    MessageEnds,
    RecipientGiven,
    SenderGiven,
    ServerLimits,
    ServerOptions,
    Signal,
)
from netserve.mail.server.states import EXPECTED, TABLE, State
from netserve.testing.dialogue import WAIT, Dialogue

LATER = Reply(451, "4.3.0", "Later")
TEXT = b"Subject: x\r\n\r\nHello\r\n"


def talk(decide=lambda event: None, *, tls: bool = False, **options) -> Dialogue:
    limits = ServerLimits(**options.pop("limits", {}))
    machine = SmtpServer(ServerOptions(hostname="mx.test", limits=limits, **options), tls=tls)
    return Dialogue(machine, decide).expect("220 mx.test ESMTP netserve")


def greeted(decide=lambda event: None, **options) -> Dialogue:
    dialogue = talk(decide, **options).client("EHLO client.test")
    dialogue.said = b""
    return dialogue


def announced(decide=lambda event: None, **options) -> Dialogue:
    dialogue = greeted(decide, **options)
    return dialogue.client("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>").expect("250", "250")


def refusing(kind: type, reply: Reply):
    return lambda event: reply if isinstance(event, kind) else None


def leaving_open(kind: type):
    return lambda event: WAIT if isinstance(event, kind) else None


def plain(user: str, password: str, identity: str = "") -> str:
    return b64encode(f"{identity}\0{user}\0{password}".encode()).decode()


def base64(text: str) -> str:
    return b64encode(text.encode()).decode()


# ---- The usual way.


def test_a_message_by_data() -> None:
    dialogue = greeted()
    dialogue.client("MAIL FROM:<a@b.test> SIZE=100 BODY=8BITMIME").expect("250 2.1.0")
    dialogue.client("RCPT TO:<c@d.test>").expect("250 2.1.5")
    dialogue.client("RCPT TO:<e@f.test> NOTIFY=NEVER").expect("250 2.1.5")
    dialogue.client("DATA").expect("354")
    dialogue.client(b"Subject: x\r\n\r\n..dot\r\n.\r\n").expect("250 2.0.0")
    dialogue.client("QUIT").expect("221 2.0.0").ends()
    (message,) = dialogue.messages
    assert message.data == b"Subject: x\r\n\r\n.dot\r\n"
    assert message.end.mail.sender == "a@b.test"
    assert message.end.recipients == (
        Recipient("c@d.test"),
        Recipient("e@f.test", frozenset({"NEVER"})),
    )
    assert message.end.size == len(message.data)


def test_a_message_by_bdat() -> None:
    dialogue = announced()
    dialogue.client("BDAT 12", b"Subject: x\r\n").expect("250 2.0.0")
    dialogue.client("BDAT 9", b"\r\n.\r\n.\r\n.", "BDAT 0 LAST").expect("250 2.0.0", "250 2.0.0")
    assert dialogue.messages[0].data == b"Subject: x\r\n\r\n.\r\n.\r\n.\r\n"


def test_two_messages_one_after_the_other() -> None:
    dialogue = announced()
    dialogue.client("DATA", TEXT, ".").expect("354", "250")
    dialogue.client("RCPT TO:<c@d.test>").expect("503 5.5.1 Say MAIL first")
    dialogue.client("MAIL FROM:<>", "RCPT TO:<postmaster>", "DATA", TEXT, ".")
    dialogue.expect("250", "250", "354", "250")
    assert [message.end.mail.sender for message in dialogue.messages] == ["a@b.test", ""]


def test_ehlo_says_what_is_offered() -> None:
    everything = (
        "250-mx.test\n250-SIZE 26214400\n250-PIPELINING\n250-8BITMIME\n250-ENHANCEDSTATUSCODES\n"
        "250-DSN\n250-SMTPUTF8\n250"
    )
    talk().client("EHLO x").expect(f"{everything} CHUNKING")
    talk(starttls=True).client("EHLO x").expect(f"{everything}-CHUNKING\n250 STARTTLS")
    talk(starttls=True, auth=True).client("EHLO x").expect(f"{everything}-CHUNKING\n250 STARTTLS")
    talk(starttls=True, auth=True, tls=True).client("EHLO x").expect(
        f"{everything}-CHUNKING\n250 AUTH PLAIN LOGIN"
    )
    talk().client("HELO x").expect("250 mx.test")


def test_small_commands() -> None:
    dialogue = talk()
    dialogue.client("NOOP", "NOOP anything").expect("250 2.0.0", "250 2.0.0")
    dialogue.client("HELP", "VRFY someone", "VRFY").expect("214 2.0.0", "252 2.0.0", "501 5.5.4")
    dialogue.client("RSET", "RSET now").expect("250 2.0.0", "501 5.5.4")
    dialogue.client("EXPN list", "ETRN x", "TURN").expect("502 5.5.1", "502 5.5.1", "502 5.5.1")
    dialogue.client("LHLO x", "", "MAILX").expect("500 5.5.2", "500 5.5.2", "500 5.5.2")
    dialogue.client("QUIT now", "QUIT").expect("501 5.5.4", "221 2.0.0").ends()


def test_mail_for_one_recipient_twice_is_mail_once() -> None:
    dialogue = announced().client("RCPT TO:<c@d.test>").expect("250 2.1.5")
    dialogue.client("DATA", TEXT, ".").expect("354", "250")
    assert len(dialogue.messages[0].end.recipients) == 1


def test_eight_bit_text_is_noticed_though_nobody_said_so() -> None:
    dialogue = announced().client("DATA", "Subject: ü", "", ".")
    assert dialogue.messages[0].end.eight_bit


# ---- The table.


def in_state(state: State) -> Dialogue:
    """A session in one of the states in which commands are read."""
    dialogue = talk(auth=True, auth_in_clear=True, starttls=True)
    lines = {
        State.START: (),
        State.READY: ("EHLO x",),
        State.MAIL: ("EHLO x", "MAIL FROM:<a@b.test>"),
        State.RCPT: ("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>"),
        State.CHUNKS: ("EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "BDAT 2\r\nab"),
    }[state]
    for line in lines:
        dialogue.client(line.encode() + (b"" if line.startswith("BDAT") else b"\r\n"))
    assert dialogue.machine.state is state
    dialogue.said = b""
    return dialogue


COMMANDS = {
    "HELO": "HELO x",
    "EHLO": "EHLO x",
    "MAIL": "MAIL FROM:<a@b.test>",
    "RCPT": "RCPT TO:<e@f.test>",
    "DATA": "DATA",
    "BDAT": "BDAT 0",
    "RSET": "RSET",
    "NOOP": "NOOP",
    "HELP": "HELP",
    "VRFY": "VRFY x",
    "QUIT": "QUIT",
    "AUTH": "AUTH LOGIN",
    "STARTTLS": "STARTTLS",
}
COMMAND_STATES = [State.START, State.READY, State.MAIL, State.RCPT, State.CHUNKS]


@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("state", COMMAND_STATES)
def test_every_command_in_every_state(state: State, verb: str) -> None:
    """The table is what happens: each command is taken where it stands, and 503 elsewhere."""
    dialogue = in_state(state)
    machine = dialogue.machine
    dialogue.client(COMMANDS[verb])
    after = TABLE[state].get(verb)
    if after is None:
        dialogue.expect(f"503 5.5.1 {EXPECTED[verb]}")
        assert machine.state is state
    elif verb == "STARTTLS":
        dialogue.expect("220 2.0.0")
        assert machine.state is State.START
        assert machine.tls
    elif verb == "BDAT":  # a chunk of no bytes is over at once
        dialogue.expect("250 2.0.0")
        assert machine.state is State.CHUNKS
    else:
        assert dialogue.said[:1] in {b"2", b"3"}
        assert machine.state is after


@pytest.mark.parametrize("verb", ["mail", "MaIl"])
def test_case_of_a_verb_does_not_matter(verb: str) -> None:
    greeted().client(f"{verb} from:<a@b.test>").expect("250 2.1.0")


# ---- The outside says no, or not yet.


@pytest.mark.parametrize(
    ("kind", "line"),
    [(SenderGiven, "MAIL FROM:<a@b.test>"), (RecipientGiven, "RCPT TO:<e@f.test>")],
)
def test_a_refused_command_leaves_the_state(kind: type, line: str) -> None:
    dialogue = in_state(State.READY if kind is SenderGiven else State.RCPT)
    state = dialogue.machine.state
    dialogue.decide = refusing(kind, LATER)
    dialogue.client(line).expect("451 4.3.0 Later")
    assert dialogue.machine.state is state


def test_without_an_accepted_recipient_there_is_no_message() -> None:
    dialogue = greeted(refusing(RecipientGiven, LATER))
    dialogue.client("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA")
    dialogue.expect("250", "451", "503 5.5.1 No recipient was accepted")


def test_a_message_that_is_not_kept_gets_no_250() -> None:
    dialogue = announced(refusing(MessageEnds, LATER)).client("DATA", TEXT, ".")
    dialogue.expect("354", "451 4.3.0 Later")
    assert dialogue.machine.state is State.READY
    assert not dialogue.messages


def test_a_message_that_fails_on_the_way_is_read_to_its_end() -> None:
    dialogue = announced().client("DATA", b"Subject: x\r\n\r\nHel").expect("354")
    dialogue.machine.refuse_content(LATER)
    dialogue.client("lo", "QUIT", ".", "NOOP").expect("451 4.3.0 Later", "250 2.0.0")
    assert dialogue.dropped == [LATER]


@pytest.mark.parametrize("kind", [SenderGiven, RecipientGiven, MessageBegins, MessageEnds])
def test_nothing_happens_before_the_answer(kind: type) -> None:
    """Strictly serial: what was pipelined waits for the reply to what was before it."""
    dialogue = greeted(leaving_open(kind))
    sent = ("MAIL FROM:<a@b.test>", "RCPT TO:<c@d.test>", "DATA", TEXT, ".", "NOOP", "QUIT")
    dialogue.client(*sent)
    replies = dialogue.said
    assert dialogue.machine.next_event() is Signal.PAUSED
    assert isinstance(dialogue.events[-1], kind)
    dialogue.client(b"").run()
    assert dialogue.said == replies
    dialogue.decide = lambda event: None
    dialogue.accept("Queued as 1" if kind is MessageEnds else "")
    dialogue.expect("250", "250", "354", "250 2.0.0", "250 2.0.0", "221").ends()


def test_250_has_what_the_outside_says() -> None:
    dialogue = announced(leaving_open(MessageEnds)).client("DATA", TEXT, ".").expect("354")
    dialogue.accept("Queued as 7").expect("250 2.0.0 Queued as 7")


def test_content_behind_a_refused_data_is_not_taken_for_commands() -> None:
    dialogue = announced(refusing(MessageBegins, LATER))
    dialogue.client("DATA", "MAIL FROM:<evil@b.test>").expect("451", "421 4.7.0").ends()
    assert sum(isinstance(event, SenderGiven) for event in dialogue.events) == 1


def test_after_a_refused_data_the_session_goes_on() -> None:
    dialogue = announced(refusing(MessageBegins, LATER)).client("DATA").expect("451")
    dialogue.client("RSET", "QUIT").expect("250", "221").ends()


# ---- BDAT that is refused.


@pytest.mark.parametrize("state", [State.START, State.READY, State.MAIL])
def test_a_chunk_that_is_out_of_order_is_read_over(state: State) -> None:
    """RFC 3030, 2: the octets are consumed, and are no commands."""
    dialogue = in_state(state)
    dialogue.client("BDAT 12 LAST", b"QUIT\r\nQUIT\r\n", "NOOP").expect("503 5.5.1", "250 2.0.0")


def test_a_message_of_which_a_chunk_was_refused_is_never_accepted() -> None:
    answers = iter([LATER])
    dialogue = announced(
        lambda event: next(answers, None) if isinstance(event, MessageBegins) else None
    )
    dialogue.client("BDAT 6", b"QUIT\r\n", "BDAT 6 LAST", b"QUIT\r\n").expect("451", "503")
    assert not dialogue.messages


def test_a_chunk_with_a_bare_newline_ends_the_transaction() -> None:
    """S4: also with BDAT."""
    dialogue = announced().client("BDAT 6", b"a\n.\nb\n", "BDAT 2 LAST", b"\r\n", "NOOP")
    dialogue.expect("550 5.6.11", "503 5.5.1", "250")
    assert not dialogue.messages
    assert dialogue.dropped


def test_bdat_without_a_number_ends_the_session() -> None:
    """Nobody knows where the next command begins."""
    announced().client("BDAT many", "QUIT").expect("421 4.7.0").ends()


@pytest.mark.parametrize("verb", ["RSET", "EHLO x", "QUIT"])
def test_a_message_that_is_given_up_between_chunks_is_dropped(verb: str) -> None:
    dialogue = announced().client("BDAT 2", b"ab").expect("250").client(verb)
    assert dialogue.dropped == [None]
    assert not dialogue.messages


# ---- STARTTLS.


def test_starttls_forgets_everything() -> None:
    """S6: all state from before is forgotten."""
    dialogue = greeted(starttls=True).client("STARTTLS").expect("220 2.0.0")
    assert dialogue.machine.helo == ""
    dialogue.client("MAIL FROM:<a@b.test>").expect("503 5.5.1")
    dialogue.client("EHLO again")
    assert b"STARTTLS" not in dialogue.said
    dialogue.said = b""
    dialogue.client("STARTTLS").expect("503 5.5.1 TLS is on already")


def test_what_stands_behind_starttls_in_clear_is_never_acted_on() -> None:
    """S6: it closes the connection."""
    dialogue = greeted(starttls=True).client("STARTTLS", "NOOP").expect("421 4.7.0").ends()
    assert not dialogue.events


def test_half_a_line_behind_starttls_closes_too() -> None:
    """S6."""
    greeted(starttls=True).client(b"STARTTLS\r\nMAIL FROM").expect("421 4.7.0").ends()


def test_what_comes_in_clear_before_the_handshake_is_never_acted_on() -> None:
    """S6."""
    dialogue = greeted(lambda event: WAIT, starttls=True).client("STARTTLS").expect("220 2.0.0")
    dialogue.client("EHLO injected", "NOOP").expect("421 4.7.0").ends()
    assert dialogue.machine.helo == "client.test"


def test_starttls_where_it_is_not_offered() -> None:
    greeted().client("STARTTLS").expect("502 5.5.1")
    in_state(State.MAIL).client("STARTTLS").expect("503 5.5.1")
    greeted(starttls=True).client("STARTTLS now").expect("501 5.5.4")


# ---- AUTH.


@pytest.mark.parametrize(
    "lines",
    [
        [f"AUTH PLAIN {plain('me', 'secret')}"],
        [f"auth plain {plain('me', 'secret', identity='me')}"],
        ["AUTH PLAIN", plain("me", "secret")],
        ["AUTH LOGIN", base64("me"), base64("secret")],
        [f"AUTH LOGIN {base64('me')}", base64("secret")],
    ],
)
def test_logins(lines: list[str]) -> None:
    dialogue = greeted(auth=True, tls=True)
    for line in lines[:-1]:
        dialogue.client(line).expect("334")
    dialogue.client(lines[-1]).expect("235 2.7.0")
    (event,) = dialogue.events
    assert isinstance(event, CredentialsGiven)
    assert (event.user, event.password) == ("me", "secret")
    assert dialogue.machine.user == "me"
    dialogue.client("AUTH LOGIN").expect("503 5.5.1")


def test_a_password_is_not_in_what_is_printed() -> None:
    """S17: of an event that may come into a log."""
    assert "secret" not in repr(CredentialsGiven("PLAIN", "me", "secret"))


def test_challenges_of_login() -> None:
    dialogue = greeted(auth=True, tls=True).client("AUTH LOGIN").expect("334 VXNlcm5hbWU6")
    dialogue.client(base64("me")).expect("334 UGFzc3dvcmQ6")


def test_an_empty_challenge_of_plain() -> None:
    greeted(auth=True, tls=True).client("AUTH PLAIN").expect("334 ")


@pytest.mark.parametrize("lines", [["AUTH PLAIN", "*"], ["AUTH LOGIN", base64("me"), "*"]])
def test_a_login_is_cancelled(lines: list[str]) -> None:
    dialogue = greeted(auth=True, tls=True)
    for line in lines[:-1]:
        dialogue.client(line).expect("334")
    dialogue.client("*").expect("501 5.7.0")
    dialogue.client("NOOP").expect("250")
    assert not dialogue.events


@pytest.mark.parametrize(
    "line",
    [
        "AUTH PLAIN nonsense!",
        f"AUTH PLAIN {base64('no parts')}",
        f"AUTH PLAIN {plain('me', 'x', identity='other')}",
        f"AUTH PLAIN {plain('', 'x')}",
        f"AUTH PLAIN {plain(chr(10) + 'me', 'x')}",
        f"AUTH PLAIN {base64('a') * 3}",
        "AUTH PLAIN =",
        "AUTH LOGIN =",
        "AUTH PLAIN ////",
    ],
)
def test_a_malformed_response(line: str) -> None:
    dialogue = greeted(auth=True, tls=True).client(line).expect("501 5.5.2")
    assert not dialogue.events
    assert dialogue.machine.state is State.READY


def test_auth_is_for_tls_unless_the_options_say_so() -> None:
    greeted(auth=True).client("AUTH LOGIN").expect("538 5.7.11")
    greeted(auth=True, auth_in_clear=True).client("AUTH LOGIN").expect("334")
    greeted().client("AUTH LOGIN").expect("502 5.5.1")
    greeted(auth=True, tls=True).client("AUTH CRAM-MD5").expect("504 5.5.4")


def test_a_wrong_password() -> None:
    wrong = Reply(535, "5.7.8", "Wrong")
    dialogue = greeted(refusing(CredentialsGiven, wrong), auth=True, tls=True)
    dialogue.client(f"AUTH PLAIN {plain('me', 'x')}").expect("535 5.7.8")
    assert dialogue.machine.user == ""


def test_starttls_forgets_the_user() -> None:
    """S6."""
    dialogue = greeted(auth=True, auth_in_clear=True, starttls=True)
    dialogue.client(f"AUTH PLAIN {plain('me', 'x')}").expect("235").client("STARTTLS").expect("220")
    assert dialogue.machine.user == ""


# ---- Limits; each is passed.


def test_limit_of_errors() -> None:
    """S8: errors are limited by default."""
    dialogue = talk(limits={"errors": 3})
    dialogue.client("X", "Y", "Z", "NOOP").expect("500", "500", "500", "421 4.7.0 Too many errors")
    dialogue.ends()


def test_errors_count_from_the_last_message() -> None:
    """A session that is kept for days may have some errors in all."""
    dialogue = talk(limits={"errors": 3}).client("EHLO x", "X", "Y")
    dialogue.client("MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA", TEXT, ".", "X", "Y", "NOOP")
    assert dialogue.said.endswith(b"known\r\n250 2.0.0 OK\r\n")
    assert not dialogue.closed


def test_limit_of_failed_logins() -> None:
    """S8."""
    wrong = Reply(535, "5.7.8", "Wrong")
    dialogue = greeted(refusing(CredentialsGiven, wrong), auth=True, tls=True)
    line = f"AUTH PLAIN {plain('me', 'x')}"
    dialogue.client(line, "AUTH LOGIN", "*", line, line)
    dialogue.expect("535", "334", "501", "535", "421 4.7.0 Too many failed logins").ends()


def test_limit_of_commands_that_bring_no_mail() -> None:
    """S8."""
    dialogue = talk(limits={"idle_commands": 3}).client("EHLO x", "NOOP", "RSET")
    dialogue.said = b""
    dialogue.client("MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA", TEXT, ".")
    dialogue.expect("250", "250", "354", "250")
    dialogue.client("NOOP", "HELP", "VRFY x", "NOOP")
    dialogue.expect("250", "214", "252", "421 4.7.0 Too many commands").ends()


def test_limit_of_recipients() -> None:
    """S8: the others can be sent to in a message of their own."""
    dialogue = announced(limits={"recipients": 2})
    dialogue.client("RCPT TO:<2@d.test>", "RCPT TO:<3@d.test>").expect("250", "452 4.5.3")
    dialogue.client("DATA", TEXT, ".").expect("354", "250")
    assert len(dialogue.messages[0].end.recipients) == 2


def test_recipients_past_the_limit_are_no_errors() -> None:
    """S8: the client comes again for them; but there are not to be more of them without end."""
    dialogue = greeted(limits={"recipients": 4, "errors": 2})
    dialogue.client("MAIL FROM:<>", *(f"RCPT TO:<{n}@d.test>" for n in range(8)))
    dialogue.expect(*["250"] * 5, *["452 4.5.3"] * 4)
    dialogue.client("DATA", TEXT, ".").expect("354", "250")
    dialogue.client("MAIL FROM:<>", *(f"RCPT TO:<{n}@d.test>" for n in range(12)))
    dialogue.expect(*["250"] * 5, *["452"] * 6, "421 4.7.0 Too many errors").ends()


def test_recipients_who_are_put_off_are_no_errors() -> None:
    later = refusing(RecipientGiven, Reply(450, "4.7.1", "Too many"))
    dialogue = greeted(later, limits={"recipients": 4, "errors": 2})
    dialogue.client("MAIL FROM:<>", *(f"RCPT TO:<{n}@d.test>" for n in range(4)), "NOOP")
    dialogue.expect("250", *["450"] * 4, "250")
    dialogue.client(*(f"RCPT TO:<{n}@d.test>" for n in range(2)))
    dialogue.expect("450", "450", "421 4.7.0 Too many errors").ends()


@pytest.mark.parametrize("length", [59, 60, 61, 5000])
def test_limit_of_a_line(length: int) -> None:
    """S8: of an over-long line nothing is held, and the next one is read again."""
    line = "NOOP " + "x" * (length - 7)
    for pieces in ([f"{line}\r\n"], list(f"{line}\r\n"), [line, "\r\n"]):
        dialogue = talk(limits={"command_line": 60})
        for piece in pieces:
            dialogue.client(piece.encode())
        dialogue.expect("250" if length <= 60 else "500 5.5.2 The line is too long")
        dialogue.client("NOOP").expect("250")


def test_limit_of_a_response() -> None:
    """S8: 12288 bytes (RFC 4954, 4)."""
    dialogue = greeted(auth=True, tls=True).client("AUTH PLAIN").expect("334")
    dialogue.client("x" * 13000).expect("500 5.5.2")
    assert dialogue.machine.state is State.READY


def test_limit_of_a_message_at_mail() -> None:
    """S8: SIZE tells it before it is sent."""
    dialogue = greeted(limits={"message_size": 100})
    dialogue.client("MAIL FROM:<a@b.test> SIZE=101").expect("552 5.3.4")
    dialogue.client("MAIL FROM:<a@b.test> SIZE=100").expect("250")


def test_limit_of_a_message_while_it_runs() -> None:
    """S8: without SIZE, and with one that lies."""
    dialogue = announced(limits={"message_size": 100}).client("DATA").expect("354")
    dialogue.client(b"Subject: x\r\n\r\n" + b"x" * 80 + b"\r\n", "over", ".")
    dialogue.expect("552 5.3.4")
    assert dialogue.dropped
    dialogue = announced(limits={"message_size": 100})
    dialogue.client("BDAT 101 LAST", b"x" * 101, "NOOP").expect("552 5.3.4", "250")


def test_limit_of_the_header() -> None:
    """S8."""
    dialogue = announced(limits={"header_size": 100}).client("DATA").expect("354")
    dialogue.client("X: " + "y" * 99, "", "body", ".").expect("552 5.3.4 The header")


def test_limit_of_hops() -> None:
    dialogue = announced().client("DATA").expect("354")
    dialogue.client(*["Received: x"] * 51, "", "body", ".").expect("554 5.4.6")


def test_limit_of_what_is_sent_ahead() -> None:
    """S8: what is buffered is bounded, also while the machine waits for an answer."""
    dialogue = greeted(leaving_open(SenderGiven), limits={"buffered": 1000})
    dialogue.client("MAIL FROM:<a@b.test>").expect()
    dialogue.client(b"NOOP\r\n" * 200).client(b"NOOP\r\n" * 200).expect()
    dialogue.accept().expect("250", "421 4.7.0 Too much").ends()


def test_output_waits_to_be_taken() -> None:
    """Replies are bounded: the machine makes no more of them before they are sent."""
    machine = SmtpServer(
        ServerOptions(hostname="mx.test", limits=ServerLimits(idle_commands=10**6))
    )
    machine.receive(b"EHLO x\r\n" * 1000)
    assert machine.next_event() is Signal.SEND
    assert len(machine.output()) < 17_000
    assert machine.next_event() is Signal.SEND


def test_over_long_text_is_read_to_the_end_of_data() -> None:
    """S8: the machine never leaves DATA early."""
    dialogue = announced(limits={"text_line": 2048}).client("DATA").expect("354")
    dialogue.client(b"x" * 100_000).client("QUIT", "", "QUIT", ".", "NOOP")
    dialogue.expect("550 5.6.0 A line", "250")


@pytest.mark.parametrize("last", ["QUIT", "GET / HTTP/1.1"])
def test_a_session_that_is_over_cannot_be_ended(last: str) -> None:
    """Nor does it try to for ever, when the outside finds it too slow while it is being closed."""
    dialogue = talk().client(last)
    dialogue.said = b""
    dialogue.machine.end(Reply(421, "4.4.2", "Too slow"))
    dialogue.machine.drain()
    assert dialogue.machine.next_event() is Signal.CLOSED
    assert dialogue.machine.output() == b""


# ---- Clients that do not wait.


def test_content_before_354_ends_the_session() -> None:
    """RFC 2920, 3.1: DATA is the last command of a group."""
    dialogue = announced(refuse_early_talk=True)
    dialogue.client("DATA", "MAIL FROM:<evil@b.test>").expect("503 5.5.1").ends()
    assert dialogue.dropped == [Reply(503, "5.5.1", "Wait for 354 before you send a message")]
    dialogue = announced(leaving_open(MessageBegins), refuse_early_talk=True)
    dialogue.client("DATA").expect().client("Subject: x")
    dialogue.accept().expect("503 5.5.1").ends()


def test_chunks_may_come_in_a_group() -> None:
    dialogue = announced(refuse_early_talk=True)
    dialogue.client("BDAT 6", b"a: b\r\n", "BDAT 0 LAST", "NOOP").expect("250", "250", "250")


def test_talk_before_the_greeting_ends_the_session() -> None:
    machine = SmtpServer(ServerOptions(hostname="mx.test", refuse_early_talk=True))
    machine.refuse_early_talk()
    machine.receive(b"EHLO x\r\n")
    assert machine.next_event() is Signal.CLOSED
    assert machine.output().startswith(b"554 5.5.1 ")
    assert machine.goodbye is not None


def test_silence_after_a_lone_dot_ends_the_message() -> None:
    dialogue = announced(normalise=True, lone_dot_ends=True)
    dialogue.client("DATA").expect("354").client(b"a: b\n\nc\n.\n").expect()
    assert dialogue.machine.at_lone_dot
    dialogue.machine.silent()
    dialogue.run().expect("250")
    assert dialogue.messages[0].data == b"a: b\r\n\r\nc\r\n"
    assert not dialogue.machine.at_lone_dot


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"normalise": True}, b"c\n.\n"),
        ({"normalise": True, "lone_dot_ends": True}, b"c\n.\nd"),
        ({"normalise": True, "lone_dot_ends": True}, b"c\n..\n"),
        ({"lone_dot_ends": True}, b"c\n.\n"),
    ],
)
def test_silence_ends_nothing_else(options: dict[str, bool], text: bytes) -> None:
    """S4."""
    dialogue = announced(**options).client("DATA").expect("354").client(text)
    dialogue.machine.silent()
    dialogue.run().expect()
    assert dialogue.machine.state is State.DATA


def test_a_long_line_is_accepted_and_noticed() -> None:
    """S28: it is for the outside to fold or encode it before it is sent on."""
    dialogue = announced().client("DATA", "a: b", "", "x" * 3000, ".")
    assert dialogue.messages[0].end.long_lines
    dialogue = announced().client("DATA", "a: b", "", "x" * 998, ".")
    assert not dialogue.messages[0].end.long_lines


# ---- Clients that are no clients.


@pytest.mark.parametrize("line", ["GET / HTTP/1.1", "POST / HTTP/1.0", "CONNECT x:25 HTTP/1.1"])
def test_a_browser_is_sent_away(line: str) -> None:
    """A page can make a browser send a request whose body is SMTP."""
    talk().client(line, "Host: x", "", "MAIL FROM:<a@b.test>").expect("421 4.7.0").ends()


def test_a_command_that_ends_with_lf_alone() -> None:
    """S4: refused by default, taken where line ends are normalised."""
    talk().client(b"NOOP\nNOOP\r\n").expect("500 5.5.2", "250")
    talk(normalise=True).client(b"NOOP\nNOOP\r\n").expect("250", "250")


@pytest.mark.parametrize("line", [b"EHLO a\rb\r\n", b"EHLO a\0b\r\n", b"EHLO a\x1bb\r\n"])
def test_control_characters_in_a_helo_name(line: bytes) -> None:
    """S7: CR and LF in HELO names are refused."""
    dialogue = talk().client(line).expect("500 5.5.2")
    assert dialogue.machine.helo == ""


def test_a_line_break_in_an_address_gives_no_command() -> None:
    """S7."""
    dialogue = greeted().client(b"MAIL FROM:<a@b.test\rRCPT TO:<x@y.test>>\r\n").expect("500")
    assert not dialogue.events


# ---- The end.


def test_draining_waits_for_the_message_under_way() -> None:
    dialogue = announced()
    dialogue.machine.drain()
    dialogue.run().expect().client("DATA", TEXT, ".").expect("354", "250", "421 4.3.2").ends()
    idle = greeted()
    idle.machine.drain()
    idle.run().expect("421 4.3.2").ends()


def test_a_client_that_is_too_slow_is_sent_away_and_its_message_dropped() -> None:
    dialogue = announced().client("DATA", b"Subject").expect("354")
    slow = Reply(421, "4.4.2", "Too slow")
    dialogue.machine.end(slow)
    dialogue.run().expect("421 4.4.2").ends()
    assert dialogue.dropped == [slow]


def test_a_client_that_is_gone() -> None:
    dialogue = announced().client("DATA", b"Subject").expect("354")
    dialogue.machine.lost()
    dialogue.run().expect().ends()
    assert dialogue.dropped == [None]


def test_an_answer_that_comes_too_late_does_no_harm() -> None:
    for answer in (lambda machine: machine.accept("x"), lambda machine: machine.refuse(LATER)):
        dialogue = announced(leaving_open(MessageEnds)).client("DATA", TEXT, ".").expect("354")
        dialogue.machine.lost()
        answer(dialogue.machine)
        dialogue.run().expect().ends()
        assert not dialogue.dropped


def test_after_the_end_nothing_is_read() -> None:
    dialogue = talk().client("QUIT", "NOOP").expect("221").ends()
    dialogue.client("NOOP").expect().ends()
