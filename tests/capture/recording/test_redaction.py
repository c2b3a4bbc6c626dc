"""What is secret is masked, however a stream is cut, and nothing else is changed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from netserve.capture.model import Endpoint, Flow, Kind, Record, Transport
from netserve.capture.recording import patterns as module
from netserve.capture.recording.patterns import PatternRedactor
from netserve.capture.recording.redaction import HEADERS, Redactor
from netserve.wire.pattern import Pattern

FLOW = Flow(1, "mail", Transport.TCP, Endpoint("192.0.2.1", 25), Endpoint("192.0.2.2", 4000))
OUT = Flow(
    2, "mail", Transport.TCP, Endpoint("192.0.2.1", 4000), Endpoint("192.0.2.2", 25), outgoing=True
)
C, S = Kind.RECEIVED, Kind.SENT
Said = list[tuple[Kind, bytes]]

CASES: list[tuple[Said, Said]] = [
    (  # a login with an initial response, and one that fails
        [(C, b"AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n"), (S, b"535 no\r\n"), (C, b"QUIT\r\n")],
        [(C, b"AUTH PLAIN ****************\r\n"), (S, b"535 no\r\n"), (C, b"QUIT\r\n")],
    ),
    (  # continuations
        [
            (C, b"auth login\r\n"),
            (S, b"334 VXNlcm5hbWU6\r\n"),
            (C, b"am9l\r\n"),
            (S, b"334 UGFz\r\n"),
            (C, b"c2VjcmV0\r\n"),
            (S, b"235 2.7.0 in\r\n"),
            (C, b"NOOP\r\n"),
        ],
        [
            (C, b"auth login\r\n"),
            (S, b"334 VXNlcm5hbWU6\r\n"),
            (C, b"****\r\n"),
            (S, b"334 UGFz\r\n"),
            (C, b"********\r\n"),
            (S, b"235 2.7.0 in\r\n"),
            (C, b"NOOP\r\n"),
        ],
    ),
    (  # a client that does not wait to be asked
        [
            (C, b"AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\n"),
            (S, b"334 a\r\n334 b\r\n235 in\r\n"),
            (C, b"RSET\r\n"),
        ],
        [
            (C, b"AUTH LOGIN\r\n****\r\n********\r\n"),
            (S, b"334 a\r\n334 b\r\n235 in\r\n"),
            (C, b"RSET\r\n"),
        ],
    ),
    (  # one that does not know how to log in
        [(C, b"AUTH hunter2\r\n"), (S, b"504 what\r\n"), (C, b"AUTH joe hunter2\r\n")],
        [(C, b"AUTH *******\r\n"), (S, b"504 what\r\n"), (C, b"AUTH ***********\r\n")],
    ),
    (  # FTP and POP3
        [(C, b"USER joe\r\nPASS hunter2 x\r\n"), (S, b"230 in\r\n"), (C, b"PASV\r\n")],
        [(C, b"USER joe\r\nPASS *********\r\n"), (S, b"230 in\r\n"), (C, b"PASV\r\n")],
    ),
    (  # header fields, folded and with white space where none belongs
        [
            (
                C,
                (
                    b"GET / HTTP/1.1\r\nAuthorization: Basic dXNlcg==\r\n more\r\nHost: x\r\n"
                    b"cookie : a=b\r\n"
                    b"Proxy-Authorization:Bearer abc def\r\nX-Authorization: no\r\n\r\n"
                    b"Cookies: are nice\n"
                ),
            ),
            (
                S,
                (
                    b"HTTP/1.1 200 OK\nSet-Cookie: id=1; path=/\nWWW-Authenticate: Basic\n\n"
                    b"334 is a number\n"
                ),
            ),
            (C, b"GET /next HTTP/1.1\r\n"),
        ],
        [
            (
                C,
                (
                    b"GET / HTTP/1.1\r\nAuthorization: Basic ********\r\n*****\r\nHost: x\r\n"
                    b"cookie :****\r\n"
                    b"Proxy-Authorization:Bearer *******\r\nX-Authorization: no\r\n\r\n"
                    b"Cookies: are nice\n"
                ),
            ),
            (
                S,
                (
                    b"HTTP/1.1 200 OK\nSet-Cookie:*************\nWWW-Authenticate: Basic\n\n"
                    b"334 is a number\n"
                ),
            ),
            (C, b"GET /next HTTP/1.1\r\n"),
        ],
    ),
    (  # a mail about logins
        [
            (C, b"DATA\r\nauth required for this\r\nthe next line\r\n.\r\n"),
            (S, b"250 ok\r\n"),
            (C, b"QUIT\r\n"),
        ],
        [
            (C, b"DATA\r\nauth *****************\r\nthe next line\r\n.\r\n"),
            (S, b"250 ok\r\n"),
            (C, b"QUIT\r\n"),
        ],
    ),
    (  # a bare CR, and bytes that are no text
        [(C, b"Authorization: a\rb\xff\0c\r\nx")],
        [(C, b"Authorization: *\r****\r\nx")],
    ),
]


def redacted(said: Said, size: int = 0, flow: Flow = FLOW, **options: object) -> Said:
    redactor = Redactor(flow, **options)  # type: ignore[arg-type]
    found: Said = []
    for kind, data in said:
        step = size or len(data)
        pieces = [data[at : at + step] for at in range(0, len(data), step)]
        found.append((kind, b"".join(redactor.redact(kind, piece) for piece in pieces)))
    return found


@pytest.mark.parametrize("size", [0, 1, 2, 3, 11])
@pytest.mark.parametrize(("said", "wanted"), CASES)
def test_known_secrets(said: Said, wanted: Said, size: int) -> None:
    assert redacted(said, size) == wanted
    swap = {C: S, S: C}
    turned = [(swap[kind], data) for kind, data in said]
    assert redacted(turned, size, OUT) == [(swap[kind], data) for kind, data in wanted]


WORDS = [
    b"AUTH ",
    b"PLAIN",
    b"LOGIN",
    b" ",
    b"\r\n",
    b"\n",
    b"Authorization",
    b":",
    b"cookie: ",
    b"334 ",
    b"235 ",
    b"x",
    b"Basic ",
    b"\t",
    b"PASS ",
    b"=",
    b"\r",
    b"250-",
    b"set-",
]
texts = st.lists(st.sampled_from(WORDS), max_size=10).map(b"".join)


@given(st.lists(st.tuples(st.sampled_from([C, S]), texts), max_size=8), st.integers(1, 9))
@example([(C, b"AUTH \rAUTH ")], 1)
@example([(C, b"AUTH PLAIN"), (S, b"235 "), (C, b"\r\nx\r\n")], 1)
def test_the_same_however_it_is_cut(said: Said, size: int) -> None:
    whole = redacted([each for each in said if each[1]])
    assert redacted([each for each in said if each[1]], size) == whole
    for (_, before), (_, after) in zip([each for each in said if each[1]], whole, strict=True):
        assert len(before) == len(after)
        assert all(b in {a, 0x2A} for a, b in zip(before, after, strict=True))


def test_a_flow_that_was_joined_during_a_login() -> None:
    said = [
        (S, b"334 UGFzc3dvcmQ6\r\n"),
        (C, b"c2VjcmV0\r\n"),
        (S, b"235 in\r\n"),
        (C, b"NOOP\r\n"),
    ]
    assert redacted(said, joined=True)[1] == (C, b"********\r\n")
    assert redacted(said, joined=True)[3] == (C, b"NOOP\r\n")


def test_headers_of_the_user() -> None:
    said = [(C, b"X-Api-Key: abc\r\nCookie: x\r\n")]
    assert redacted(said, headers=["X-API-Key"]) == [(C, b"X-Api-Key:****\r\nCookie: x\r\n")]
    assert "authorization" in HEADERS


def test_each_datagram_begins_a_line() -> None:
    flow = Flow(3, "x", Transport.UDP, Endpoint("192.0.2.1", 5), Endpoint("192.0.2.2", 6))
    said = [(C, b"no end"), (C, b"Cookie: x"), (C, b" not folded")]
    assert redacted(said, flow=flow) == [(C, b"no end"), (C, b"Cookie:**"), (C, b" not folded")]


# patterns

PATTERNS = [Pattern(r"token=(?P<secret>\w+)"), Pattern(r"\b\d{16}\b")]


def masked(said: Said, size: int = 0, patterns: list[Pattern] = PATTERNS) -> Said:
    """All records in the order in which they become ready."""
    redactor = PatternRedactor(FLOW, patterns)
    out: list[Record] = []
    for kind, data in said:
        step = size or len(data) or 1
        for at in range(0, len(data), step):
            out += redactor.feed((FLOW, 0, kind, data[at : at + step]))
    out += redactor.feed((FLOW, 0, Kind.ENDED, None))
    assert out[-1][2] is Kind.ENDED
    return [(kind, value) for _, _, kind, value in out[:-1] if isinstance(value, bytes)]


@pytest.mark.parametrize("size", [0, 1, 3, 7])
def test_patterns(size: int) -> None:
    said = [
        (C, b"GET /?token=abc123&x=1\r\ncard 1234567890123456 ok\r\n"),
        (S, b"a token=xyz\nand token= nothing\n"),
        (C, b"token=unfinished"),
    ]
    found = masked(said, size)
    assert b"".join(data for kind, data in found if kind is C) == (
        b"GET /?token=******&x=1\r\ncard **************** ok\r\ntoken=**********"
    )
    assert (
        b"".join(data for kind, data in found if kind is S) == b"a token=***\nand token= nothing\n"
    )


words = st.sampled_from([b"token=", b"abc", b"\n", b" ", b"1234", b"12345678", b"\xff", b"x" * 5])


@given(
    st.lists(
        st.tuples(st.sampled_from([C, S]), st.lists(words, max_size=8).map(b"".join)), max_size=8
    ),
    st.integers(1, 9),
)
def test_patterns_mask_the_same_however_it_is_cut(said: Said, size: int) -> None:
    """And the records come out in their order, each with its own length."""
    for kind in (C, S):
        whole = b"".join(data for each, data in masked(said) if each is kind)
        assert b"".join(data for each, data in masked(said, size) if each is kind) == whole
        lines = b"".join(data for each, data in said if each is kind).split(b"\n")
        wanted = []
        for line in lines:
            buffer = bytearray(line)
            for pattern, group in ((PATTERNS[0], "secret"), (PATTERNS[1], None)):
                for start, end in pattern.spans(line, group):
                    buffer[start:end] = b"*" * (end - start)
            wanted.append(bytes(buffer))
        assert whole == b"\n".join(wanted)
    shapes = [(kind, len(data)) for kind, data in masked(said)]
    assert shapes == [(kind, len(data)) for kind, data in said if data]


def test_a_line_that_does_not_end_is_released() -> None:
    redactor = PatternRedactor(FLOW, PATTERNS)
    assert redactor.feed((FLOW, 5, C, b"token=ab")) == []
    assert redactor.feed((FLOW, 6, S, b"other\n")) == []
    assert redactor.since == 5
    assert [record[3] for record in redactor.release()] == [b"token=**", b"other\n"]
    assert redactor.since is None
    # and what follows is masked still
    assert [record[3] for record in redactor.feed((FLOW, 7, C, b"cd\n"))] == [b"**\n"]


def test_what_waits_is_bounded() -> None:
    redactor = PatternRedactor(FLOW, PATTERNS)
    redactor.feed((FLOW, 0, C, b"no end"))
    most = 0
    for _ in range(1000):
        redactor.feed((FLOW, 0, S, b"y" * 1000 + b"\n"))
        most = max(most, redactor._size)
    assert most <= module.MOST_WAITING + 2000
    long = b"z" * 100_000 + b"token=abc " + b"z" * 50_000
    out = masked([(C, long)], 1000)
    assert b"".join(data for _, data in out) == long.replace(b"=abc", b"=***")


def test_a_gap_breaks_a_line() -> None:
    redactor = PatternRedactor(FLOW, PATTERNS)
    out = redactor.feed((FLOW, 0, C, b"token=ab"))
    out += redactor.feed((FLOW, 0, Kind.LOST_RECEIVED, (1, 5)))
    out += redactor.feed((FLOW, 0, C, b"cd\n"))
    assert [record[3] for record in out] == [b"token=**", (1, 5), b"cd\n"]
